//! One event of every kind that a chain's stream holds.

use super::{address, block, findings, hash, protocol, tx};
use alloy_primitives::U256;
use cordon_model::baseline::{Aspect, Measure};
use cordon_model::calibration::{Judging, Thresholds, Weight};
use cordon_model::finding::sign::{MessageFault, Sign, Unbacked};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::log::{ChainEvent, FollowReason, RuleFile};
use cordon_model::message::{Claim, Message, MessageNews, SourceId};
use cordon_model::network::{AlarmLevel, NetworkAlarm, NetworkSignal, ProviderAnswer, SignalKind};
use cordon_model::tally::Tally;
use cordon_model::units::ChainId;

pub(crate) fn chain_events() -> Vec<ChainEvent> {
    let what = "gas used 21000, header 21001".to_owned();
    let mut events = vec![
        ChainEvent::Reverted { block: block() },
        ChainEvent::ReplayMismatch { block: block(), what: what.clone() },
        ChainEvent::Finality { safe: Some(block()), finalized: None },
        ChainEvent::AlarmCleared { kind: SignalKind::OracleStall, subject: Some(address(0xfe)) },
        ChainEvent::Held { why: "nodes disagree at block 18000000".to_owned() },
        ChainEvent::Released { why: "nodes agree".to_owned() },
        ChainEvent::Halted { why: "the chain left everything that is remembered".to_owned() },
    ];
    let because = [FollowReason::CreatedBy(address(0xfa)), FollowReason::ImplementationOf(address(0xbb))];
    events.extend(because.map(|because| ChainEvent::Followed {
        protocol: protocol(),
        contract: address(0xc0),
        block: block(),
        because,
    }));
    let raised = |signal| ChainEvent::AlarmRaised { alarm: NetworkAlarm { level: AlarmLevel::Page, signal } };
    events.extend(signals(what).into_iter().map(raised));
    let firsts = vec![Measure { aspect: Aspect::Outflow, key: hash(0x0f), value: U256::MAX }];
    let tally = Tally::of(hash(0x1a), 3_600, U256::from(5));
    let tallies = vec![tally, Tally { value: hash(0x1b), withheld: true, amount: U256::MAX, ..tally }];
    let files = vec![RuleFile { name: "rules/amm.toml".to_owned(), text_hash: hash(0x1c) }];
    events.extend([
        ChainEvent::Learned { protocol: protocol(), block: block(), transactions: 7, firsts: firsts.clone() },
        ChainEvent::Withheld { protocol: protocol(), tx: tx(), firsts },
        ChainEvent::Accepted { protocol: protocol(), tx: tx(), block: block() },
        ChainEvent::Tallied { protocol: protocol(), block: block(), timestamp_s: 1_700_000_000, tallies },
        ChainEvent::RulesTaken { files },
        ChainEvent::Messages { block: block(), news: news() },
        ChainEvent::Weighed { protocol: protocol(), block: block(), weights: vec![weight()] },
        ChainEvent::JudgedBy {
            judging: Judging {
                detectors: hash(0x1f),
                protocols: vec![protocol()],
                thresholds: vec![Thresholds { protocol: protocol(), page: Score(301), act: Score(1_000) }],
            },
        },
    ]);
    events
}

fn weight() -> Weight {
    let detectors = vec!["flash-loan".to_owned(), "profit".to_owned()];
    Weight { tx: tx(), strength: Score(600), class: AttackClass::FlashLoan, detectors }
}

fn signals(what: String) -> Vec<NetworkSignal> {
    let answer = ProviderAnswer {
        provider: "https://node.example".to_owned(),
        client: Some("geth/v1.16".to_owned()),
        hash: Some(hash(0x01)),
        receipts_root: Some(hash(0x02)),
    };
    vec![
        NetworkSignal::Reorg { depth: 3, count: 2, window_s: 600 },
        NetworkSignal::FinalityDelay { epochs: 4, finalized: Some(block()) },
        NetworkSignal::MissedSlots { missed: 5, slots: 32 },
        NetworkSignal::ChainHalt { newest: block(), silent_s: 120 },
        NetworkSignal::Participation { permille: 747 },
        NetworkSignal::Slashing { validators: 39, watched: 1 },
        NetworkSignal::SequencerStall { head_age_s: 61, safe_lag_blocks: Some(900) },
        NetworkSignal::ProviderSplit { number: 18_000_000, answers: vec![answer] },
        NetworkSignal::BaseFeeSpike { base_fee_wei: 200_000_000_000, median_wei: 10_000_000_000 },
        NetworkSignal::MempoolSpam { pending: 90_000, median: 8_000 },
        NetworkSignal::OracleStall { feed: address(0xfe), age_s: 3_700, heartbeat_s: 3_600, at_bound: true },
        NetworkSignal::Backlog { blocks: 1_000 },
        NetworkSignal::ReplayMismatch { block: block(), what },
    ]
}

fn news() -> Vec<MessageNews> {
    let (source, id) = (SourceId(hash(0x1d)), hash(0x1e));
    let messages = vec![Message { id, amount_raw: Some(U256::from(5)) }, Message { id, amount_raw: None }];
    let unsent = Unbacked::Release { custody: address(0xcc), fault: MessageFault::Unsent, message: Some(id) };
    let claim = Claim {
        sources: vec![(ChainId(10), source)],
        messages: messages.clone(),
        paid_s: 1_700_000_000,
        travels_max_s: 604_800,
        clocks_s: 24,
        finding: Finding { evidence: Evidence::Sign(Sign::Unbacked(unsent)), ..findings()[0].clone() },
    };
    let sent = messages.into_iter().map(|message| MessageNews::Sent { source, message });
    let mut news = vec![MessageNews::Listening { sources: vec![source], since_s: 1_700_000_000 }];
    news.extend(sent);
    news.extend([
        MessageNews::Missed { since_s: 1_700_000_012 },
        MessageNews::Paid { custody: address(0xcc), id },
        MessageNews::Settled { claim: claim.finding.id },
        MessageNews::Waiting { claim: Box::new(claim) },
    ]);
    news
}
