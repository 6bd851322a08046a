//! Answers of feeds, with the verdict that each deserves.

use super::answers::{LATEST_ANSWER, LATEST_ROUND_DATA};
use super::*;
use crate::testing::*;
use cordon_model::execution::{FrameKind, ViewReading};

const FEED: Address = Address::repeat_byte(0xfe);
const SECOND: Address = Address::repeat_byte(0xfd);
const AGGREGATOR: Address = Address::repeat_byte(0xfc);
/// Time of the script's block.
const NOW_S: u64 = 1_700_000_000;

fn number(value: i64) -> I256 {
    I256::try_from(value).unwrap()
}

fn words(words: &[I256]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect()
}

/// An answer of round 7, updated at a time.
fn round(answer: i64, updated_at_s: u64) -> Vec<u8> {
    let time = I256::try_from(updated_at_s).unwrap();
    words(&[number(7), number(answer), time, time, number(7)])
}

fn fresh(answer: i64) -> Vec<u8> {
    round(answer, NOW_S - 60)
}

fn asks(script: &mut Script, feed: Address, question: Selector, output: &[u8]) {
    script.enter(FrameKind::StaticCall, feed, feed, question.as_slice());
    script.execution.frames.last_mut().unwrap().output = Bytes::copy_from_slice(output);
    script.exit();
}

/// A loan whose lender asks feeds.
fn loan(answers: &[(Address, Vec<u8>)]) -> Execution {
    let mut script = World::new().script();
    script.call(LENDING_VAULT, 5, |s| {
        for (feed, output) in answers {
            asks(s, *feed, LATEST_ROUND_DATA, output);
        }
        s.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
    });
    script.finish(&[])
}

fn read(mut execution: Execution, readings: &[(ViewCall, Vec<u8>)]) -> Execution {
    let reading = |(call, data): &(ViewCall, Vec<u8>)| ViewReading {
        call: call.clone(),
        before: Some(Bytes::copy_from_slice(data)),
        after: None,
    };
    execution.views = readings.iter().map(reading).collect();
    execution
}

fn judged(config: &OracleConfig, execution: &Execution) -> Vec<(u16, PriceFault)> {
    let fault = |finding: &Finding| match &finding.evidence {
        Evidence::Sign(Sign::WrongPrice(sign)) => (finding.score.0, sign.fault),
        other => panic!("{other:?}"),
    };
    config.build().unwrap().inspect(&World::protocol(), execution).iter().map(fault).collect()
}

fn faults(execution: &Execution) -> Vec<(u16, PriceFault)> {
    judged(&OracleConfig::default(), execution)
}

fn decimals(feed: Address, count: i64) -> (ViewCall, Vec<u8>) {
    (plain(feed, DECIMALS), words(&[number(count)]))
}

#[test]
fn value_that_moves_at_a_price_below_zero_opens_an_incident_and_says_where() {
    let execution = loan(&[(FEED, fresh(-5))]);
    let findings = OracleConfig::default().build().unwrap().inspect(&World::protocol(), &execution);
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    let expected =
        WrongPrice { feed: FEED, reader: LENDING_VAULT, answer: number(-5), fault: PriceFault::NotPositive };
    assert_eq!((finding.class, finding.contract), (AttackClass::Oracle, LENDING_VAULT));
    assert_eq!((finding.score, &finding.evidence), (Score(600), &Evidence::Sign(Sign::WrongPrice(expected))));
    assert!(finding.evidence.to_string().ends_with("which is no price"), "{}", finding.evidence);
}

/// The benign twin of a price of zero: an uptime feed of a sequencer.
#[test]
fn zero_is_no_price_where_the_feed_has_decimals() {
    let zero = || loan(&[(FEED, round(0, 1))]);
    assert_eq!(faults(&zero()), [], "it may be an uptime feed");
    assert_eq!(faults(&loan(&[(FEED, round(1, 1))])), []);
    assert_eq!(faults(&read(zero(), &[decimals(FEED, 0)])), []);
    assert_eq!(faults(&read(zero(), &[decimals(FEED, 8)])), [(600, PriceFault::NotPositive)]);
}

#[test]
fn an_answer_at_the_aggregators_bound_is_found_behind_its_proxy() {
    let through_proxy = |answer: i64| {
        let mut script = World::new().script();
        script.call(LENDING_VAULT, 5, |s| {
            s.enter(FrameKind::StaticCall, FEED, FEED, LATEST_ROUND_DATA.as_slice());
            s.execution.frames.last_mut().unwrap().output = fresh(answer).into();
            asks(s, AGGREGATOR, LATEST_ROUND_DATA, &fresh(answer));
            s.exit();
            s.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
        });
        let execution = script.finish(&[]);
        let asked = OracleConfig::default().build().unwrap().views(&World::protocol(), &execution);
        assert!(asked.contains(&plain(AGGREGATOR, MIN_ANSWER)), "{asked:?}");
        let bounds = [(MIN_ANSWER, 10), (MAX_ANSWER, 1_000)];
        let bounds = bounds.map(|(what, bound)| (plain(AGGREGATOR, what), words(&[number(bound)])));
        faults(&read(execution, &bounds))
    };
    for (answer, bound) in [(10, 10), (9, 10), (1_000, 1_000), (1_001, 1_000)] {
        assert_eq!(through_proxy(answer), [(600, PriceFault::AtBound { bound: number(bound) })], "{answer}");
    }
    assert_eq!((through_proxy(11), through_proxy(999)), (vec![], vec![]), "the near misses");
}

