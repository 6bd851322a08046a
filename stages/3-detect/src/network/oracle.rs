//! Oracle stall: a price feed is older than promised, or stands at the end of what it can say.
//!
//! In: answers of the configured feeds. Out: per feed, a warning for its age and a page for a bound. Must never: judge a
//! feed whose promise is not configured.
//!
//! # Source and false alarms
//!
//! Older than its heartbeat and 60 s more; an answer at a bound at once. In May 2022 the feed of LUNA stood at its
//! minimum of 0.10 while the market paid 0.01, and lenders took the difference as collateral. The 60 s are for the
//! block in which an update waits; on a full chain an honest feed can be later, so a warning now and then during a
//! base fee spike is to be expected. A bound is reached by no honest price of a living asset: no false page is known.

use super::standing::Reading;
use crate::detectors::ConfigError;
use alloy_primitives::Address;
use cordon_model::network::observation::{FeedSight, Observation};
use cordon_model::network::{AlarmLevel, NetworkSignal};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most feeds of a chain: more than any protocol reads. Each costs a call per look.
const FEEDS_MAX: usize = 64;

/// `[network.oracle-stall]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OracleConfig {
    /// Age beyond the heartbeat that is still ordinary, seconds. Default 60.
    pub patience_s: u64,
    /// The feeds. None by default.
    pub feeds: Vec<FeedConfig>,
}

/// `[[network.oracle-stall.feeds]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// Address that the protocol reads.
    pub address: Address,
    /// Longest age that its operator promises, seconds.
    pub heartbeat_s: u64,
}

impl Default for OracleConfig {
    fn default() -> Self {
        Self { patience_s: 60, feeds: Vec::new() }
    }
}

