//! Base fee spike: blocks are so full that transactions of those who need them do not get in.
//!
//! In: base fees of the newest blocks. Out: a warning or a page for a multiple of the hour's median. Must never: judge
//! before it knows what is usual.
//!
//! # Source and false alarms
//!
//! More than five and ten times the median of an hour. A full block raises the base fee by an eighth at most (EIP-1559), so
//! the warning takes 14 full blocks in a row and the page 20 (four minutes). It is a fact about the chain and no
//! estimate; what makes it a false alarm is that it strands nobody, so fees below a floor are not judged: at 1 gwei the
//! liquidation of a position (335,000 gas) costs 0.000335 of the chain's coin. How often real spikes come depends on
//! the years one counts; no rate is claimed.

use super::standing::{Reading, above};
use super::window::Window;
use crate::detectors::ConfigError;
use cordon_model::network::NetworkSignal;
use cordon_model::network::observation::Observation;
use cordon_model::units::BlockRef;
use serde::Deserialize;

/// `[network.base-fee-spike]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BaseFeeConfig {
    /// Multiple of the median that is a warning. Default 5.
    pub warn_multiple: u64,
    /// Multiple that is a page. Default 10.
    pub page_multiple: u64,
    /// Fee up to which nothing is judged, wei. Default 1,000,000,000.
    pub floor_wei: u64,
    /// Time of which the median is taken, seconds. Default 3600.
    pub window_s: u64,
}

impl Default for BaseFeeConfig {
    fn default() -> Self {
        Self { warn_multiple: 5, page_multiple: 10, floor_wei: 1_000_000_000, window_s: 3_600 }
    }
}

impl BaseFeeConfig {
    pub(super) fn build(&self) -> Result<BaseFee, ConfigError> {
        let (warn, page) = (self.warn_multiple, self.page_multiple);
        super::ascending("network.base-fee-spike.warn_multiple / page_multiple", warn, page)?;
        super::within("network.base-fee-spike.window_s", self.window_s, 600..=86_400, "600 to 86400")?;
        Ok(BaseFee { config: self.clone(), newest: None, usual: Window::new(self.window_s) })
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct BaseFee {
    config: BaseFeeConfig,
    newest: Option<BlockRef>,
    usual: Window,
}

impl BaseFee {
    pub(super) fn read(&mut self, seen: &Observation) -> Option<Reading> {
        let head = seen.head?;
        let base_fee_wei = head.base_fee_wei?;
        if self.newest.replace(head.block) == Some(head.block) {
            return None;
        }
        let usual = self.usual.median();
        self.usual.push(head.timestamp_s, base_fee_wei);
        let median_wei = usual?;
        let level = above(
            base_fee_wei,
            median_wei.saturating_mul(self.config.warn_multiple),
            median_wei.saturating_mul(self.config.page_multiple),
        );
        let level = level.filter(|_| base_fee_wei > self.config.floor_wei);
        Some(Reading::of(level, NetworkSignal::BaseFeeSpike { base_fee_wei, median_wei }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{at, cleared, ethereum, raised, watch};
    use cordon_model::network::{AlarmLevel, SignalKind};

    fn look(i: u64, base_fee_wei: Option<u64>) -> Observation {
        let mut look = at(i * 12, i);
        look.head.as_mut().unwrap().base_fee_wei = base_fee_wei;
        look
    }

    /// An hour at 10 gwei, then these fees.
    fn after_an_hour(usual_wei: u64, fees: &[u64]) -> Vec<Observation> {
        let fees = std::iter::repeat_n(usual_wei, 300).chain(fees.iter().copied());
        fees.enumerate().map(|(i, fee)| look(i as u64, Some(fee))).collect()
    }

    fn levels(looks: &[Observation]) -> Vec<AlarmLevel> {
        raised(&watch(&mut ethereum(), looks), SignalKind::BaseFeeSpike)
    }

    #[test]
    fn full_blocks_raise_the_fee_to_a_warning_and_a_page() {
        let mut fee = 10_000_000_000u64;
        let full: Vec<_> = std::iter::repeat_with(|| {
            fee += fee / 8;
            fee
        })
        .take(20)
        .collect();
        assert_eq!(levels(&after_an_hour(10_000_000_000, &full[..13])), []);
        assert_eq!(levels(&after_an_hour(10_000_000_000, &full[..14])), [AlarmLevel::Warn]);
        assert_eq!(levels(&after_an_hour(10_000_000_000, &full[..19])), [AlarmLevel::Warn]);
        assert_eq!(levels(&after_an_hour(10_000_000_000, &full)), [AlarmLevel::Warn, AlarmLevel::Page]);
    }

    #[test]
    fn cheap_is_cheap_whatever_the_multiple() {
        assert_eq!(levels(&after_an_hour(7, &[700_000_000])), []);
        assert_eq!(levels(&after_an_hour(7, &[1_000_000_001])), [AlarmLevel::Page]);
    }

    #[test]
    fn without_fees_or_before_the_median_nothing_is_said() {
        assert_eq!(levels(&(0..400).map(|i| look(i, None)).collect::<Vec<_>>()), []);
        let early: Vec<_> = (0..29).map(|i| look(i, Some(1))).chain([look(29, Some(u64::MAX))]).collect();
        assert_eq!(levels(&early), []);
    }

    #[test]
    fn recovery_clears_once() {
        let mut fees = vec![150_000_000_000; 5];
        fees.extend([10_000_000_000; 60]);
        let changes = watch(&mut ethereum(), &after_an_hour(10_000_000_000, &fees));
        assert_eq!((changes.len(), cleared(&changes, SignalKind::BaseFeeSpike)), (2, 1), "{changes:?}");
    }
}
