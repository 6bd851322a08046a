//! Log records as lines for people: one place for the timeline of the drill, `watch` and `incident show`.
//!
//! In: records. Out: text without control characters: everything that may come from the chain is escaped. Must never:
//! decide anything, or show a time that is not in the record.

use alloy_primitives::U256;
use cordon_model::allocation::Allocation;
use cordon_model::finding::{Evidence, Finding};
use cordon_model::incident::IncidentEvent;
use cordon_model::lane::LaneEvent;
use cordon_model::notice::Notice;
use cordon_model::plan::{Plan, Receipt, Verification};
use cordon_model::protocol::Protocol;
use cordon_model::remedy::{HonestDifference, Remedy, Verdict};
use cordon_model::simulation::{AttackTrial, Ground, Simulation, TrialOutcome};
use cordon_model::units::{Asset, format_units, format_value};

/// Most examples of one kind that are shown: what people take in at a glance. The log holds all of them.
const EXAMPLES_MAX: usize = 4;

/// Names for addresses in rendered text.
#[derive(Debug, Clone, Default)]
pub struct Names {
    known: Vec<(String, String)>,
}

impl Names {
    /// The operator's names: contracts and tokens of the protocols.
    #[must_use]
    pub fn of<'a>(protocols: impl IntoIterator<Item = &'a Protocol>) -> Self {
        let mut known = Vec::new();
        for protocol in protocols {
            let contracts =
                protocol.contracts.iter().map(|contract| (contract.address, contract.name.as_str()));
            let tokens = protocol.assets.iter().filter_map(|spec| match spec.asset {
                Asset::Token(token) => Some((token, spec.symbol.as_str())),
                Asset::Native => None,
            });
            // A contract's name comes before the symbol of the token that it may be as well.
            for (address, name) in contracts.chain(tokens) {
                known.push((address.to_string(), plain(name)));
            }
        }
        Self { known }
    }

    /// The text with every known address replaced by its name.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        self.known.iter().fold(text.to_owned(), |text, (address, name)| text.replace(address, name))
    }
}

/// Notices of a chain, each title once however many people it goes to.
#[must_use]
pub(crate) fn notices(notices: &[Notice], names: &Names) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut told: Vec<(&str, &[String])> = Vec::new();
    for notice in notices {
        let matter = (notice.title.as_str(), notice.lines.as_slice());
        if told.contains(&matter) {
            continue;
        }
        told.push(matter);
        lines.push(names.apply(&plain(&notice.title)));
        lines.extend(notice.lines.iter().map(|line| format!("    {}", names.apply(&plain(line)))));
    }
    lines
}