impl OracleConfig {
    pub(super) fn build(&self) -> Result<Oracle, ConfigError> {
        let key = "network.oracle-stall.feeds";
        super::within(key, self.feeds.len() as u64, 0..=FEEDS_MAX as u64, "at most 64 feeds")?;
        let mut heartbeats_s = BTreeMap::new();
        for FeedConfig { address, heartbeat_s } in &self.feeds {
            super::within(
                "network.oracle-stall.feeds.heartbeat_s",
                *heartbeat_s,
                1..=604_800,
                "1 to 604800",
            )?;
            if heartbeats_s.insert(*address, *heartbeat_s).is_some() {
                return Err(ConfigError { key, value: address.to_string(), expected: "each feed once" });
            }
        }
        Ok(Oracle { patience_s: self.patience_s, heartbeats_s })
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct Oracle {
    patience_s: u64,
    heartbeats_s: BTreeMap<Address, u64>,
}

impl Oracle {
    /// True for a configured feed.
    pub(super) fn watches(&self, feed: Address) -> bool {
        self.heartbeats_s.contains_key(&feed)
    }

    pub(super) fn read(&self, seen: &Observation) -> Vec<Reading> {
        seen.feeds.iter().filter_map(|sight| self.judge(seen.at_s, sight)).collect()
    }

    fn judge(&self, at_s: u64, sight: &FeedSight) -> Option<Reading> {
        let heartbeat_s = *self.heartbeats_s.get(&sight.feed)?;
        let age_s = at_s.saturating_sub(sight.updated_at_s);
        let at_bound = sight.min.is_some_and(|min| sight.answer <= min)
            || sight.max.is_some_and(|max| sight.answer >= max);
        let level = if at_bound {
            Some(AlarmLevel::Page)
        } else {
            (age_s > heartbeat_s.saturating_add(self.patience_s)).then_some(AlarmLevel::Warn)
        };
        let feed = sight.feed;
        Some(Reading::of(level, NetworkSignal::OracleStall { feed, age_s, heartbeat_s, at_bound }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{raised, timing, watch};
    use crate::network::{Change, Consensus, NetworkConfig, NetworkMonitors};
    use alloy_primitives::I256;
    use cordon_model::network::{NetworkAlarm, SignalKind};

    const FEED: Address = Address::repeat_byte(0xfe);
    const OTHER: Address = Address::repeat_byte(0xfd);

    fn monitors() -> NetworkMonitors {
        let feed = |address| FeedConfig { address, heartbeat_s: 3_600 };
        let oracle_stall = OracleConfig { feeds: vec![feed(FEED), feed(OTHER)], ..OracleConfig::default() };
        NetworkConfig { oracle_stall, ..NetworkConfig::default() }
            .build(timing(12_000, Consensus::Slots))
            .unwrap()
    }

    fn sight(feed: Address, updated_at_s: u64, answer: i64) -> FeedSight {
        let number = |value: i64| I256::try_from(value).unwrap();
        let bounds = (Some(number(10)), Some(number(1_000)));
        FeedSight { feed, updated_at_s, answer: number(answer), min: bounds.0, max: bounds.1 }
    }

    fn look(at_s: u64, feeds: &[FeedSight]) -> Observation {
        Observation { at_s, feeds: feeds.to_vec(), ..Observation::default() }
    }

    fn levels(looks: &[Observation]) -> Vec<AlarmLevel> {
        raised(&watch(&mut monitors(), looks), SignalKind::OracleStall)
    }

    #[test]
    fn an_old_answer_warns_and_one_at_a_bound_pages() {
        assert_eq!(levels(&[look(10_000, &[sight(FEED, 10_000 - 3_660, 500)])]), []);
        assert_eq!(levels(&[look(10_000, &[sight(FEED, 10_000 - 3_661, 500)])]), [AlarmLevel::Warn]);
        for answer in [10, 9, -1, 1_000, 1_001] {
            assert_eq!(
                levels(&[look(10_000, &[sight(FEED, 10_000, answer)])]),
                [AlarmLevel::Page],
                "{answer}"
            );
        }
        assert_eq!(levels(&[look(10_000, &[sight(FEED, 10_000, 11)])]), []);
    }

    #[test]
    fn bounds_that_are_not_told_and_feeds_that_are_not_configured_say_nothing() {
        let boundless = FeedSight { min: None, max: None, ..sight(FEED, 10_000, 0) };
        let stranger = sight(Address::repeat_byte(1), 0, 500);
        assert_eq!(levels(&[look(10_000, &[boundless, stranger])]), []);
        assert_eq!(levels(&[look(5, &[sight(FEED, 10_000, 500)])]), [], "an answer from the future is fresh");
    }

    #[test]
    fn each_feed_has_its_own_alarm() {
        let mut monitors = monitors();
        let mut looks = vec![look(10_000, &[sight(FEED, 0, 500), sight(OTHER, 0, 500)])];
        looks.extend(
            (1..40).map(|i| look(10_000 + i * 12, &[sight(FEED, 10_000, 500), sight(OTHER, 0, 500)])),
        );
        let changes = watch(&mut monitors, &looks);
        assert_eq!(raised(&changes, SignalKind::OracleStall).len(), 2);
        let cleared = Change::Cleared { kind: SignalKind::OracleStall, subject: Some(FEED) };
        assert_eq!(changes.iter().filter(|(_, change)| *change == cleared).count(), 1);
        assert_eq!(monitors.standing(), [(SignalKind::OracleStall, Some(OTHER))]);
    }

    #[test]
    fn an_alarm_of_a_feed_that_is_no_longer_configured_is_cleared() {
        let mut monitors = monitors();
        let feed = Address::repeat_byte(1);
        let signal = NetworkSignal::OracleStall { feed, age_s: 9_000, heartbeat_s: 3_600, at_bound: false };
        monitors.restore(&[NetworkAlarm { level: AlarmLevel::Warn, signal }]);
        let cleared = Change::Cleared { kind: SignalKind::OracleStall, subject: Some(feed) };
        assert_eq!(monitors.observe(&look(0, &[])), [cleared]);
    }

    #[test]
    fn a_feed_twice_or_without_a_promise_is_refused() {
        let feed = |heartbeat_s| FeedConfig { address: FEED, heartbeat_s };
        let twice = OracleConfig { feeds: vec![feed(1), feed(2)], ..OracleConfig::default() };
        assert!(twice.build().unwrap_err().to_string().ends_with("expected each feed once"));
        let never = OracleConfig { feeds: vec![feed(0)], ..OracleConfig::default() };
        assert!(never.build().unwrap_err().to_string().contains("heartbeat_s = '0'"));
    }
}
