//! Rules that work, nearly work, are malformed, or meet hostile transactions.

use super::needs::Whose;
use super::types::{Record, Variable};
use super::*;
use crate::testing::{ALICE, BOB, LENDING_VAULT, USD, World, selector, wad};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use cel::common::types::CelString;
use cel::context::VariableResolver as _;
use cordon_model::execution::{FrameKind, Log};

pub(super) fn load(when: &str) -> Result<RuleSet, String> {
    let text = format!(
        "[[rule]]\nid = 'it'\ntitle = 'It holds'\nclass = 'test'\nscore = 700\nwhen = '''{when}'''\nexplain = 'Because.'"
    );
    RuleSet::parse("rules.toml", &text).map_err(|errors| errors[0].to_string())
}

pub(super) fn detector(when: &str) -> UserRules {
    UserRules::new(vec![Arc::new(load(when).unwrap())])
}

/// The strike of the test world, with one log of its own.
pub(super) fn strike() -> Execution {
    let mut script = World::new().script();
    script.call(LENDING_VAULT, 9, |s| s.transfer(USD, LENDING_VAULT, ALICE, wad(60_000)));
    script.frame(FrameKind::DelegateCall, LENDING_VAULT, &selector(7)[..], |_| ());
    let mut execution = script.finish(&[]);
    let owner = keccak256("OwnershipTransferred(address,address)");
    let topics = vec![owner, LENDING_VAULT.into_word(), ALICE.into_word()];
    execution.logs.push(Log {
        seq: 1,
        frame: 0,
        address: LENDING_VAULT,
        topics,
        data: Bytes::from(vec![7; 40]),
    });
    execution
}

fn holds(when: &str) -> bool {
    let (protocol, execution) = (World::protocol(), strike());
    let rules = detector(when);
    assert_eq!(rules.gaps(&protocol, &execution), Vec::<String>::new(), "{when}");
    !rules.inspect(&protocol, &execution).is_empty()
}

#[test]
fn a_rule_that_holds_is_a_finding_with_its_words() {
    let (protocol, execution) = (World::protocol(), strike());
    let rules =
        detector("logs.exists(l, l.protected && l.topic0 == event('OwnershipTransferred(address,address)'))");
    let findings = rules.inspect(&protocol, &execution);
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(
        (finding.class, finding.score, finding.contract),
        (AttackClass::UserRule, Score(700), LENDING_VAULT)
    );
    let wanted =
        Evidence::Rule { rule: "it".into(), title: "It holds".into(), explanation: "Because.".into() };
    assert_eq!(finding.evidence, wanted);
    assert_eq!(finding.evidence.to_string(), "It holds (rule it)");
    assert_eq!(findings, rules.inspect(&protocol, &execution), "judging twice gives the same finding");
}

#[test]
fn every_part_of_a_transaction_can_be_asked_for() {
    for when in [
        "tx.success && tx.gas_used == 100000 && tx.value == 0 && block.number == 100",
        "tx.from == '0xA11CE00000000000000000000000000000000001'",
        "'0xa11ce00000000000000000000000000000000001' == tx.from",
        "tx.from in ['0x1111111111111111111111111111111111111111', '0xa11ce00000000000000000000000000000000001']",
        "['0xa11ce00000000000000000000000000000000001'].exists(a, a == tx.from)",
        "protocol.name == 'lending' && size(protocol.contracts) == 2 && protects(protocol.contracts[0])",
        "calls.exists(c, c.kind == 'delegatecall' && c.selector == '0xaa000007' && c.depth == 1 && !c.static)",
        "calls.exists(c, c.protected && !c.reverted && c.value == u('0') && c.caller != c.address)",
        "sum(transfers.filter(t, t.to == tx.from).map(t, t.amount)) == ether('60000')",
        "transfers.all(t, t.amount > 1 && 1 < t.amount && !t.native && t.amount / 2 * 2 == t.amount)",
        "transfers.exists(t, t.amount - ether('60001') == 0 && t.amount + 1 > ether('60000'))",
        "logs.exists_one(l, topic_address(l, 1) == l.address && topic_address(l, 2) == tx.from)",
        "logs.exists(l, size(l.topics) == 3 && topic(l, 2) == l.topics[2] && size(l.data) == 40)",
        "logs.exists(l, word(l.data, 1) > 0 && word(l.data, 2) == 0 && topic_amount(l, 9) == 0)",
        "logs.exists(l, to_address(topic_amount(l, 2)) == tx.from) && size(created) == 0 && size(changes) == 0",
    ] {
        assert!(holds(when), "{when}");
    }
}

