//! Decoding of arguments: as the library encodes them, dirty, cut short, and made to be large.

use super::super::tests::{WHEN, detector, load};
use super::super::{Opinion, UserRules};
use super::*;
use crate::detector::Detector as _;
use crate::testing::{ALICE, LENDING_VAULT, World};
use alloy_dyn_abi::{DynSolValue, JsonAbiExt};
use cel::common::traits::Indexer as _;
use cordon_model::execution::{Execution, FrameKind};
use proptest::prelude::*;

const SWAP: &str = "swap(uint256,int24,address,bytes,(bool,string)[],bytes4[2])";

fn values() -> Vec<DynSolValue> {
    let pair = |yes, text: &str| {
        DynSolValue::Tuple(vec![DynSolValue::Bool(yes), DynSolValue::String(text.to_owned())])
    };
    let selector = |byte: u8| DynSolValue::FixedBytes(B256::right_padding_from(&[byte; 4]), 4);
    vec![
        DynSolValue::Uint(U256::from(5), 256),
        DynSolValue::Int(I256::try_from(-887_272).unwrap(), 24),
        DynSolValue::Address(ALICE),
        DynSolValue::Bytes(vec![7; 33]),
        DynSolValue::Array(vec![pair(true, "one"), pair(false, "two")]),
        DynSolValue::FixedArray(vec![selector(1), selector(2)]),
    ]
}

/// A transaction that calls the vault with these bytes.
fn calling(input: &[u8]) -> Execution {
    let mut script = World::new().script();
    script.frame(FrameKind::Call, LENDING_VAULT, input, |_| ());
    script.finish(&[])
}

fn judged(when: &str, execution: &Execution) -> Opinion {
    let rules: UserRules = detector(when);
    rules.judge(&World::protocol(), execution)
}

fn holds(when: &str, execution: &Execution) -> bool {
    let opinion = judged(when, execution);
    assert_eq!(opinion.gaps, Vec::<String>::new(), "{when}");
    !opinion.findings.is_empty()
}

/// `condition` on the arguments of the swap, written as `$`.
fn of_swap(condition: &str) -> String {
    let args = format!("args(c, '{SWAP}')");
    format!("calls.exists(c, c.selector == sig('{SWAP}') && {})", condition.replace('$', &args))
}

#[test]
fn every_type_has_a_value() {
    let input = Function::parse(SWAP).unwrap().abi_encode_input(&values()).unwrap();
    let execution = calling(&input);
    for condition in [
        "$[0] == 5 && 4 < $[0] && $[0] + 1 == 6",
        "$[1] < 0 && $[1] == -887272 && abs($[1]) == 887272 && $[1] < $[0] && -887273 < $[1]",
        "$[2] == tx.from && $[2] == '0xA11CE00000000000000000000000000000000001'",
        "size($[3]) == 33 && word($[3], 1) > 0",
        "size($[4]) == 2 && $[4][0][0] && !$[4][1][0] && $[4][1][1] == 'two'",
        "$[4].exists(pair, pair[1] == 'one')",
        "$[4][0][1].startsWith('on')",
        "$[5][0] == '0x01010101' && $[5].exists(s, s == '0x02020202')",
        "size($) == 6",
    ] {
        assert!(holds(&of_swap(condition), &execution), "{condition}");
    }
    for condition in ["$[1] > 0", "$[0] == 6", "$[4][1][0]", "$[5][1] == '0x01010101'", "size($) == 5"] {
        assert!(!holds(&of_swap(condition), &execution), "{condition}");
    }
    let elsewhere = "calls.exists(c, size(args(c, 'swap(uint256)')) > 0)";
    assert!(!holds(elsewhere, &execution), "of another function there are no arguments");
    let opinion =
        judged("calls.exists(c, size(c.input) > 4 && args(c, 'swap(uint256)')[0] == 5)", &execution);
    assert!(opinion.gaps[0].contains("the list has no element at this place"), "{opinion:?}");
}

