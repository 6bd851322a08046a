//! Which class of incident an attack is said to be, by somebody else.
//!
//! In: text of lines `transaction hash,class`; other lines are passed over where they hold no hash. Out: classes by
//! transaction. Must never: reach a detector. Labels only sort what was judged.

use alloy_primitives::B256;
use std::collections::BTreeMap;

/// Classes by transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<B256, String>);

impl Labels {
    /// Reads lines; of two about the same transaction the first holds.
    ///
    /// # Errors
    /// The first line that begins with a hash and names no class, by its number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut labels = BTreeMap::new();
        for (number, line) in (1usize..).zip(text.lines()) {
            let (hash, class) = line.split_once(',').unwrap_or((line, ""));
            let Ok(tx) = hash.trim().parse::<B256>() else { continue };
            let class = class.trim();
            if class.is_empty() {
                return Err(format!(
                    "line {number}: '{line}': expected a transaction's hash, a comma, and a class"
                ));
            }
            labels.entry(tx).or_insert_with(|| class.to_owned());
        }
        Ok(Self(labels))
    }

    pub(super) fn class(&self, tx: &B256) -> Option<&str> {
        self.0.get(tx).map(String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_hash_are_labels_and_the_first_holds() {
        let (a, b) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let text = format!("tx,class\n{a},re-entrancy\n\n{b}, price, oracle\n{a},other\n");
        let labels = Labels::parse(&text).unwrap();
        assert_eq!(labels.class(&a), Some("re-entrancy"));
        assert_eq!(labels.class(&b), Some("price, oracle"));
        assert_eq!(labels.class(&B256::ZERO), None);
        assert!(Labels::parse("nothing").unwrap().is_empty());
    }

    #[test]
    fn a_hash_without_a_class_is_named() {
        let text = format!("tx,class\n{},\n", B256::ZERO);
        assert!(Labels::parse(&text).unwrap_err().starts_with("line 2: '0x0000"));
    }
}
