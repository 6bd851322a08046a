//! The decoded call tree of a transaction.
//!
//! In: an execution. Out: one line per call in the order of entry, delegate calls under the proxy that made them.
//! Must never: hide that something is missing. A tree that is cut ends with a line that says how much, and so does
//! one whose record was already incomplete.

use crate::interfaces::Interfaces;
use crate::labels::Labels;
use crate::text::plain;
use alloy_primitives::{Address, U256};
use cordon_model::execution::{Execution, Frame, FrameKind, Status};
use cordon_model::report::CallLine;

/// Most lines of one transaction's tree. Attacks of record stay mostly below it; the loops of the others say the same
/// thing again.
pub const CALL_LINES_MAX: usize = 200;

/// The call tree of a transaction, at most [`CALL_LINES_MAX`] lines and one or two that say what is missing.
#[must_use]
pub fn call_lines(execution: &Execution, interfaces: &Interfaces, labels: &Labels) -> Vec<CallLine> {
    let line = |frame: &Frame| CallLine {
        depth: frame.depth,
        text: text(execution, frame, interfaces, labels),
        from: frame.caller,
        to: frame.address,
        value_wei: frame.value_wei,
        status: frame.status.clone(),
    };
    let mut lines: Vec<CallLine> = execution.frames.iter().take(CALL_LINES_MAX).map(line).collect();
    let missing = execution.frames.len().saturating_sub(CALL_LINES_MAX);
    if missing > 0 {
        lines.push(note(execution, format!("… {missing} more calls are not shown (limit {CALL_LINES_MAX})")));
    }
    if execution.truncated {
        lines.push(note(execution, "… the record of this transaction is incomplete".to_owned()));
    }
    lines
}

fn note(execution: &Execution, text: String) -> CallLine {
    CallLine {
        depth: 0,
        text,
        from: execution.transaction.from,
        to: execution.transaction.to.unwrap_or(Address::ZERO),
        value_wei: U256::ZERO,
        status: Status::Success,
    }
}

fn text(execution: &Execution, frame: &Frame, interfaces: &Interfaces, labels: &Labels) -> String {
    let target = labels.short(frame.address);
    let call = interfaces.call(&frame.input, labels);
    let forwarded = frame
        .parent
        .and_then(|parent| execution.frame(parent))
        .is_some_and(|parent| parent.input == frame.input && parent.address == frame.address);
    let mut text = match frame.kind {
        FrameKind::Call => format!("call {target}.{call}"),
        FrameKind::StaticCall => format!("static call {target}.{call}"),
        FrameKind::DelegateCall | FrameKind::CallCode => {
            let code = labels.short(frame.code_address);
            let call = if forwarded { "the same call".to_owned() } else { call };
            format!("delegate call: {target} runs code of {code}: {call}")
        }
        FrameKind::Create | FrameKind::Create2 => {
            format!("create {target} ({} bytes of init code)", frame.input.len())
        }
    };
    if !frame.value_wei.is_zero() && frame.kind != FrameKind::DelegateCall {
        text.push_str(&format!(" with {} wei", frame.value_wei));
    }
    text.push_str(&ending(frame, forwarded, interfaces, labels));
    text
}

fn ending(frame: &Frame, forwarded: bool, interfaces: &Interfaces, labels: &Labels) -> String {
    match &frame.status {
        Status::Revert { .. } | Status::Halt { .. } => {
            format!(" !! {}", failure(&frame.status, interfaces, labels))
        }
        Status::Success if frame.reverted => " (undone by a call above)".to_owned(),
        Status::Success if forwarded || frame.selector().is_none() => String::new(),
        Status::Success => interfaces
            .answer(&frame.input, &frame.output, labels)
            .map_or_else(String::new, |answer| format!(" -> {answer}")),
    }
}

/// How a call or transaction failed; empty where it did not.
pub(crate) fn failure(status: &Status, interfaces: &Interfaces, labels: &Labels) -> String {
    match status {
        Status::Success => String::new(),
        Status::Revert { output } => format!("reverted: {}", interfaces.reason(output, labels)),
        Status::Halt { reason } => format!("halted: {}", plain(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{ATTACKER, TxBuilder, USD, VAULT, call, labels};
    use alloy_primitives::Bytes;

    const CODE: Address = Address::repeat_byte(0xc0);

    fn texts(execution: &Execution) -> Vec<String> {
        let lines = call_lines(execution, &Interfaces::standard(), &labels());
        lines.into_iter().map(|line| format!("{}{}", "  ".repeat(line.depth as usize), line.text)).collect()
    }

    #[test]
    fn a_proxy_shows_its_implementation_below_it() {
        let pause = call("pause()", &[]);
        let mut tx = TxBuilder::new(1, ATTACKER, VAULT, pause.clone());
        tx.delegate(VAULT, CODE, pause);
        tx.enter(FrameKind::StaticCall, VAULT, USD, call("balanceOf(address)", &[VAULT.into_word()]));
        tx.leave(Bytes::from(U256::from(7).to_be_bytes::<32>()));
        tx.revert(Bytes::from_static(&[0xd9, 0x3c, 0x06, 0x65]));
        tx.revert(Bytes::from_static(&[0xd9, 0x3c, 0x06, 0x65]));
        assert_eq!(
            texts(&tx.build()),
            [
                "call Vault.pause() !! reverted: EnforcedPause()",
                &format!(
                    "  delegate call: Vault runs code of {CODE}: the same call !! reverted: EnforcedPause()"
                ),
                "    static call USD.balanceOf(account: Vault) (undone by a call above)",
            ]
        );
    }

    #[test]
    fn a_long_tree_says_how_much_is_missing() {
        let mut tx = TxBuilder::new(1, ATTACKER, VAULT, Bytes::new());
        for _ in 0..CALL_LINES_MAX + 4 {
            tx.enter(FrameKind::Call, VAULT, USD, Bytes::new());
            tx.leave(Bytes::new());
        }
        let mut execution = tx.build();
        execution.truncated = true;
        let texts = texts(&execution);
        assert_eq!(texts.len(), CALL_LINES_MAX + 2);
        assert_eq!(texts[CALL_LINES_MAX], "… 5 more calls are not shown (limit 200)");
        assert_eq!(texts[CALL_LINES_MAX + 1], "… the record of this transaction is incomplete");
    }

    #[test]
    fn creations_values_and_halts_are_shown() {
        let mut tx = TxBuilder::new(1, ATTACKER, VAULT, Bytes::new());
        tx.enter(FrameKind::Create, VAULT, CODE, Bytes::from_static(&[1, 2, 3]));
        tx.halt("OutOfGas");
        tx.value(U256::from(5));
        assert_eq!(
            texts(&tx.build()),
            [
                "call Vault.(no data) with 5 wei",
                &format!("  create {CODE} (3 bytes of init code) !! halted: OutOfGas"),
            ]
        );
    }
}
