//! The Solidity functions that actors call, as Rust types. Only what a scenario uses stands here; the full interfaces
//! are in `contracts/src`.

use alloy_sol_types::sol;

sol! {
    /// `DrillToken`, and the ERC-20 side of the two vaults.
    interface IToken {
        event Transfer(address indexed from, address indexed to, uint256 value);

        function mint(address to, uint256 amount) external;
        function approve(address spender, uint256 amount) external returns (bool);
        function transfer(address to, uint256 amount) external returns (bool);
        function balanceOf(address account) external view returns (uint256);
    }

    /// The ERC-4626 side of `CollateralVault` and `LendingVault`.
    interface IShareVault {
        function deposit(uint256 assets, address receiver) external returns (uint256);
        function redeem(uint256 shares, address receiver, address owner) external returns (uint256);
        function convertToAssets(uint256 shares) external view returns (uint256);
        function totalAssets() external view returns (uint256);
    }

    /// What `LendingVault` adds to that.
    interface ILending {
        function initialize(
            address asset,
            address collateral,
            uint256 collateralPriceWad,
            address admin,
            address pauser,
            address upgrader
        ) external;
        function initializeV2(uint256 maxCollateralRateWad) external;
        function supplyCollateral(uint256 shares) external;
        function withdrawCollateral(uint256 shares, address to) external;
        function borrow(uint256 assets, bytes data) external;
        function repay(address account, uint256 assets) external returns (uint256);
        function collateralOf(address account) external view returns (uint256);
        function debtOf(address account) external view returns (uint256);
        function borrowLimitOf(address account) external view returns (uint256);
        function totalDebt() external view returns (uint256);
    }

    /// `LeverageZap`.
    interface IZap {
        function open(uint256 collateralShares, uint256 borrowAssets) external;
        function close(uint256 repayAssets, uint256 collateralShares) external;
    }

    /// `DrainController`.
    interface IDrainController {
        function strike(uint256 borrowAmount) external returns (address drainer, uint256 taken);
        function withdraw(address coin) external;
    }

    /// `MerkleClaim`.
    interface IMerkleClaim {
        function claim(address account, uint256 amount, bytes32[] proof) external;
    }
}