#[test]
fn age_is_weak_and_the_future_stronger() {
    let at = |updated_at_s| faults(&loan(&[(FEED, round(500, updated_at_s))]));
    assert_eq!(at(NOW_S - 90_000), []);
    assert_eq!(at(NOW_S - 90_001), [(200, PriceFault::Stale { age_s: 90_001 })]);
    assert_eq!(at(0), [], "an adapter without a time");
    assert_eq!(at(NOW_S), []);
    assert_eq!(at(NOW_S + 1), [(300, PriceFault::FromFuture { ahead_s: 1 })]);
    let undated = Execution { timestamp_s: 0, ..loan(&[(FEED, round(500, NOW_S))]) };
    assert_eq!(faults(&undated), [], "a recording without a time");
    let carried = [number(7), number(500), number(1), I256::try_from(NOW_S).unwrap(), number(6)];
    assert_eq!(faults(&loan(&[(FEED, words(&carried))])), [(200, PriceFault::CarriedOver)]);
    let adapter = [number(7), number(500), number(0), I256::try_from(NOW_S).unwrap(), number(0)];
    assert_eq!(faults(&loan(&[(FEED, words(&adapter))])), [], "an adapter without rounds");
}

/// The benign twin: whoever only looks, or looks for himself, or moves nothing.
#[test]
fn an_answer_that_nothing_moved_at_is_not_judged() {
    let ask = |s: &mut Script| asks(s, FEED, LATEST_ROUND_DATA, &fresh(-5));
    let silent = |inside: &dyn Fn(&mut Script)| {
        let mut script = World::new().script();
        inside(&mut script);
        script.transfer(USD, BOB, CONTROLLER, wad(5));
        faults(&script.finish(&[]))
    };
    assert_eq!(silent(&|s| s.call(LENDING_VAULT, 5, ask)), [], "nothing moved in the call");
    let view = |s: &mut Script| s.frame(FrameKind::StaticCall, LENDING_VAULT, &[1, 2, 3, 4], ask);
    assert_eq!(silent(&view), []);
    assert_eq!(silent(&ask), [], "the sender's own look");
    let called_back = |s: &mut Script| {
        s.call(LENDING_VAULT, 5, |s| {
            s.call(CONTROLLER, 6, ask);
            s.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
        });
    };
    assert_eq!(silent(&called_back), [], "his look while a lender calls him back");
    let stranger = |s: &mut Script| {
        s.call(BOB, 5, |s| {
            ask(s);
            s.transfer(USD, BOB, CONTROLLER, wad(5));
        });
    };
    assert_eq!(silent(&stranger), [], "somebody who is not protected");
    assert_eq!(
        silent(&|s| s.reverted(LENDING_VAULT, 5, |s| {
            ask(s);
            s.transfer(USD, LENDING_VAULT, BOB, wad(1))
        })),
        []
    );
}

/// Hostile input: an oracle contract, a second lender, many other questions in between.
#[test]
fn an_answer_is_not_hidden_by_who_stands_in_between() {
    let mut script = World::new().script();
    script.call(COLLATERAL_VAULT, 1, |s| {
        s.call(LENDING_VAULT, 5, |s| {
            for number in 1..200u8 {
                asks(s, Address::repeat_byte(number), LATEST_ROUND_DATA, &fresh(500));
            }
            s.frame(FrameKind::StaticCall, BOB, &[9; 4], |s| {
                asks(s, FEED, LATEST_ANSWER, &words(&[number(-5)]))
            });
        });
        s.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
    });
    let execution = script.finish(&[]);
    assert_eq!(faults(&execution), [(600, PriceFault::NotPositive)]);
    let asked = OracleConfig::default().build().unwrap().views(&World::protocol(), &execution);
    assert_eq!(asked.len(), 3 * FEEDS_ASKED_MAX);
}

