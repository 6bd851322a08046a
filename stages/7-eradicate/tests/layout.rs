//! Storage layouts as solc writes them, and what the comparison says of each kind of change.

use cordon_eradicate::{StorageLayout, compare};
use serde_json::{Value, json};

/// A layout of the given variables `(label, slot, offset, type)` over all types that these examples use.
fn layout(variables: &[(&str, u64, u64, &str)]) -> StorageLayout {
    layout_with(variables, json!({}))
}

fn layout_with(variables: &[(&str, u64, u64, &str)], more: Value) -> StorageLayout {
    let mut types = json!({
        "t_uint256": value("uint256", 32),
        "t_uint128": value("uint128", 16),
        "t_uint96": value("uint96", 12),
        "t_uint8": value("uint8", 1),
        "t_bool": value("bool", 1),
        "t_address": value("address", 20),
        "t_contract(IERC20)77": value("contract IERC20", 20),
        "t_enum(Phase)5": value("enum Box.Phase", 1),
        "t_enum(Phase)6": value("enum Phase", 1),
        "t_enum(Wide)5": value("enum Wide", 2),
        "t_userDefinedValueType(Wad)3": value("Wad", 32),
        "t_userDefinedValueType(Ray)4": value("Ray", 32),
        "t_string_storage": {"encoding": "bytes", "label": "string", "numberOfBytes": "32"},
        "t_mapping(t_address,t_uint256)": mapping("t_address", "t_uint256"),
        "t_mapping(t_uint256,t_uint256)": mapping("t_uint256", "t_uint256"),
        "t_array(t_uint256)dyn_storage":
            {"encoding": "dynamic_array", "label": "uint256[]", "numberOfBytes": "32", "base": "t_uint256"},
        "t_array(t_uint256)2_storage": array(2),
        "t_array(t_uint256)3_storage": array(3),
        "t_array(t_uint256)50_storage": array(50),
        "t_array(t_uint256)49_storage": array(49),
        "t_array(t_uint256)48_storage": array(48),
    });
    let object = types.as_object_mut().expect("the types are an object");
    for (id, described) in more.as_object().expect("more types are an object") {
        object.insert(id.clone(), described.clone());
    }
    let storage: Vec<Value> = variables.iter().map(|variable| item(*variable)).collect();
    StorageLayout::from_json(&json!({"storage": storage, "types": types}))
        .expect("the example is well formed")
}

fn item((label, slot, offset, ty): (&str, u64, u64, &str)) -> Value {
    json!({"astId": 1, "contract": "Box", "label": label, "offset": offset, "slot": slot.to_string(), "type": ty})
}

fn value(label: &str, bytes: u64) -> Value {
    json!({"encoding": "inplace", "label": label, "numberOfBytes": bytes.to_string()})
}

fn mapping(key: &str, value: &str) -> Value {
    json!({"encoding": "mapping", "label": "mapping", "numberOfBytes": "32", "key": key, "value": value})
}

fn array(length: u64) -> Value {
    let (label, bytes) = (format!("uint256[{length}]"), (32 * length).to_string());
    json!({"encoding": "inplace", "label": label, "numberOfBytes": bytes, "base": "t_uint256"})
}

/// A struct `Position` with the given members, plus a mapping and a dynamic array of it.
fn structure(members: &[(&str, u64, u64, &str)], bytes: u64) -> Value {
    let members: Vec<Value> = members.iter().map(|member| item(*member)).collect();
    json!({
        "t_struct(Position)9": {
            "encoding": "inplace", "label": "struct Position", "numberOfBytes": bytes.to_string(), "members": members
        },
        "t_mapping(t_address,t_struct(Position)9)": mapping("t_address", "t_struct(Position)9"),
        "t_array(t_struct(Position)9)dyn_storage": {
            "encoding": "dynamic_array", "label": "struct Position[]", "numberOfBytes": "32", "base": "t_struct(Position)9"
        },
    })
}

/// The comparison as text, one line a change: `!` marks a breaking one.
fn check(live: &StorageLayout, candidate: &StorageLayout, expected: &[&str]) {
    let line = |change: &cordon_model::remedy::LayoutChange| {
        format!("{} {}: {}", if change.breaking { "!" } else { "-" }, change.label, change.what)
    };
    let found: Vec<String> = compare(live, candidate).iter().map(line).collect();
    assert_eq!(found, expected);
}

const A: (&str, u64, u64, &str) = ("a", 0, 0, "t_uint256");
const B: (&str, u64, u64, &str) = ("b", 1, 0, "t_uint256");

#[test]
fn the_same_layout_has_no_changes() {
    check(&layout(&[A, B]), &layout(&[A, B]), &[]);
}

#[test]
fn appending_is_harmless() {
    check(&layout(&[A]), &layout(&[A, B]), &["- b: appended at slot 1"]);
    check(&layout(&[]), &layout(&[A]), &["- a: appended at slot 0"]);
}

