//! Learning from recordings, and the comparison of recordings, over small corpora.

use super::*;
use crate::backtest::tests::{call, write};
use alloy_primitives::{Address, B256};
use std::path::Path;
use tempfile::TempDir;

fn tx(number: u8) -> B256 {
    B256::repeat_byte(number)
}

/// An attack by `sender` on `victim`: a contract of the sender's calls these functions of it in turn, with the number as amount.
fn attack(sender: u8, victim: u8, functions: impl IntoIterator<Item = u32>) -> String {
    let address = |byte: u8| Address::repeat_byte(byte).to_string();
    let (own, victim) = (address(sender ^ 0xff), address(victim));
    let step = |function: u32| call(&own, &victim, &format!("0x{function:08x}{sender:064x}"), &[]);
    call(&address(sender), &own, "0xcccc0001", &functions.into_iter().map(step).collect::<Vec<_>>())
}

fn record(folder: &TempDir, number: u8, text: &str) {
    write(folder.path(), &tx(number).to_string(), text);
}

fn compared(attacks: &Path, benign: &Path, list: &str) -> Evaluation {
    let incidents = Incidents::parse(list).unwrap();
    evaluate(&[attacks.to_owned()], &[benign.to_owned()], &incidents, &|_| ()).unwrap()
}

#[test]
fn recordings_give_signatures_and_say_why_some_do_not() {
    let folder = tempfile::tempdir().unwrap();
    record(&folder, 1, &attack(0x11, 0x21, 1..20));
    record(&folder, 2, &attack(0x12, 0x22, 1..3));
    record(
        &folder,
        3,
        &attack(0x13, 0x23, 1..20).replacen("\"gasUsed\"", "\"error\":\"out of gas\",\"gasUsed\"", 1),
    );
    record(&folder, 4, "{\"type\":\"CALL\"}");
    let learned = learn_from_recordings(&[folder.path().to_owned()], &|_| ()).unwrap();
    let names: Vec<_> = learned.file.signatures.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["tx-0101010101010101"]);
    assert_eq!(learned.file.signatures[0].shape.as_ref().unwrap().steps.len(), 19);
    let notes = learned.notes.join("\n");
    assert_eq!(learned.notes.len(), 3, "{notes}");
    for part in ["0202: its code and its steps are too short", "0303: it failed", "archived call tree"] {
        assert!(notes.contains(part), "{part} in {notes}");
    }
}

#[test]
fn an_imitator_is_recognised_by_the_earlier_attack_and_not_the_other_way_round() {
    let (attacks, benign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    record(&attacks, 1, &attack(0x11, 0x21, 1..20));
    record(&attacks, 2, &attack(0x12, 0x22, 1..20));
    record(&attacks, 3, &attack(0x13, 0x23, (1..20).rev()));
    record(&benign, 4, &attack(0x14, 0x24, 1..20));
    record(&benign, 5, &attack(0x15, 0x25, 30..50));
    let list = format!("{},202301,first,\n{},202302,second,\n{},202303,third,\n", tx(1), tx(2), tx(3));
    let found = compared(attacks.path(), benign.path(), &list);
    assert_eq!((found.attacks, found.dated, found.ordinary), (3, 3, 2));
    assert_eq!((found.by_earlier.count, found.by_any_other.count), (1, 2));
    let earlier: Vec<_> =
        found.recognised.iter().filter(|one| one.is_earlier).map(|one| (one.tx, one.known)).collect();
    assert_eq!(earlier, [(tx(2), tx(1))]);
    // The ordinary transaction that takes the very steps counts as a false alarm, and as nothing else.
    assert_eq!((found.false_alarms.count, found.alarms[0].tx, found.joint_ordinary.count), (1, tx(4), 0));
    let again = compared(attacks.path(), benign.path(), &list);
    assert_eq!(serde_json::to_string(&found).unwrap(), serde_json::to_string(&again).unwrap());
}

#[test]
fn nothing_is_recognised_by_its_own_incident_or_victim_or_contract() {
    let (attacks, benign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    record(&attacks, 1, &attack(0x11, 0x21, 1..20));
    record(&attacks, 2, &attack(0x12, 0x22, 1..20));
    let victim = Address::repeat_byte(0x21);
    let by = |first: &str, second: &str| {
        let list = format!("{},{first}\n{},{second}\n", tx(1), tx(2));
        compared(attacks.path(), benign.path(), &list).by_any_other.count
    };
    assert_eq!(by("202301,one,", "202302,other,"), 2);
    assert_eq!(by("202301,one,", "202302,one,"), 0);
    assert_eq!(by(&format!("202301,one,{victim}"), &format!("202302,other,{victim}")), 0);
    // The same contract of the attacker's, in a transaction of its own.
    record(&attacks, 2, &attack(0x11, 0x22, 1..20));
    assert_eq!(by("202301,one,", "202302,other,"), 0);
}
