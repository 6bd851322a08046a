//! The seam between one execution and one detector.
//!
//! In: a protocol and an execution that may concern it. Out: the questions a detector has, its findings, and what it
//! could not judge. Must never: keep state between executions, since the order in which they are judged again after a
//! restart or a reorganisation is not the order in which they were judged first.

use crate::messages::Heard;
use crate::rehearsal::{Rehearsal, Rehearsed};
use alloy_primitives::Address;
use cordon_model::baseline::{Baseline, First, Measure};
use cordon_model::execution::{Execution, Frame, FrameKind, ViewCall};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::message::SourceId;
use cordon_model::protocol::{Price, Protocol};
use cordon_model::tally::Tally;
use cordon_model::units::{Asset, ProtocolId, TxRef};
use std::fmt::Debug;

/// Most suspects named by a finding. The sender and a handful of contracts are what people can look at; a
/// transaction with more direct callers is a batch whose sender says enough.
pub(crate) const SUSPECTS_MAX: usize = 16;

/// One way to see an attack in a transaction.
pub trait Detector: Send + Sync + Debug {
    /// Name in findings and in the configuration.
    fn name(&self) -> &'static str;

    /// Readings that [`Detector::inspect`] wants to find in [`Execution::views`], most important first. Asked after
    /// the transaction was executed, so the record is complete except for the readings.
    fn views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        let _ = (protocol, execution);
        Vec::new()
    }

    /// What is wrong with the transaction. A reading that is missing must not become a finding of full strength.
    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding>;

    /// True where [`Detector::compare`] says something.
    fn compares(&self) -> bool {
        false
    }

    /// What is wrong with the transaction beside all that its protocol was used for before, and what it is the first in.
    fn compare(&self, protocol: &Protocol, execution: &Execution, baseline: &Baseline) -> Comparison {
        let _ = (protocol, execution, baseline);
        Comparison::default()
    }

    /// True where it judges code that a transaction creates, also where the transaction touches nothing of a protocol that the
    /// code names.
    fn looks_at_creations(&self) -> bool {
        false
    }

    /// What could not be judged, in words. An empty list and no finding together mean "looked at and clean".
    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        let _ = (protocol, execution);
        Vec::new()
    }

    /// What should be tried on the state after the block of the transaction, because of the transaction.
    fn rehearsals(&self, protocol: &Protocol, execution: &Execution) -> Vec<Rehearsal> {
        let _ = (protocol, execution);
        Vec::new()
    }

    /// Readings that [`Detector::rehearsed`] wants to find with an execution that was tried.
    fn rehearsal_views(&self, protocol: &Protocol, execution: &Execution) -> Vec<ViewCall> {
        let _ = (protocol, execution);
        Vec::new()
    }

    /// What is wrong with the transaction as its rehearsals show. Those that could not be held are missing.
    fn rehearsed(&self, protocol: &Protocol, execution: &Execution, rehearsed: &[Rehearsed]) -> Vec<Finding> {
        let _ = (protocol, execution, rehearsed);
        Vec::new()
    }

    /// Which messages to other chains it wants to be remembered of the protocol's contracts.
    fn listens(&self, protocol: &Protocol) -> Vec<SourceId> {
        let _ = protocol;
        Vec::new()
    }

    /// What the transaction sends to other chains, and what it pays out for what they sent.
    fn messages(&self, protocol: &Protocol, execution: &Execution) -> Heard {
        let _ = (protocol, execution);
        Heard::default()
    }

    /// Findings and gaps at once. A detector that finds out in one pass what is wrong and what it could not judge does that here, and
    /// answers [`Detector::inspect`] and [`Detector::gaps`] from it.
    fn judge(&self, protocol: &Protocol, execution: &Execution) -> Opinion {
        Opinion { findings: self.inspect(protocol, execution), gaps: self.gaps(protocol, execution) }
    }
}

/// What one detector says of one transaction, for one protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opinion {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What could not be judged, in words.
    pub gaps: Vec<String>,
}