#[test]
fn names_and_short_types_are_the_same_function() {
    let layout = |text: &str| Layout::function(text).unwrap();
    assert_eq!(layout("f(uint256,(address,bool)[])"), layout("f(uint amount, (address,bool)[] calldata x)"));
    let transfer = Layout::function("transfer(address,uint256)").unwrap();
    assert_eq!(transfer.tag, Tag::Function(Selector::new([0xa9, 0x05, 0x9c, 0xbb])));
}

#[test]
fn wrong_signatures_and_places_are_refused_with_the_column() {
    for (when, column, what) in [
        ("calls.exists(c, size(args(c, 'f(uint7)')) > 0)", 30, "not the signature of a function"),
        ("calls.exists(c, size(args(c, 'f(uint256')) > 0)", 30, "not the signature of a function"),
        ("calls.exists(c, size(args(c, 'f(uint256[0])')) > 0)", 30, "not the signature"),
        ("calls.exists(c, size(args(c, 'f(uint256[9999])')) > 0)", 30, "more than 1024 words"),
        ("calls.exists(c, size(args(c, 'f(()[])')) > 0)", 30, "not the signature of a function"),
        ("calls.exists(c, size(args(c, c.kind)) > 0)", 31, "takes its signature as a text in quotes"),
        (
            "logs.exists(l, size(args(l, 'f(uint256)')) > 0)",
            25,
            "'args' takes (a call, a signature in quotes)",
        ),
        ("calls.exists(c, args(c, 'f(uint256)')[1] == 5)", 39, "there are 1 values"),
        (
            "calls.exists(c, args(c, 'f(uint256[2])')[0][2] == 5)",
            45,
            "the array has 2 elements, and none at 2",
        ),
        ("calls.exists(c, args(c, 'f(uint256)')[0] == tx.from)", 42, "an amount never equals hex"),
        ("calls.exists(c, args(c, 'f(bool)')[0][0] == 5)", 38, "a yes or no has no places"),
        ("calls.exists(c, args(c, 'f(int8)')[0] + 1 == 5)", 39, "a signed amount is only compared"),
        ("calls.exists(c, c.value < args(c, 'f(int8)')[0])", 25, "write the signed one on the left"),
        ("logs.exists(l, event_args(l, 'E(address indexed)')[0] > 5)", 55, "expected two numbers, found hex"),
        (
            "logs.exists(l, size(event_args(l, 'E(bool indexed,bool indexed,bool indexed,bool indexed)')) > 0)",
            35,
            "4 indexed arguments",
        ),
        ("logs.exists(l, size(event_args(l, 'E(bool) anonymous')) > 0)", 35, "anonymous"),
    ] {
        let error = load(when).unwrap_err();
        assert!(error.contains(what), "{when}: {error}");
        let place = format!("line 6, column {}: ", column + WHEN.len());
        assert!(error.contains(&place), "{when}: expected column {column}: {error}");
    }
    for deep in [format!("f({}{})", "(".repeat(500), ")".repeat(500)), format!("f(bool{})", "[]".repeat(500))]
    {
        let error = load(&format!("calls.exists(c, size(args(c, '{deep}')) > 0)")).unwrap_err();
        assert!(error.contains("more than 8 brackets in one another"), "{error}");
    }
    // A rule that reads arguments of calls of any function is found out when it is loaded.
    let error = load("calls.exists(c, args(c, 'f(uint256)')[0] == 5)").unwrap_err();
    assert!(error.contains("on the sample transaction: "), "{error}");
}

