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
    pub(super) fn shown(&self, program: &Program, start: Start) -> String {
        let info = program.source_info();
        let place = info.offset_for(self.node).map_or(0, |(place, _)| place);
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let mut passed = 0usize;
        for (number, line) in info.source.split_inclusive('\n').enumerate() {
            let length = line.chars().count();
            if place < passed.saturating_add(length) {
                return caret(start, (number, place.saturating_sub(passed)), line, &self.what);
            }
            passed = passed.saturating_add(length);
        }
        self.what.clone()
    }
}

/// Most characters shown left and right of a mistake; a wide terminal shows this much.
const SHOWN_EACH_SIDE: usize = 80;

/// Where the text of an expression begins in its file, counted from zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Start {
    line: usize,
    column: usize,
}

/// What TOML takes off the beginning of a string: its quotes, and a line end right after three of them.
const OPENINGS: [&str; 8] = ["'''\r\n", "'''\n", "'''", "\"\"\"\r\n", "\"\"\"\n", "\"\"\"", "'", "\""];

impl Start {
    /// Of a TOML string that takes up `span` of the file's bytes. Where a text has escapes, its columns are not those of
    /// the file, and only the line can be told.
    pub(super) fn of(file: &str, span: std::ops::Range<usize>) -> Self {
        let token = file.get(span.clone()).unwrap_or_default();
        let opening = OPENINGS.into_iter().find(|opening| token.starts_with(opening)).unwrap_or_default();
        let before = file.get(..span.start.saturating_add(opening.len())).unwrap_or_default();
        let last = before.rsplit('\n').next().unwrap_or_default();
        let is_escaped = token.starts_with('"') && token.contains('\\');
        let column = if is_escaped { 0 } else { last.chars().count() };
        Self { line: before.matches('\n').count(), column }
    }
}

/// A message with the line that it speaks of, and a caret below the column. The place is that within the expression,
/// line and column counted from zero; it is told as one of the file.
pub(super) fn caret(start: Start, place: (usize, usize), line: &str, what: &str) -> String {
    let (line_number, column) = place;
    let indent = if line_number == 0 { start.column } else { 0 };
    let line_shown = line_number.saturating_add(start.line).saturating_add(1);
    let column_shown = column.saturating_add(indent).saturating_add(1);
    let cut = column.saturating_sub(SHOWN_EACH_SIDE);
    let before: String = line.chars().skip(cut).take(column.saturating_sub(cut)).collect();
    let after: String = line.chars().skip(column).take(SHOWN_EACH_SIDE).collect();
    // A tab is as wide in the line of the caret as in the line above it.
    let blank: String = before.chars().map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
    let shown = format!("{before}{after}");
    format!("line {line_shown}, column {column_shown}: {what}\n    {}\n    {blank}^", shown.trim_end())
}

/// Why a rule file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule file '{origin}', {place}: {what}")]
pub struct RuleError {
    /// File.
    pub origin: String,
    /// The rule, or the file itself.
    pub place: String,
    /// What is wrong, with line and column of the file where it is an expression.
    pub what: String,
}
