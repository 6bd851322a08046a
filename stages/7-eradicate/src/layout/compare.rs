//! Variables of two layouts, matched by position.
//!
//! In: the live layout and the candidate's. Out: every difference. A variable keeps its place, its name and its type,
//! or it is reported; a new one may lie behind all others, in unused bytes, or in the room that a gap gave up.

use super::types::TypeComparison;
use super::{Position, Shape, StorageLayout, Variable, breaking, harmless};
use cordon_model::remedy::LayoutChange;

/// Differences that an upgrade from `live` to `candidate` would make, in the order of the live variables, then of the
/// new ones. Empty where the layouts are the same.
#[must_use]
pub fn compare(live: &StorageLayout, candidate: &StorageLayout) -> Vec<LayoutChange> {
    let mut types = TypeComparison::new(live, candidate);
    let mut changes = Vec::new();
    for old in &live.variables {
        if is_gap(live, old) {
            changes.extend(compare_gap(old, candidate));
        } else {
            changes.extend(compare_variable(old, &candidate.variables, "", &mut types));
        }
    }
    let last = live.variables.iter().map(|variable| variable.end).max();
    for new in &candidate.variables {
        if is_new(new, &live.variables) && !is_gap(candidate, new) {
            changes.push(placed(new, live, last));
        }
    }
    changes
}

/// Compares one variable, or one member of the struct that `path` names, with what lies in its place.
pub(super) fn compare_variable(
    old: &Variable,
    candidates: &[Variable],
    path: &str,
    types: &mut TypeComparison<'_>,
) -> Vec<LayoutChange> {
    let label = format!("{path}{}", old.label);
    let same_name = candidates.iter().find(|new| new.label == old.label);
    let same_place = candidates.iter().find(|new| new.start == old.start);
    match (same_place, same_name) {
        (Some(new), _) if new.label == old.label => types.compare(&old.type_id, &new.type_id, &label),
        (_, Some(moved)) => {
            vec![breaking(&label, format!("moved from {} to {}", place(old.start), place(moved.start)))]
        }
        (Some(new), None) => {
            let mut changes =
                vec![breaking(&label, format!("renamed or replaced: '{}' lies there now", new.label))];
            changes.extend(types.compare(&old.type_id, &new.type_id, &label));
            changes
        }
        (None, None) => vec![breaking(&label, format!("deleted from {}", place(old.start)))],
    }
}

/// Whether a variable is neither the continuation of an old one in its place nor an old one that moved.
pub(super) fn is_new(new: &Variable, old: &[Variable]) -> bool {
    !old.iter().any(|old| old.label == new.label)
}

fn placed(new: &Variable, live: &StorageLayout, last: Option<Position>) -> LayoutChange {
    let hit = live.variables.iter().find(|old| old.overlaps(new) && !is_gap(live, old));
    let at = place(new.start);
    if let Some(hit) = hit {
        breaking(&new.label, format!("inserted at {at} over '{}'", hit.label))
    } else if live.variables.iter().any(|old| old.overlaps(new)) {
        harmless(&new.label, format!("added at {at}, in the room of a gap"))
    } else if last.is_none_or(|last| new.start >= last) {
        harmless(&new.label, format!("appended at {at}"))
    } else {
        harmless(&new.label, format!("added at {at}, in unused bytes"))
    }
}

/// A gap as OpenZeppelin's plugins recognise it: an array of fixed length by the name `__gap` or `__gap_..`.
fn is_gap(layout: &StorageLayout, variable: &Variable) -> bool {
    let named = variable.label == "__gap" || variable.label.starts_with("__gap_");
    let array = |type_id: &String| {
        layout.types.get(type_id).is_some_and(|ty| matches!(ty.shape, Shape::FixedArray { .. }))
    };
    named && array(&variable.type_id)
}

/// A gap may shrink or vanish if its room still ends where it ended: otherwise whatever a derived contract put behind
/// it would move.
fn compare_gap(old: &Variable, candidate: &StorageLayout) -> Option<LayoutChange> {
    let inside = |new: &&Variable| new.overlaps(old);
    let end = candidate.variables.iter().filter(inside).map(|new| new.end).max();
    let gap = candidate.variables.iter().filter(inside).find(|new| is_gap(candidate, new));
    let room = place(old.end);
    match (gap, end) {
        (Some(gap), _) if gap.start == old.start && gap.end == old.end => None,
        (Some(gap), _) if gap.end == old.end => {
            Some(harmless(&old.label, format!("gap shrunk, it starts at {} now", place(gap.start))))
        }
        (Some(gap), _) => {
            Some(breaking(&old.label, format!("gap ends at {} instead of {room}", place(gap.end))))
        }
        (None, Some(end)) if end == old.end => Some(harmless(&old.label, "gap used up exactly")),
        (None, Some(end)) => {
            Some(breaking(&old.label, format!("gap gone, its room ends at {} instead of {room}", place(end))))
        }
        (None, None) => Some(breaking(&old.label, format!("gap that ended at {room} is gone"))),
    }
}

fn place(position: Position) -> String {
    match position.offset {
        0 => format!("slot {}", position.slot),
        offset => format!("slot {} byte {offset}", position.slot),
    }
}