#[test]
fn a_log_is_read_by_its_topics_and_its_data() {
    let mut execution = calling(&[]);
    let log = |topics: Vec<B256>, data: &[u8]| Log {
        seq: 1,
        frame: 0,
        address: LENDING_VAULT,
        topics,
        data: Bytes::copy_from_slice(data),
    };
    let moved = keccak256("Moved(address,string,int256,address)");
    let word = |number: i64| I256::try_from(number).unwrap().to_be_bytes::<32>();
    let data = [word(-4), ALICE.into_word().0].concat();
    execution.logs = vec![log(vec![moved, LENDING_VAULT.into_word(), keccak256("text")], &data)];
    let args = "event_args(l, 'Moved(address indexed from, string indexed, int256, address to)')";
    let of = |condition: &str| {
        let condition = condition.replace('$', args);
        format!("logs.exists(l, {condition})")
    };
    for (condition, wanted) in [
        ("size($) == 4", true),
        ("size($) == 4 && protects($[0]) && $[3] == tx.from && $[2] == -4", true),
        ("size($) == 4 && size($[1]) == 32", true),
        ("size($) == 4 && $[2] > 0", false),
    ] {
        assert_eq!(holds(&of(condition), &execution), wanted, "{condition}");
    }
    // The same event with fewer topics is another one, as ERC-721's Transfer is beside that of ERC-20.
    execution.logs[0].topics.pop();
    assert!(!holds(&of("size($) > 0"), &execution));
    assert!(!holds("logs.exists(l, size(event_args(l, 'Moved()')) > 0)", &execution));
}

/// What a contract makes of them: zeros beyond the end, and the low bits of a word.
#[test]
fn short_and_dirty_calldata_is_read_as_a_contract_reads_it() {
    let selector = |text: &str| keccak256(text)[..4].to_vec();
    let mut input = selector("f(address,uint8,bool,int8)");
    input.extend([0xff; 12]);
    input.extend(ALICE);
    input.extend([0xff; 63]);
    let args = "args(c, 'f(address,uint8,bool,int8)')";
    let when = format!(
        "calls.exists(c, size({args}) == 4 && {args}[0] == tx.from && {args}[1] == 255 && {args}[2] && {args}[3] == 0)"
    );
    assert!(holds(&when, &calling(&input)));
    let bare = calling(&selector("f(bytes,uint256[],string)"));
    let args = "args(c, 'f(bytes,uint256[],string)')";
    let when = format!("calls.exists(c, size({args}) == 3 && size({args}[0]) == 0 && size({args}[1]) == 0)");
    assert!(holds(&when, &bare), "nothing at all is a length of zero");
}

/// What cannot be read equals nothing, and where more is asked of it the rule says that it could not be judged.
#[test]
fn hostile_calldata_does_not_switch_a_rule_off_silently() {
    let mut input = keccak256("f(bytes,address)")[..4].to_vec();
    input.extend([0xff; 32]);
    input.extend(ALICE.into_word());
    let execution = calling(&input);
    let with = |condition: &str| {
        let condition = condition.replace('$', "args(c, 'f(bytes,address)')");
        judged(&format!("calls.exists(c, c.selector == sig('f(bytes,address)') && {condition})"), &execution)
    };
    assert_eq!(with("$[1] == tx.from").findings.len(), 1, "what can be read is read");
    assert_eq!(with("$[0] == '0x01020304'"), Opinion::default());
    let opinion = with("size($[0]) > 5");
    assert!(opinion.findings.is_empty() && opinion.gaps[0].contains("could not be judged"), "{opinion:?}");
}

/// Arrays whose elements all point to one another would be worth gigabytes; the rule's budget ends it.
#[test]
fn arrays_that_multiply_are_a_gap() {
    let signature = "f(uint256[][][])";
    let mut input = keccak256(signature)[..4].to_vec();
    let word = |number: usize| U256::from(number).to_be_bytes::<32>();
    let (layer, many) = (1_000usize, 1_000usize);
    input.extend(word(32));
    // Two layers of offsets, each of which points to the beginning of the next, and the numbers.
    for _ in 0..2 {
        input.extend(word(many));
        (0..many).for_each(|_| input.extend(word(layer * 32)));
    }
    input.extend(word(many));
    (0..many).for_each(|_| input.extend(word(1)));
    let when = format!("calls.exists(c, size(args(c, '{signature}')) == 2)");
    let opinion = judged(&when, &calling(&input));
    assert!(opinion.gaps[0].contains("it walks more than 100000 elements"), "{opinion:?}");
}

