//! Lists whose absence says nothing where a record does not hold them.

use super::super::RuleSet;
use super::super::tests::detector;
use super::*;
use crate::detector::Detector as _;
use crate::testing::{LENDING_VAULT, World, wad};

/// Storage that was read and did not change; where a record does not tell reads, "none" is not said.
#[test]
fn reads_are_seen_where_they_are_known() {
    let mut script = World::new().script();
    script.call(LENDING_VAULT, 9, |s| s.read(7, wad(3)));
    script.reverted(LENDING_VAULT, 9, |s| s.read(8, wad(4)));
    let (protocol, mut execution) = (World::protocol(), script.finish(&[]));
    let slot = |slot: u64| format!("0x{slot:064x}");
    let (seven, eight) = (slot(7), slot(8));
    for (when, wanted) in [
        (format!("reads.exists(r, r.protected && r.slot == '{seven}' && r.value > ether('2'))"), true),
        (format!("reads.exists(r, r.slot == '{seven}' && r.value > ether('3'))"), false),
        (format!("reads.exists(r, r.slot == '{eight}' && !r.reverted)"), false),
        (
            format!("reads.exists(r, r.slot == '{eight}' && r.reverted && r.address == '{LENDING_VAULT}')"),
            true,
        ),
        ("size(changes) == 0 && !reads.exists(r, protects(r.address) && r.value == 7)".to_owned(), true),
    ] {
        let opinion = detector(&when).judge(&protocol, &execution);
        assert_eq!((opinion.findings.len(), opinion.gaps), (usize::from(wanted), vec![]), "{when}");
    }
    execution.detail = Detail::Traced;
    execution.accesses.clear();
    let rules = detector("!reads.exists(r, r.protected) && size(logs) == 0");
    assert_eq!(
        rules.judge(&protocol, &execution).gaps,
        ["rule 'it' could not be judged: the record has no reads"]
    );
    assert_eq!(detector("size(changes) == 0").judge(&protocol, &execution).findings.len(), 1);
    execution.detail = Detail::Calls;
    assert_eq!(rules.gaps(&protocol, &execution).len(), 1);
    let file = |value: u8| {
        let rule = "[[rule]]\nid = 'r'\ntitle = 't'\nclass = 'c'\nscore = 5\nwhen = 'reads.exists(r, r.value == 5)'\n";
        format!(
            "{rule}[[rule.test]]\nname = 'one'\nexpect = true\nreads = [{{ slot = '1', value = '{value}' }}]"
        )
    };
    assert!(RuleSet::parse("f", &file(5)).is_ok() && RuleSet::parse("f", &file(6)).is_err());
}
