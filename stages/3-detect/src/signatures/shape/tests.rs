//! What changes a shape and what does not.

use super::*;
use crate::testing::{
    ALICE, BOB, CHILD, COLLATERAL_VAULT, CONTROLLER, LENDING_VAULT, Script, USD, World, selector, wad,
};
use alloy_primitives::{Address, Bytes, Selector};
use cordon_model::units::Asset;
use proptest::collection::vec;
use proptest::prelude::*;

fn of(execution: &Execution) -> Shape {
    let protocol = World::protocol();
    shape(&protocol, execution, &SendersSide::of(&protocol, execution)).unwrap()
}

fn scripted(play: impl FnOnce(&mut Script)) -> Shape {
    let mut script = World::new().script();
    play(&mut script);
    of(&script.finish(&[]))
}

fn step(callee: Callee, function: u8, depth: u16) -> Step {
    Step { callee, function: Some(selector(function)), kind: FrameKind::Call, depth }
}

#[test]
fn steps_are_the_calls_across_the_border() {
    let shape = scripted(|script| {
        script.create(CHILD, |_| {});
        script.call(CHILD, 9, |script| {
            script.call(LENDING_VAULT, 1, |script| {
                script.call(COLLATERAL_VAULT, 2, |_| {});
                script.call(CHILD, 3, |script| script.call(BOB, 4, |_| {}));
            });
        });
        script.frame(FrameKind::StaticCall, LENDING_VAULT, selector(5).as_slice(), |script| {
            script.call(CONTROLLER, 6, |_| {});
        });
        script.reverted(LENDING_VAULT, 7, |_| {});
    });
    let expected = [step(Callee::Protected, 1, 0), step(Callee::Own, 3, 1), step(Callee::Foreign, 4, 2)];
    assert_eq!(shape.steps, expected);
    assert!(shape.whole);
}

#[test]
fn a_contract_in_between_and_other_amounts_change_nothing() {
    let direct = scripted(|script| {
        script.transfer(USD, CONTROLLER, LENDING_VAULT, wad(5));
        script.call(LENDING_VAULT, 1, |script| script.call(CONTROLLER, 2, |_| {}));
    });
    let through_others = scripted(|script| {
        script.create(CHILD, |_| {});
        script.call(CHILD, 8, |script| {
            script.transfer(USD, CONTROLLER, LENDING_VAULT, wad(77));
            script.call(LENDING_VAULT, 1, |script| script.call(CHILD, 2, |_| {}));
        });
    });
    assert_eq!(hash(&direct), hash(&through_others));
    assert_eq!(direct.flows, through_others.flows);
}

#[test]
fn loops_count_once_and_the_order_counts() {
    let looped = |times: usize| {
        scripted(|script| {
            for _ in 0..times {
                script.call(LENDING_VAULT, 1, |script| script.call(CONTROLLER, 2, |_| {}));
                script.call(BOB, 3, |_| {});
            }
        })
    };
    assert_eq!(hash(&looped(2)), hash(&looped(40)));
    assert_eq!(looped(40).steps.len(), 3);
    let one_first = |first: u8| {
        scripted(|script| {
            script.call(LENDING_VAULT, first, |_| {});
            script.call(LENDING_VAULT, 3 - first, |_| {});
        })
    };
    assert_ne!(hash(&one_first(1)), hash(&one_first(2)));
}

#[test]
fn flows_are_counted_by_kind_and_known_only_with_logs() {
    let mut script = World::new().script();
    script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(9));
    script.transfer(Asset::Token(CONTROLLER), CONTROLLER, LENDING_VAULT, wad(1));
    let mut execution = script.finish(&[]);
    let flow = |asset, direction| Flow { asset, direction, assets: 1 };
    // The issuer stands on the other side of its token only where it is minted.
    let expected = [flow(FlowAsset::Own, Direction::Lost), flow(FlowAsset::Others, Direction::Gained)];
    assert_eq!(of(&execution).flows.as_deref(), Some(&expected[..]));
    execution.detail = Detail::Calls;
    assert_eq!(of(&execution).flows, None);
    execution.detail = Detail::Entries;
    let protocol = World::protocol();
    assert_eq!(shape(&protocol, &execution, &SendersSide::of(&protocol, &execution)), None);
}

#[test]
fn what_was_gained_and_whom_it_hurts_must_agree_where_both_are_known() {
    let play = |target: Address| {
        scripted(|script| {
            script.call(target, 1, |script| script.transfer(USD, target, CONTROLLER, wad(1)));
        })
    };
    let (protected, foreign) = (play(LENDING_VAULT), play(BOB));
    assert_eq!(hash(&protected), hash(&foreign), "who is protected is not in the hash");
    assert!(hurts_alike(&protected, &protected) && hurts_alike(&foreign, &protected));
    assert!(!hurts_alike(&protected, &foreign));
    let blind = Shape { flows: None, ..protected.clone() };
    let empty = Shape { flows: Some(Vec::new()), ..protected.clone() };
    assert!(hurts_alike(&protected, &blind) && hurts_alike(&blind, &protected));
    assert!(!hurts_alike(&protected, &empty));
}

