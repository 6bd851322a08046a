// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {IBorrowHook} from "./IBorrowHook.sol";
import {LendingVaultBase} from "./LendingVaultBase.sol";

/// @title LendingVault
/// @notice First version of the lending vault. VULNERABLE ON PURPOSE: it is what the drill attacks. Never deploy it for
/// real use.
/// @dev Two flaws that each look small. Collateral is valued at the live rate of the collateral vault, which anyone can
/// raise by a donation, so the cap on pledged shares does not cap the debt. And `borrow` records the debt only after it
/// has called the borrower, so that the borrower can take the collateral back while it still owes nothing.
contract LendingVault is LendingVaultBase {
    using SafeERC20 for IERC20;

    /// @inheritdoc LendingVaultBase
    function borrow(uint256 assets, bytes calldata data) public override whenNotPaused {
        _spendBlockBudget(assets);
        _requireCovered(msg.sender, debtOf[msg.sender] + assets);
        IERC20(asset()).safeTransfer(msg.sender, assets);
        if (msg.sender.code.length != 0) IBorrowHook(msg.sender).onBorrow(assets, data);
        // Too late: the hook ran while the vault believed that nothing was owed.
        _recordDebt(msg.sender, assets);
        emit Borrowed(msg.sender, assets);
    }

    /// @dev The live rate, which a direct transfer to the collateral vault raises within the same transaction.
    function _collateralAssets(uint256 shares) internal view override returns (uint256) {
        return collateral.convertToAssets(shares);
    }
}
