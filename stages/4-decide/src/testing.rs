//! Small findings, incidents and simulations for the tests of this crate.

use alloy_primitives::{Address, B256, Bytes, I256, U256};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::incident::{Incident, IncidentEvent};
use cordon_model::plan::{Call, Plan, Purpose, Step, Undo};
use cordon_model::protocol::{Capability, Grant, LeverKind, ProtectedContract, Protocol};
use cordon_model::simulation::{AttackTrial, Ground, HonestTrial, Simulation, TrialOutcome};
use cordon_model::units::{BlockRef, Bps, CapabilityId, ChainId, IncidentId, ProtocolId, TxRef, WAD};

const VAULT: Address = Address::repeat_byte(0xaa);
const GUARDIAN: Address = Address::repeat_byte(0xbb);
const ATTACKER: Address = Address::repeat_byte(0xcc);
const CHAIN: ChainId = ChainId(1);

fn tx(block: u64, index: u32) -> TxRef {
    let hash = B256::from(U256::from(block * 1_000 + u64::from(index)));
    TxRef {
        chain_id: CHAIN,
        block: BlockRef { number: block, hash: B256::from(U256::from(block)) },
        index,
        hash,
    }
}

pub(crate) fn finding(detector: &str, block: u64, index: u32, score: u16) -> Finding {
    let tx = tx(block, index);
    Finding {
        id: Finding::derive_id(detector, CHAIN, VAULT, &tx),
        detector: detector.to_owned(),
        class: AttackClass::Reentrancy,
        protocol: ProtocolId("lending".to_owned()),
        contract: VAULT,
        tx,
        score: Score(score),
        evidence: Evidence::Reentry {
            contract: VAULT,
            outer: None,
            inner: None,
            via: ATTACKER,
            slots: vec![],
            kind: None,
        },
        suspects: vec![ATTACKER],
    }
}

pub(crate) fn value_loss(block: u64, loss: u64, share_bps: u32) -> Finding {
    let evidence = Evidence::ValueLoss {
        loss_wad: U256::from(loss) * WAD,
        holdings: vec![],
        obligations_delta_wad: I256::ZERO,
        loss_share_bps: Some(Bps(share_bps)),
        gainers: vec![],
    };
    Finding { class: AttackClass::ValueExtraction, evidence, ..finding("value-loss", block, 0, 900) }
}

pub(crate) fn incident_of(finding: Finding) -> Incident {
    let id = IncidentId::derive(&[&finding.id.0.to_string()]);
    let (chain_id, protocol) = (finding.tx.chain_id, finding.protocol.clone());
    let event = IncidentEvent::Detected { incident: id, chain_id, protocol, finding: Box::new(finding) };
    Incident::next(None, &event).unwrap()
}

pub(crate) fn protocol(grant: Grant) -> Protocol {
    let lever = Capability {
        id: CapabilityId("pause-vault".to_owned()),
        adapter: LeverKind::Pausable,
        target: VAULT,
        authority: GUARDIAN,
        undo_authority: None,
        grant,
    };
    Protocol {
        id: ProtocolId("lending".to_owned()),
        chain_id: CHAIN,
        contracts: vec![ProtectedContract { address: VAULT, name: "Vault".to_owned() }].into(),
        factories: vec![],
        assets: vec![],
        account_views: vec![],
        capabilities: vec![lever],
    }
}

/// Gives an incident simulations that know all of its findings.
pub(crate) fn tried(incident: &mut Incident, mut options: Vec<Simulation>) {
    for option in &mut options {
        option.covers = incident.findings.iter().map(|finding| finding.id).collect();
    }
    incident.simulations.extend(options);
}

/// An option that stops the attack or not, and breaks `broken` of ten honest transactions.
pub(crate) fn simulation(title: &str, stops: bool, broken: usize) -> Simulation {
    let outcome = |success, loss: u64| TrialOutcome { success, loss_wad: U256::from(loss), error: None };
    let with = if stops { outcome(false, 0) } else { outcome(true, 5) };
    let attack = AttackTrial { tx_hash: B256::ZERO, ground: Ground::Head, without: outcome(true, 5), with };
    let honest = |index: usize| HonestTrial {
        tx_hash: B256::from(U256::from(index)),
        from: Address::ZERO,
        to: Some(VAULT),
        selector: None,
        works_without: true,
        works_with: index >= broken,
    };
    let step = Step {
        name: title.to_owned(),
        from: GUARDIAN,
        call: Call { to: Some(VAULT), value_wei: U256::ZERO, data: Bytes::new() },
        preconditions: vec![],
        effects: vec![],
        undo: Undo::NoUndo { why: "a test".to_owned() },
    };
    let plan = Plan {
        incident: IncidentId::derive(&["i"]),
        purpose: Purpose::Contain,
        chain_id: CHAIN,
        title: title.to_owned(),
        capability: None,
        attempt: 0,
        steps: vec![step],
    };
    let head = BlockRef { number: 10, hash: B256::ZERO };
    Simulation {
        plan,
        head,
        covers: vec![],
        plan_error: None,
        attack: vec![attack],
        honest: (0..10).map(honest).collect(),
    }
}
