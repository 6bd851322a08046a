//! What an incident list says of recorded attacks: when, under which name, and who was hurt.
//!
//! In: lines `transaction hash,date,incident,victim`; other lines are passed over where they hold no hash. Out: entries by
//! transaction. Must never: reach a detector. The list only decides which attacks may be compared.

use alloy_primitives::{Address, B256};
use std::collections::BTreeMap;

/// One attack of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Year and month, and the day where it is known, as digits.
    date: String,
    incident: String,
    victim: Option<Address>,
}

impl Entry {
    /// Whether it is certain that this was before the other: within a month only the days tell.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        let either_begins = self.date.starts_with(&other.date) || other.date.starts_with(&self.date);
        !either_begins && self.date < other.date
    }

    /// Whether both are of one incident, as far as the list tells.
    pub(super) fn is_of_one_with(&self, other: &Self) -> bool {
        self.incident == other.incident || (self.victim.is_some() && self.victim == other.victim)
    }
}

/// A list, by transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incidents(BTreeMap<B256, Entry>);

impl Incidents {
    /// Reads lines; of two about the same transaction the first holds.
    ///
    /// # Errors
    /// The first line that begins with a hash and is not as expected, by its number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut entries = BTreeMap::new();
        for (number, line) in (1usize..).zip(text.lines()) {
            let mut fields = line.split(',').map(str::trim);
            let Some(tx) = fields.next().and_then(|hash| hash.parse::<B256>().ok()) else { continue };
            let entry = entry(fields).ok_or_else(|| {
                format!(
                    "line {number}: '{line}': expected a transaction's hash, a date as YYYYMM or YYYYMMDD, a name, and an \
                     address or nothing"
                )
            })?;
            entries.entry(tx).or_insert(entry);
        }
        Ok(Self(entries))
    }

    pub(super) fn of(&self, tx: &B256) -> Option<&Entry> {
        self.0.get(tx)
    }
}

fn entry<'a>(mut fields: impl Iterator<Item = &'a str>) -> Option<Entry> {
    let (date, incident, victim) = (fields.next()?, fields.next()?, fields.next().unwrap_or_default());
    let is_date = matches!(date.len(), 6 | 8) && date.bytes().all(|digit| digit.is_ascii_digit());
    let victim = if victim.is_empty() { None } else { Some(victim.parse().ok()?) };
    let is_whole = is_date && !incident.is_empty() && fields.next().is_none();
    is_whole.then(|| Entry { date: date.to_owned(), incident: incident.to_lowercase(), victim })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry_of(line: &str) -> Entry {
        let text = format!("{},{line}", B256::ZERO);
        Incidents::parse(&text).unwrap().of(&B256::ZERO).unwrap().clone()
    }

    #[test]
    fn within_a_month_only_days_tell_which_was_first() {
        let before = |one: &str, other: &str| {
            entry_of(&format!("{one},a,")).is_before(&entry_of(&format!("{other},b,")))
        };
        assert!(before("202301", "202302") && before("20230131", "202302") && before("20230101", "20230102"));
        assert!(
            !before("202301", "202301") && !before("202301", "20230131") && !before("20230101", "202301")
        );
        assert!(!before("202302", "202301") && !before("20230101", "20230101"));
    }

    #[test]
    fn one_incident_has_one_name_or_one_victim() {
        let (one, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let is_one = |a: String, b: String| entry_of(&a).is_of_one_with(&entry_of(&b));
        assert!(is_one("202301,Sushi,".to_owned(), format!("202305,sushi,{one}")));
        assert!(is_one(format!("202301,a,{one}"), format!("202305,b,{one}")));
        assert!(!is_one(format!("202301,a,{one}"), format!("202305,b,{other}")));
        assert!(!is_one("202301,a,".to_owned(), "202305,b,".to_owned()));
    }

    #[test]
    fn a_line_that_is_not_as_expected_is_named() {
        assert_eq!(Incidents::parse("tx,date,incident,victim\n").unwrap(), Incidents::default());
        for wrong in ["", "2023", "20230x,a", "202301,", "202301,a,0x12", "202301,a,,b"] {
            let error = Incidents::parse(&format!("\n{},{wrong}", B256::ZERO)).unwrap_err();
            assert!(error.starts_with("line 2: '0x0000"), "{wrong}: {error}");
        }
    }
}
