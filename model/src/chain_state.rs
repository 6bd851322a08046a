//! What the log says of a chain as such: a fold over its events.
//!
//! In: [`ChainEvent`]s in order. Out: which contracts joined protocols, which alarms stand, and whether anything may be
//! sent. Total: every event has a meaning in every state, since a chain's stream may be read from any build.

use crate::baseline::{Baselines, Measure};
use crate::calibration::{Judging, Strengths};
use crate::log::{ChainEvent, FollowReason, RuleFile};
use crate::network::{NetworkAlarm, SignalKind};
use crate::units::{BlockRef, ProtocolId, TxRef};
use alloy_primitives::Address;
use std::collections::{BTreeMap, VecDeque};

/// Most transactions of which it is remembered that people have yet to say whether they are ordinary. Whoever has a
/// thousand open alarms does not answer the oldest; that one is then never learned, which is the safe side.
pub const WITHHELD_MAX: usize = 1_024;

/// A chain as its log tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainState {
    /// Contracts that joined protocols and still belong to them, in order of joining.
    pub followed: Vec<Followed>,
    /// Alarms that stand, by kind and subject.
    pub alarms: BTreeMap<(SignalKind, Option<Address>), NetworkAlarm>,
    /// Why nothing may be sent, if so.
    pub held: Option<String>,
    /// Newest block that the chain calls safe, as far as it was recorded.
    pub safe: Option<BlockRef>,
    /// Newest block that it calls final, as far as it was recorded.
    pub finalized: Option<BlockRef>,
    /// What each protocol's use has been so far.
    pub baselines: Baselines,
    /// The operator's rule files, as the newest judged block was judged by.
    pub rules: Vec<RuleFile>,
    /// How strong the findings on each protocol's transactions were, since they are judged by these detectors.
    pub strengths: BTreeMap<ProtocolId, Strengths>,
    /// By what the newest judged block was judged.
    pub judging: Judging,
    /// Transactions that woke people, of which they have not said yet that they are ordinary; oldest first.
    pub withheld: VecDeque<Withheld>,
}

/// A transaction from which nothing was learned because it woke people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// Protocol.
    pub protocol: ProtocolId,
    /// Transaction.
    pub tx: TxRef,
    /// What would have been learned.
    pub firsts: Vec<Measure>,
}

/// A contract that joined a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Protocol.
    pub protocol: ProtocolId,
    /// The contract.
    pub contract: Address,
    /// Block in which it joined.
    pub block: BlockRef,
    /// How it joined.
    pub because: FollowReason,
}

impl ChainState {
    /// Takes the next event.
    pub fn apply(&mut self, event: &ChainEvent) {
        match event {
            ChainEvent::Reverted { block } => self.revert(*block),
            // Messages are a fold of their own, since other chains read it too.
            ChainEvent::ReplayMismatch { .. } | ChainEvent::Halted { .. } | ChainEvent::Messages { .. } => {}
            ChainEvent::Weighed { protocol, block, weights } => {
                self.strengths.entry(protocol.clone()).or_default().take(*block, weights);
            }
            ChainEvent::Finality { safe, finalized } => (self.safe, self.finalized) = (*safe, *finalized),
            ChainEvent::AlarmRaised { alarm } => {
                let key = (alarm.signal.kind(), alarm.signal.subject());
                self.alarms.insert(key, alarm.clone());
            }
            ChainEvent::AlarmCleared { kind, subject } => {
                self.alarms.remove(&(*kind, *subject));
            }
            ChainEvent::Held { why } => self.held = Some(why.clone()),
            ChainEvent::Released { .. } => self.held = None,
            ChainEvent::Followed { protocol, contract, block, because } => {
                let (protocol, contract, block, because) = (protocol.clone(), *contract, *block, *because);
                self.followed.push(Followed { protocol, contract, block, because });
            }
            ChainEvent::Learned { protocol, block, transactions, firsts } => {
                self.baselines.learn(protocol, *block, *transactions, firsts);
            }
            ChainEvent::Withheld { protocol, tx, firsts } => {
                let excess = (self.withheld.len() + 1).saturating_sub(WITHHELD_MAX);
                self.withheld.drain(..excess);
                let (protocol, tx, firsts) = (protocol.clone(), *tx, firsts.clone());
                self.withheld.push_back(Withheld { protocol, tx, firsts });
            }
            ChainEvent::RulesTaken { files } => self.rules.clone_from(files),
            ChainEvent::JudgedBy { judging } => {
                // What other detectors said cannot be compared.
                if self.judging.detectors != judging.detectors {
                    self.strengths.clear();
                }
                for protocol in &judging.protocols {
                    let begin = || Strengths::beginning(self.baselines.transactions(protocol));
                    self.strengths.entry(protocol.clone()).or_insert_with(begin);
                }
                self.judging.clone_from(judging);
            }
            ChainEvent::Tallied { protocol, block, timestamp_s, tallies } => {
                self.baselines.count(protocol, *block, *timestamp_s, tallies);
            }
            ChainEvent::Accepted { protocol, tx, block } => self.accept(protocol, tx, *block),
        }
    }

