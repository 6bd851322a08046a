//! How many false alarms an operator allows, in his words.
//!
//! In: "1 per week". Out: [`Budget`]. Must never: round in favour of more alarms.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;

/// A span of time that people count in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// 24 hours.
    Day,
    /// Seven days.
    Week,
    /// 30 days.
    Month,
    /// 365 days.
    Year,
}

impl Period {
    /// All of them, with their names.
    const ALL: [(&'static str, Self); 4] =
        [("day", Self::Day), ("week", Self::Week), ("month", Self::Month), ("year", Self::Year)];

    /// How long it is, in seconds.
    #[must_use]
    pub fn length_s(self) -> u64 {
        let days = match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 30,
            Self::Year => 365,
        };
        days * 86_400
    }
}

/// At most so many per period, to be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How many, at least one.
    pub at_most: u32,
    /// In which time.
    pub per: Period,
}

impl Budget {
    /// Whether so many thousandths of an alarm within a time are no more than this.
    #[must_use]
    pub fn covers_milli(self, alarms_milli: u64, length_s: u64) -> bool {
        let seen = u128::from(alarms_milli).saturating_mul(u128::from(self.per.length_s()));
        let allowed = u128::from(self.at_most).saturating_mul(1_000).saturating_mul(u128::from(length_s));
        seen <= allowed
    }

    /// How long a history without any false alarm must be to show that it is kept, in seconds.
    #[must_use]
    pub fn needs_s(self) -> u64 {
        let needed = u128::from(super::episodes_max_milli(0)).saturating_mul(u128::from(self.per.length_s()));
        let needed = needed.div_ceil(u128::from(self.at_most.max(1)).saturating_mul(1_000));
        u64::try_from(needed).unwrap_or(u64::MAX)
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}': expected a number per day, week, month or year, such as \"1 per week\"");
        let mut words = text.split_whitespace();
        let (count, per, period) = (words.next(), words.next(), words.next());
        let at_most =
            count.and_then(|count| count.parse().ok()).filter(|count| *count > 0).ok_or_else(wrong)?;
        let known = Period::ALL.into_iter().find(|(name, _)| Some(*name) == period);
        match (per, known, words.next()) {
            (Some("per"), Some((_, per)), None) => Ok(Self { at_most, per }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            Period::ALL.into_iter().find(|(_, period)| *period == self.per).map_or("", |(name, _)| name);
        write!(f, "{} per {name}", self.at_most)
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_what_people_say() {
        for text in ["1 per week", "3 per day", "12 per year", "2 per month"] {
            assert_eq!(text.parse::<Budget>().unwrap().to_string(), text);
        }
        for text in
            ["", "0 per week", "-1 per week", "1 per decade", "1 a week", "1 per week or so", "one per week"]
        {
            let error = text.parse::<Budget>().unwrap_err();
            assert!(error.starts_with(&format!("'{text}': expected a number per day")), "{error}");
        }
    }

    #[test]
    fn a_year_without_a_false_alarm_does_not_show_one_a_year() {
        let budget: Budget = "1 per year".parse().unwrap();
        let year_s = Period::Year.length_s();
        assert!(!budget.covers_milli(super::super::episodes_max_milli(0), year_s));
        assert!(budget.covers_milli(super::super::episodes_max_milli(0), budget.needs_s()));
        assert!(!budget.covers_milli(super::super::episodes_max_milli(0), budget.needs_s() - 1));
    }
}