/// Escapes control characters, so that text from a chain cannot move the cursor or start a new line.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// An event as a headline and details.
#[must_use]
pub fn event(event: &IncidentEvent) -> (String, Vec<String>) {
    let none = Vec::new();
    match event {
        IncidentEvent::Detected { incident, protocol, finding, .. } => {
            (format!("{incident} opened for protocol '{}'", plain(&protocol.0)), finding_lines(finding))
        }
        IncidentEvent::FindingAdded { finding } => ("a further finding".to_owned(), finding_lines(finding)),
        IncidentEvent::FindingWithdrawn { finding } => {
            (format!("{finding} withdrawn: its block left the chain"), none)
        }
        IncidentEvent::FindingConfirmed { finding, certainty } => {
            (format!("{finding} confirmed: its block is {certainty}"), none)
        }
        IncidentEvent::Triaged { severity, rationale } => {
            (format!("severity {severity}"), vec![plain(rationale)])
        }
        IncidentEvent::Simulated { simulation } => simulated(simulation),
        IncidentEvent::NeedsPerson { why } => ("a person is needed".to_owned(), vec![plain(why)]),
        IncidentEvent::PlanChosen { plan, rationale } => {
            let mut lines = vec![plain(rationale)];
            lines.extend(plan_lines(plan));
            (format!("{} {} chosen: {}", plan.purpose, plan.hash(), plain(&plan.title)), lines)
        }
        IncidentEvent::PlanApproved { plan } => (format!("{plan} approved"), none),
        IncidentEvent::PlanRefused { plan, rule } => (format!("{plan} refused"), vec![plain(rule)]),
        IncidentEvent::StepLanded { receipt } => (landed(receipt), none),
        IncidentEvent::StepReverted { plan, step, .. } => {
            (format!("{plan} step {}: its block left the chain, it is open again", step + 1), none)
        }
        IncidentEvent::StepHeld { plan, step, why } => {
            (format!("{plan} step {} is held: a person should look", step + 1), vec![plain(why)])
        }
        IncidentEvent::EffectsChecked { verification } => checked(verification),
        IncidentEvent::PlanFailed { plan, why } => {
            (format!("{plan} failed, another one is tried"), vec![plain(why)])
        }
        IncidentEvent::PlanCompleted { plan } => {
            (format!("{plan} complete: every step landed and took effect"), none)
        }
        IncidentEvent::Investigated { root_cause, loss_wad, report_hash } => {
            let loss = format!("loss {} in value; report {report_hash}", format_value(*loss_wad));
            ("investigated".to_owned(), vec![plain(root_cause), loss])
        }
        IncidentEvent::RemedyJudged { remedy } => self::remedy(remedy),
        IncidentEvent::AllocationSettled { allocation, merkle_root } => {
            let mut lines = allocation_lines(allocation);
            lines.push(format!("Merkle root {merkle_root}"));
            ("allocation settled".to_owned(), lines)
        }
        IncidentEvent::ClaimPaid { account, amount_raw, .. } => {
            (format!("claim paid: {account} received {}", format_units(*amount_raw, 18)), none)
        }
        IncidentEvent::FalseAlarm => ("false alarm".to_owned(), none),
        IncidentEvent::Reopened => ("reopened".to_owned(), none),
        IncidentEvent::Closed => ("closed".to_owned(), none),
    }
}

/// An event of a signer's lane as one line.
#[must_use]
pub fn lane(event: &LaneEvent) -> String {
    match event {
        LaneEvent::IntentRecorded { intent } => format!(
            "the gate allows {} step {}: nonce {} of {} belongs to it alone",
            intent.plan,
            intent.step + 1,
            intent.nonce,
            intent.from
        ),
        LaneEvent::Signed { nonce, tx_hash, max_fee_per_gas_wei, max_priority_fee_per_gas_wei, .. } => {
            format!(
                "signed and sent {tx_hash}, nonce {nonce}, at most {} gwei per gas with a tip of {} gwei",
                format_units(U256::from(*max_fee_per_gas_wei), 9),
                format_units(U256::from(*max_priority_fee_per_gas_wei), 9)
            )
        }
        LaneEvent::Mined { nonce, receipt } => {
            format!("nonce {nonce} was mined in block {} by {}", receipt.block.number, receipt.tx_hash)
        }
        LaneEvent::Unmined { nonce, block } => {
            format!("nonce {nonce} is open again: block {} left the chain", block.number)
        }
    }
}

fn finding_lines(finding: &Finding) -> Vec<String> {
    let mut lines = vec![
        format!("{}: {} (score {})", plain(&finding.detector), finding.evidence, finding.score),
        format!("in transaction {} of block {}", finding.tx.hash, finding.tx.block.number),
    ];
    if let Evidence::ValueLoss { gainers, .. } = &finding.evidence {
        for (account, gain) in gainers.iter().filter(|(_, gain)| gain.is_positive()).take(3) {
            lines.push(format!("{account} gained {}", format_value(gain.unsigned_abs())));
        }
    }
    lines
}

fn simulated(simulation: &Simulation) -> (String, Vec<String>) {
    let verdict = if simulation.contains_attack() { "stops the attack" } else { "does not stop the attack" };
    let mut lines = Vec::new();
    if let Some(error) = &simulation.plan_error {
        lines.push(format!("the plan itself fails: {}", plain(error)));
    }
    lines.extend(simulation.attack.iter().map(trial));
    let working = simulation.honest.iter().filter(|trial| trial.works_without).count();
    lines.push(format!(
        "side-effect: {} of {working} honest transactions would fail",
        simulation.honest_broken()
    ));
    (format!("option '{}' {verdict}", plain(&simulation.plan.title)), lines)
}

