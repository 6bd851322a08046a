//! Which alarms stand, and when that changes.
//!
//! In: readings of signals. Out: [`Change`]s. A condition is raised with the first reading that reaches it and eases
//! only after it was better for a while, because the cost of the two errors differs: a late alarm costs time in which
//! one could act, a late all-clear costs nothing but patience, and an alarm that flaps is soon read by nobody. Must
//! never: raise an alarm that stands at the same level, or clear one that does not stand.

use alloy_primitives::Address;
use cordon_model::network::{AlarmLevel, NetworkAlarm, NetworkSignal, SignalKind};
use std::collections::BTreeMap;

/// A change of what stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A condition began, or has another level than before.
    Raised(NetworkAlarm),
    /// A condition is over.
    Cleared {
        /// Which kind.
        kind: SignalKind,
        /// What it was about within its kind.
        subject: Option<Address>,
    },
}

/// What a signal says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// It was measured, and is as it should be.
    Calm { kind: SignalKind, subject: Option<Address> },
    /// It was measured, and is not.
    Bad(NetworkAlarm),
}

impl Reading {
    /// A measurement about the chain as a whole: bad where there is a level.
    pub(super) fn of(level: Option<AlarmLevel>, signal: NetworkSignal) -> Self {
        match level {
            Some(level) => Self::Bad(NetworkAlarm { level, signal }),
            None => Self::Calm { kind: signal.kind(), subject: signal.subject() },
        }
    }
}

/// Level of a value where more is worse.
pub(super) fn at_least<T: PartialOrd>(value: T, warn: T, page: T) -> Option<AlarmLevel> {
    if value >= page {
        Some(AlarmLevel::Page)
    } else if value >= warn {
        Some(AlarmLevel::Warn)
    } else {
        None
    }
}

/// Level of a value that must pass a threshold to count.
pub(super) fn above<T: PartialOrd>(value: T, warn: T, page: T) -> Option<AlarmLevel> {
    if value > page {
        Some(AlarmLevel::Page)
    } else if value > warn {
        Some(AlarmLevel::Warn)
    } else {
        None
    }
}

#[derive(Debug)]
struct Standing {
    level: AlarmLevel,
    /// Since when readings are better than the level.
    easing_since_s: Option<u64>,
}

/// The alarms that stand. One entry for each kind and subject that is configured, so configuration bounds it.
#[derive(Debug)]
pub(super) struct StandingAlarms {
    calm_s: u64,
    alarms: BTreeMap<(SignalKind, Option<Address>), Standing>,
}

impl StandingAlarms {
    pub(super) fn new(calm_s: u64) -> Self {
        Self { calm_s, alarms: BTreeMap::new() }
    }

    pub(super) fn restore(&mut self, standing: &[NetworkAlarm]) {
        for NetworkAlarm { level, signal } in standing {
            let key = (signal.kind(), signal.subject());
            self.alarms.insert(key, Standing { level: *level, easing_since_s: None });
        }
    }

    pub(super) fn standing(&self) -> Vec<(SignalKind, Option<Address>)> {
        self.alarms.keys().copied().collect()
    }

    /// Clears what nobody watches any more.
    pub(super) fn clear_unwatched(
        &mut self,
        watched: impl Fn(SignalKind, Option<Address>) -> bool,
    ) -> Vec<Change> {
        let gone: Vec<_> =
            self.alarms.keys().copied().filter(|(kind, subject)| !watched(*kind, *subject)).collect();
        for key in &gone {
            self.alarms.remove(key);
        }
        gone.into_iter().map(|(kind, subject)| Change::Cleared { kind, subject }).collect()
    }