#[test]
fn data_that_is_too_short_or_too_large_says_so_and_nothing_else() {
    let detector = OracleConfig::default().build().unwrap();
    for bytes in [0, 31, 32, 159] {
        let execution = loan(&[(FEED, fresh(-5)[..bytes].to_vec())]);
        let Opinion { findings, gaps } = detector.judge(&World::protocol(), &execution);
        assert_eq!((findings, gaps.len()), (vec![], 1), "{bytes}");
    }
    let execution = loan(&[(FEED, vec![0xff; 160])]);
    assert_eq!(faults(&execution), [(600, PriceFault::NotPositive)], "minus one");
    let huge = [I256::MAX, I256::MAX, I256::MAX, I256::MINUS_ONE, I256::MINUS_ONE];
    let ahead = PriceFault::FromFuture { ahead_s: u64::MAX - NOW_S };
    assert_eq!(faults(&loan(&[(FEED, words(&huge))])), [(300, ahead)]);
    let mut broken = loan(&[(FEED, fresh(-5))]);
    broken.frames.iter_mut().for_each(|frame| frame.parent = Some(frame.index));
    broken.truncated = true;
    assert_eq!(faults(&broken), []);
}

fn expecting(edit: impl FnOnce(&mut FeedConfig)) -> OracleConfig {
    let text = format!("feed = '{FEED}'");
    let mut feed: FeedConfig = toml::from_str(&text).unwrap();
    edit(&mut feed);
    OracleConfig { feeds: vec![feed], ..OracleConfig::default() }
}

#[test]
fn a_coin_that_leaves_its_value_is_seen_where_the_operator_states_it() {
    let config = expecting(|feed| feed.reference = Some("1.0".to_owned()));
    let at = |answer: i64| judged(&config, &loan(&[(FEED, fresh(answer))]));
    let deviates = |bps| PriceFault::Deviates { deviation_bps: Bps(bps), allowed_bps: Bps(300) };
    assert_eq!((at(100_000_000), at(97_000_000), at(103_000_000)), (vec![], vec![], vec![]));
    assert_eq!(at(96_000_000), [(406, deviates(400))]);
    assert_eq!(at(130_000_000), [(700, deviates(3_000))], "DAI in November 2020");
    assert_eq!(faults(&loan(&[(FEED, fresh(130_000_000))])), [], "nothing is expected of it");
    let promised = expecting(|feed| feed.stale_after_s = Some(3_600));
    assert_eq!(
        judged(&promised, &loan(&[(FEED, round(500, NOW_S - 3_601))])),
        [(300, PriceFault::Stale { age_s: 3_601 })]
    );
}

#[test]
fn two_feeds_of_one_price_are_compared_whether_or_not_both_were_asked() {
    let config = expecting(|feed| {
        feed.second = Some(SECOND);
        feed.second_decimals = Some(18);
    });
    let wei = |cents: i64| number(cents).saturating_mul(number(10_000_000_000_000_000));
    let second = |cents: i64| {
        let time = I256::try_from(NOW_S).unwrap();
        words(&[number(7), wei(cents), time, time, number(7)])
    };
    let disagrees =
        |bps| PriceFault::Disagrees { second: SECOND, deviation_bps: Bps(bps), allowed_bps: Bps(300) };
    let both = |cents| judged(&config, &loan(&[(FEED, fresh(100_000_000)), (SECOND, second(cents))]));
    assert_eq!((both(100), both(102)), (vec![], vec![]));
    assert_eq!(both(80), [(700, disagrees(2_500))]);
    let one = || loan(&[(FEED, fresh(100_000_000))]);
    let asked = config.build().unwrap().views(&World::protocol(), &one());
    assert_eq!(asked.first(), Some(&ask(SECOND)));
    assert_eq!(judged(&config, &read(one(), &[(ask(SECOND), second(80))])), [(700, disagrees(2_500))]);
    assert_eq!(judged(&config, &one()), [], "a second feed that could not be asked says nothing");
    assert_eq!(judged(&config, &read(one(), &[(ask(SECOND), vec![1; 40])])), []);
}

#[test]
fn expectations_that_mean_nothing_are_refused_by_key() {
    let refused = |edit: fn(&mut FeedConfig)| expecting(edit).build().unwrap_err().to_string();
    assert!(
        refused(|feed| feed.reference = Some("0".to_owned())).starts_with("oracle.feeds.reference = '0'")
    );
    assert!(refused(|feed| feed.decimals = 37).starts_with("oracle.feeds.decimals = '37'"));
    assert!(
        refused(|feed| feed.deviation_max_bps = Bps(0)).starts_with("oracle.feeds.deviation_max_bps = '0'")
    );
    assert!(refused(|feed| feed.second = Some(FEED)).ends_with("expected another feed"));
    let mut twice = expecting(|_| ());
    twice.feeds.push(twice.feeds[0].clone());
    assert!(twice.build().unwrap_err().to_string().ends_with("expected each feed once"));
}

#[test]
fn questions_are_those_of_their_signatures() {
    let signatures = ["latestRoundData()", "latestAnswer()", "decimals()", "minAnswer()", "maxAnswer()"];
    let selectors = [LATEST_ROUND_DATA, LATEST_ANSWER, DECIMALS, MIN_ANSWER, MAX_ANSWER];
    for (signature, selector) in signatures.into_iter().zip(selectors) {
        assert_eq!(selector.as_slice(), &alloy_primitives::keccak256(signature)[..4], "{signature}");
    }
}
