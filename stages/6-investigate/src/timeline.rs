//! What happened when.
//!
//! In: the incident's records and executions. Out: one line per fact, in the order of blocks. A record carries the newest
//! block that was known when it was written, so a line says when Cordon knew, and the transactions' own lines say when
//! it happened. Must never: leave a kind of event out.

use crate::interfaces::Interfaces;
use crate::labels::Labels;
use crate::text::plain;
use cordon_model::calibration::{Judging, Thresholds};
use cordon_model::execution::Execution;
use cordon_model::finding::Finding;
use cordon_model::incident::IncidentEvent;
use cordon_model::lane::LaneEvent;
use cordon_model::log::{Body, ChainEvent, FollowReason, Record, RuleFile};
use cordon_model::notice::OutboxEvent;
use cordon_model::remedy::Verdict;
use cordon_model::report::TimelineEntry;
use cordon_model::units::{BlockRef, format_units};

/// The timeline. Transactions come before records of the same block, and records keep their order.
#[must_use]
pub fn timeline(
    executions: &[Execution],
    records: &[Record],
    interfaces: &Interfaces,
    labels: &Labels,
) -> Vec<TimelineEntry> {
    let mined = executions.iter().map(|execution| TimelineEntry {
        block: execution.tx.block.number,
        timestamp_s: execution.timestamp_s,
        what: transaction(execution, interfaces, labels),
    });
    let told = records.iter().map(|record| TimelineEntry {
        block: record.at_block,
        timestamp_s: record.at_s,
        what: format!("{}: {}", plain(&record.actor.to_string()), body(&record.body, labels)),
    });
    let mut entries: Vec<TimelineEntry> = mined.chain(told).collect();
    entries.sort_by_key(|entry| entry.block);
    entries
}

fn transaction(execution: &Execution, interfaces: &Interfaces, labels: &Labels) -> String {
    let (from, hash) = (labels.short(execution.transaction.from), execution.tx.hash);
    let failed = crate::call_tree::failure(&execution.status, interfaces, labels);
    let ended = if failed.is_empty() { "succeeded".to_owned() } else { failed };
    match execution.transaction.to {
        Some(to) => {
            let call = interfaces.function_name(execution.frame(0).and_then(|frame| frame.selector()));
            format!("chain: transaction {hash} from {from} to {} ({call}) {ended}", labels.short(to))
        }
        None => format!("chain: transaction {hash} from {from} creates a contract: {ended}"),
    }
}

fn body(body: &Body, labels: &Labels) -> String {
    match body {
        Body::Incident(event) => incident_event(event, labels),
        Body::Lane(event) => lane_event(event, labels),
        Body::Outbox(event) => outbox_event(event),
        Body::Chain(event) => chain_event(event, labels),
    }
}

