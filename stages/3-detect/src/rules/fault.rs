//! What is wrong with a rule, and where in its text.
//!
//! In: mistakes at a node of an expression. Out: errors that name file and rule, and show the line with a caret below
//! the column. Must never: blame a rule without saying what would be right.

use cel::Program;

/// Something wrong at one node of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    node: u64,
    what: String,
}

impl Mistake {
    pub(super) fn at(node: u64, what: impl Into<String>) -> Self {
        Self { node, what: what.into() }
    }

    /// The mistake with its place. A node that was made by a macro has none, and stands for the whole expression.
    pub(super) fn shown(&self, program: &Program) -> String {
        let info = program.source_info();
        let start = info.offset_for(self.node).map_or(0, |(start, _)| start);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let mut passed = 0usize;
        for (number, line) in info.source.split_inclusive('\n').enumerate() {
            let length = line.chars().count();
            if start < passed.saturating_add(length) {
                return caret(number.saturating_add(1), start.saturating_sub(passed), line, &self.what);
            }
            passed = passed.saturating_add(length);
        }
        self.what.clone()
    }
}

/// Most characters shown left and right of a mistake; a wide terminal shows this much.
const SHOWN_EACH_SIDE: usize = 80;

/// A message with the line that it speaks of, and a caret below the column (counted from zero).
pub(super) fn caret(line_number: usize, column: usize, line: &str, what: &str) -> String {
    let column_shown = column.saturating_add(1);
    let cut = column.saturating_sub(SHOWN_EACH_SIDE);
    let before: String = line.chars().skip(cut).take(column.saturating_sub(cut)).collect();
    let after: String = line.chars().skip(column).take(SHOWN_EACH_SIDE).collect();
    // A tab is as wide in the line of the caret as in the line above it.
    let blank: String = before.chars().map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
    let shown = format!("{before}{after}");
    format!("line {line_number}, column {column_shown}: {what}\n    {}\n    {blank}^", shown.trim_end())
}

/// Why a rule file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule file '{origin}', {place}: {what}")]
pub struct RuleError {
    /// File.
    pub origin: String,
    /// The rule, or the file itself.
    pub place: String,
    /// What is wrong, with line and column of the expression where it is one.
    pub what: String,
}