/// One replayed attack transaction as a line.
#[must_use]
pub fn trial(trial: &AttackTrial) -> String {
    let ground = match trial.ground {
        Ground::BeforeAttack => "before the attack",
        Ground::Head => "run once more now",
    };
    format!(
        "attack {} {ground}: without {}, with {}",
        trial.tx_hash,
        outcome(&trial.without),
        outcome(&trial.with)
    )
}

fn outcome(outcome: &TrialOutcome) -> String {
    match (&outcome.error, outcome.success) {
        (_, true) => format!("it takes {}", format_value(outcome.loss_wad)),
        (Some(error), false) => format!("it fails ({})", plain(error)),
        (None, false) => "it fails".to_owned(),
    }
}

fn plan_lines(plan: &Plan) -> Vec<String> {
    let step = |(index, step): (usize, &cordon_model::plan::Step)| {
        format!("step {}: {}", index + 1, plain(&step.name))
    };
    plan.steps.iter().enumerate().map(step).collect()
}

fn landed(receipt: &Receipt) -> String {
    let how = if receipt.success { "landed" } else { "landed and failed" };
    format!(
        "{} step {} {how} in block {} at position {}, transaction {}, {} gas",
        receipt.plan,
        receipt.step + 1,
        receipt.block.number,
        receipt.index,
        receipt.tx_hash,
        receipt.gas_used
    )
}

fn checked(verification: &Verification) -> (String, Vec<String>) {
    let line = |(what, held): &(String, bool)| {
        format!("{}: {}", plain(what), if *held { "holds" } else { "does NOT hold" })
    };
    let title = format!(
        "{} step {} checked at block {}",
        verification.plan,
        verification.step + 1,
        verification.block.number
    );
    (title, verification.effects.iter().map(line).collect())
}

/// A judged fix as a headline and details.
#[must_use]
pub fn remedy(remedy: &Remedy) -> (String, Vec<String>) {
    let verdict = match &remedy.verdict {
        Verdict::Proven => "proven".to_owned(),
        Verdict::Refused(rules) => format!("refused by {} rule(s)", rules.len()),
    };
    let mut lines: Vec<String> = match &remedy.verdict {
        Verdict::Proven => Vec::new(),
        Verdict::Refused(rules) => rules.iter().map(|rule| format!("broken: {rule}")).collect(),
    };
    let breaking = remedy.layout.iter().filter(|change| change.breaking);
    lines
        .extend(few(breaking
            .map(|change| format!("storage layout: {}: {}", plain(&change.label), plain(&change.what)))));
    lines.extend(remedy.attack.iter().map(trial));
    let differing = remedy.honest_differences.len();
    lines.push(format!("{} honest transactions replayed, {differing} differ", remedy.honest_replayed));
    let difference = |found: &HonestDifference| format!("{}: {}", found.tx_hash, plain(&found.what));
    lines.extend(few(remedy.honest_differences.iter().map(difference)));
    (format!("fix '{}' {verdict}", plain(&remedy.candidate)), lines)
}

/// The first few lines, and how many were left out.
fn few(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    let more = lines.len().saturating_sub(EXAMPLES_MAX);
    lines.truncate(EXAMPLES_MAX);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn allocation_lines(allocation: &Allocation) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: losses {}, funds {}, kept back {}",
        plain(&allocation.method),
        format_units(allocation.total_loss_raw, 18),
        format_units(allocation.funds_raw, 18),
        format_units(allocation.dust_raw, 18)
    )];
    lines.extend(allocation.entitlements.iter().map(|entitlement| {
        let (loss, amount) =
            (format_units(entitlement.loss_raw, 18), format_units(entitlement.amount_raw, 18));
        format!("{} lost {loss}, is owed {amount}", entitlement.account)
    }));
    lines
}