#[test]
fn near_misses_do_not_hold() {
    for when in [
        "tx.from == '0xa11ce00000000000000000000000000000000002'",
        "logs.exists(l, l.topic0 == event('OwnershipTransferred(address,uint256)'))",
        "logs.exists(l, topic_address(l, 3) == '0x0000000000000000000000000000000000000000')",
        "logs.exists(l, topic(l, 7) == topic(l, 1))",
        "calls.exists(c, c.selector == sig('transfer(address,uint256)'))",
        "transfers.exists(t, t.amount > ether('60000'))",
        "protects(tx.from)",
        "transfers.exists(t, t.amount < -1)",
    ] {
        assert!(!holds(when), "{when}");
    }
}

/// What stands before an expression in the file of [`load`].
pub(super) const WHEN: &str = "when = '''";

/// What is wrong with a rule, and the column that the error points to.
#[test]
fn wrong_rules_are_refused_with_the_column() {
    for (when, column, what) in [
        ("tx.from ==", 11, "mismatched input"),
        ("logs.exists(l, l.topic0 == event('Transfer(address, address)'))", 33, "is not a signature"),
        ("logs.exists(l, l.topic0 == event('Transfer(address,uint)'))", 33, "is not a signature"),
        ("tx.form == tx.to", 3, "tx has no 'form'; it has hash, from, to"),
        ("false && logs.exists(l, l.adress == tx.to)", 26, "a log has no 'adress'; it has address"),
        ("sender == tx.to", 1, "there is no 'sender'; there are tx, block"),
        ("size(calls)", 5, "the rule gives a number, expected a yes or no"),
        ("tx.from == 'owner'", 9, "never equals text"),
        ("tx.value > tx.from", 10, "expected two numbers, found an amount and hex"),
        ("size(calls) < tx.value", 13, "write the amount on the left"),
        ("tx.value in [1, 2]", 10, "write the amount on the left"),
        ("tx.to == '0x11'", 10, "has 1 bytes: expected 4 (a selector), 20"),
        ("tx.to == '0xA11CE00000000000000000000000000000000aaa'", 10, "EIP-55"),
        ("tx.value > ether('1,5')", 17, "is not a decimal number"),
        ("tx.value > u(tx.from)", 13, "u takes one text in quotes"),
        (
            "transfers.exists(t, arg(t, 1) > 0)",
            24,
            "'arg' takes (a call, a number), found (a transfer, a number)",
        ),
        ("{'a': 1}.all(k, k == 'a')", 1, "rules have no maps"),
        ("tx.value > 1.5", 12, "rules have no broken numbers"),
        ("calls.exists(c, frobnicate(c))", 27, "'frobnicate' does not take (a call)"),
        ("calls.exists(c, c)", 13, "expected a yes or no on each side"),
        ("tx.from.exists(c, true)", 3, "is not a list to walk"),
        ("calls.all(a, calls.all(b, calls.all(c, calls.all(d, true))))", 40, "more than 3 loops"),
    ] {
        let error = load(when).unwrap_err();
        assert!(error.starts_with("rule file 'rules.toml', rule 'it': "), "{error}");
        assert!(error.contains(what), "{when}: {error}");
        assert!(
            error.contains(&format!("line 6, column {}: ", column + WHEN.len())),
            "{when}: expected column {column}: {error}"
        );
        let caret = error.lines().last().unwrap();
        assert_eq!(caret.len(), 4 + column, "{error}");
    }
}