#[test]
fn a_cut_record_and_too_many_steps_have_no_exact_shape() {
    let mut script = World::new().script();
    script.call(LENDING_VAULT, 1, |_| {});
    let mut execution = script.finish(&[]);
    assert!(hash(&of(&execution)).is_some());
    execution.truncated = true;
    assert_eq!(hash(&of(&execution)), None);
    assert_eq!(of(&execution).steps.len(), 1);

    // No part of this repeats at once: functions count up.
    let long = scripted(|script| {
        for number in 0..STEPS_MAX + 1 {
            let [.., high, low] = u32::try_from(number).unwrap().to_be_bytes();
            script.frame(FrameKind::Call, LENDING_VAULT, &[0xbb, 0, high, low], |_| {});
        }
    });
    assert_eq!((long.steps.len(), hash(&long)), (STEPS_MAX, None));
    assert_eq!(hash(&scripted(|_| {})), None, "nothing is no shape");
}

/// Calls nested as deep as the EVM allows, and as many as a record holds.
#[test]
fn deep_and_wide_records_are_read() {
    let deep = scripted(|script| {
        for level in 0..1_024u32 {
            let target = if level % 2 == 0 { LENDING_VAULT } else { CONTROLLER };
            script.enter(FrameKind::Call, target, target, &level.to_be_bytes());
        }
    });
    assert_eq!(deep.steps.last().unwrap().depth, u16::try_from(STEPS_MAX).unwrap() - 1);
    let wide = |period: u32| {
        scripted(|script| {
            for number in 0..16_384u32 {
                script.frame(FrameKind::Call, LENDING_VAULT, &(number % period).to_be_bytes(), |_| {});
            }
        })
    };
    assert_eq!(wide(8).steps.len(), 8);
    assert!(!wide(9).whole && wide(9).steps.len() == STEPS_MAX);
}

/// One call of a made-up attack: whom, which function, and what happens inside.
#[derive(Debug, Clone)]
struct Call {
    target: usize,
    function: [u8; 4],
    inside: Vec<Call>,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let leaf = (0usize..4, any::<[u8; 4]>());
    let leaf = leaf.prop_map(|(target, function)| Call { target, function, inside: Vec::new() });
    let tree = leaf.prop_recursive(4, 40, 5, |inner| {
        (0usize..4, any::<[u8; 4]>(), vec(inner, 0..5)).prop_map(|(target, function, inside)| Call {
            target,
            function,
            inside,
        })
    });
    vec(tree, 1..8)
}

fn play(script: &mut Script, calls: &[Call], cast: &[Address; 4], argument: u8) {
    for call in calls {
        let input = [&call.function[..], &[argument; 32]].concat();
        script.frame(FrameKind::Call, cast[call.target], &input, |script| {
            play(script, &call.inside, cast, argument);
        });
    }
}

/// The calls by a sender through a contract of his, with two contracts of others beside.
fn acted(calls: &[Call], [from, own, one, other]: [Address; 4], argument: u8) -> Shape {
    let mut script = Script::new(World::new(), from, own);
    play(&mut script, calls, &[own, one, other, one], argument);
    of(&script.finish(&[]))
}

proptest! {
    #[test]
    fn other_addresses_and_arguments_change_nothing(calls in calls(), arguments in any::<(u8, u8)>()) {
        let cast = |base: u8| [0, 1, 2, 3].map(|number| Address::repeat_byte(base + number));
        let (one, other) = (acted(&calls, cast(0x80), arguments.0), acted(&calls, cast(0x70), arguments.1));
        prop_assert_eq!(hash(&one), hash(&other));
        prop_assert_eq!(grams(&one), grams(&other));
    }

    #[test]
    fn another_function_is_another_shape(calls in calls(), place in any::<prop::sample::Index>()) {
        let cast = [ALICE, CONTROLLER, LENDING_VAULT, BOB];
        let shape = acted(&calls, cast, 0);
        prop_assume!(!shape.steps.is_empty());
        let place = place.index(shape.steps.len());
        let mut changed = shape.clone();
        let function = changed.steps[place].function.unwrap_or_default();
        changed.steps[place].function = Some(Selector::from(u32::from_be_bytes(function.0).wrapping_add(1).to_be_bytes()));
        prop_assert_ne!(hash(&shape), hash(&changed));
    }

    #[test]
    fn no_record_stops_it(
        frames in vec((any::<[u32; 4]>(), 0usize..6, 0usize..4, 0usize..4, any::<bool>()), 0..200),
    ) {
        let cast = [ALICE, CONTROLLER, LENDING_VAULT, BOB];
        let kinds = [
            FrameKind::Call, FrameKind::CallCode, FrameKind::DelegateCall, FrameKind::StaticCall,
            FrameKind::Create, FrameKind::Create2,
        ];
        let mut execution = World::new().script().finish(&[]);
        let pattern = execution.frames[0].clone();
        for ([depth, enter_seq, exit_seq, parent], kind, caller, address, reverted) in frames {
            let mut frame = pattern.clone();
            (frame.depth, frame.enter_seq, frame.exit_seq, frame.parent) = (depth, enter_seq, exit_seq, Some(parent));
            (frame.kind, frame.caller, frame.address) = (kinds[kind], cast[caller], cast[address]);
            (frame.code_address, frame.reverted) = (cast[address], reverted);
            frame.input = Bytes::from(depth.to_be_bytes().to_vec());
            execution.frames.push(frame);
        }
        let one = of(&execution);
        prop_assert!(one.steps.len() <= STEPS_MAX);
        prop_assert_eq!(one, of(&execution));
    }
}
