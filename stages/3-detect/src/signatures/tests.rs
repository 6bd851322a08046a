//! Signatures from executions and back: what is learned, what is read from a file, and what is recognised.

use super::*;
use crate::detectors::known_attack::KnownAttackConfig;
use crate::testing::{ALICE, BOB, CHILD, CONTROLLER, LENDING_VAULT, Script, World, selector};
use alloy_primitives::Bytes;
use cordon_model::signature::{SIGNATURE_FORMAT, SignatureFile, Step};
use cordon_model::units::{Bps, ChainId};
use std::sync::Arc;

fn limits() -> Limits {
    KnownAttackConfig::default().limits()
}

fn observed(execution: &Execution) -> Observed {
    Observed::of(&World::protocol(), execution)
}

fn provenance() -> Provenance {
    let text = "learned in a test".to_owned();
    Provenance { chain_id: ChainId(1), tx: B256::repeat_byte(7), incident: None, text }
}

fn signature(execution: &Execution) -> Option<Signature> {
    observed(execution).signature("known".to_owned(), AttackClass::Reentrancy, provenance(), &limits())
}

/// Calls of the lending vault, of these functions in this order.
fn calls(functions: impl IntoIterator<Item = u8>) -> Execution {
    calls_by(ALICE, CONTROLLER, functions)
}

fn calls_by(from: Address, own: Address, functions: impl IntoIterator<Item = u8>) -> Execution {
    let mut script = Script::new(World::new(), from, own);
    for function in functions {
        script.call(LENDING_VAULT, function, |_| {});
    }
    script.finish(&[])
}

/// Code of so many instructions, with a constant.
fn code(instructions: usize, constant: u8) -> Bytes {
    [vec![0x60, constant], vec![0x01; instructions - 1]].concat().into()
}

fn creating(code: Bytes) -> Execution {
    let mut script = World::new().script();
    script.create(CHILD, |script| script.call(LENDING_VAULT, 1, |_| {}));
    let mut execution = script.finish(&[]);
    execution.frames[1].output = code;
    execution
}

fn nearest(known: &Execution, seen: &Execution) -> Option<Likeness> {
    let memory = Memory::of([Arc::new(signature(known).unwrap())]);
    memory.nearest(&observed(seen), &limits()).map(|found| found.likeness)
}

fn min_code() -> usize {
    usize::try_from(limits().instructions_min).unwrap()
}

#[test]
fn code_that_was_created_or_called_is_recognised_by_itself_and_with_other_constants() {
    let known = creating(code(min_code(), 1));
    assert_eq!(
        nearest(&known, &creating(code(min_code(), 1))),
        Some(Likeness::SameCode { contract: CHILD, is_new: true })
    );
    let instructions = limits().instructions_min;
    let alike = Likeness::SameInstructions { contract: CHILD, instructions, is_new: true };
    assert_eq!(nearest(&known, &creating(code(min_code(), 9))), Some(alike));
    assert_eq!(nearest(&known, &creating(code(min_code() + 1, 1))), None);

    let mut called = calls([1]);
    called.called_code = code(min_code(), 1);
    let found = nearest(&known, &called).unwrap();
    assert_eq!(found, Likeness::SameCode { contract: CONTROLLER, is_new: false });
    assert!(!found.alarms_alone(&limits()), "what was there before may be anybody's");
    // A token that is called first runs everybody's code: it calls nobody.
    let mut token = Script::new(World::new(), ALICE, CONTROLLER).finish(&[]);
    token.called_code = code(min_code(), 1);
    assert_eq!(observed(&token).codes, []);
    // What is protected and called first is not the sender's.
    let mut direct = Script::new(World::new(), ALICE, LENDING_VAULT).finish(&[]);
    direct.called_code = code(min_code(), 1);
    assert_eq!(nearest(&known, &direct), None);
}

#[test]
fn short_code_says_nothing() {
    assert_eq!(signature(&creating(code(min_code() - 1, 1))), None);
    let known = creating(code(min_code(), 1));
    let mut memory = signature(&known).unwrap();
    // A file may hold the hash of a short code: it is not looked for.
    let short = creating(code(min_code() - 1, 1));
    memory.codes = vec![observed(&short).codes[0].mark];
    let memory = Memory::of([Arc::new(memory)]);
    assert!(memory.nearest(&observed(&short), &limits()).is_none());
}

#[test]
fn the_number_of_codes_is_bounded_and_each_counts_once() {
    let created = |kinds: u8, of_each: usize| {
        let mut script = World::new().script();
        for _ in 0..usize::from(kinds) * of_each {
            script.create(CHILD, |script| script.call(BOB, 1, |_| {}));
        }
        let mut execution = script.finish(&[]);
        for (frame, number) in execution.frames.iter_mut().skip(1).step_by(2).zip(0usize..) {
            frame.output = code(min_code(), u8::try_from(number % usize::from(kinds)).unwrap());
        }
        observed(&execution).codes.len()
    };
    assert_eq!(created(3, 500), 3);
    assert_eq!(created(100, 2), CODES_MAX);
}

