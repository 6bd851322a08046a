//! Who took part.
//!
//! In: findings, executions and the tally. Out: [`Party`]s, each with the facts on which its part is ascribed. Must never:
//! accuse without a fact from the chain beside the name, or call somebody a beneficiary for touching the same contract.

use crate::flows::Tally;
use crate::labels::Labels;
use alloy_primitives::Address;
use cordon_model::execution::{Execution, FrameKind};
use cordon_model::finding::Finding;
use cordon_model::protocol::Protocol;
use cordon_model::report::{Party, PartyRole, ProfitAndLoss};
use cordon_model::units::Asset;
use std::collections::{BTreeMap, BTreeSet};

/// The accounts that took part, by role, then by address. An account has one role; the first that fits in the order
/// victim, attacker, attack contract, beneficiary.
#[must_use]
pub fn parties(
    findings: &[Finding],
    executions: &[Execution],
    protocol: &Protocol,
    tally: &Tally,
    labels: &Labels,
) -> Vec<Party> {
    let suspect: BTreeSet<_> = findings.iter().map(|finding| finding.tx.hash).collect();
    let attacks: Vec<&Execution> =
        executions.iter().filter(|execution| suspect.contains(&execution.tx.hash)).collect();

    let mut cast = Cast { parties: BTreeMap::new(), protocol };
    for finding in findings {
        cast.add(finding.contract, PartyRole::Victim, || {
            format!("named by the detector {}", finding.detector)
        });
    }
    for row in tally.rows.iter().filter(|row| row.value_wad.is_negative() && protocol.protects(row.account)) {
        cast.add(row.account, PartyRole::Victim, || format!("net change {}", changes(row, labels)));
    }
    for execution in &attacks {
        let why = || format!("sent transaction {}", execution.tx.hash);
        cast.add_outsider(execution.transaction.from, PartyRole::Attacker, why);
    }
    for execution in &attacks {
        attack_contracts(execution, &mut cast);
    }
    for finding in findings {
        for suspect in &finding.suspects {
            let why = || format!("named as suspect by the detector {}", finding.detector);
            // An account that made calls inside an attack runs code; one that only received something may be anybody's.
            let runs_code = attacks
                .iter()
                .flat_map(|execution| &execution.frames)
                .any(|frame| frame.depth > 0 && frame.caller == *suspect);
            let role = if runs_code { PartyRole::AttackContract } else { PartyRole::Beneficiary };
            cast.add_outsider(*suspect, role, why);
        }
    }
    for row in tally.rows.iter().filter(|row| gained(row, protocol)) {
        let why = || format!("net change {} without having sent an attack", changes(row, labels));
        cast.add_outsider(row.account, PartyRole::Beneficiary, why);
    }
    let mut parties: Vec<Party> = cast.parties.into_values().collect();
    parties.sort_by_key(|party| (party.role, party.address));
    parties
}

/// Contracts that the sender called directly or that came into being through it or them.
fn attack_contracts(execution: &Execution, cast: &mut Cast<'_>) {
    let hash = execution.tx.hash;
    if let Some(to) = execution.transaction.to.filter(|_| execution.frames.len() > 1) {
        cast.add_outsider(to, PartyRole::AttackContract, || format!("entry point of transaction {hash}"));
    }
    // Frames come in the order of entry, so a creator stands before what it creates.
    let created = execution
        .frames
        .iter()
        .filter(|frame| matches!(frame.kind, FrameKind::Create | FrameKind::Create2) && !frame.reverted);
    for frame in created {
        if cast.is_attacking(frame.caller) {
            let why = || format!("created by {} in transaction {hash}", frame.caller);
            cast.add_outsider(frame.address, PartyRole::AttackContract, why);
        }
    }
}

/// Whether an account came out ahead: in value, or, without prices, in an asset that the operator named.
fn gained(row: &ProfitAndLoss, protocol: &Protocol) -> bool {
    let ahead = |delta: &cordon_model::units::AssetDelta| {
        delta.delta_raw.is_positive() && protocol.asset(delta.asset).is_some()
    };
    row.value_wad.is_positive() || (row.value_wad.is_zero() && row.deltas.iter().all(ahead))
}