#[test]
fn the_caret_stands_in_the_right_line() {
    let error = load("tx.success &&\n  tx.gas_used > 5 &&\n  tx.form == tx.to").unwrap_err();
    assert!(error.contains("line 8, column 5: tx has no 'form'"), "{error}");
    assert!(error.ends_with("      tx.form == tx.to\n        ^"), "{error}");
    // However the text is quoted. Escapes move columns, so that only the line is that of the file.
    for (when, place) in [
        ("'tx.form == tx.to'", "line 6, column 11: tx has"),
        ("\"tx.form == 'a'\"", "line 6, column 11: tx has"),
        ("\"tx.form == \\\"a\\\"\"", "line 6, column 3: tx has"),
        ("'''\ntx.form == tx.to'''", "line 7, column 3: tx has"),
        ("\"\"\"\n  true &&\n  tx.form == tx.to\"\"\"", "line 8, column 5: tx has"),
    ] {
        let text = format!("[[rule]]\nid = 'it'\ntitle = 't'\nclass = 'c'\nscore = 7\nwhen = {when}\n");
        let error = RuleSet::parse("f", &text).unwrap_err()[0].to_string();
        assert!(error.contains(place), "{when}: {error}");
    }
    // Of a long line the part around the mistake is shown.
    let error = load(&format!("{}tx.form == tx.to", "true && ".repeat(200))).unwrap_err();
    assert!(error.contains("line 6, column 1613: tx has no 'form'"), "{error}");
    assert!(error.lines().all(|line| line.chars().count() < 200), "{error}");
}

#[test]
fn hostile_expressions_are_refused_and_do_not_overflow_the_stack() {
    let deep = |open: &str, close: &str| format!("{}true{}", open.repeat(1_000), close.repeat(1_000));
    for text in [deep("(", ")"), deep("!(", ")"), deep("[", "]"), deep("{1:", "}")] {
        assert!(load(&text).unwrap_err().contains("more than 24 brackets in one another, at character"));
    }
    for text in [format!("1{}", "+1".repeat(1_000)), format!("tx{}", ".a".repeat(1_000)), "!".repeat(1_000)] {
        assert!(load(&text).unwrap_err().contains("more than 400 operators and dots"));
    }
    let long = "true && ".repeat(2_000);
    assert!(load(&long).unwrap_err().contains("expected at most 4096"));
    // The most that is let through goes through the parser and the checker on the stack of a thread.
    assert!(holds(&format!("1{} == 398", "+1".repeat(397))));
    assert!(load(&format!("tx{}", ".a".repeat(400))).unwrap_err().contains("tx has no 'a'"));
    assert!(holds(&format!("{}true{}", "(".repeat(24), ")".repeat(24))));
    assert!(holds(&format!("{}true", "!".repeat(400))));
    assert!(holds(&format!("{}true{}", "true ? (".repeat(23), ") : false".repeat(23))));
    assert!(holds(&format!("{}true", "false ? false : ".repeat(80))));
    assert!(holds(&format!("true{}", " && true".repeat(500))));
    // Brackets and signs in texts do not count.
    assert!(!holds(&format!("protocol.name == \"{}\\\"{}\"", "(".repeat(500), ".".repeat(500))));
}

