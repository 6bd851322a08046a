//! The list of detectors, as the operator writes it.
//!
//! In: configuration. Out: [`Detector`]s that are ready to judge. One more detector is one more file and two lines
//! here. Must never: build a detector from a value that it cannot mean, since a threshold that is silently replaced is
//! worse than a refusal to start.

pub mod allowance_drain;
pub mod donation;
pub mod first_actor;
pub mod flash_loan;
pub mod fresh_caller;
pub mod governance;
pub mod known_attack;
pub mod new_contract;
pub mod oracle;
pub mod outflow_rate;
pub mod phishing;
pub mod price_manipulation;
pub mod privilege;
pub mod profit;
pub mod queue;
pub mod rate_jump;
pub mod reentrancy;
pub mod repeated_calls;
pub mod unbacked_mint;
pub mod value_loss;

use crate::baseline::BaselineConfig;
use crate::detector::Detector;
use crate::invariants::InvariantsConfig;
use crate::rules::RulesConfig;
use allowance_drain::AllowanceDrainConfig;
use donation::DonationConfig;
use first_actor::FirstActorConfig;
use flash_loan::FlashLoanConfig;
use fresh_caller::FreshCallerConfig;
use governance::GovernanceConfig;
use known_attack::KnownAttackConfig;
use new_contract::NewContractConfig;
use oracle::OracleConfig;
use outflow_rate::OutflowRateConfig;
use phishing::PhishingConfig;
use price_manipulation::PriceManipulationConfig;
use privilege::PrivilegeConfig;
use profit::ProfitConfig;
use queue::QueueConfig;
use rate_jump::RateJumpConfig;
use reentrancy::ReentrancyConfig;
use repeated_calls::RepeatedCallsConfig;
use serde::Deserialize;
use unbacked_mint::UnbackedMintConfig;
use value_loss::ValueLossConfig;

/// One configured detector; `type` names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum DetectorConfig {
    /// The protected system paid out more than its obligations fell.
    ValueLoss(ValueLossConfig),
    /// A protected contract was entered again and acted on unsettled state.
    Reentrancy(ReentrancyConfig),
    /// A share price moved within one transaction.
    RateJump(RateJumpConfig),
    /// The protocol was used on borrowed coins.
    FlashLoan(FlashLoanConfig),
    /// The protocol was worked over and over.
    RepeatedCalls(RepeatedCallsConfig),
    /// A contract born in the transaction called the protocol.
    FreshCaller(FreshCallerConfig),
    /// Code was created that is like code that attacked before.
    NewContract(NewContractConfig),
    /// The sender's side ended richer at the expense of others.
    Profit(ProfitConfig),
    /// What always held does not hold.
    Invariants(InvariantsConfig),
    /// Somebody new called what few ever called.
    FirstActor(FirstActorConfig),
    /// More left within a time than ever before.
    OutflowRate(OutflowRateConfig),
    /// The protocol was used as never before.
    Baseline(BaselineConfig),
    /// Coins of somebody who takes no part were pulled to the sender's side.
    AllowanceDrain(AllowanceDrainConfig),
    /// A market was moved forth and back, and the protocol was used in between.
    PriceManipulation(PriceManipulationConfig),
    /// Rights over a protected contract changed.
    Privilege(PrivilegeConfig),
    /// A protected contract will act when its time has come.
    Queue(QueueConfig),
    /// A contract that issues shares was given assets, or took some, without issuing any.
    Donation(DonationConfig),
    /// Votes that nobody means to keep decided.
    Governance(GovernanceConfig),
    /// Value moved at a price that does not hold.
    Oracle(OracleConfig),
    /// Users were led to sign or send what they did not mean to.
    Phishing(PhishingConfig),
    /// Tokens were issued, or coins paid out, for nothing.
    UnbackedMint(UnbackedMintConfig),
    /// The transaction is like an attack that is known.
    KnownAttack(KnownAttackConfig),
    /// A rule of the operator holds.
    Rules(RulesConfig),
}

