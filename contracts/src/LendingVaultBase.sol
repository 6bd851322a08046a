// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessControlUpgradeable} from "@openzeppelin/contracts-upgradeable/access/AccessControlUpgradeable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts-upgradeable/proxy/utils/UUPSUpgradeable.sol";
import {ERC4626Upgradeable} from "@openzeppelin/contracts-upgradeable/token/ERC20/extensions/ERC4626Upgradeable.sol";
import {PausableUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/PausableUpgradeable.sol";
import {IERC4626} from "@openzeppelin/contracts/interfaces/IERC4626.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {ILendingVault} from "./ILendingVault.sol";

/// @title LendingVaultBase
/// @notice What all versions of the lending vault share: storage, roles, pause, the lenders' side, repayment, and the
/// checks. What distinguishes them, the order of steps in `borrow` and the valuation of collateral, is left to each
/// version, so that the flaw and its fix can be read side by side in `LendingVault` and `LendingVaultV2`.
/// @dev Lenders deposit the asset and get shares (ERC-4626). Borrowers pledge shares of a collateral vault. Debt bears no
/// interest, which keeps every account of a drill exact to the base unit.
///
/// The variables below are slots 0 to 10, one slot each. OpenZeppelin's parts keep their state in namespaces (ERC-7201)
/// and take none of these slots. A later version may only add variables after them.
abstract contract LendingVaultBase is
    ILendingVault,
    ERC4626Upgradeable,
    PausableUpgradeable,
    AccessControlUpgradeable,
    UUPSUpgradeable
{
    using SafeERC20 for IERC20;
    using Math for uint256;

    /// @notice May pause. It may not unpause: stopping must be quick and cheap to grant, while reopening is a decision.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    /// @notice May replace the implementation.
    bytes32 public constant UPGRADER_ROLE = keccak256("UPGRADER_ROLE");

    /// @dev Fixed-point one of prices and rates.
    uint256 internal constant WAD = 1e18;
    /// @dev Basis points in the whole.
    uint256 internal constant BPS = 10_000;

    /// @notice The vault whose shares are accepted as collateral.
    IERC4626 public collateral;
    /// @notice Price of one base unit of the collateral vault's asset, in base units of this vault's asset, times 1e18.
    uint256 public collateralPriceWad;
    /// @notice Share of the collateral's value that may be borrowed, in basis points.
    uint256 public loanToValueBps;
    /// @notice Most collateral vault shares that one account may pledge.
    uint256 public collateralCapShares;
    /// @notice Part of the cash at a block's first borrow that may be borrowed in that block, in basis points.
    uint256 public borrowCapBpsPerBlock;
    /// @inheritdoc ILendingVault
    mapping(address account => uint256 shares) public collateralOf;
    /// @inheritdoc ILendingVault
    mapping(address account => uint256 assets) public debtOf;
    /// @notice Sum of `debtOf` over all accounts.
    uint256 public totalDebt;
    /// @notice Block of the latest borrow.
    uint256 public borrowBlock;
    /// @notice Cash just before the first borrow of `borrowBlock`.
    uint256 public borrowBlockCash;
    /// @notice Sum of what was borrowed in `borrowBlock`.
    uint256 public borrowedInBlock;

    /// @dev An implementation must not be usable by itself: whoever could initialise it would hold its upgrade role.
    constructor() {
        _disableInitializers();
    }

    /// @notice Set up the proxy. Meant to run inside the proxy's construction, so that nobody else can be first.
    /// @param asset_ What lenders deposit and borrowers borrow.
    /// @param collateral_ Vault whose shares are pledged.
    /// @param collateralPriceWad_ See `collateralPriceWad`.
    /// @param admin Administers the roles, unpauses.
    /// @param pauser May pause.
    /// @param upgrader May replace the implementation.
    function initialize(
        IERC20 asset_,
        IERC4626 collateral_,
        uint256 collateralPriceWad_,
        address admin,
        address pauser,
        address upgrader
    ) external initializer {
        __ERC20_init("Drill Lending Share", "dLEND");
        __ERC4626_init(asset_);
        __Pausable_init();
        __AccessControl_init();
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(PAUSER_ROLE, pauser);
        _grantRole(UPGRADER_ROLE, upgrader);
        collateral = collateral_;
        collateralPriceWad = collateralPriceWad_;
        loanToValueBps = 8_000;
        collateralCapShares = 100e18;
        borrowCapBpsPerBlock = 2_000;
    }

    // ---- Levers -----------------------------------------------------------------------------------------------------

    /// @notice Stop everything except repayment.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice Reopen.
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    /// @dev Deliberately possible while paused: the fix is installed before the vault reopens.
    function _authorizeUpgrade(address) internal override onlyRole(UPGRADER_ROLE) {}

    // ---- Borrowers --------------------------------------------------------------------------------------------------

    /// @inheritdoc ILendingVault
    function supplyCollateral(uint256 shares) public virtual whenNotPaused {
        if (shares == 0) revert ZeroAmount();
        uint256 held = collateralOf[msg.sender] + shares;
        if (held > collateralCapShares) revert CollateralCapExceeded(msg.sender, held, collateralCapShares);
        collateralOf[msg.sender] = held;
        IERC20(address(collateral)).safeTransferFrom(msg.sender, address(this), shares);
        emit CollateralSupplied(msg.sender, shares);
    }

    /// @inheritdoc ILendingVault
    /// @dev The check uses the recorded debt. It is right only if the debt is recorded before foreign code can run.
    function withdrawCollateral(uint256 shares, address to) public virtual whenNotPaused {
        if (shares == 0) revert ZeroAmount();
        uint256 held = collateralOf[msg.sender];
        if (shares > held) revert InsufficientCollateral(msg.sender, shares, held);
        collateralOf[msg.sender] = held - shares;
        _requireCovered(msg.sender, debtOf[msg.sender]);
        IERC20(address(collateral)).safeTransfer(to, shares);
        emit CollateralWithdrawn(msg.sender, to, shares);
    }

    /// @inheritdoc ILendingVault
    function borrow(uint256 assets, bytes calldata data) public virtual;

    /// @inheritdoc ILendingVault
    /// @dev Open in a pause. Closing it would push honest borrowers towards bad debt for no gain in safety.
    function repay(address account, uint256 assets) public virtual returns (uint256 repaid) {
        uint256 debt = debtOf[account];
        repaid = Math.min(assets, debt);
        if (repaid == 0) revert ZeroAmount();
        debtOf[account] = debt - repaid;
        totalDebt -= repaid;
        IERC20(asset()).safeTransferFrom(msg.sender, address(this), repaid);
        emit Repaid(account, msg.sender, repaid);
    }

    /// @inheritdoc ILendingVault
    function borrowLimitOf(address account) public view returns (uint256) {
        uint256 value = _collateralAssets(collateralOf[account]).mulDiv(collateralPriceWad, WAD);
        return value.mulDiv(loanToValueBps, BPS);
    }

    /// @inheritdoc ILendingVault
    function borrowableInBlock() public view returns (uint256) {
        bool first = block.number != borrowBlock;
        uint256 cap = (first ? _cash() : borrowBlockCash).mulDiv(borrowCapBpsPerBlock, BPS);
        return first ? cap : cap.saturatingSub(borrowedInBlock);
    }

    // ---- Lenders ----------------------------------------------------------------------------------------------------

    /// @notice Cash and what is owed. Debt without collateral counts in full until it is written off.
    function totalAssets() public view override returns (uint256) {
        return _cash() + totalDebt;
    }

    /// @inheritdoc ERC4626Upgradeable
    function deposit(uint256 assets, address receiver) public virtual override whenNotPaused returns (uint256) {
        return super.deposit(assets, receiver);
    }

    /// @inheritdoc ERC4626Upgradeable
    function mint(uint256 shares, address receiver) public virtual override whenNotPaused returns (uint256) {
        return super.mint(shares, receiver);
    }

    /// @inheritdoc ERC4626Upgradeable
    function withdraw(uint256 assets, address receiver, address owner)
        public
        virtual
        override
        whenNotPaused
        returns (uint256)
    {
        return super.withdraw(assets, receiver, owner);
    }

    /// @inheritdoc ERC4626Upgradeable
    function redeem(uint256 shares, address receiver, address owner)
        public
        virtual
        override
        whenNotPaused
        returns (uint256)
    {
        return super.redeem(shares, receiver, owner);
    }

    /// @inheritdoc ERC4626Upgradeable
    function maxDeposit(address receiver) public view override returns (uint256) {
        return paused() ? 0 : super.maxDeposit(receiver);
    }

    /// @inheritdoc ERC4626Upgradeable
    function maxMint(address receiver) public view override returns (uint256) {
        return paused() ? 0 : super.maxMint(receiver);
    }

    /// @inheritdoc ERC4626Upgradeable
    /// @dev Bounded by the cash at hand: what is lent out cannot be withdrawn. `maxWithdraw` is derived from this by the
    /// parent.
    function maxRedeem(address owner) public view override returns (uint256) {
        return paused() ? 0 : Math.min(super.maxRedeem(owner), convertToShares(_cash()));
    }

    // ---- For the versions -------------------------------------------------------------------------------------------

    /// @dev What `shares` of the collateral vault are worth, in base units of the collateral vault's asset.
    function _collateralAssets(uint256 shares) internal view virtual returns (uint256);

    /// @dev Take `assets` out of the block's budget, or revert.
    function _spendBlockBudget(uint256 assets) internal {
        if (assets == 0) revert ZeroAmount();
        uint256 available = borrowableInBlock();
        if (assets > available) revert BlockBorrowCapExceeded(assets, available);
        if (block.number != borrowBlock) {
            borrowBlock = block.number;
            borrowBlockCash = _cash();
            borrowedInBlock = 0;
        }
        borrowedInBlock += assets;
    }

    /// @dev Revert unless the collateral of `account` covers `debt`.
    function _requireCovered(address account, uint256 debt) internal view {
        if (debt == 0) return;
        uint256 limit = borrowLimitOf(account);
        if (debt > limit) revert BorrowLimitExceeded(account, debt, limit);
    }

    /// @dev Add `assets` to the debt of `account`.
    function _recordDebt(address account, uint256 assets) internal {
        debtOf[account] += assets;
        totalDebt += assets;
    }

    function _cash() private view returns (uint256) {
        return IERC20(asset()).balanceOf(address(this));
    }
}
