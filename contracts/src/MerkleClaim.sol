// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

/// @title MerkleClaim
/// @notice Pays an allocation that was fixed in advance as a Merkle root: each account once, its exact amount.
/// @dev Nobody administers this contract. The root, the deadline and the receiver of the rest are fixed when it is
/// deployed, so victims can check the whole allocation before it is funded and nobody can change it afterwards. The
/// tree is OpenZeppelin's StandardMerkleTree over (address account, uint256 amount); its leaves are hashed twice, so that
/// an inner node can never pass as a leaf. The allocation must name each account once.
contract MerkleClaim {
    using SafeERC20 for IERC20;

    /// @notice The token that is paid out.
    IERC20 public immutable token;
    /// @notice Root of the allocation.
    bytes32 public immutable root;
    /// @notice Last second, in Unix time, at which claims are paid.
    uint64 public immutable deadline;
    /// @notice Gets what was not claimed until the deadline.
    address public immutable residualTo;

    /// @notice Whether `account` has been paid.
    mapping(address account => bool claimed) public isClaimed;

    /// @notice `account` was paid `amount`.
    event Claimed(address indexed account, uint256 amount);
    /// @notice The unclaimed `amount` was sent to `to`.
    event Swept(address indexed to, uint256 amount);

    /// @notice `account` has been paid before.
    error AlreadyClaimed(address account);
    /// @notice The proof does not show that `account` is allocated `amount`.
    error InvalidClaim(address account, uint256 amount);
    /// @notice Claims ended at `deadline`.
    error ClaimsEnded(uint64 deadline);
    /// @notice The rest can be swept only after `deadline`.
    error ClaimsOpen(uint64 deadline);
    /// @notice The receiver of the rest was the zero address.
    error ZeroResidualReceiver();

    constructor(IERC20 token_, bytes32 root_, uint64 deadline_, address residualTo_) {
        if (residualTo_ == address(0)) revert ZeroResidualReceiver();
        if (deadline_ < block.timestamp) revert ClaimsEnded(deadline_);
        token = token_;
        root = root_;
        deadline = deadline_;
        residualTo = residualTo_;
    }

    /// @notice Pay `amount` to `account`. Anyone may submit this; the money can only go to `account`.
    /// @param proof Sibling hashes from the leaf up to the root.
    function claim(address account, uint256 amount, bytes32[] calldata proof) external {
        if (block.timestamp > deadline) revert ClaimsEnded(deadline);
        if (isClaimed[account]) revert AlreadyClaimed(account);
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(account, amount))));
        if (!MerkleProof.verifyCalldata(proof, root, leaf)) revert InvalidClaim(account, amount);
        isClaimed[account] = true;
        token.safeTransfer(account, amount);
        emit Claimed(account, amount);
    }

    /// @notice After the deadline, send what is left to `residualTo`. Anyone may submit this.
    function sweep() external {
        if (block.timestamp <= deadline) revert ClaimsOpen(deadline);
        uint256 amount = token.balanceOf(address(this));
        token.safeTransfer(residualTo, amount);
        emit Swept(residualTo, amount);
    }
}
