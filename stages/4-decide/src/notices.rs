//! Which events people are told of.
//!
//! In: an incident after an event. Out: notices, each with an id that depends on incident and occasion alone, so that
//! telling the same thing twice is impossible by construction. Must never: leave out an event that needs a person.

use cordon_model::finding::{Evidence, Finding, Score};
use cordon_model::incident::{Incident, IncidentEvent, Severity};
use cordon_model::notice::{Audience, Notice};
use cordon_model::plan::{Certainty, Purpose};
use cordon_model::units::{NoticeId, PlanHash, format_value};

/// What opens an incident alone at the default policy.
const STRONG: Score = Score(600);

/// The notices that follow from an event; `incident` is the incident after it.
#[must_use]
pub fn notices(incident: &Incident, event: &IncidentEvent) -> Vec<Notice> {
    match event {
        IncidentEvent::Detected { finding, .. } => {
            let title = format!("{} on '{}'", finding.class, incident.protocol);
            let lines = vec![finding.evidence.to_string(), format!("transaction {}", finding.tx.hash)];
            vec![notice(incident, "detected", Audience::Responders, title, lines)]
        }
        IncidentEvent::FindingAdded { finding } => {
            let loss = further_loss(incident, finding);
            if loss.is_empty() { further_kind(incident, finding) } else { loss }
        }
        IncidentEvent::FindingWithdrawn { finding } if incident.findings.is_empty() => {
            let title = format!("the attack on '{}' left the chain", incident.protocol);
            let lines = vec![
                "every finding was in a block that was reorganised away; it may be mined again".to_owned(),
            ];
            vec![notice(incident, &format!("withdrawn {}", finding.0), Audience::Responders, title, lines)]
        }
        IncidentEvent::Triaged { severity, rationale } => {
            let title = format!("severity {severity} on '{}'", incident.protocol);
            vec![notice(
                incident,
                &format!("triaged {severity}"),
                Audience::Responders,
                title,
                vec![rationale.clone()],
            )]
        }
        IncidentEvent::NeedsPerson { why } => {
            let title = format!("Cordon cannot go on by itself on '{}'", incident.protocol);
            let occasion = format!("needs a person: {why}");
            vec![notice(incident, &occasion, Audience::Responders, title, vec![why.clone()])]
        }
        IncidentEvent::PlanRefused { .. }
        | IncidentEvent::StepLanded { .. }
        | IncidentEvent::StepReverted { .. }
        | IncidentEvent::StepHeld { .. }
        | IncidentEvent::EffectsChecked { .. }
        | IncidentEvent::PlanFailed { .. }
        | IncidentEvent::PlanCompleted { .. } => execution(incident, event),
        IncidentEvent::Investigated { root_cause, loss_wad, report_hash } => {
            let title = format!("the incident on '{}' is investigated", incident.protocol);
            let lines = vec![root_cause.clone(), format!("loss {} in value", format_value(*loss_wad))];
            // A later report with other figures is another occasion.
            let occasion = format!("investigated {report_hash}");
            vec![notice(incident, &occasion, Audience::Responders, title, lines)]
        }
        IncidentEvent::AllocationSettled { allocation, merkle_root } => {
            let title = format!("{} accounts are owed a reimbursement", allocation.entitlements.len());
            let lines = vec![format!("claims are proven against the root {merkle_root}")];
            vec![notice(incident, &format!("settled {merkle_root}"), Audience::Users, title, lines)]
        }
        IncidentEvent::FindingConfirmed { certainty: Certainty::Finalized, .. } if is_final(incident) => {
            let title = format!("the attack on '{}' is in finalised blocks", incident.protocol);
            let lines = vec![format!("{} findings stand for good", incident.findings.len())];
            // Findings that join later are final on another occasion.
            let occasion = format!("final {}", incident.findings.len());
            vec![notice(incident, &occasion, Audience::Responders, title, lines)]
        }
        IncidentEvent::FindingWithdrawn { .. }
        | IncidentEvent::FindingConfirmed { .. }
        | IncidentEvent::Simulated { .. }
        | IncidentEvent::PlanChosen { .. }
        | IncidentEvent::PlanApproved { .. }
        | IncidentEvent::RemedyJudged { .. }
        | IncidentEvent::ClaimPaid { .. }
        | IncidentEvent::FalseAlarm
        | IncidentEvent::Reopened
        | IncidentEvent::Closed => Vec::new(),
    }
}

