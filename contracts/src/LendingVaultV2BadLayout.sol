// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {LendingVaultV2} from "./LendingVaultV2.sol";

/// @title BorrowFeeStorage
/// @notice One variable, in a contract of its own because that looked tidy.
abstract contract BorrowFeeStorage {
    /// @notice Fee on a borrow, in basis points. Not charged yet.
    uint256 public borrowFeeBps;
}

/// @title LendingVaultV2BadLayout
/// @notice The correct fix with a broken storage layout. It exists so that the layout check can be seen to refuse it.
/// @dev Solidity lays out inherited state from the most basic contract on. Naming the new parent first puts its variable
/// into slot 0 and moves all others up by one: behind the proxy, the collateral vault's address becomes a fee, and every
/// account's debt is looked up in another mapping. The source compiles, and its own unit tests on a fresh proxy pass.
contract LendingVaultV2BadLayout is BorrowFeeStorage, LendingVaultV2 {}
