//! Types of two layouts, compared member by member.
//!
//! In: a pair of type ids. Out: what differs. solc's ids carry a number that changes from compilation to compilation,
//! so ids are never compared; shapes, sizes and labels are.

use super::compare::{compare_variable, is_new};
use super::{Shape, StorageLayout, Type, Variable, breaking, harmless};
use cordon_model::remedy::LayoutChange;
use std::collections::BTreeSet;

/// Whether the bytes behind a type are free, so that it may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    /// Something else follows at once.
    None,
    /// The value of a mapping lies alone under its hash.
    Free,
}

/// Most pairs of types that one comparison looks at. Real layouts need some hundreds; a file in which each struct holds
/// the next one twice needs exponentially many, and is refused instead.
const PAIRS_MAX: u32 = 100_000;

/// One comparison of two layouts. It keeps the pairs that are being compared: a struct may hold a mapping to itself,
/// and since there are finitely many pairs, the recursion ends.
#[derive(Debug)]
pub(super) struct TypeComparison<'a> {
    live: &'a StorageLayout,
    candidate: &'a StorageLayout,
    open: BTreeSet<(String, String, Room)>,
    pairs: u32,
}

impl<'a> TypeComparison<'a> {
    pub(super) fn new(live: &'a StorageLayout, candidate: &'a StorageLayout) -> Self {
        Self { live, candidate, open: BTreeSet::new(), pairs: 0 }
    }

    /// Differences between two types of the variable that `label` names.
    pub(super) fn compare(&mut self, old: &str, new: &str, label: &str) -> Vec<LayoutChange> {
        self.compare_in(old, new, label, Room::None)
    }

    fn compare_in(&mut self, old_id: &str, new_id: &str, label: &str, room: Room) -> Vec<LayoutChange> {
        self.pairs = self.pairs.saturating_add(1);
        if self.pairs > PAIRS_MAX {
            return vec![breaking(label, "not compared: the layout has too many nested types")];
        }
        let pair = (old_id.to_owned(), new_id.to_owned(), room);
        if !self.open.insert(pair.clone()) {
            return Vec::new();
        }
        let changes = self.compare_pair(old_id, new_id, label, room);
        self.open.remove(&pair);
        changes
    }

    fn compare_pair(&mut self, old_id: &str, new_id: &str, label: &str, room: Room) -> Vec<LayoutChange> {
        let (live, candidate) = (self.live, self.candidate);
        let (Some(old), Some(new)) = (live.types.get(old_id), candidate.types.get(new_id)) else {
            return vec![breaking(label, "has a type that the layout does not describe")];
        };
        match (&old.shape, &new.shape) {
            (Shape::Address, Shape::Address) => Vec::new(),
            (Shape::Elementary, Shape::Elementary) if old.label == new.label && old.bytes == new.bytes => {
                Vec::new()
            }
            (Shape::Enum, Shape::Enum) if old.bytes == new.bytes => renamed(old, new, label),
            (Shape::Named, Shape::Named) if old.label == new.label && old.bytes == new.bytes => Vec::new(),
            (Shape::Struct(old), Shape::Struct(new)) => self.compare_members(old, new, label, room),
            (Shape::Mapping { key, value }, Shape::Mapping { key: new_key, value: new_value }) => {
                let mut changes = self.compare_in(key, new_key, &format!("{label}[key]"), Room::None);
                changes.extend(self.compare_in(value, new_value, &format!("{label}[]"), Room::Free));
                changes
            }
            (Shape::DynamicArray { element }, Shape::DynamicArray { element: new_element }) => {
                self.compare_in(element, new_element, &format!("{label}[]"), Room::None)
            }
            (Shape::FixedArray { element }, Shape::FixedArray { element: new_element }) => {
                let mut changes = resized(old, new, label, room);
                changes.extend(self.compare_in(element, new_element, &format!("{label}[]"), Room::None));
                changes
            }
            (
                Shape::Address
                | Shape::Elementary
                | Shape::Enum
                | Shape::Named
                | Shape::Struct(_)
                | Shape::Mapping { .. }
                | Shape::FixedArray { .. }
                | Shape::DynamicArray { .. },
                _,
            ) => vec![breaking(label, format!("type changed from {} to {}", sized(old), sized(new)))],
        }
    }

    fn compare_members(
        &mut self,
        old: &[Variable],
        new: &[Variable],
        label: &str,
        room: Room,
    ) -> Vec<LayoutChange> {
        let path = format!("{label}.");
        let mut changes: Vec<LayoutChange> =
            old.iter().flat_map(|member| compare_variable(member, new, &path, self)).collect();
        let last = old.iter().map(|member| member.end).max();
        for member in new.iter().filter(|member| is_new(member, old)) {
            let name = format!("{path}{}", member.label);
            changes.push(if old.iter().any(|old| old.overlaps(member)) {
                breaking(&name, "inserted into a struct over another member")
            } else if last.is_some_and(|last| member.end <= padded(last)) {
                harmless(&name, "added to a struct in unused bytes")
            } else if room == Room::Free {
                harmless(&name, "appended to a struct that is the value of a mapping")
            } else {
                breaking(&name, "appended to a struct that something else follows in storage")
            });
        }
        changes
    }
}

/// The end of the slot in which a struct's last member ends: a struct always takes whole slots.
fn padded(end: super::Position) -> super::Position {
    match end.offset {
        0 => end,
        offset => end.plus(super::SLOT_BYTES.saturating_sub(offset)),
    }
}

fn renamed(old: &Type, new: &Type, label: &str) -> Vec<LayoutChange> {
    if old.label == new.label {
        return Vec::new();
    }
    vec![harmless(label, format!("type is called {} instead of {}", new.label, old.label))]
}

fn resized(old: &Type, new: &Type, label: &str, room: Room) -> Vec<LayoutChange> {
    let what = format!("array changed from {} to {}", sized(old), sized(new));
    if old.bytes == new.bytes {
        Vec::new()
    } else if new.bytes > old.bytes && room == Room::Free {
        vec![harmless(label, what)]
    } else {
        vec![breaking(label, what)]
    }
}

fn sized(ty: &Type) -> String {
    format!("{} ({} bytes)", ty.label, ty.bytes)
}
