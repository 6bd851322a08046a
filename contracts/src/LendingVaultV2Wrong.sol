// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IBorrowHook} from "./IBorrowHook.sol";
import {LendingVaultBase} from "./LendingVaultBase.sol";

/// @title LendingVaultV2Wrong
/// @notice A fix that reads well and does not work. It exists so that the proof of a fix can be seen to refuse it.
/// @dev The report said "re-entrancy in borrow", so `borrow` got a guard. But the attack never enters `borrow` twice: its
/// hook calls `withdrawCollateral`, which has no guard and still sees the old debt. The ceiling for the collateral rate
/// is stored and then used nowhere.
contract LendingVaultV2Wrong is LendingVaultBase, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice Meant as the highest rate that counts towards a borrow limit.
    uint256 public maxCollateralRateWad;

    /// @notice The ceiling was zero.
    error ZeroCollateralRate();

    /// @notice Same shape as in the correct fix, so that both are installed by the same call.
    function initializeV2(uint256 maxCollateralRateWad_) external onlyRole(UPGRADER_ROLE) reinitializer(2) {
        if (maxCollateralRateWad_ == 0) revert ZeroCollateralRate();
        maxCollateralRateWad = maxCollateralRateWad_;
    }

    /// @inheritdoc LendingVaultBase
    function borrow(uint256 assets, bytes calldata data) public override whenNotPaused nonReentrant {
        _spendBlockBudget(assets);
        _requireCovered(msg.sender, debtOf[msg.sender] + assets);
        IERC20(asset()).safeTransfer(msg.sender, assets);
        if (msg.sender.code.length != 0) IBorrowHook(msg.sender).onBorrow(assets, data);
        _recordDebt(msg.sender, assets);
        emit Borrowed(msg.sender, assets);
    }

    /// @dev Unchanged from the first version.
    function _collateralAssets(uint256 shares) internal view override returns (uint256) {
        return collateral.convertToAssets(shares);
    }
}