/// A transaction beside everything before it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Where it exceeds all before it, whether or not that is wrong; to be learned if it is ordinary.
    pub firsts: Vec<First>,
    /// What it adds to the windows, ordinary or not.
    pub tallies: Vec<Tally>,
    /// What could not be compared, in words; a set names the detector before them.
    pub gaps: Vec<String>,
}

impl Comparison {
    /// What is learned of the transaction if it is ordinary.
    #[must_use]
    pub fn measures(&self) -> Vec<Measure> {
        self.firsts.iter().map(|first| first.measure).collect()
    }

    /// What it adds to the windows, marked where it woke people.
    #[must_use]
    pub fn counted(&self, withheld: bool) -> Vec<Tally> {
        self.tallies.iter().map(|tally| Tally { withheld, ..*tally }).collect()
    }

    /// Makes the transaction a part of a past: its counts in any case, the rest where it is ordinary.
    pub fn pass_into(&self, baseline: &mut Baseline, execution: &Execution, woke: bool) {
        let (block, at_s) = (execution.tx.block, execution.timestamp_s);
        baseline.count(block, at_s, &self.counted(woke));
        if !woke {
            baseline.learn(block, baseline.transactions().saturating_add(1), &self.measures());
        }
    }
}

/// What a detector says of a transaction. All else that a finding holds follows from who says it, and of what.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) class: AttackClass,
    pub(crate) contract: Address,
    pub(crate) score: Score,
    pub(crate) evidence: Evidence,
}

impl Statement {
    pub(crate) fn by(self, detector: &str, protocol: &Protocol, execution: &Execution) -> Finding {
        let Self { class, contract, score, evidence } = self;
        Finding {
            id: Finding::derive_id(detector, protocol.chain_id, contract, &execution.tx),
            detector: detector.to_owned(),
            class,
            protocol: protocol.id.clone(),
            contract,
            tx: execution.tx,
            score,
            evidence,
            suspects: suspects(protocol, execution),
        }
    }
}

/// Something a detector could not judge, so that its silence is not taken for a clean bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Detector that could not judge; `views` for the set itself.
    pub detector: &'static str,
    /// Protocol concerned.
    pub protocol: ProtocolId,
    /// Transaction concerned.
    pub tx: TxRef,
    /// What could not be judged, and why.
    pub what: String,
}

/// True where the operator named the address: a protected contract, a valued token, or the vault of a share rate.
/// Control that passes through named accounts only is not in foreign hands.
pub(crate) fn is_named(protocol: &Protocol, address: Address) -> bool {
    let by_asset = || {
        protocol.assets.iter().any(|spec| {
            spec.asset == Asset::Token(address)
                || matches!(spec.price, Price::ShareRate { vault, .. } if vault == address)
        })
    };
    protocol.protects(address) || by_asset()
}

/// True where the frame enters a protected contract from outside the protected set, and its effects lasted.
pub(crate) fn enters_from_outside(protocol: &Protocol, frame: &Frame) -> bool {
    let own_storage = match frame.kind {
        FrameKind::Call | FrameKind::StaticCall => true,
        FrameKind::CallCode | FrameKind::DelegateCall | FrameKind::Create | FrameKind::Create2 => false,
    };
    own_storage && !frame.reverted && protocol.protects(frame.address) && !protocol.protects(frame.caller)
}

/// Accounts that act in the transaction, the sender first: the contract it calls, whoever calls into the protected
/// contracts, and contracts born in it. Receivers of value are left out: they are often pools and exchanges.
pub(crate) fn suspects(protocol: &Protocol, execution: &Execution) -> Vec<Address> {
    let callers = execution.frames.iter().filter(|frame| enters_from_outside(protocol, frame));
    let mut suspects = vec![execution.transaction.from];
    let others = execution
        .transaction
        .to
        .into_iter()
        .chain(callers.map(|frame| frame.caller))
        .chain(execution.creations.iter().map(|creation| creation.address));
    for address in others {
        if suspects.len() == SUSPECTS_MAX {
            break;
        }
        if !suspects.contains(&address) && !is_named(protocol, address) {
            suspects.push(address);
        }
    }
    suspects
}
