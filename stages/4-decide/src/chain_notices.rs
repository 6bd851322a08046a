//! What people are told about a chain itself and about the nodes that report it.
//!
//! In: an event of a chain, its number in the log, and the alarms that stood before it. Out: notices. What people do
//! about it stands in them, because at night nobody looks it up. Must never: tell the same record twice, stay silent
//! where automation stops, or send one notice per block when every block is bad.

use cordon_model::incident::Severity;
use cordon_model::log::{ChainEvent, FollowReason};
use cordon_model::network::{AlarmLevel, NetworkAlarm, NetworkSignal, SignalKind};
use cordon_model::notice::{Audience, Notice};
use cordon_model::units::{BlockRef, ChainId, NoticeId};

/// The notices that follow from an event. `sequence` is the event's own number, its position in the log: the same
/// record gives the same ids however often it is asked, and the same condition on another day gives others. `standing`
/// are the alarms that stood before the event.
#[must_use]
pub fn chain_notices(
    chain_id: ChainId,
    event: &ChainEvent,
    sequence: u64,
    standing: &[NetworkAlarm],
) -> Vec<Notice> {
    let once = sequence.to_string();
    let teller = Teller(chain_id);
    let as_told = |told: Told| {
        let Told { audience, severity, title, lines } = told;
        teller.tell(&["raised", &once], audience, severity, title, lines)
    };
    match event {
        ChainEvent::AlarmRaised { alarm } => raised(alarm, standing).into_iter().map(as_told).collect(),
        ChainEvent::AlarmCleared { kind, subject } => {
            let about = subject.map(|subject| format!(" of {subject}")).unwrap_or_default();
            let title = format!("over: {kind}{about}");
            vec![teller.tell(&["cleared", &once], Audience::Responders, Severity::Low, title, Vec::new())]
        }
        ChainEvent::Held { why } => {
            let then = "attacks are still detected; what would contain them waits for a person";
            let lines = vec![why.clone(), then.to_owned()];
            teller.to_both(&["held", &once], Severity::High, "Cordon sends nothing on this chain", lines)
        }
        ChainEvent::Released { why } => {
            let title = "Cordon sends on this chain again";
            teller.to_both(&["released", &once], Severity::Medium, title, vec![why.clone()])
        }
        ChainEvent::Halted { why } => {
            let then = "no attack on it is detected, and nothing is contained, until Cordon is started again";
            let lines = vec![why.clone(), then.to_owned()];
            // The same obstacle met again after a restart is the same occasion: a supervisor that restarts for ever must
            // not page for ever.
            teller.to_both(&["halted", why], Severity::Critical, "Cordon no longer watches this chain", lines)
        }
        ChainEvent::ReplayMismatch { block, what } => {
            // While the alarm stands people know; the single blocks are in the log.
            if standing.iter().any(|alarm| alarm.signal.kind() == SignalKind::ReplayMismatch) {
                return Vec::new();
            }
            let title = format!("block {} does not come out as the chain states", block.number);
            let lines = vec![what.clone(), "its facts are not relied upon".to_owned()];
            // The same block judged again is the same occasion.
            let occasion = ["mismatch", &block.hash.to_string()];
            vec![teller.tell(&occasion, Audience::Responders, Severity::Medium, title, lines)]
        }
        ChainEvent::Followed { protocol, contract, block, because } => {
            let title = format!("contract {contract} joined '{protocol}'");
            let lines = vec![how_joined(*because), when_joined(*block)];
            let occasion = ["followed", &protocol.0, &contract.to_string(), &block.hash.to_string()];
            let mut notice = teller.tell(&occasion, Audience::Responders, Severity::Low, title, lines);
            notice.protocol = Some(protocol.clone());
            vec![notice]
        }
        ChainEvent::Reverted { .. }
        | ChainEvent::Finality { .. }
        | ChainEvent::Learned { .. }
        | ChainEvent::Tallied { .. }
        | ChainEvent::RulesTaken { .. }
        | ChainEvent::Weighed { .. }
        | ChainEvent::JudgedBy { .. }
        | ChainEvent::Messages { .. }
        | ChainEvent::Withheld { .. }
        | ChainEvent::Accepted { .. } => Vec::new(),
    }
}

/// Makes the notices of one chain.
struct Teller(ChainId);

impl Teller {
    fn tell(
        &self,
        occasion: &[&str],
        audience: Audience,
        severity: Severity,
        title: String,
        lines: Vec<String>,
    ) -> Notice {
        let (chain, audience_text) = (self.0.to_string(), format!("{audience:?}"));
        let mut parts = vec!["chain", chain.as_str(), audience_text.as_str()];
        parts.extend(occasion);
        let id = NoticeId::derive(&parts);
        Notice { id, incident: None, protocol: None, chain_id: self.0, severity, audience, title, lines }
    }

