//! Histories as the artifact keeps them, in small.

use super::*;
use alloy_primitives::address;

const POOL: &str = "0x0000000000000000000000000000000000009001";
const VAULT: &str = "0x000000000000000000000000000000000000fa17";
const ALICE: &str = "0x00000000000000000000000000000000000a11ce";
const TX: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";

fn call(contract: &str, selector: &str, range: (i64, i64), kind: &str, accesses: &str) -> String {
    let (start, end) = range;
    format!(r#"["{contract}","{selector}","complete",{start},{end},"{kind}",{accesses}]"#)
}

fn block(calls: &[String], moves: &str) -> String {
    format!(r#"{{"{TX}":[[{}],[{moves}]]}}"#, calls.join(","))
}

fn one(calls: &[String], moves: &str) -> Execution {
    let mut read = read_history_block(&block(calls, moves), 7).unwrap();
    assert_eq!(read.len(), 1);
    read.remove(0)
}

#[test]
fn calls_nest_as_their_instructions_do() {
    let calls = [
        call(VAULT, "0xaaaa0002", (50, 90), "call", "[]"),
        call(POOL, "0xaaaa0001", (-1, 100), "firstcall", "{}"),
        call(POOL, "0xaaaa0003", (60, 70), "staticcall", "{}"),
        call(VAULT, "fallback", (200, 210), "call", "{}"),
    ];
    let execution = one(&calls, "");
    let seen: Vec<_> = execution.frames.iter().map(|f| (f.parent, f.depth, f.kind, f.selector())).collect();
    let selector = |last| Some(Selector::new([0xaa, 0xaa, 0, last]));
    assert_eq!(
        seen,
        [
            (None, 0, FrameKind::Call, selector(1)),
            (Some(0), 1, FrameKind::Call, selector(2)),
            (Some(1), 2, FrameKind::StaticCall, selector(3)),
            (None, 0, FrameKind::Call, None),
        ]
    );
    assert_eq!(execution.frames[1].caller, address!("0000000000000000000000000000000000009001"));
    assert_eq!((execution.detail, execution.tx.block.number), (Detail::Entries, 7));
    assert!(execution.status.is_success());
}

#[test]
fn accesses_and_movements_are_read_as_kept() {
    let accesses = format!(
        r#"{{"{POOL}":[["sstore","0x8","0x5",3,30],["sload","0x8","0x2",1,10]],"{VAULT}":[["sload","0x0","0x1",9]]}}"#
    );
    let moves = format!(
        r#"["ether","{ALICE}","{POOL}",3],["{VAULT}","{POOL}","{ALICE}",1208925819614629174706175000]"#
    );
    let execution = one(&[call(POOL, "0xaaaa0001", (-1, 100), "firstcall", &accesses)], &moves);
    let seen: Vec<_> = execution.accesses.iter().map(|a| (a.seq, a.kind, a.slot, a.value)).collect();
    let word = U256::from::<u64>;
    assert_eq!(
        seen,
        [
            (10, AccessKind::Read, word(0), word(1)),
            (11, AccessKind::Read, word(8), word(2)),
            (31, AccessKind::Write, word(8), word(5)),
        ]
    );
    let amounts: Vec<_> = execution.transfers.iter().map(|moved| (moved.asset, moved.amount_raw)).collect();
    let token = Asset::Token(VAULT.parse().unwrap());
    let large = "1208925819614629174706175000".parse().unwrap();
    assert_eq!(amounts, [(Asset::Native, word(3)), (token, large)]);
}

#[test]
fn what_did_not_touch_the_protocol_is_left_out() {
    for text in ["{}", &format!(r#"{{"{TX}":[]}}"#), &format!(r#"{{"{TX}":[[],[]]}}"#)] {
        assert_eq!(read_history_block(text, 1).unwrap().len(), 0, "{text}");
    }
}

#[test]
fn a_call_that_failed_did_nothing() {
    let failed = call(POOL, "0xaaaa0001", (0, 1), "call", "{}").replace("complete", "reverted");
    assert!(one(&[failed], "").frames[0].reverted);
}

#[test]
fn what_is_no_history_is_refused_with_its_place() {
    let plain = call(POOL, "0xaaaa0001", (0, 1), "call", "{}");
    let wrong = [
        (String::new(), "EOF"),
        ("[]".to_owned(), "an object of transactions"),
        (block(&[plain.replace("\"call\"", "\"jump\"")], ""), "kind 'jump'"),
        (block(&[plain.replace("0xaaaa0001", "0xaa")], ""), "'0xaa', expected a selector"),
        (block(&[plain.replace("{}", r#"[["sload"]]"#)], ""), "found a list"),
        (block(&[plain.replace("{}", &format!(r#"{{"{POOL}":[["mload","0x1","0x1"]]}}"#))], ""), "'mload'"),
        (block(&[plain.replace("{}", &format!(r#"{{"{POOL}":[["sload"]]}}"#))], ""), "slot and value"),
        (block(std::slice::from_ref(&plain), &format!(r#"["gold","{ALICE}","{POOL}",1]"#)), "moves 'gold'"),
        (block(&[plain], &format!(r#"["ether","{ALICE}","{POOL}",1.5]"#)), "the amount 1.5"),
    ];
    for (text, expected) in wrong {
        let error = read_history_block(&text, 1).unwrap_err();
        assert!(matches!(error, TraceError::Malformed { method: ARCHIVE, .. }), "{text}: {error}");
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
}