/// True where every finding stands in a finalised block.
fn is_final(incident: &Incident) -> bool {
    let certainty = |finding: &Finding| incident.certainty.get(&finding.id);
    incident.findings.iter().all(|finding| certainty(finding) == Some(&Certainty::Finalized))
}

/// Value that left after the incident was opened: people must know that it goes on, above all where they believe it
/// contained.
fn further_loss(incident: &Incident, finding: &Finding) -> Vec<Notice> {
    let Evidence::ValueLoss { loss_wad, .. } = &finding.evidence else { return Vec::new() };
    let after = incident.contained_at().is_some_and(|block| finding.tx.block.number > block);
    let when = if after { "AFTER the containment" } else { "in a further transaction" };
    let title = format!("'{}' lost {} in value {when}", incident.protocol, format_value(*loss_wad));
    let lines = vec![finding.evidence.to_string(), format!("transaction {}", finding.tx.hash)];
    vec![notice(incident, &format!("further loss {}", finding.id.0), Audience::Responders, title, lines)]
}

/// Another kind of attack than those that people know of, in a transaction that nothing strong was said of: the severity may be as high as
/// it can be already, and would not tell.
fn further_kind(incident: &Incident, finding: &Finding) -> Vec<Notice> {
    let is_strong = |finding: &Finding| finding.score >= STRONG;
    let mut others = incident.findings.iter().filter(|other| other.id != finding.id && is_strong(other));
    if !is_strong(finding) || others.any(|other| other.class == finding.class || other.tx == finding.tx) {
        return Vec::new();
    }
    let title = format!("{} on '{}' as well", finding.class, incident.protocol);
    let lines = vec![finding.evidence.to_string(), format!("transaction {}", finding.tx.hash)];
    vec![notice(incident, &format!("further kind {}", finding.id.0), Audience::Responders, title, lines)]
}

/// What becomes of plans: whatever needs a person, and whatever changes for the users.
fn execution(incident: &Incident, event: &IncidentEvent) -> Vec<Notice> {
    let tell = |audience, occasion: String, title: String, lines| {
        vec![notice(incident, &occasion, audience, title, lines)]
    };
    match event {
        IncidentEvent::PlanRefused { plan, rule } => {
            let title = format!("a {} waits for a person", named(incident, *plan));
            tell(Audience::Signers, format!("refused {plan}"), title, vec![rule.clone()])
        }
        IncidentEvent::StepLanded { receipt } if !receipt.success => {
            let title = format!("a step of the {} failed on chain", named(incident, receipt.plan));
            let (tx, occasion) = (receipt.tx_hash, format!("failed {}", receipt.tx_hash));
            tell(Audience::Responders, occasion, title, vec![format!("transaction {tx}")])
        }
        IncidentEvent::StepReverted { plan, step, block } => {
            let title = format!("a step of the {} left the chain and is sent again", named(incident, *plan));
            let lines = vec![format!("block {} ({}) was reorganised away", block.number, block.hash)];
            tell(Audience::Responders, format!("left {plan} {step} {}", block.hash), title, lines)
        }
        IncidentEvent::StepHeld { plan, step, why } => {
            let title = format!("a step of the {} is held", named(incident, *plan));
            tell(Audience::Responders, format!("held {plan} {step} {why}"), title, vec![why.clone()])
        }
        IncidentEvent::EffectsChecked { verification } if !verification.passed() => {
            let title = format!("the {} did not take effect", named(incident, verification.plan));
            let failed = verification.effects.iter().filter(|(_, held)| !held);
            let lines = failed.map(|(what, _)| format!("does not hold: {what}")).collect();
            let occasion = format!("ineffective {} {}", verification.plan, verification.step);
            tell(Audience::Responders, occasion, title, lines)
        }
        IncidentEvent::PlanFailed { plan, why } => {
            let title = format!("the {} failed, another one is tried", named(incident, *plan));
            tell(Audience::Responders, format!("plan failed {plan}"), title, vec![why.clone()])
        }
        IncidentEvent::PlanCompleted { plan } => completed(incident, *plan),
        _ => Vec::new(),
    }
}