    fn to_both(&self, occasion: &[&str], severity: Severity, title: &str, lines: Vec<String>) -> Vec<Notice> {
        [Audience::Responders, Audience::Signers]
            .map(|audience| self.tell(occasion, audience, severity, title.to_owned(), lines.clone()))
            .to_vec()
    }
}

/// How a contract joined.
fn how_joined(because: FollowReason) -> String {
    match because {
        FollowReason::CreatedBy(factory) => format!("created by {factory}"),
        FollowReason::ImplementationOf(proxy) => format!("it is the code behind {proxy} now"),
    }
}

/// When a contract joined. A look at the start takes up what was there already and names no block's hash.
fn when_joined(block: BlockRef) -> String {
    if block.hash.is_zero() {
        "before watching began".to_owned()
    } else {
        format!("in block {}", block.number)
    }
}

/// A notice without what the chain and the record add to it.
struct Told {
    audience: Audience,
    severity: Severity,
    title: String,
    lines: Vec<String>,
}

fn raised(alarm: &NetworkAlarm, standing: &[NetworkAlarm]) -> Vec<Told> {
    let NetworkAlarm { level, signal } = alarm;
    let (kind, severity) = (signal.kind(), severity(alarm));
    let same =
        |before: &&NetworkAlarm| (before.signal.kind(), before.signal.subject()) == (kind, signal.subject());
    let turn = match standing.iter().find(same) {
        Some(before) if before.level > *level => "eased: ",
        Some(before) if before.level < *level => "worse: ",
        Some(_) | None => "",
    };
    let measured = measured(signal);
    let mut lines = measured.clone();
    lines.push(advice(kind).to_owned());
    let title = format!("{turn}{kind}");
    let mut told = vec![Told { audience: Audience::Responders, severity, title: title.clone(), lines }];
    if *level == AlarmLevel::Page
        && let Some(question) = question(kind)
    {
        let mut lines = measured;
        lines.push(question.to_owned());
        told.push(Told { audience: Audience::Operators, severity, title, lines });
    }
    told
}

/// A page wakes somebody. A warning is for today where it concerns what Cordon can see or rely upon, and for working
/// hours where it concerns the price or the comfort of the chain.
fn severity(alarm: &NetworkAlarm) -> Severity {
    match (alarm.level, alarm.signal.kind()) {
        (AlarmLevel::Page, _) => Severity::High,
        (
            AlarmLevel::Warn,
            SignalKind::MissedSlots
            | SignalKind::Participation
            | SignalKind::BaseFeeSpike
            | SignalKind::MempoolSpam,
        ) => Severity::Low,
        (AlarmLevel::Warn, _) => Severity::Medium,
    }
}

/// What was measured, one fact a line.
fn measured(signal: &NetworkSignal) -> Vec<String> {
    match signal {
        NetworkSignal::ProviderSplit { number, answers } => {
            let mut lines = vec![format!("at block {number}:")];
            lines.extend(answers.iter().map(ToString::to_string));
            lines
        }
        signal => vec![signal.to_string()],
    }
}

/// What it means for those who respond.
fn advice(kind: SignalKind) -> &'static str {
    match kind {
        SignalKind::Reorg => "treat what is known from the newest blocks as not final",
        SignalKind::FinalityDelay => "nothing since the finalised block is final: hold what cannot be undone",
        SignalKind::MissedSlots => "transactions wait longer than usual",
        SignalKind::ChainHalt => {
            "nothing can be contained on chain until blocks come: ask another node whether it is the chain or ours"
        }
        SignalKind::Participation => "finality may be lost: below two thirds it is",
        SignalKind::Slashing => {
            "check the validators named in the configuration: keys in two places slash again"
        }
        SignalKind::SequencerStall => {
            "transactions reach the chain only through the layer below, after hours"
        }
        SignalKind::ProviderSplit => {
            "one of the nodes is wrong: trust none for what cannot be undone until they agree"
        }
        SignalKind::BaseFeeSpike => {
            "small liquidations do not pay, and a containment needs a higher fee: check its limit"
        }
        SignalKind::MempoolSpam => "a transaction without a high tip may wait",
        SignalKind::OracleStall => "who reads this feed reads a wrong price: consider what it values",
        SignalKind::Backlog => "an attack is seen late until this is worked off",
        SignalKind::ReplayMismatch => {
            "an error of Cordon or a node that lies: findings of such blocks are not relied upon"
        }
    }
}

