// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC4626Upgradeable} from "@openzeppelin/contracts-upgradeable/token/ERC20/extensions/ERC4626Upgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IBorrowHook} from "./IBorrowHook.sol";
import {LendingVaultBase} from "./LendingVaultBase.sol";

/// @title LendingVaultV2
/// @notice The fix of the lending vault.
/// @dev Each flaw is closed twice. Debt is recorded before anything leaves the vault, and every entry point that
/// changes state shares one guard, so a hook can neither act on stale debt nor act at all. Collateral is valued at the
/// live rate only up to a ceiling, so a donation cannot lift the borrow limit; and the limit is checked again after the
/// hook. The guard lives in transient storage: it needs no slot and no initialiser, which keeps the upgrade small.
contract LendingVaultV2 is LendingVaultBase, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using Math for uint256;

    /// @notice Highest rate (collateral assets per collateral share, times 1e18) that counts towards a borrow limit.
    /// Slot 11, after the variables of the first version.
    uint256 public maxCollateralRateWad;

    /// @notice `assets` of the debt of `account` were given up as lost.
    event WrittenOff(address indexed account, uint256 assets);

    /// @notice The ceiling was zero, which would make all collateral worthless.
    error ZeroCollateralRate();
    /// @notice Debt that still has collateral behind it is not lost.
    error DebtHasCollateral(address account, uint256 shares);

    /// @notice Finish the upgrade. To be called within `upgradeToAndCall`: until it has run, no collateral counts.
    function initializeV2(uint256 maxCollateralRateWad_) external onlyRole(UPGRADER_ROLE) reinitializer(2) {
        if (maxCollateralRateWad_ == 0) revert ZeroCollateralRate();
        maxCollateralRateWad = maxCollateralRateWad_;
    }

    /// @notice Take debt without collateral out of the books, so that the share price shows the loss that has happened.
    /// @dev Possible while paused: the loss must be visible before lenders may leave, or the first to leave would be
    /// paid in full by the last.
    function writeOff(address account) external onlyRole(DEFAULT_ADMIN_ROLE) nonReentrant {
        uint256 shares = collateralOf[account];
        if (shares != 0) revert DebtHasCollateral(account, shares);
        uint256 debt = debtOf[account];
        if (debt == 0) revert ZeroAmount();
        delete debtOf[account];
        totalDebt -= debt;
        emit WrittenOff(account, debt);
    }

    // ---- Borrowers --------------------------------------------------------------------------------------------------

    /// @inheritdoc LendingVaultBase
    function supplyCollateral(uint256 shares) public override nonReentrant {
        super.supplyCollateral(shares);
    }

    /// @inheritdoc LendingVaultBase
    function withdrawCollateral(uint256 shares, address to) public override nonReentrant {
        super.withdrawCollateral(shares, to);
    }

    /// @inheritdoc LendingVaultBase
    function borrow(uint256 assets, bytes calldata data) public override whenNotPaused nonReentrant {
        _spendBlockBudget(assets);
        _recordDebt(msg.sender, assets);
        _requireCovered(msg.sender, debtOf[msg.sender]);
        IERC20(asset()).safeTransfer(msg.sender, assets);
        if (msg.sender.code.length != 0) {
            IBorrowHook(msg.sender).onBorrow(assets, data);
            // The guard keeps the books still during the hook, but not the rate of the collateral vault.
            _requireCovered(msg.sender, debtOf[msg.sender]);
        }
        emit Borrowed(msg.sender, assets);
    }

    /// @inheritdoc LendingVaultBase
    function repay(address account, uint256 assets) public override nonReentrant returns (uint256) {
        return super.repay(account, assets);
    }

    /// @dev The live rate up to the ceiling. A real loss of the collateral still counts at once; a gain beyond the
    /// ceiling counts only after the ceiling has been raised by an upgrade.
    function _collateralAssets(uint256 shares) internal view override returns (uint256) {
        return Math.min(collateral.convertToAssets(shares), shares.mulDiv(maxCollateralRateWad, WAD));
    }

    // ---- Lenders ----------------------------------------------------------------------------------------------------

    /// @inheritdoc ERC4626Upgradeable
    function deposit(uint256 assets, address receiver) public override nonReentrant returns (uint256) {
        return super.deposit(assets, receiver);
    }

    /// @inheritdoc ERC4626Upgradeable
    function mint(uint256 shares, address receiver) public override nonReentrant returns (uint256) {
        return super.mint(shares, receiver);
    }

    /// @inheritdoc ERC4626Upgradeable
    function withdraw(uint256 assets, address receiver, address owner) public override nonReentrant returns (uint256) {
        return super.withdraw(assets, receiver, owner);
    }

    /// @inheritdoc ERC4626Upgradeable
    function redeem(uint256 shares, address receiver, address owner) public override nonReentrant returns (uint256) {
        return super.redeem(shares, receiver, owner);
    }
}