fn chain_event(event: &ChainEvent, labels: &Labels) -> String {
    match event {
        ChainEvent::Reverted { block } => format!("block {} ({}) left the chain", block.number, block.hash),
        ChainEvent::ReplayMismatch { block, what } => {
            format!("block {} was not reproduced: {}", block.number, plain(what))
        }
        ChainEvent::Finality { safe, finalized } => {
            let number = |block: &Option<BlockRef>| {
                block.map_or_else(|| "unknown".to_owned(), |block| block.number.to_string())
            };
            format!("safe block {}, finalised block {}", number(safe), number(finalized))
        }
        ChainEvent::AlarmRaised { alarm } => {
            format!("raised a network alarm, {}: {}", alarm.signal.kind(), plain(&alarm.signal.to_string()))
        }
        ChainEvent::AlarmCleared { kind, subject } => {
            let about = subject.map(|subject| format!(" of {}", labels.full(subject))).unwrap_or_default();
            format!("cleared the network alarm, {kind}{about}")
        }
        ChainEvent::Held { why } => format!("stopped sending on this chain: {}", plain(why)),
        ChainEvent::Released { why } => format!("allowed sending on this chain again: {}", plain(why)),
        ChainEvent::Halted { why } => format!("stopped judging the blocks of this chain: {}", plain(why)),
        ChainEvent::Followed { protocol, contract, block, because } => {
            let because = match because {
                FollowReason::CreatedBy(factory) => format!("created by {}", labels.full(*factory)),
                FollowReason::ImplementationOf(proxy) => format!("code behind {}", labels.full(*proxy)),
            };
            // A look at the start takes up what was there already and names no block's hash.
            let at = if block.hash.is_zero() {
                "before watching began".to_owned()
            } else {
                format!("in block {}", block.number)
            };
            format!("contract {} joined '{}' {at}: {because}", labels.full(*contract), plain(&protocol.0))
        }
        ChainEvent::Learned { protocol, block, transactions, .. } => format!(
            "knows {transactions} ordinary transactions of '{}' with those of block {}",
            plain(&protocol.0),
            block.number
        ),
        ChainEvent::Tallied { protocol, block, tallies, .. } => format!(
            "counted {} amounts of '{}' in block {} towards what happened lately",
            tallies.len(),
            plain(&protocol.0),
            block.number
        ),
        ChainEvent::Messages { block, news } => {
            format!("noted {} facts about messages between chains in block {}", news.len(), block.number)
        }
        ChainEvent::Weighed { protocol, block, weights } => format!(
            "noted how strong the findings on {} transactions of '{}' in block {} were",
            weights.len(),
            plain(&protocol.0),
            block.number
        ),
        ChainEvent::JudgedBy { judging } => judged_by(judging),
        ChainEvent::RulesTaken { files } => {
            let file = |file: &RuleFile| format!("{} ({})", plain(&file.name), file.text_hash);
            let files: Vec<String> = files.iter().map(file).collect();
            format!("judges by the rules of {} files: {}", files.len(), files.join(", "))
        }
        ChainEvent::Withheld { protocol, tx, .. } => {
            format!(
                "learned nothing of '{}' from transaction {}, which woke people",
                plain(&protocol.0),
                tx.hash
            )
        }
        ChainEvent::Accepted { protocol, tx, .. } => {
            format!("takes transaction {} of '{}' for ordinary use", tx.hash, plain(&protocol.0))
        }
    }
}

fn judged_by(judging: &Judging) -> String {
    let one = |own: &Thresholds| {
        let Thresholds { protocol, page, act } = own;
        format!("; '{}' wakes people from {page} on and lets levers act from {act} on", plain(&protocol.0))
    };
    let thresholds: String = judging.thresholds.iter().map(one).collect();
    let (protocols, detectors) = (judging.protocols.len(), judging.detectors);
    format!("judges {protocols} protocols by detectors as configured in {detectors}{thresholds}")
}

fn found(finding: &Finding) -> String {
    format!("{} in transaction {} (score {})", finding.class, finding.tx.hash, finding.score)
}

fn incident_event(event: &IncidentEvent, labels: &Labels) -> String {
    match event {
        IncidentEvent::Detected { finding, .. } => format!("opened the incident: {}", found(finding)),
        IncidentEvent::FindingAdded { finding } => format!("added a finding: {}", found(finding)),
        IncidentEvent::FindingWithdrawn { finding } => {
            format!("withdrew finding {finding}: its block left the chain")
        }
        IncidentEvent::FindingConfirmed { finding, certainty } => {
            format!("finding {finding} stands in a block that is {certainty} now")
        }
        IncidentEvent::Triaged { severity, rationale } => {
            format!("set severity {severity}: {}", plain(rationale))
        }
        IncidentEvent::Simulated { simulation } => {
            let contains =
                if simulation.contains_attack() { "stops the attack" } else { "does not stop the attack" };
            let broken = simulation.honest_broken();
            let (honest, title) = (simulation.honest.len(), plain(&simulation.plan.title));
            format!(
                "tried '{title}' on a fork: it {contains}; {broken} of {honest} honest transactions fail with it"
            )
        }
        IncidentEvent::NeedsPerson { why } => format!("asked for a person: {}", plain(why)),
        IncidentEvent::PlanChosen { plan, rationale } => {
            let (hash, purpose, title) = (plan.hash(), plan.purpose, plain(&plan.title));
            format!("chose plan {hash} ({purpose}) '{title}': {}", plain(rationale))
        }
        IncidentEvent::PlanApproved { plan } => format!("approved plan {plan}"),
        IncidentEvent::PlanRefused { plan, rule } => format!("refused plan {plan}: {}", plain(rule)),
        IncidentEvent::StepLanded { receipt } => {
            let ended = if receipt.success { "landed" } else { "was mined and failed" };
            format!(
                "step {} of plan {} {ended} in block {} (transaction {})",
                receipt.step, receipt.plan, receipt.block.number, receipt.tx_hash
            )
        }
        IncidentEvent::StepReverted { plan, step, .. } => {
            format!("step {step} of plan {plan} left the chain and is open again")
        }
        IncidentEvent::StepHeld { plan, step, why } => {
            format!("held step {step} of plan {plan}: {}", plain(why))
        }
        IncidentEvent::EffectsChecked { verification } => {
            let held = verification.effects.iter().filter(|(_, held)| *held).count();
            format!(
                "asked the effects of step {} of plan {}: {held} of {} hold at block {}",
                verification.step,
                verification.plan,
                verification.effects.len(),
                verification.block.number
            )
        }
        IncidentEvent::PlanFailed { plan, why } => format!("gave up plan {plan}: {}", plain(why)),
        IncidentEvent::PlanCompleted { plan } => format!("completed plan {plan}"),
        IncidentEvent::Investigated { .. }
        | IncidentEvent::RemedyJudged { .. }
        | IncidentEvent::AllocationSettled { .. }
        | IncidentEvent::ClaimPaid { .. }
        | IncidentEvent::FalseAlarm
        | IncidentEvent::Reopened
        | IncidentEvent::Closed => later_event(event, labels),
    }
}

