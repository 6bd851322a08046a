// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title ILendingVault
/// @notice What a borrower sees of a lending vault, in every version of it.
/// @dev The borrower-side contracts of the drill compile against this interface alone. Their bytecode therefore stays
/// the same when the vault is patched, and the same attack transaction can be replayed against each version.
interface ILendingVault {
    /// @notice `shares` of the collateral vault were credited to `account`.
    event CollateralSupplied(address indexed account, uint256 shares);
    /// @notice `shares` of the collateral vault left `account` and went to `to`.
    event CollateralWithdrawn(address indexed account, address indexed to, uint256 shares);
    /// @notice `account` was paid `assets` and owes them.
    event Borrowed(address indexed account, uint256 assets);
    /// @notice `payer` paid back `assets` of what `account` owed.
    event Repaid(address indexed account, address indexed payer, uint256 assets);

    /// @notice The account may owe at most `limit`, but would owe `debt`. Both in base units of the asset.
    error BorrowLimitExceeded(address account, uint256 debt, uint256 limit);
    /// @notice Only `available` may still be borrowed in this block, but `requested` was asked for.
    error BlockBorrowCapExceeded(uint256 requested, uint256 available);
    /// @notice The account may hold at most `cap` collateral shares, but would hold `shares`.
    error CollateralCapExceeded(address account, uint256 shares, uint256 cap);
    /// @notice The account holds `held` collateral shares, but `requested` were asked for.
    error InsufficientCollateral(address account, uint256 requested, uint256 held);
    /// @notice An amount of zero was given where it can only be a mistake.
    error ZeroAmount();

    /// @notice Take `shares` of the collateral vault from the caller and credit them as collateral.
    function supplyCollateral(uint256 shares) external;

    /// @notice Give back `shares` of collateral to `to`, as far as the caller's debt stays covered.
    function withdrawCollateral(uint256 shares, address to) external;

    /// @notice Pay `assets` to the caller against its collateral. A caller with code must implement {IBorrowHook}.
    function borrow(uint256 assets, bytes calldata data) external;

    /// @notice Pay back debt of `account`; more than the debt is never taken.
    /// @return repaid What was taken from the caller, in base units of the asset.
    function repay(address account, uint256 assets) external returns (uint256 repaid);

    /// @notice Collateral vault shares credited to `account`.
    function collateralOf(address account) external view returns (uint256 shares);

    /// @notice What `account` owes, in base units of the asset. Debt bears no interest.
    function debtOf(address account) external view returns (uint256 assets);

    /// @notice The most that `account` may owe against the collateral that it holds now.
    function borrowLimitOf(address account) external view returns (uint256 assets);

    /// @notice The most that all accounts together may still borrow in this block.
    function borrowableInBlock() external view returns (uint256 assets);
}