    /// What joined or was learned in a block that left the chain never existed.
    fn revert(&mut self, block: BlockRef) {
        self.followed.retain(|followed| followed.block != block);
        self.withheld.retain(|withheld| withheld.tx.block != block);
        self.baselines.revert(block);
        self.strengths.values_mut().for_each(|strengths| strengths.revert(block));
    }

    fn accept(&mut self, protocol: &ProtocolId, tx: &TxRef, block: BlockRef) {
        let is_it = |withheld: &Withheld| withheld.protocol == *protocol && withheld.tx == *tx;
        let found = self.withheld.iter().position(is_it);
        if let Some(withheld) = found.and_then(|at| self.withheld.remove(at)) {
            let transactions = self.baselines.transactions(protocol).saturating_add(1);
            self.baselines.learn(protocol, block, transactions, &withheld.firsts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{AlarmLevel, NetworkSignal};
    use alloy_primitives::B256;

    fn block(number: u64) -> BlockRef {
        BlockRef { number, hash: B256::with_last_byte(u8::try_from(number).unwrap()) }
    }

    fn joined(contract: u8, at: u64) -> ChainEvent {
        ChainEvent::Followed {
            protocol: ProtocolId("lending".to_owned()),
            contract: Address::repeat_byte(contract),
            block: block(at),
            because: FollowReason::CreatedBy(Address::repeat_byte(9)),
        }
    }

    #[test]
    fn a_reorganisation_takes_back_what_joined_in_its_blocks() {
        let mut state = ChainState::default();
        for event in [joined(1, 4), joined(2, 5), ChainEvent::Reverted { block: block(5) }, joined(3, 5)] {
            state.apply(&event);
        }
        let contracts: Vec<Address> = state.followed.iter().map(|followed| followed.contract).collect();
        assert_eq!(contracts, [Address::repeat_byte(1), Address::repeat_byte(3)]);
    }

    #[test]
    fn strengths_are_counted_since_the_detectors_are_what_they_are() {
        let protocol = ProtocolId("lending".to_owned());
        let judged_by = |detectors| {
            let protocols = vec![protocol.clone()];
            let judging =
                Judging { detectors: B256::with_last_byte(detectors), protocols, thresholds: vec![] };
            ChainEvent::JudgedBy { judging }
        };
        let learned = |number, transactions| {
            let (protocol, block) = (protocol.clone(), block(number));
            ChainEvent::Learned { protocol, block, transactions, firsts: vec![] }
        };
        let mut state = ChainState::default();
        let counted = |state: &ChainState| {
            state.strengths[&protocol].transactions(state.baselines.transactions(&protocol))
        };
        [judged_by(1), learned(1, 7)].iter().for_each(|event| state.apply(event));
        assert_eq!(counted(&state), 7);
        [judged_by(2), learned(2, 10), judged_by(2)].iter().for_each(|event| state.apply(event));
        assert_eq!(counted(&state), 3);
    }

    #[test]
    fn an_alarm_stands_until_it_is_cleared_and_a_newer_one_takes_its_place() {
        let mut state = ChainState::default();
        let raised = |level, blocks| ChainEvent::AlarmRaised {
            alarm: NetworkAlarm { level, signal: NetworkSignal::Backlog { blocks } },
        };
        state.apply(&raised(AlarmLevel::Warn, 10));
        state.apply(&raised(AlarmLevel::Page, 100));
        let standing: Vec<AlarmLevel> = state.alarms.values().map(|alarm| alarm.level).collect();
        assert_eq!(standing, [AlarmLevel::Page]);
        state.apply(&ChainEvent::AlarmCleared { kind: SignalKind::Backlog, subject: None });
        assert!(state.alarms.is_empty());
    }

    #[test]
    fn a_hold_ends_with_its_release() {
        let mut state = ChainState::default();
        state.apply(&ChainEvent::Held { why: "nodes disagree".to_owned() });
        assert_eq!(state.held.as_deref(), Some("nodes disagree"));
        state.apply(&ChainEvent::Released { why: "nodes agree".to_owned() });
        assert_eq!(state.held, None);
    }
}
