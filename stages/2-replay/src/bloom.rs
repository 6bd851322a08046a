//! The bloom of all logs of a block, for the comparison with its header.
//!
//! In: address and topics of each log. Out: whether a header's bloom can be that of these logs. Must never: hash the same
//! bytes twice, or take a bloom of which a part was not hashed for the whole.
//!
//! Hashing addresses and topics is the largest single cost of a replay beside the execution itself. It is spared where the
//! logs themselves can be compared, because they came with receipts that were checked against the header.

use alloy_primitives::map::{AddressSet, B256Set};
use alloy_primitives::{Address, B256, Bloom, BloomInput};

/// Different addresses and topics of a block that go into its bloom. With so many, 95 of 100 of its bits are set and it
/// hardly says anything more, while hashing goes on costing more than executing: the first block after the merge holds
/// a transaction with 10,001 logs.
const MAX_BLOOM_ITEMS: usize = 2_048;

/// The bloom of all logs, of which only the first [`MAX_BLOOM_ITEMS`] different items are hashed.
#[derive(Debug, Default)]
pub(crate) struct LogsBloom {
    /// Addresses and topics repeat within a block.
    addresses: AddressSet,
    topics: B256Set,
    /// Address of the last log; most logs come from the same contract as the one before.
    last: Option<Address>,
    is_partial: bool,
}

impl LogsBloom {
    pub(crate) fn add(&mut self, address: Address, topics: &[B256]) {
        if self.addresses.len().saturating_add(self.topics.len()) >= MAX_BLOOM_ITEMS {
            self.is_partial = true;
            return;
        }
        if self.last.replace(address) != Some(address) {
            self.addresses.insert(address);
        }
        self.topics.extend(topics);
    }

    /// What these logs came to, where a header's bloom cannot be theirs: exactly that must it be, unless only some of them
    /// were hashed.
    pub(crate) fn contradicts(&self, stated: &Bloom) -> Option<Bloom> {
        let bits = self.bits();
        let agrees = if self.is_partial { stated.contains(&bits) } else { *stated == bits };
        (!agrees).then_some(bits)
    }

    fn bits(&self) -> Bloom {
        let mut bits = Bloom::ZERO;
        let addresses = self.addresses.iter().map(|address| address.as_slice());
        for item in addresses.chain(self.topics.iter().map(|topic| topic.as_slice())) {
            bits.accrue(BloomInput::Raw(item));
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(logs: &[(Address, Vec<B256>)]) -> LogsBloom {
        let mut bloom = LogsBloom::default();
        for (address, topics) in logs {
            bloom.add(*address, topics);
        }
        bloom
    }

    fn plain(logs: &[(Address, Vec<B256>)]) -> Bloom {
        let mut bits = Bloom::ZERO;
        for (address, topics) in logs {
            bits.accrue_raw_log(*address, topics);
        }
        bits
    }

    proptest! {
        #[test]
        fn the_bloom_is_what_the_protocol_defines(
            logs in prop::collection::vec((any::<[u8; 20]>(), prop::collection::vec(any::<[u8; 32]>(), 0..=4)), 0..40),
        ) {
            let logs: Vec<_> = logs
                .into_iter()
                .map(|(address, topics)| (Address::from(address), topics.into_iter().map(B256::from).collect()))
                .collect();
            let twice = [logs.clone(), logs.clone()].concat();
            prop_assert_eq!(of(&twice).bits(), plain(&logs));
            prop_assert_eq!(of(&twice).contradicts(&plain(&logs)), None);
        }
    }

    #[test]
    fn a_log_too_few_or_too_many_is_a_contradiction() {
        let log = |number| (Address::with_last_byte(number), vec![B256::with_last_byte(number)]);
        let logs = [log(1), log(2), log(3)];
        assert_eq!(of(&logs).contradicts(&plain(&logs)), None);
        assert_eq!(of(&logs[..2]).contradicts(&plain(&logs)), Some(plain(&logs[..2])));
        assert_eq!(of(&logs).contradicts(&plain(&logs[..2])), Some(plain(&logs)));
        assert_eq!(of(&[]).contradicts(&Bloom::ZERO), None);
    }

    #[test]
    fn of_a_flood_only_a_part_is_hashed_which_must_be_contained() {
        let logs: Vec<_> = (0..5_000u64)
            .map(|number| (Address::repeat_byte(1), vec![B256::from(alloy_primitives::U256::from(number))]))
            .collect();
        let bloom = of(&logs);
        assert!(bloom.is_partial);
        assert_eq!(bloom.contradicts(&plain(&logs)), None);
        assert!(bloom.contradicts(&plain(&logs[..100])).is_some());
    }
}
