// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title DrillToken
/// @notice An ERC-20 token with 18 decimals that stands for the real assets (a dollar, a staked coin) in drills and tests.
/// @dev Minting is a role and not open to all, so that a drill in which tokens appear from nowhere is a drill about a
/// stolen key and never an accident of the test set-up.
contract DrillToken is ERC20, AccessControl {
    /// @notice May create tokens.
    bytes32 public constant MINTER_ROLE = keccak256("MINTER_ROLE");

    /// @param admin Becomes role administrator and first minter.
    constructor(string memory name_, string memory symbol_, address admin) ERC20(name_, symbol_) {
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(MINTER_ROLE, admin);
    }

    /// @notice Create `amount` base units for `to`.
    function mint(address to, uint256 amount) external onlyRole(MINTER_ROLE) {
        _mint(to, amount);
    }
}