fn completed(incident: &Incident, plan: PlanHash) -> Vec<Notice> {
    let Some(record) = incident.plans.get(&plan) else { return Vec::new() };
    let lines = vec![record.plan.title.clone()];
    // The block makes it another occasion when the plan completes again after a reorganisation.
    let block = record.verifications.values().next_back().map(|verification| verification.block.hash);
    let occasion = format!("completed {plan} {}", block.unwrap_or_default());
    let tell = |audience, title: &str| {
        notice(incident, &format!("{occasion} {title}"), audience, title.to_owned(), lines.clone())
    };
    match record.plan.purpose {
        Purpose::Contain => vec![
            tell(Audience::Responders, "the attack is contained"),
            tell(Audience::Users, "the protocol is restricted while an incident is handled"),
        ],
        Purpose::Eradicate => vec![tell(Audience::Responders, "the fix is installed")],
        Purpose::Reimburse => vec![tell(Audience::Users, "reimbursements can be claimed")],
        Purpose::Reopen => vec![tell(Audience::Users, "the protocol is open again")],
    }
}

fn named(incident: &Incident, plan: PlanHash) -> String {
    incident.plans.get(&plan).map_or_else(|| plan.to_string(), |record| record.plan.purpose.to_string())
}

fn notice(
    incident: &Incident,
    occasion: &str,
    audience: Audience,
    title: String,
    lines: Vec<String>,
) -> Notice {
    Notice {
        id: NoticeId::derive(&[&incident.id.0.to_string(), occasion]),
        incident: Some(incident.id),
        protocol: Some(incident.protocol.clone()),
        chain_id: incident.chain_id,
        severity: incident.severity.unwrap_or(Severity::Medium),
        audience,
        title,
        lines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{finding, incident_of, value_loss};
    use cordon_model::finding::AttackClass;

    #[test]
    fn a_detection_tells_the_responders_once() {
        let finding = value_loss(10, 500, 100);
        let incident = incident_of(finding.clone());
        let (id, chain_id, protocol) = (incident.id, incident.chain_id, incident.protocol.clone());
        let event = IncidentEvent::Detected { incident: id, chain_id, protocol, finding: Box::new(finding) };
        let told = notices(&incident, &event);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].audience, Audience::Responders);
        assert_eq!(told[0].title, "value extraction on 'lending'");
        assert_eq!(told, notices(&incident, &event), "the same occasion has the same id");
    }

    #[test]
    fn another_kind_of_attack_elsewhere_is_told_and_a_second_voice_is_not() {
        let told = |detector, class, block, score| {
            let further = Finding { class, ..finding(detector, block, 0, score) };
            let mut incident = incident_of(finding("reentrancy", 10, 0, 900));
            incident.findings.push(further.clone());
            notices(&incident, &IncidentEvent::FindingAdded { finding: Box::new(further) })
        };
        let mint = AttackClass::UnbackedMint;
        let [notice] = &told("unbacked-mint", mint, 11, 800)[..] else { panic!("nobody is told") };
        assert_eq!(notice.title, "issue without backing on 'lending' as well");
        assert_eq!(told("unbacked-mint", mint, 10, 800), [], "of a transaction that people know of");
        assert_eq!(told("unbacked-mint", mint, 11, 300), [], "weak");
        let known = incident_of(finding("reentrancy", 10, 0, 900)).findings[0].class;
        assert_eq!(told("reentrancy", known, 11, 900), [], "more of the same");
    }

    #[test]
    fn raising_the_severity_is_another_occasion() {
        let incident = incident_of(value_loss(10, 500, 100));
        let triaged = |severity| IncidentEvent::Triaged { severity, rationale: "grounds".to_owned() };
        let high = notices(&incident, &triaged(Severity::High));
        let critical = notices(&incident, &triaged(Severity::Critical));
        assert_ne!(high[0].id, critical[0].id);
    }
}
