// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC4626} from "@openzeppelin/contracts/interfaces/IERC4626.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {IBorrowHook} from "./IBorrowHook.sol";
import {ILendingVault} from "./ILendingVault.sol";

/// @title LeverageZap
/// @notice An honest contract that borrows for its owner. It is the drill's benign twin of the attacker.
/// @dev From outside it does what a drainer does: a contract pledges shares, borrows a large amount and is called back in
/// the middle. The one difference is that its hook only reads from the vault. A detector that raises an alarm here
/// looks at the shape of the call and not at what it did.
contract LeverageZap is IBorrowHook {
    using SafeERC20 for IERC20;

    /// @notice Whose position this is.
    address public immutable owner;
    /// @notice Where it borrows.
    ILendingVault public immutable lendingVault;
    /// @notice Vault whose shares it pledges.
    IERC4626 public immutable collateralVault;

    /// @notice A position was opened; `vaultAssets` is what the lending vault reported during the hook.
    event Opened(uint256 borrowed, uint256 vaultAssets);
    /// @notice The position was closed in part or in full.
    event Closed(uint256 repaid, uint256 collateralShares);

    /// @notice The caller is not the one that this function is for.
    error UnexpectedCaller(address caller);

    modifier onlyOwner() {
        if (msg.sender != owner) revert UnexpectedCaller(msg.sender);
        _;
    }

    constructor(IERC4626 collateralVault_, ILendingVault lendingVault_) {
        owner = msg.sender;
        collateralVault = collateralVault_;
        lendingVault = lendingVault_;
    }

    /// @notice Pledge `collateralShares` of the owner and borrow `borrowAssets` for the owner.
    /// @dev The owner must have approved this contract for the shares.
    function open(uint256 collateralShares, uint256 borrowAssets) external onlyOwner {
        IERC20 shares = IERC20(address(collateralVault));
        shares.safeTransferFrom(owner, address(this), collateralShares);
        shares.forceApprove(address(lendingVault), collateralShares);
        lendingVault.supplyCollateral(collateralShares);
        lendingVault.borrow(borrowAssets, "");
    }

    /// @notice Pay back up to `repayAssets` with the owner's money and return `collateralShares` to the owner.
    /// @dev The owner must have approved this contract for the assets. Either amount may be zero.
    function close(uint256 repayAssets, uint256 collateralShares) external onlyOwner {
        uint256 repaid = repayAssets < lendingVault.debtOf(address(this))
            ? repayAssets
            : lendingVault.debtOf(address(this));
        if (repaid != 0) {
            IERC20 asset = _asset();
            asset.safeTransferFrom(owner, address(this), repaid);
            asset.forceApprove(address(lendingVault), repaid);
            lendingVault.repay(address(this), repaid);
        }
        if (collateralShares != 0) lendingVault.withdrawCollateral(collateralShares, owner);
        emit Closed(repaid, collateralShares);
    }

    /// @inheritdoc IBorrowHook
    function onBorrow(uint256 assets, bytes calldata) external {
        if (msg.sender != address(lendingVault)) revert UnexpectedCaller(msg.sender);
        uint256 vaultAssets = IERC4626(address(lendingVault)).totalAssets();
        _asset().safeTransfer(owner, assets);
        emit Opened(assets, vaultAssets);
    }

    function _asset() private view returns (IERC20) {
        return IERC20(IERC4626(address(lendingVault)).asset());
    }
}