impl DetectorConfig {
    /// Every detector that has defaults once, at its defaults. Rules and signatures have none: they are the operator's.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::ValueLoss(ValueLossConfig::default()),
            Self::Reentrancy(ReentrancyConfig::default()),
            Self::RateJump(RateJumpConfig::default()),
            Self::FlashLoan(FlashLoanConfig::default()),
            Self::RepeatedCalls(RepeatedCallsConfig::default()),
            Self::FreshCaller(FreshCallerConfig::default()),
            Self::Profit(ProfitConfig::default()),
            Self::Invariants(InvariantsConfig::default()),
            Self::FirstActor(FirstActorConfig::default()),
            Self::OutflowRate(OutflowRateConfig::default()),
            Self::Baseline(BaselineConfig::default()),
            Self::AllowanceDrain(AllowanceDrainConfig::default()),
            Self::Privilege(PrivilegeConfig::default()),
            Self::Queue(QueueConfig::default()),
            Self::PriceManipulation(PriceManipulationConfig::default()),
            Self::Donation(DonationConfig::default()),
            Self::Governance(GovernanceConfig::default()),
            Self::Oracle(OracleConfig::default()),
            Self::Phishing(PhishingConfig::default()),
            Self::UnbackedMint(UnbackedMintConfig::default()),
            Self::NewContract(NewContractConfig::default()),
        ]
    }

    /// These, and every other one of [`DetectorConfig::all`].
    #[must_use]
    pub fn all_beside(mut written: Vec<Self>) -> Vec<Self> {
        let of_type = |one: &Self, other: &Self| std::mem::discriminant(one) == std::mem::discriminant(other);
        let others = Self::all().into_iter();
        let others = others.filter(|other| !written.iter().any(|one| of_type(one, other)));
        let others: Vec<Self> = others.collect();
        written.extend(others);
        written
    }

    /// The detector.
    ///
    /// # Errors
    /// A value that the detector cannot use, by key.
    pub fn build(&self) -> Result<Box<dyn Detector>, ConfigError> {
        Ok(match self {
            Self::ValueLoss(config) => Box::new(config.build()?),
            Self::Reentrancy(config) => Box::new(config.build()),
            Self::RateJump(config) => Box::new(config.build()?),
            Self::FlashLoan(config) => Box::new(config.build()?),
            Self::RepeatedCalls(config) => Box::new(config.build()?),
            Self::FreshCaller(config) => Box::new(config.build()),
            Self::Profit(config) => Box::new(config.build()?),
            Self::Invariants(config) => Box::new(config.build()?),
            Self::FirstActor(config) => Box::new(config.build()),
            Self::OutflowRate(config) => Box::new(config.build()?),
            Self::Baseline(config) => Box::new(config.build()?),
            Self::AllowanceDrain(config) => Box::new(config.build()),
            Self::PriceManipulation(config) => Box::new(config.build()),
            Self::Privilege(config) => Box::new(config.build()),
            Self::Queue(config) => Box::new(config.build()),
            Self::Donation(config) => Box::new(config.build()?),
            Self::Governance(config) => Box::new(config.build()?),
            Self::Oracle(config) => Box::new(config.build()?),
            Self::Phishing(config) => Box::new(config.build()?),
            Self::UnbackedMint(config) => Box::new(config.build()?),
            Self::KnownAttack(config) => Box::new(config.build()?),
            Self::NewContract(config) => Box::new(config.build()?),
            Self::Rules(config) => Box::new(config.build()?),
        })
    }
}

/// A configured value that a detector cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = '{value}': expected {expected}")]
pub struct ConfigError {
    /// Key, with the detector's name before it.
    pub key: &'static str,
    /// What was written.
    pub value: String,
    /// What would be usable.
    pub expected: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_model::units::Bps;

    #[derive(Debug, Deserialize)]
    struct File {
        detector: Vec<DetectorConfig>,
    }

    fn parse(text: &str) -> Result<Vec<DetectorConfig>, String> {
        toml::from_str::<File>(text).map(|file| file.detector).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bare_type_takes_the_documented_defaults() {
        let text = "[[detector]]\ntype = 'value-loss'\n[[detector]]\ntype = 'reentrancy'\n[[detector]]\ntype = 'rate-jump'";
        let configs = parse(text).unwrap();
        assert_eq!(configs[0], DetectorConfig::ValueLoss(ValueLossConfig::default()));
        assert_eq!(configs[2], DetectorConfig::RateJump(RateJumpConfig::default()));
        let names: Vec<_> = configs.iter().map(|config| config.build().unwrap().name()).collect();
        assert_eq!(names, ["value-loss", "reentrancy", "rate-jump"]);
    }

    #[test]
    fn written_values_replace_the_defaults() {
        let text = "[[detector]]\ntype = 'value-loss'\nloss_min_value = '2500.5'\nloss_min_bps = 25\n[[detector]]\ntype = 'rate-jump'\njump_max_bps = 300";
        let configs = parse(text).unwrap();
        let wanted = ValueLossConfig {
            loss_min_value: "2500.5".to_owned(),
            loss_min_bps: Bps(25),
            ..ValueLossConfig::default()
        };
        assert_eq!(configs[0], DetectorConfig::ValueLoss(wanted));
        let wanted = RateJumpConfig { jump_max_bps: Bps(300), ..RateJumpConfig::default() };
        assert_eq!(configs[1], DetectorConfig::RateJump(wanted));
    }

    #[test]
    fn all_beside_what_is_written_keeps_what_is_written() {
        let written = RateJumpConfig { jump_max_bps: Bps(300), ..RateJumpConfig::default() };
        let configs = DetectorConfig::all_beside(vec![DetectorConfig::RateJump(written.clone())]);
        assert_eq!(configs.len(), DetectorConfig::all().len());
        assert_eq!(configs[0], DetectorConfig::RateJump(written));
        let names: std::collections::BTreeSet<_> =
            configs.iter().map(|config| config.build().unwrap().name()).collect();
        assert_eq!(names.len(), configs.len());
    }

    #[test]
    fn an_unknown_key_or_type_is_refused_by_name() {
        let error = parse("[[detector]]\ntype = 'rate-jump'\njump_bps = 5").unwrap_err();
        assert!(error.contains("jump_bps"), "{error}");
        let error = parse("[[detector]]\ntype = 'reentrancy'\nx = 5").unwrap_err();
        assert!(error.contains('x'), "{error}");
        let error = parse("[[detector]]\ntype = 'guess'").unwrap_err();
        assert!(error.contains("guess"), "{error}");
    }

    #[test]
    fn an_unusable_value_is_refused_with_key_value_and_expectation() {
        let wrong = ValueLossConfig { loss_min_value: "12,5".to_owned(), ..ValueLossConfig::default() };
        let error = DetectorConfig::ValueLoss(wrong).build().unwrap_err().to_string();
        assert_eq!(
            error,
            "value-loss.loss_min_value = '12,5': expected a decimal number with at most 18 digits after the point, such as \"2500.5\""
        );
        let wrong = RateJumpConfig { jump_max_bps: Bps(0), ..RateJumpConfig::default() };
        assert!(
            DetectorConfig::RateJump(wrong)
                .build()
                .unwrap_err()
                .to_string()
                .starts_with("rate-jump.jump_max_bps = '0")
        );
    }
}
