//! Mempool spam: transactions wait in numbers far above the usual, and it costs to get past them.
//!
//! In: pending transactions of the node and base fees. Out: a warning. Must never: warn of a number that harms nobody.
//!
//! # Source and false alarms
//!
//! More than five times the median of an hour while the base fee rises, which is read as: it is above its own median of
//! the hour. Both must hold, since either alone is ordinary: nodes fill their pool after a restart, and fees move with
//! the time of day. The number is one node's view with its own limits, so no rate is claimed. It only warns: what can
//! be acted upon is the base fee, which pages by itself.

use super::standing::Reading;
use super::window::Window;
use crate::detectors::ConfigError;
use cordon_model::network::observation::Observation;
use cordon_model::network::{AlarmLevel, NetworkSignal};
use serde::Deserialize;

/// Pending transactions up to which nothing is judged: about what one block of Ethereum takes, so they are gone with
/// the next one.
const PENDING_MIN: u64 = 200;

/// `[network.mempool-spam]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MempoolConfig {
    /// Multiple of the median that is a warning. Default 5.
    pub warn_multiple: u64,
    /// Time of which the medians are taken, seconds. Default 3600.
    pub window_s: u64,
}

impl Default for MempoolConfig {
    fn default() -> Self {
        Self { warn_multiple: 5, window_s: 3_600 }
    }
}

impl MempoolConfig {
    pub(super) fn build(&self) -> Result<Mempool, ConfigError> {
        super::within("network.mempool-spam.warn_multiple", self.warn_multiple, 2..=1_000, "2 to 1000")?;
        super::within("network.mempool-spam.window_s", self.window_s, 600..=86_400, "600 to 86400")?;
        let (pending, fees) = (Window::new(self.window_s), Window::new(self.window_s));
        Ok(Mempool { warn_multiple: self.warn_multiple, pending, fees })
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct Mempool {
    warn_multiple: u64,
    pending: Window,
    fees: Window,
}

impl Mempool {
    pub(super) fn read(&mut self, seen: &Observation) -> Option<Reading> {
        let (pending, fee) = (seen.txpool_pending?, seen.head?.base_fee_wei?);
        let usual = self.pending.median().zip(self.fees.median());
        self.pending.push(seen.at_s, pending);
        self.fees.push(seen.at_s, fee);
        let (median, usual_fee) = usual?;
        let limit = median.saturating_mul(self.warn_multiple).max(PENDING_MIN);
        let level = (pending > limit && fee > usual_fee).then_some(AlarmLevel::Warn);
        Some(Reading::of(level, NetworkSignal::MempoolSpam { pending, median }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{at, cleared, ethereum, raised, watch};
    use cordon_model::network::SignalKind;

    fn look(i: u64, pending: u64, fee_gwei: u64) -> Observation {
        let mut look = Observation { txpool_pending: Some(pending), ..at(i * 12, i) };
        look.head.as_mut().unwrap().base_fee_wei = Some(fee_gwei * 1_000_000_000);
        look
    }

    fn after_an_hour(last: &[(u64, u64)]) -> Vec<Observation> {
        let all = std::iter::repeat_n((1_000, 10), 300).chain(last.iter().copied());
        all.enumerate().map(|(i, (pending, fee))| look(i as u64, pending, fee)).collect()
    }

    fn levels(looks: &[Observation]) -> Vec<AlarmLevel> {
        raised(&watch(&mut ethereum(), looks), SignalKind::MempoolSpam)
    }

    #[test]
    fn a_flood_warns_only_where_fees_rise() {
        assert_eq!(levels(&after_an_hour(&[(5_001, 11)])), [AlarmLevel::Warn]);
        assert_eq!(levels(&after_an_hour(&[(5_000, 11)])), []);
        assert_eq!(levels(&after_an_hour(&[(50_000, 10)])), []);
    }

    #[test]
    fn a_few_transactions_are_no_flood_on_a_quiet_chain() {
        let quiet: Vec<_> = (0..300).map(|i| look(i, 1, 10)).chain([look(300, 200, 12)]).collect();
        assert_eq!(levels(&quiet), []);
    }

    #[test]
    fn a_node_without_a_pool_says_nothing() {
        let mut looks = after_an_hour(&[(50_000, 20)]);
        looks.iter_mut().for_each(|look| look.txpool_pending = None);
        assert_eq!(levels(&looks), []);
    }

    #[test]
    fn recovery_clears_once() {
        let mut last = vec![(9_000, 20); 5];
        last.extend([(1_000, 10); 60]);
        let changes = watch(&mut ethereum(), &after_an_hour(&last));
        assert_eq!((changes.len(), cleared(&changes, SignalKind::MempoolSpam)), (2, 1), "{changes:?}");
    }
}