fn changes(row: &ProfitAndLoss, labels: &Labels) -> String {
    let all: Vec<String> =
        row.deltas.iter().map(|delta| labels.change(delta.asset, delta.delta_raw)).collect();
    all.join(", ")
}

struct Cast<'a> {
    parties: BTreeMap<Address, Party>,
    protocol: &'a Protocol,
}

impl Cast<'_> {
    fn add(&mut self, address: Address, role: PartyRole, why: impl FnOnce() -> String) {
        self.parties.entry(address).or_insert_with(|| Party { address, role, why: why() });
    }

    /// Adds an account unless it belongs to the protocol, is one of its assets, or is the zero address.
    fn add_outsider(&mut self, address: Address, role: PartyRole, why: impl FnOnce() -> String) {
        let inside = self.protocol.protects(address) || self.protocol.asset(Asset::Token(address)).is_some();
        if !inside && !address.is_zero() {
            self.add(address, role, why);
        }
    }

    fn is_attacking(&self, address: Address) -> bool {
        let role = self.parties.get(&address).map(|party| party.role);
        matches!(role, Some(PartyRole::Attacker | PartyRole::AttackContract))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::{Prices, flows, tally};
    use crate::testkit::{ATTACKER, DRAINER, LENDER, TxBuilder, USD, VAULT, call, labels, protocol};
    use alloy_primitives::{Bytes, U256};
    use cordon_model::finding::{AttackClass, Evidence, Score};
    use cordon_model::units::{ProtocolId, WAD};

    const CHILD: Address = Address::repeat_byte(0xac);
    const FENCE: Address = Address::repeat_byte(0xfe);

    #[test]
    fn everybody_gets_one_role_with_a_reason() {
        let mut tx = TxBuilder::new(1, ATTACKER, DRAINER, Bytes::from_static(&[1, 2, 3, 4]));
        tx.enter(FrameKind::Create, DRAINER, CHILD, Bytes::new());
        tx.leave(Bytes::new());
        tx.enter(FrameKind::Call, CHILD, VAULT, call("withdraw(uint256)", &[]));
        tx.token_transfer(USD, VAULT, CHILD, 3_000_000);
        tx.leave(Bytes::new());
        tx.token_transfer(USD, CHILD, FENCE, 1_000_000);
        tx.token_transfer(USD, CHILD, ATTACKER, 2_000_000);
        let attack = tx.build();
        // An honest transaction of the same time takes no part.
        let mut tx = TxBuilder::new(2, LENDER, VAULT, call("withdraw(uint256)", &[]));
        tx.transfer(cordon_model::units::Asset::Native, VAULT, LENDER, 1);
        let honest = tx.build();

        let finding = Finding {
            id: Finding::derive_id("test", attack.tx.chain_id, VAULT, &attack.tx),
            detector: "profit".to_owned(),
            class: AttackClass::ValueExtraction,
            protocol: ProtocolId("lending".to_owned()),
            contract: VAULT,
            tx: attack.tx,
            score: Score(900),
            evidence: Evidence::ValueLoss {
                loss_wad: U256::ZERO,
                holdings: vec![],
                obligations_delta_wad: Default::default(),
                loss_share_bps: None,
                gainers: vec![],
            },
            suspects: vec![ATTACKER, CHILD, VAULT],
        };
        let prices = Prices::from([(Asset::Token(USD), WAD)]);
        let tally = tally(&flows(&attack), &prices, &labels());
        let parties = parties(&[finding], &[attack, honest], &protocol(), &tally, &labels());
        let roles: Vec<_> = parties.iter().map(|party| (party.role, party.address)).collect();
        assert_eq!(
            roles,
            [
                (PartyRole::Attacker, ATTACKER),
                (PartyRole::AttackContract, DRAINER),
                (PartyRole::AttackContract, CHILD),
                (PartyRole::Beneficiary, FENCE),
                (PartyRole::Victim, VAULT),
            ]
        );
        assert!(parties[2].why.starts_with(&format!("created by {DRAINER}")), "{}", parties[2].why);
        assert!(parties[3].why.starts_with("net change +1 USD"), "{}", parties[3].why);
    }
}