fn schema(layout: Layout) -> Schema {
    Schema { layout: Arc::new(layout), budget: Arc::default(), place: None }
}

/// One value beside what the library decodes.
fn same(ours: &dyn Val, theirs: &DynSolValue) -> bool {
    let list = |parts: &[DynSolValue]| {
        let list = ours.downcast_ref::<CelList<'_>>().map(CelList::inner).unwrap();
        list.len() == parts.len() && list.iter().zip(parts).all(|(ours, theirs)| same(ours.as_ref(), theirs))
    };
    match theirs {
        DynSolValue::Address(address) => ours.equals(&Octets::Address(*address)),
        DynSolValue::Bool(yes) => ours.equals(&CelBool::from(*yes)),
        DynSolValue::Uint(number, _) => ours.equals(&Amount(*number)),
        DynSolValue::Int(number, _) => ours.equals(&Signed(*number)),
        DynSolValue::FixedBytes(word, bytes) => ours.equals(&fixed(*word, *bytes)),
        DynSolValue::Function(function) => {
            ours.equals(&Octets::Data(Bytes::copy_from_slice(function.as_slice())))
        }
        DynSolValue::Bytes(bytes) => ours.equals(&Octets::Data(bytes.clone().into())),
        DynSolValue::String(text) => ours.equals(&CelString::from(text.as_str())),
        parts => list(parts.as_fixed_seq().or_else(|| parts.as_array()).unwrap()),
    }
}

fn frame(input: Vec<u8>) -> Frame {
    let mut execution = calling(&input);
    execution.frames.pop().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What the library encodes is decoded as it was, of types in one another.
    #[test]
    fn what_is_encoded_is_read(number: [u64; 4], bytes in prop::collection::vec(any::<u8>(), 0..80), yes: bool,
        text in ".{0,40}", rows in 0usize..4, columns in 0usize..4)
    {
        let amount = DynSolValue::Uint(U256::from_limbs(number), 256);
        let pair = DynSolValue::Tuple(vec![DynSolValue::Bytes(bytes), amount.clone()]);
        let row = DynSolValue::Array(vec![pair.clone(); columns]);
        let values = vec![
            DynSolValue::FixedArray(vec![row.clone(), row]),
            DynSolValue::Bool(yes),
            DynSolValue::Array(vec![DynSolValue::FixedArray(vec![amount.clone(), amount]); rows]),
            DynSolValue::String(text),
            pair,
        ];
        let signature = "f((bytes,uint256)[][2],bool,uint256[2][],string,(bytes,uint256))";
        let input = Function::parse(signature).unwrap().abi_encode_input(&values).unwrap();
        let schema = schema(Layout::function(signature).unwrap());
        let found = schema.of_call(&frame(input)).unwrap();
        prop_assert!(same(found.as_ref(), &DynSolValue::Tuple(values)));
    }

    /// Whatever bytes there are, reading them ends, and without a value only where there can be none.
    #[test]
    fn no_bytes_stop_the_reading(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(32), Just(64), any::<u8>()], 0..400)) {
        let layout = Layout::function("f((bytes,uint8[])[],string,int16[3][],address)").unwrap();
        let Tag::Function(selector) = layout.tag else { panic!("it is a function") };
        let found = schema(layout).of_call(&frame([selector.as_slice(), &bytes].concat())).unwrap();
        let list = found.downcast_ref::<CelList<'_>>().unwrap();
        prop_assert_eq!(list.inner().len(), 4);
        prop_assert!(list.get(&cel::common::types::CelInt::from(3)).unwrap().downcast_ref::<Octets>().is_some());
    }
}