#[test]
fn inserting_moves_what_follows() {
    let candidate = layout(&[("fee", 0, 0, "t_uint256"), ("a", 1, 0, "t_uint256"), ("b", 2, 0, "t_uint256")]);
    check(
        &layout(&[A, B]),
        &candidate,
        &[
            "! a: moved from slot 0 to slot 1",
            "! b: moved from slot 1 to slot 2",
            "! fee: inserted at slot 0 over 'a'",
        ],
    );
}

#[test]
fn deleting_renaming_and_reordering_break() {
    check(&layout(&[A, B]), &layout(&[A]), &["! b: deleted from slot 1"]);
    check(
        &layout(&[A, B]),
        &layout(&[A, ("c", 1, 0, "t_uint256")]),
        &["! b: renamed or replaced: 'c' lies there now", "! c: inserted at slot 1 over 'b'"],
    );
    check(
        &layout(&[A, B]),
        &layout(&[("b", 0, 0, "t_uint256"), ("a", 1, 0, "t_uint256")]),
        &["! a: moved from slot 0 to slot 1", "! b: moved from slot 1 to slot 0"],
    );
}

#[test]
fn changing_a_type_breaks_even_at_the_same_size() {
    let of = |ty| layout(&[("a", 0, 0, ty)]);
    check(&of("t_uint8"), &of("t_bool"), &["! a: type changed from uint8 (1 bytes) to bool (1 bytes)"]);
    check(
        &of("t_uint256"),
        &of("t_uint128"),
        &["! a: type changed from uint256 (32 bytes) to uint128 (16 bytes)"],
    );
    check(
        &of("t_userDefinedValueType(Wad)3"),
        &of("t_userDefinedValueType(Ray)4"),
        &["! a: type changed from Wad (32 bytes) to Ray (32 bytes)"],
    );
    check(
        &of("t_array(t_uint256)dyn_storage"),
        &of("t_array(t_uint256)2_storage"),
        &["! a: type changed from uint256[] (32 bytes) to uint256[2] (64 bytes)"],
    );
}

#[test]
fn an_address_and_a_contract_are_the_same() {
    let of = |ty| layout(&[("token", 0, 0, ty)]);
    check(&of("t_address"), &of("t_contract(IERC20)77"), &[]);
    check(&of("t_contract(IERC20)77"), &of("t_address"), &[]);
}

#[test]
fn enums_are_compared_by_size() {
    let of = |ty| layout(&[("phase", 0, 0, ty)]);
    check(
        &of("t_enum(Phase)5"),
        &of("t_enum(Phase)6"),
        &["- phase: type is called enum Phase instead of enum Box.Phase"],
    );
    check(
        &of("t_enum(Phase)5"),
        &of("t_enum(Wide)5"),
        &["! phase: type changed from enum Box.Phase (1 bytes) to enum Wide (2 bytes)"],
    );
}

#[test]
fn unused_bytes_of_a_slot_may_be_used() {
    let owner = ("owner", 0, 0, "t_address");
    check(
        &layout(&[owner, B]),
        &layout(&[owner, ("limit", 0, 20, "t_uint96"), B]),
        &["- limit: added at slot 0 byte 20, in unused bytes"],
    );
}

#[test]
fn a_gap_shrinks_if_its_end_stays() {
    let live = layout(&[A, ("__gap", 1, 0, "t_array(t_uint256)50_storage"), ("z", 51, 0, "t_uint256")]);
    let shrunk = [A, B, ("__gap", 2, 0, "t_array(t_uint256)49_storage"), ("z", 51, 0, "t_uint256")];
    check(
        &live,
        &layout(&shrunk),
        &["- __gap: gap shrunk, it starts at slot 2 now", "- b: added at slot 1, in the room of a gap"],
    );
    check(&live, &live, &[]);
}

#[test]
fn a_gap_that_ends_elsewhere_breaks() {
    let live = layout(&[A, ("__gap", 1, 0, "t_array(t_uint256)50_storage")]);
    check(
        &live,
        &layout(&[A, B, ("__gap", 2, 0, "t_array(t_uint256)50_storage")]),
        &["! __gap: gap ends at slot 52 instead of slot 51", "- b: added at slot 1, in the room of a gap"],
    );
    check(
        &live,
        &layout(&[A, B, ("__gap", 2, 0, "t_array(t_uint256)48_storage")]),
        &["! __gap: gap ends at slot 50 instead of slot 51", "- b: added at slot 1, in the room of a gap"],
    );
    check(&live, &layout(&[A]), &["! __gap: gap that ended at slot 51 is gone"]);
}

#[test]
fn a_gap_may_be_used_up_exactly() {
    let live = layout(&[A, ("__gap", 1, 0, "t_array(t_uint256)2_storage")]);
    check(
        &live,
        &layout(&[A, B, ("c", 2, 0, "t_uint256")]),
        &[
            "- __gap: gap used up exactly",
            "- b: added at slot 1, in the room of a gap",
            "- c: added at slot 2, in the room of a gap",
        ],
    );
    check(
        &live,
        &layout(&[A, B]),
        &[
            "! __gap: gap gone, its room ends at slot 2 instead of slot 3",
            "- b: added at slot 1, in the room of a gap",
        ],
    );
}