/// The events of investigation, fix, recovery and closing; the others have their line in [`incident_event`].
fn later_event(event: &IncidentEvent, labels: &Labels) -> String {
    match event {
        IncidentEvent::Investigated { root_cause, loss_wad, .. } => {
            format!(
                "wrote the investigation: {} Loss {} in value",
                plain(root_cause),
                format_units(*loss_wad, 18)
            )
        }
        IncidentEvent::RemedyJudged { remedy } => match &remedy.verdict {
            Verdict::Proven => format!(
                "proved the fix {} ({} honest transactions replayed)",
                plain(&remedy.candidate),
                remedy.honest_replayed
            ),
            Verdict::Refused(rules) => {
                format!("refused the fix {}: {} rules broken", plain(&remedy.candidate), rules.len())
            }
        },
        IncidentEvent::AllocationSettled { allocation, .. } => {
            let total = allocation.total_paid_raw().unwrap_or_default();
            format!(
                "settled the allocation: {} for {} accounts",
                labels.amount(allocation.asset, total),
                allocation.entitlements.len()
            )
        }
        IncidentEvent::ClaimPaid { account, amount_raw, tx_hash } => {
            format!(
                "paid the claim of {}: {amount_raw} smallest units (transaction {tx_hash})",
                labels.full(*account)
            )
        }
        IncidentEvent::FalseAlarm => "closed the incident as a false alarm".to_owned(),
        IncidentEvent::Reopened => "opened the incident again".to_owned(),
        IncidentEvent::Closed => "closed the incident".to_owned(),
        IncidentEvent::Detected { .. }
        | IncidentEvent::FindingAdded { .. }
        | IncidentEvent::FindingWithdrawn { .. }
        | IncidentEvent::FindingConfirmed { .. }
        | IncidentEvent::Triaged { .. }
        | IncidentEvent::Simulated { .. }
        | IncidentEvent::NeedsPerson { .. }
        | IncidentEvent::PlanChosen { .. }
        | IncidentEvent::PlanApproved { .. }
        | IncidentEvent::PlanRefused { .. }
        | IncidentEvent::StepLanded { .. }
        | IncidentEvent::StepReverted { .. }
        | IncidentEvent::StepHeld { .. }
        | IncidentEvent::EffectsChecked { .. }
        | IncidentEvent::PlanFailed { .. }
        | IncidentEvent::PlanCompleted { .. } => event.name().to_owned(),
    }
}