    /// What a reading changes.
    pub(super) fn judge(&mut self, at_s: u64, reading: Reading) -> Option<Change> {
        let (kind, subject, alarm) = match reading {
            Reading::Calm { kind, subject } => (kind, subject, None),
            Reading::Bad(alarm) => (alarm.signal.kind(), alarm.signal.subject(), Some(alarm)),
        };
        let Some(standing) = self.alarms.get_mut(&(kind, subject)) else {
            let alarm = alarm?;
            let standing = Standing { level: alarm.level, easing_since_s: None };
            self.alarms.insert((kind, subject), standing);
            return Some(Change::Raised(alarm));
        };
        match alarm {
            Some(alarm) if alarm.level == standing.level => {
                standing.easing_since_s = None;
                None
            }
            Some(alarm) if alarm.level > standing.level => {
                *standing = Standing { level: alarm.level, easing_since_s: None };
                Some(Change::Raised(alarm))
            }
            better => {
                let since_s = *standing.easing_since_s.get_or_insert(at_s);
                if at_s.saturating_sub(since_s) < self.calm_s {
                    return None;
                }
                if let Some(alarm) = better {
                    *standing = Standing { level: alarm.level, easing_since_s: None };
                    return Some(Change::Raised(alarm));
                }
                self.alarms.remove(&(kind, subject));
                Some(Change::Cleared { kind, subject })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(level: Option<AlarmLevel>) -> Reading {
        Reading::of(level, NetworkSignal::Backlog { blocks: 9 })
    }

    const WARN: Option<AlarmLevel> = Some(AlarmLevel::Warn);
    const PAGE: Option<AlarmLevel> = Some(AlarmLevel::Page);

    /// The changes of a sequence of readings, as letters: `w` and `p` raised, `c` cleared, `.` nothing.
    fn letters(calm_s: u64, readings: &[(u64, Option<AlarmLevel>)]) -> String {
        let mut alarms = StandingAlarms::new(calm_s);
        let letter = |change| match change {
            None => '.',
            Some(Change::Cleared { .. }) => 'c',
            Some(Change::Raised(NetworkAlarm { level: AlarmLevel::Warn, .. })) => 'w',
            Some(Change::Raised(_)) => 'p',
        };
        readings.iter().map(|(at_s, level)| letter(alarms.judge(*at_s, backlog(*level)))).collect()
    }

    #[test]
    fn an_alarm_is_raised_once_worsens_at_once_and_clears_once() {
        let readings =
            [(0, None), (10, WARN), (20, WARN), (30, PAGE), (40, PAGE), (50, None), (349, None), (350, None)];
        assert_eq!(letters(300, &readings), ".w.p...c");
        assert_eq!(letters(300, &[(0, WARN), (10, None), (310, None), (311, None), (312, WARN)]), "w.c.w");
    }

    #[test]
    fn a_page_eases_to_a_warning_only_after_a_while() {
        assert_eq!(letters(300, &[(0, PAGE), (10, WARN), (200, WARN), (310, WARN), (320, WARN)]), "p..w.");
        assert_eq!(letters(300, &[(0, PAGE), (10, WARN), (200, None), (310, None)]), "p..c");
    }

    #[test]
    fn a_condition_that_comes_and_goes_does_not_flood() {
        let flapping: Vec<_> =
            [None, WARN, PAGE].into_iter().cycle().zip(0..3_600).map(|(level, s)| (s, level)).collect();
        let changes = letters(300, &flapping);
        assert_eq!(changes.chars().filter(|change| *change != '.').collect::<String>(), "wp");
        // The worst that a condition can do: it waits for the all-clear each time.
        let patient: Vec<_> = (0..3_600)
            .map(|s| {
                (
                    s,
                    if s % 302 < 1 {
                        WARN
                    } else if s % 302 < 2 {
                        PAGE
                    } else {
                        None
                    },
                )
            })
            .collect();
        let changes = letters(300, &patient).chars().filter(|change| *change != '.').count();
        assert!(changes <= 3 * 3_600 / 300, "{changes}");
    }

    #[test]
    fn a_clock_that_goes_back_clears_nothing_early() {
        assert_eq!(
            letters(300, &[(1_000, WARN), (1_010, None), (5, None), (1_309, None), (1_310, None)]),
            "w...c"
        );
    }

    #[test]
    fn what_was_restored_is_not_raised_twice_and_is_cleared() {
        let mut alarms = StandingAlarms::new(0);
        let signal = NetworkSignal::Backlog { blocks: 9 };
        alarms.restore(&[NetworkAlarm { level: AlarmLevel::Warn, signal }]);
        assert_eq!(alarms.judge(0, backlog(WARN)), None);
        assert_eq!(
            alarms.judge(1, backlog(None)),
            Some(Change::Cleared { kind: SignalKind::Backlog, subject: None })
        );
        assert_eq!(alarms.judge(2, backlog(None)), None);
    }

    #[test]
    fn what_nobody_watches_is_cleared() {
        let mut alarms = StandingAlarms::new(300);
        assert!(alarms.judge(0, backlog(PAGE)).is_some());
        assert_eq!(alarms.clear_unwatched(|_, _| true), []);
        assert_eq!(
            alarms.clear_unwatched(|_, _| false),
            [Change::Cleared { kind: SignalKind::Backlog, subject: None }]
        );
        assert_eq!(alarms.standing(), []);
    }
}