#[test]
fn the_same_steps_are_recognised_and_others_are_not() {
    let steps = u8::try_from(limits().steps_min).unwrap();
    let likeness = Likeness::SameShape { steps: limits().steps_min };
    let stranger = calls_by(BOB, Address::repeat_byte(0x99), 0..steps);
    assert_eq!(nearest(&calls(0..steps), &stranger), Some(likeness));
    assert_eq!(nearest(&calls(0..steps), &calls((0..steps).rev())), None);
    assert!(signature(&calls(0..steps - 1)).is_none(), "too short to be learned");
    assert!(!likeness.alarms_alone(&limits()));
    let alone = Likeness::SameShape { steps: limits().steps_alone_min };
    assert!(alone.alarms_alone(&limits()));
}

#[test]
fn steps_that_are_mostly_the_same_are_similar() {
    let known = calls(0..30);
    // One step of thirty is another one: three of 28 runs of three differ on either side.
    let seen = calls((0..30).map(|step| if step == 15 { 99 } else { step }));
    let found = nearest(&known, &seen);
    assert_eq!(found, Some(Likeness::Similar { similarity_bps: Bps(25 * 10_000 / 31) }));
    assert_eq!(
        nearest(&known, &calls((0..30).map(|step| if step % 3 == 0 { step + 100 } else { step }))),
        None
    );
    // A cut record is similar at most.
    let mut cut = calls(0..30);
    cut.truncated = true;
    assert_eq!(nearest(&known, &cut), Some(Likeness::Similar { similarity_bps: Bps(10_000) }));
}

fn file(signatures: Vec<Signature>) -> String {
    serde_json::to_string(&SignatureFile { format: SIGNATURE_FORMAT, signatures }).unwrap()
}

#[test]
fn a_file_gives_back_what_was_learned() {
    let mut known = creating(code(min_code(), 1));
    known.frames.extend(calls(0..20).frames.into_iter().skip(1));
    let signature = signature(&known).unwrap();
    assert!(signature.shape.is_some() && signature.codes.len() == 1);
    let set = SignatureSet::parse("known.json", &file(vec![signature.clone()])).unwrap();
    assert_eq!(set.signatures().map(|one| Signature::clone(one)).collect::<Vec<_>>(), [signature]);
}

#[test]
fn a_wrong_file_is_refused_by_key_value_and_expectation() {
    let known = signature(&calls(0..20)).unwrap();
    let changed = |change: &dyn Fn(&mut Signature)| {
        let mut changed = known.clone();
        change(&mut changed);
        file(vec![known.clone(), changed])
    };
    let other = |one: &mut Signature| one.name = "other".to_owned();
    let many_steps = |one: &mut Signature| {
        other(one);
        let shape = one.shape.as_mut().unwrap();
        let step: Step = shape.steps[0];
        shape.steps = vec![step; STEPS_MAX + 1];
    };
    let cases: Vec<(String, &str)> = vec![
        (changed(&|_| {}), "signatures[1].name: found 'known', expected a name that no other signature has"),
        (changed(&|one| one.name = "a\nb".to_owned()), "signatures[1].name: found 'a\\nb', expected 1 to 80"),
        (changed(&|one| one.name = "x".repeat(81)), "signatures[1].name: found 'xxx"),
        (
            changed(&|one| {
                other(one);
                one.provenance.text = "x".repeat(501);
            }),
            "signatures[1].provenance.text",
        ),
        (changed(&many_steps), "signatures[1].shape.steps: found '513', expected 1 to 512"),
        (
            changed(&|one| {
                other(one);
                one.shape = None;
            }),
            "signatures[1].shape: found 'none', expected a shape, or a code",
        ),
        (file(Vec::new()), "signatures: found '0', expected 1 to 2000"),
        (file(vec![known.clone(); SIGNATURES_MAX + 1]), "signatures: found '2001', expected 1 to 2000"),
        (file(vec![known.clone()]).replace("\"format\":1", "\"format\":2"), "format: found '2', expected 1"),
        (file(vec![known.clone()]).replace("\"class\"", "\"klass\""), "unknown field `klass`"),
        ("[]".to_owned(), "the file: found '"),
        (String::new(), "the file: found 'EOF"),
    ];
    for (text, expected) in cases {
        let error = SignatureSet::parse("f.json", &text).unwrap_err().to_string();
        assert!(error.starts_with("signature file 'f.json', ") && error.contains(expected), "{error}");
    }
}

#[test]
fn no_signature_file_stops_it() {
    use proptest::prelude::*;
    let text = file(vec![signature(&calls(0..20)).unwrap()]);
    proptest!(|(at in 0..text.len(), byte in 0x20u8..0x7f)| {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = byte;
        if let Ok(set) = SignatureSet::parse("f.json", &String::from_utf8(bytes).unwrap()) {
            let memory = Memory::of(set.signatures().map(Arc::clone));
            let _found = memory.nearest(&observed(&calls(0..20)), &limits());
        }
    });
}

#[test]
fn selectors_are_those_of_the_calls() {
    let shape = observed(&calls([4])).shape.unwrap();
    assert_eq!(shape.steps[0].function, Some(selector(4)));
}