/// What is asked of those who run the chain's parts; `None` where it is no matter of theirs.
fn question(kind: SignalKind) -> Option<&'static str> {
    match kind {
        SignalKind::FinalityDelay
        | SignalKind::MissedSlots
        | SignalKind::ChainHalt
        | SignalKind::Participation
        | SignalKind::ProviderSplit
        | SignalKind::Reorg => {
            Some("please report client and version, the hash of your newest block, and missed duties")
        }
        SignalKind::Slashing => Some("please report where the keys of the slashed validators are in use"),
        SignalKind::SequencerStall => {
            Some("please report status, time until blocks and batches come, and the cause")
        }
        SignalKind::OracleStall => Some("please report the status of this feed and when it is updated next"),
        SignalKind::BaseFeeSpike
        | SignalKind::MempoolSpam
        | SignalKind::Backlog
        | SignalKind::ReplayMismatch => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;
    use cordon_model::network::ProviderAnswer;
    use cordon_model::units::ProtocolId;
    use std::collections::BTreeSet;

    const CHAIN: ChainId = ChainId(10);

    fn block(number: u64) -> BlockRef {
        BlockRef { number, hash: [number.to_le_bytes()[0]; 32].into() }
    }

    fn alarm(level: AlarmLevel, signal: NetworkSignal) -> NetworkAlarm {
        NetworkAlarm { level, signal }
    }

    fn stall(head_age_s: u64) -> NetworkSignal {
        NetworkSignal::SequencerStall { head_age_s, safe_lag_blocks: None }
    }

    fn mismatch() -> NetworkSignal {
        NetworkSignal::ReplayMismatch { block: block(7), what: "gas".to_owned() }
    }

    fn told(event: &ChainEvent, sequence: u64) -> Vec<Notice> {
        chain_notices(CHAIN, event, sequence, &[])
    }

    /// Severity and audience of each notice.
    fn routes(notices: &[Notice]) -> Vec<(Severity, Audience)> {
        notices.iter().map(|notice| (notice.severity, notice.audience)).collect()
    }

    #[test]
    fn the_same_record_is_one_occasion_and_a_repetition_another() {
        let events = [
            ChainEvent::AlarmRaised { alarm: alarm(AlarmLevel::Page, stall(61)) },
            ChainEvent::AlarmCleared { kind: SignalKind::SequencerStall, subject: None },
            ChainEvent::Held { why: "nodes disagree".to_owned() },
            ChainEvent::Released { why: "nodes agree".to_owned() },
        ];
        let mut ids = BTreeSet::new();
        let mut count = 0;
        for event in &events {
            assert_eq!(told(event, 5), told(event, 5));
            for sequence in [5, 6] {
                let notices = told(event, sequence);
                count += notices.len();
                ids.extend(notices.iter().map(|notice| notice.id));
            }
        }
        assert_eq!((ids.len(), count), (14, 14), "every audience and every repetition has its own id");
        let elsewhere = chain_notices(ChainId(1), &events[0], 5, &[]);
        assert!(
            elsewhere.iter().all(|notice| !ids.contains(&notice.id)),
            "another chain is another occasion"
        );
    }

    #[test]
    fn a_page_wakes_responders_and_asks_operators_a_warning_tells_responders_alone() {
        let page = told(&ChainEvent::AlarmRaised { alarm: alarm(AlarmLevel::Page, stall(61)) }, 1);
        assert_eq!(
            routes(&page),
            [(Severity::High, Audience::Responders), (Severity::High, Audience::Operators)]
        );
        assert_eq!(page[0].title, "sequencer stall");
        assert_eq!(page[1].lines[0], "the newest block is 61 s old");
        assert!(page[1].lines[1].starts_with("please report status"));
        let warn = told(&ChainEvent::AlarmRaised { alarm: alarm(AlarmLevel::Warn, stall(11)) }, 1);
        assert_eq!(routes(&warn), [(Severity::Medium, Audience::Responders)]);
        let fee = NetworkSignal::BaseFeeSpike { base_fee_wei: 6, median_wei: 1 };
        let warn = told(&ChainEvent::AlarmRaised { alarm: alarm(AlarmLevel::Warn, fee) }, 1);
        assert_eq!(routes(&warn), [(Severity::Low, Audience::Responders)]);
        let backlog = alarm(AlarmLevel::Page, NetworkSignal::Backlog { blocks: 99 });
        let ours = told(&ChainEvent::AlarmRaised { alarm: backlog }, 1);
        assert_eq!(routes(&ours), [(Severity::High, Audience::Responders)], "no operator can help");
    }

    #[test]
    fn a_change_of_level_says_in_which_direction() {
        let title = |before, after| {
            let event = ChainEvent::AlarmRaised { alarm: alarm(after, stall(30)) };
            chain_notices(CHAIN, &event, 1, &[alarm(before, stall(9))])[0].title.clone()
        };
        assert_eq!(title(AlarmLevel::Page, AlarmLevel::Warn), "eased: sequencer stall");
        assert_eq!(title(AlarmLevel::Warn, AlarmLevel::Page), "worse: sequencer stall");
        // Another feed's alarm is no earlier level of this one.
        let feed = |byte| NetworkSignal::OracleStall {
            feed: Address::repeat_byte(byte),
            age_s: 1,
            heartbeat_s: 1,
            at_bound: false,
        };
        let event = ChainEvent::AlarmRaised { alarm: alarm(AlarmLevel::Page, feed(1)) };
        let other = [alarm(AlarmLevel::Warn, feed(2))];
        assert_eq!(chain_notices(CHAIN, &event, 1, &other)[0].title, "oracle stall");
    }

    #[test]
    fn a_split_shows_every_answer_on_its_own_line() {
        let answer = |provider: &str, hash: u8| ProviderAnswer {
            provider: provider.to_owned(),
            client: Some("Geth/v1.9.9".to_owned()),
            hash: Some([hash; 32].into()),
            receipts_root: None,
        };
        let answers = vec![answer("https://a.example", 1), answer("https://b.example", 2)];
        let signal = NetworkSignal::ProviderSplit { number: 11_234_873, answers };
        let notices = told(&ChainEvent::AlarmRaised { alarm: alarm(AlarmLevel::Page, signal) }, 1);
        assert_eq!(notices[0].lines.len(), 4);
        assert!(notices[0].lines[2].starts_with("https://b.example (Geth/v1.9.9) has 0x0202"));
    }

    #[test]
    fn automation_that_stops_is_told_to_those_who_must_act_by_hand() {
        let held = told(&ChainEvent::Held { why: "nodes disagree at block 7".to_owned() }, 1);
        assert_eq!(
            routes(&held),
            [(Severity::High, Audience::Responders), (Severity::High, Audience::Signers)]
        );
        assert_eq!(held[0].lines[0], "nodes disagree at block 7");
    }

    #[test]
    fn a_chain_that_nobody_watches_is_told_once_however_often_it_is_started() {
        let event = ChainEvent::Halted { why: "a reorganisation beyond memory".to_owned() };
        let (first, again) = (told(&event, 1), told(&event, 9));
        assert_eq!(
            routes(&first),
            [(Severity::Critical, Audience::Responders), (Severity::Critical, Audience::Signers)]
        );
        assert_eq!(first[0].lines[0], "a reorganisation beyond memory");
        assert_eq!((first[0].id, first[1].id), (again[0].id, again[1].id));
        let other = ChainEvent::Halted { why: "another".to_owned() };
        assert_ne!(told(&other, 1)[0].id, first[0].id);
    }

    #[test]
    fn mismatches_of_many_blocks_do_not_flood() {
        let event = |number| ChainEvent::ReplayMismatch { block: block(number), what: "gas".to_owned() };
        assert_eq!(routes(&told(&event(7), 1)), [(Severity::Medium, Audience::Responders)]);
        assert_eq!(told(&event(7), 1)[0].id, told(&event(7), 9)[0].id, "the same block judged again");
        let standing = [alarm(AlarmLevel::Page, mismatch())];
        assert_eq!(chain_notices(CHAIN, &event(8), 2, &standing), []);
        let other = [alarm(AlarmLevel::Page, stall(99))];
        assert_eq!(chain_notices(CHAIN, &event(8), 2, &other).len(), 1);
    }

    #[test]
    fn a_contract_that_joined_is_told_once_per_block() {
        let followed = |number| ChainEvent::Followed {
            protocol: ProtocolId("lending".to_owned()),
            contract: Address::repeat_byte(1),
            block: block(number),
            because: FollowReason::CreatedBy(Address::repeat_byte(2)),
        };
        let notices = told(&followed(7), 1);
        assert_eq!(routes(&notices), [(Severity::Low, Audience::Responders)]);
        assert_eq!(notices[0].protocol, Some(ProtocolId("lending".to_owned())));
        assert_eq!(notices[0].id, told(&followed(7), 2)[0].id);
        assert_ne!(notices[0].id, told(&followed(8), 2)[0].id, "mined again after a reorganisation");
    }

    #[test]
    fn the_ordinary_course_of_a_chain_is_no_notice() {
        assert_eq!(told(&ChainEvent::Reverted { block: block(7) }, 1), []);
        assert_eq!(told(&ChainEvent::Finality { safe: Some(block(7)), finalized: None }, 1), []);
    }
}