#[test]
fn a_hostile_transaction_is_a_gap_and_not_a_clean_bill() {
    let (protocol, mut execution) = (World::protocol(), strike());
    let moved = execution.transfers[0].clone();
    execution.transfers = vec![moved.clone(); LIST_MAX + 1];
    let rules = detector("transfers.exists(a, a.amount < 5 && a.to == tx.to)");
    let gaps = rules.gaps(&protocol, &execution);
    assert_eq!(gaps, [format!("rules see {LIST_MAX} of {} transfers", LIST_MAX + 1)]);
    let rules = detector("transfers.all(a, transfers.all(b, a.amount == b.amount))");
    assert!(rules.inspect(&protocol, &execution).is_empty());
    assert!(rules.gaps(&protocol, &execution)[1].contains("it walks more than 100000 elements"));

    // Amounts that overflow stop at the top, and do not switch the rule off.
    execution.transfers = vec![cordon_model::execution::Transfer { amount_raw: U256::MAX, ..moved }; 3];
    let rules = detector("sum(transfers.map(t, t.amount)) > ether('1') && tx.value - 1 == 0");
    assert_eq!(rules.inspect(&protocol, &execution).len(), 1);

    // A place that is not there is stated.
    execution.logs[0].topics = vec![B256::ZERO];
    let rules = detector("logs.exists(l, l.topics[2] == l.topic0)");
    assert!(rules.inspect(&protocol, &execution).is_empty());
    let gaps = rules.gaps(&protocol, &execution);
    assert!(gaps[0].contains("rule 'it' could not be judged: "), "{gaps:?}");
}

/// On an archived tree of calls a rule about logs says nothing, above all not "there is no such log".
#[test]
fn a_record_without_logs_is_a_gap_for_rules_that_name_them() {
    let (protocol, mut execution) = (World::protocol(), strike());
    execution.detail = cordon_model::execution::Detail::Calls;
    execution.logs.clear();
    for when in ["!logs.exists(l, l.topic0 == event('A()'))", "logs.exists(l, l.topic0 == event('A()'))"] {
        let rules = detector(when);
        assert!(rules.inspect(&protocol, &execution).is_empty());
        assert_eq!(
            rules.gaps(&protocol, &execution),
            ["rule 'it' could not be judged: the record has no logs"]
        );
    }
    assert_eq!(detector("calls.exists(c, c.protected)").inspect(&protocol, &execution).len(), 1);
}

#[test]
fn calldata_that_ends_early_reads_as_zero() {
    let mut script = World::new().script();
    let mut input = keccak256("f(uint256,address)")[..4].to_vec();
    input.extend_from_slice(&U256::from(9).to_be_bytes::<32>());
    input.extend_from_slice(&ALICE.into_word()[..30]);
    script.frame(FrameKind::Call, LENDING_VAULT, &input, |_| ());
    let execution = script.finish(&[]);
    let rules = detector(
        "calls.exists(c, c.selector == sig('f(uint256,address)') && arg(c, 0) == 9 && arg_address(c, 1) != tx.from \
         && arg(c, 2) == 0 && arg(c, 9223372036854775807) == 0)",
    );
    assert_eq!(rules.inspect(&World::protocol(), &execution).len(), 1);
}

#[test]
fn rules_are_only_evaluated_where_what_they_name_is_there() {
    let needs = |when: &str| load(when).unwrap().rules[0].needs.clone();
    let topic = |text: &str| keccak256(text);
    assert_eq!(
        needs("tx.success && logs.exists(l, l.protected && l.topic0 in [event('A()'), event('B()')])"),
        Needs::Topics(vec![topic("A()"), topic("B()")], Whose::Protected)
    );
    assert_eq!(
        needs("logs.exists(l, l.topic0 == event('A()')) || logs.exists(l, event('B()') == l.topic0)"),
        Needs::Topics(vec![topic("A()"), topic("B()")], Whose::Anyones)
    );
    // One of two is enough for the whole to hold, and one that anybody may emit is not passed over.
    assert_eq!(
        needs(
            "logs.exists(l, l.protected && l.topic0 == event('A()')) || logs.exists(l, l.topic0 == event('B()'))"
        ),
        Needs::Topics(vec![topic("A()"), topic("B()")], Whose::Anyones)
    );
    assert_eq!(
        needs("logs.exists(l, (l.protected || tx.success) && l.topic0 == event('A()'))"),
        Needs::Topics(vec![topic("A()")], Whose::Anyones)
    );
    let function = needs("calls.exists(c, c.selector == sig('f()') && c.depth > 1)");
    assert!(matches!(function, Needs::Selectors(known, Whose::Anyones) if known.len() == 1));
    for when in [
        "!logs.exists(l, l.topic0 == event('A()'))",
        "logs.all(l, l.topic0 == event('A()'))",
        "logs.exists(l, l.topic0 == event('A()')) || tx.success",
        "logs.exists(l, l.topic0 == event('A()')) || calls.exists(c, c.selector == sig('f()'))",
        "logs.exists(l, l.topic0 == event('A()') || l.protected)",
        "logs.exists(l, l.topic0 != event('A()'))",
        "calls.exists(c, logs.exists(l, l.topic0 == event('A()')) ? false : true)",
    ] {
        assert_eq!(needs(when), Needs::Unknown, "{when}");
    }
}

