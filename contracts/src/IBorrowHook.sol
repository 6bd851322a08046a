// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title IBorrowHook
/// @notice Called by a lending vault on a borrower that is a contract, after the assets have been paid out.
/// @dev Hooks of this kind let a borrower use the assets in the same transaction, as flash loans do. They also hand
/// control to foreign code in the middle of the vault's own bookkeeping, which is why the order of the steps around
/// the call decides whether the vault is safe.
interface IBorrowHook {
    /// @param assets Amount just paid out, in base units of the vault's asset.
    /// @param data Bytes that the borrower gave to `borrow`, passed back unchanged.
    function onBorrow(uint256 assets, bytes calldata data) external;
}