const MEMBERS: &[(&str, u64, u64, &str)] = &[("debt", 0, 0, "t_uint256"), ("owner", 1, 0, "t_address")];
const GROWN: &[(&str, u64, u64, &str)] =
    &[("debt", 0, 0, "t_uint256"), ("owner", 1, 0, "t_address"), ("fee", 2, 0, "t_uint256")];

#[test]
fn a_struct_grows_only_as_the_value_of_a_mapping() {
    let of = |ty, members: &[_], bytes| layout_with(&[("positions", 0, 0, ty)], structure(members, bytes));
    let mapped = "t_mapping(t_address,t_struct(Position)9)";
    check(
        &of(mapped, MEMBERS, 64),
        &of(mapped, GROWN, 96),
        &["- positions[].fee: appended to a struct that is the value of a mapping"],
    );
    for (ty, path) in [("t_struct(Position)9", ""), ("t_array(t_struct(Position)9)dyn_storage", "[]")] {
        let text =
            format!("! positions{path}.fee: appended to a struct that something else follows in storage");
        check(&of(ty, MEMBERS, 64), &of(ty, GROWN, 96), &[&text]);
    }
}

#[test]
fn members_of_structs_are_compared_like_variables() {
    let of = |members: &[_]| {
        let ty = "t_mapping(t_address,t_struct(Position)9)";
        layout_with(&[("positions", 0, 0, ty)], structure(members, 64))
    };
    let swapped = [("owner", 0, 0, "t_address"), ("debt", 1, 0, "t_uint256")];
    check(
        &of(MEMBERS),
        &of(&swapped),
        &[
            "! positions[].debt: moved from slot 0 to slot 1",
            "! positions[].owner: moved from slot 1 to slot 0",
        ],
    );
    let packed = [MEMBERS[0], MEMBERS[1], ("rate", 1, 20, "t_uint96")];
    check(&of(MEMBERS), &of(&packed), &["- positions[].rate: added to a struct in unused bytes"]);
}

#[test]
fn mappings_keep_their_key_and_arrays_their_length() {
    let of = |ty| layout(&[("a", 0, 0, ty)]);
    check(
        &of("t_mapping(t_address,t_uint256)"),
        &of("t_mapping(t_uint256,t_uint256)"),
        &["! a[key]: type changed from address (20 bytes) to uint256 (32 bytes)"],
    );
    check(
        &of("t_array(t_uint256)2_storage"),
        &of("t_array(t_uint256)3_storage"),
        &["! a: array changed from uint256[2] (64 bytes) to uint256[3] (96 bytes)"],
    );
}

#[test]
fn a_struct_that_maps_to_itself_is_compared_once() {
    let types = |ty: &str| {
        json!({
            "t_struct(Node)9": {
                "encoding": "inplace", "label": "struct Node", "numberOfBytes": "64",
                "members": [item(("next", 0, 0, "t_mapping(t_address,t_struct(Node)9)")), item(("weight", 1, 0, ty))]
            },
            "t_mapping(t_address,t_struct(Node)9)": mapping("t_address", "t_struct(Node)9"),
        })
    };
    let of = |ty| layout_with(&[("root", 0, 0, "t_struct(Node)9")], types(ty));
    check(&of("t_uint256"), &of("t_uint256"), &[]);
    let found = compare(&of("t_uint256"), &of("t_uint128"));
    assert!(found.iter().all(|change| change.breaking) && !found.is_empty());
}

#[test]
fn every_member_of_a_changed_type_is_reported() {
    let of = |ty| {
        let members = [("low", 0, 0, ty), ("high", 1, 0, ty)];
        layout_with(&[("pair", 0, 0, "t_struct(Position)9")], structure(&members, 64))
    };
    check(
        &of("t_uint256"),
        &of("t_string_storage"),
        &[
            "! pair.low: type changed from uint256 (32 bytes) to string (32 bytes)",
            "! pair.high: type changed from uint256 (32 bytes) to string (32 bytes)",
        ],
    );
}

#[test]
fn malformed_layouts_are_refused_with_a_reason() {
    let variable = |slot: &str, offset: u64, ty: &str| {
        json!({"storage": [{"label": "a", "offset": offset, "slot": slot, "type": ty}],
               "types": {"t_uint256": value("uint256", 32)}})
    };
    let cases = [
        (variable("x", 0, "t_uint256"), "slot of 'a' is 'x', expected a decimal number below 2^256"),
        (variable("0", 32, "t_uint256"), "offset of 'a' is '32', expected a number from 0 to 31"),
        (variable("0", 0, "t_gone"), "'a' uses type 't_gone', which the layout does not describe"),
        (json!({"storage": 1}), "the layout does not have the form that solc writes"),
        (
            json!({"storage": [], "types": {"t_x": {"encoding": "odd", "label": "x", "numberOfBytes": "1"}}}),
            "type 't_x' has encoding 'odd', expected inplace, mapping, dynamic_array or bytes",
        ),
        (
            json!({"storage": [], "types": {"t_x": {"encoding": "inplace", "label": "x", "numberOfBytes": "-1"}}}),
            "numberOfBytes of 't_x' is '-1', expected a number of bytes",
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(StorageLayout::from_json(&json).unwrap_err().to_string(), expected);
    }
}