#[test]
fn rules_are_found_by_what_is_there_in_the_order_of_the_file() {
    let needs = |when: &str| load(when).unwrap().rules[0].needs.clone();
    let rules = [
        needs("tx.success"),
        needs("calls.exists(c, c.selector == sig('f()'))"),
        needs("logs.exists(l, l.topic0 in [event('A()'), event('B()')])"),
        needs("logs.exists(l, l.topic0 == event('C()'))"),
        needs("size(calls) > 1"),
        needs("logs.exists(l, l.topic0 == event('P()') && l.protected)"),
    ];
    let index = needs::Index::of(rules.into_iter().enumerate());
    let mut execution = strike();
    let (protocol, elsewhere) = (World::protocol(), BOB);
    let found = |execution: &Execution| index.worth_a_look(Present::of(&protocol, execution));
    assert_eq!(found(&execution), [0, 4]);
    for event in ["B()", "A()"] {
        execution.logs.push(Log { topics: vec![keccak256(event)], ..execution.logs[0].clone() });
    }
    assert_eq!(found(&execution), [0, 2, 4]);
    execution.frames[0].input = keccak256("f()")[..4].to_vec().into();
    assert_eq!(found(&execution), [0, 1, 2, 4]);
    let foreign = Log { topics: vec![keccak256("P()")], address: elsewhere, ..execution.logs[0].clone() };
    execution.logs.push(foreign.clone());
    assert_eq!(found(&execution), [0, 1, 2, 4], "only a protected contract's event is asked for");
    execution.logs.push(Log { address: LENDING_VAULT, ..foreign });
    assert_eq!(found(&execution), [0, 1, 2, 4, 5]);
    assert_eq!(index.all(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn whether_a_contract_is_protected_is_the_same_by_list_and_by_look_up() {
    for (when, wanted) in [
        ("protects(transfers[0].from) && transfers[0].from in protocol.contracts", true),
        ("protects(tx.from) || tx.from in protocol.contracts", false),
        // Nothing, a word and an address in bytes.
        ("protects(topic_address(logs[0], 3))", false),
        ("protects(topic(logs[0], 1))", false),
        ("protects(topic_address(logs[0], 1))", true),
        ("protocol.contracts.exists(c, c == transfers[0].from) && size(protocol.contracts) == 2", true),
    ] {
        assert_eq!(holds(when), wanted, "{when}");
    }
}

/// The two lists of fields, that of the checker and that of the records, are one.
#[test]
fn every_field_that_the_checker_knows_has_a_value() {
    let (protocol, execution) = cases::Case::sample().build().unwrap();
    let facts = Facts::new(&protocol, &execution);
    let scope = super::records::Scope { facts: &facts, constants: &[] };
    for (variable, record) in [
        ("tx", Record::Tx),
        ("block", Record::Block),
        ("protocol", Record::Protocol),
        ("calls", Record::Call),
        ("logs", Record::Log),
        ("transfers", Record::Transfer),
        ("changes", Record::Change),
        ("reads", Record::Read),
    ] {
        assert!(Variable::named(variable).is_some());
        let value = scope.resolve(variable).unwrap();
        let first = value.as_iterable().map(|list| list.iter().next().unwrap().clone_as_boxed());
        let row = first.unwrap_or_else(|| value.clone_as_boxed());
        for (field, _) in record.fields() {
            let found = row.as_indexer().unwrap().get(&CelString::from(*field));
            assert!(found.is_ok(), "{variable}.{field}");
        }
    }
}

#[test]
fn a_file_is_refused_whole_with_every_error() {
    let rule = |id: &str, rest: &str| {
        format!("[[rule]]\nid = '{id}'\ntitle = 't'\nclass = 'c'\nscore = 5\n{rest}\n")
    };
    let errors = |text: &str| -> Vec<String> {
        RuleSet::parse("f", text).unwrap_err().iter().map(ToString::to_string).collect()
    };
    let text = rule("a", "when = 'true'") + &rule("a", "when = 'true'") + &rule("b", "when = '1'");
    let found = errors(&text);
    assert_eq!(found[0], "rule file 'f', rule 'a': its id stands in the file twice");
    assert!(found[1].starts_with("rule file 'f', rule 'b': line 18, column 9: the rule gives a number"));
    assert!(errors("")[0].contains("0 rules: expected 1 to 2000"));
    assert!(errors(&rule("a", "when = 'true'\nif = 5"))[0].contains("unknown field `if`"));
    assert!(errors(&rule("a b", "when = 'true'"))[0].contains("id: expected letters"));
    assert!(errors(&rule("a", "when = 'true'").replace("= 5", "= 0"))[0].contains("score 0"));
    let test = "when = 'size(logs) == 1'\n[[rule.test]]\nname = 'one'\nexpect = true\n";
    assert!(
        errors(&rule("a", test))[0].ends_with("test 'one': the rule does not hold, expected that it holds")
    );
    let log = "logs = [{ event = 'A()', topics = ['0xzz'] }]";
    assert!(errors(&rule("a", &format!("{test}{log}")))[0].contains("test 'one': '0xzz' is neither hex"));
    let log = "logs = [{ event = 'A()' }]";
    assert!(RuleSet::parse("f", &rule("a", &format!("{test}{log}"))).is_ok());
}

#[test]
fn a_configuration_needs_files_that_were_read_and_ids_that_differ() {
    let set = |origin: &str| {
        let text = "[[rule]]\nid = 'a'\ntitle = 't'\nclass = 'c'\nscore = 5\nwhen = 'true'";
        Arc::new(RuleSet::parse(origin, text).unwrap())
    };
    let config =
        |files: &[&str], sets| RulesConfig { files: files.iter().map(PathBuf::from).collect(), sets };
    assert!(config(&[], vec![]).build().is_err());
    assert!(config(&["a"], vec![]).build().unwrap_err().to_string().contains("files that were read"));
    let twice = config(&["a", "b"], vec![set("a"), set("b")]).build().unwrap_err().to_string();
    assert_eq!(twice, "rules.files = 'a': expected rule ids that no other rule has, in any file");
    assert_eq!(config(&["a"], vec![set("a")]).build().unwrap().name(), "rules");
}

#[test]
fn negations_mean_what_they_say() {
    for (when, wanted) in [
        ("!tx.success", false),
        ("!!tx.success", true),
        ("!(tx.success && !tx.success)", true),
        ("!logs.exists(l, !l.protected)", true),
        ("!logs.all(l, l.protected)", false),
        ("logs.exists_one(l, !(l.address == tx.from))", true),
        ("size(transfers.filter(t, !protects(t.to))) == 1", true),
    ] {
        assert_eq!(holds(when), wanted, "{when}");
    }
    // A place that is not there is no "no" on the other side of a negation.
    assert_eq!(
        detector("!(logs[0].topics[3] == logs[0].topic0)").gaps(&World::protocol(), &strike()).len(),
        1
    );
}

/// A vault whose supply is read before and after.
const RISES: &str = "word(after('0x00000000000000000000000000000000000000c0', 'totalSupply()'), 0) \
    > word(before('0x00000000000000000000000000000000000000c0', 'totalSupply()'), 0) * 2";

#[test]
fn a_rule_reads_the_state_before_and_after() {
    let (protocol, mut execution) = (World::protocol(), strike());
    let rules = detector(RISES);
    let views = rules.views(&protocol, &execution);
    assert_eq!(views.len(), 2, "the set asks equal questions once");
    assert_eq!(views[0], views[1]);
    let supply = |amount: u64| Some(Bytes::from(U256::from(amount).to_be_bytes::<32>().to_vec()));
    let mut judged = |before, after| {
        let call = views[0].clone();
        execution.views = vec![cordon_model::execution::ViewReading { call, before, after }];
        rules.judge(&protocol, &execution)
    };
    assert_eq!(judged(supply(10), supply(21)).findings.len(), 1);
    assert_eq!(judged(supply(10), supply(20)), Opinion::default());
    let failed = judged(None, supply(20));
    assert!(failed.findings.is_empty());
    assert_eq!(
        failed.gaps,
        ["rule 'it' could not be judged: there is no answer to totalSupply() of \
          0x00000000000000000000000000000000000000C0 before the transaction"]
    );
    execution.views.clear();
    assert_eq!(rules.gaps(&protocol, &execution).len(), 1, "a reading that was not taken is no zero");
}

#[test]
fn readings_are_only_asked_for_rules_that_are_worth_a_look() {
    let (protocol, mut execution) = (World::protocol(), strike());
    let rules = detector(&format!("logs.exists(l, l.topic0 == event('A()')) && {RISES}"));
    assert_eq!(rules.views(&protocol, &execution), []);
    execution.logs.push(Log { topics: vec![keccak256("A()")], ..execution.logs[0].clone() });
    assert_eq!(rules.views(&protocol, &execution).len(), 2);
}

#[test]
fn a_reading_that_depends_on_the_transaction_is_refused() {
    for (when, what) in [
        ("size(before(tx.to, 'f()')) > 0", "before takes texts in quotes only"),
        ("after('0x00000000000000000000000000000000000000c0', 'f(uint8)', '300') == tx.to", "of type uint8"),
        (
            "before('0x00000000000000000000000000000000000000c0', 'f()') > 5",
            "expected two numbers, found hex",
        ),
    ] {
        let error = load(when).unwrap_err();
        assert!(error.contains(what), "{when}: {error}");
    }
    let many =
        vec!["size(before('0x00000000000000000000000000000000000000c0', 'f()')) == 0"; 17].join(" && ");
    assert!(load(&many).unwrap_err().contains("17 readings, expected at most 16"));
}

#[test]
fn a_test_states_what_views_answer() {
    let file = |views: &str| {
        let head = "[[rule]]\nid = 'r'\ntitle = 't'\nclass = 'c'\nscore = 5\n";
        let test = "[[rule.test]]\nname = 'doubled'\nexpect = true\n";
        RuleSet::parse("f", &format!("{head}when = \"{RISES}\"\n{test}{views}"))
    };
    assert!(file("views = [{ function = 'totalSupply()', before = ['5'], after = ['11'] }]").is_ok());
    for (views, what) in [
        ("views = [{ function = 'totalSupply()', before = ['5'], after = ['10'] }]", "does not hold"),
        ("views = [{ function = 'totalSupply()', before = ['5'] }]", "no answer to totalSupply() of"),
        ("", "no answer to totalSupply() of"),
    ] {
        let error = file(views).unwrap_err()[0].to_string();
        assert!(error.contains(what), "{views}: {error}");
    }
}