fn lane_event(event: &LaneEvent, labels: &Labels) -> String {
    match event {
        LaneEvent::IntentRecorded { intent } => format!(
            "allowed step {} of plan {} to be signed by {} with nonce {}",
            intent.step,
            intent.plan,
            labels.full(intent.from),
            intent.nonce
        ),
        LaneEvent::Signed { nonce, tx_hash, max_fee_per_gas_wei, .. } => {
            format!("signed transaction {tx_hash} (nonce {nonce}, fee cap {max_fee_per_gas_wei} wei per gas)")
        }
        LaneEvent::Mined { nonce, receipt } => {
            format!(
                "transaction {} (nonce {nonce}) was mined in block {}",
                receipt.tx_hash, receipt.block.number
            )
        }
        LaneEvent::Unmined { nonce, block } => {
            format!("the transaction of nonce {nonce} left the chain with block {}", block.number)
        }
    }
}

fn outbox_event(event: &OutboxEvent) -> String {
    match event {
        OutboxEvent::Queued { notice } => format!("wrote notice {}: {}", notice.id, plain(&notice.title)),
        OutboxEvent::Delivered { notice, attempts } => {
            format!("delivered notice {notice} (attempt {attempts})")
        }
        OutboxEvent::Failed { notice, attempt, error } => {
            format!("could not deliver notice {notice} (attempt {attempt}): {}", plain(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{ATTACKER, TxBuilder, VAULT, call, labels};
    use alloy_primitives::{B256, U256};
    use cordon_model::allocation::{Allocation, Entitlement};
    use cordon_model::log::{Actor, FORMAT_VERSION};
    use cordon_model::units::{Asset, BlockRef, NoticeId, PlanHash};

    const BLOCK: BlockRef = BlockRef { number: 7, hash: B256::ZERO };

    fn record(at_block: u64, body: Body) -> Record {
        let actor = Actor::Person("ada\n".to_owned());
        Record { format: FORMAT_VERSION, at_s: 1, at_block, actor, why: String::new(), body }
    }

    fn told(records: &[Record]) -> Vec<String> {
        let entries = timeline(&[], records, &Interfaces::standard(), &labels());
        entries.into_iter().map(|entry| entry.what).collect()
    }

    #[test]
    fn transactions_stand_before_what_was_said_of_them() {
        let execution = TxBuilder::new(1, ATTACKER, VAULT, call("pause()", &[])).build();
        let records = [
            record(102, Body::Incident(IncidentEvent::Closed)),
            record(101, Body::Incident(IncidentEvent::FalseAlarm)),
        ];
        let entries = timeline(&[execution], &records, &Interfaces::standard(), &labels());
        let blocks: Vec<u64> = entries.iter().map(|entry| entry.block).collect();
        assert_eq!(blocks, [101, 101, 102]);
        assert!(entries[0].what.ends_with("to Vault (pause) succeeded"), "{}", entries[0].what);
        assert_eq!(entries[1].what, "ada\\u{a}: closed the incident as a false alarm");
    }

    #[test]
    fn every_stream_is_told() {
        let plan = PlanHash(B256::ZERO);
        let entitlement = Entitlement { account: VAULT, loss_raw: U256::from(2), amount_raw: U256::from(1) };
        let allocation = Box::new(Allocation {
            asset: Asset::Native,
            method: "pro-rata/1".to_owned(),
            snapshot: BLOCK,
            funds_raw: U256::from(1),
            total_loss_raw: U256::from(2),
            entitlements: vec![entitlement],
            dust_raw: U256::ZERO,
        });
        let told = told(&[
            record(1, Body::Incident(IncidentEvent::StepReverted { plan, step: 2, block: BLOCK })),
            record(
                1,
                Body::Incident(IncidentEvent::AllocationSettled { allocation, merkle_root: B256::ZERO }),
            ),
            record(1, Body::Lane(LaneEvent::Unmined { nonce: 4, block: BLOCK })),
            record(1, Body::Outbox(OutboxEvent::Delivered { notice: NoticeId(B256::ZERO), attempts: 3 })),
            record(1, Body::Chain(ChainEvent::ReplayMismatch { block: BLOCK, what: "gas\u{1b}".to_owned() })),
        ]);
        let expected = [
            "step 2 of plan pln-00000000 left the chain and is open again",
            "settled the allocation: 0.000000000000000001 native coin for 1 accounts",
            "the transaction of nonce 4 left the chain with block 7",
            "delivered notice ntc-00000000 (attempt 3)",
            "block 7 was not reproduced: gas\\u{1b}",
        ];
        for (line, expected) in told.iter().zip(expected) {
            assert_eq!(line, &format!("ada\\u{{a}}: {expected}"));
        }
    }
}
