//! Text from the chain made harmless, and times made readable.
//!
//! In: any string. Out: [`plain`] text in which nothing can move the cursor, reverse the reading direction or end a code
//! block; [`markdown_text`] in which nothing is markup. Must never: drop a character silently. What cannot be shown is
//! shown as its code point.

use std::fmt::Write;

/// Most characters of one piece of text from the chain. A revert reason is a sentence; an attacker's can be a book.
const TEXT_CHARS_MAX: usize = 160;

/// Text in which control characters, invisible characters, bidirectional overrides and backticks are written as
/// `\u{..}`, cut after 160 characters.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    for character in chars.by_ref().take(TEXT_CHARS_MAX) {
        if is_hazard(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    let rest = chars.count();
    if rest > 0 {
        write!(out, "… ({rest} more characters)").expect("writing to a string does not fail");
    }
    out
}

/// Whether a character changes how its surroundings are read. The ranges are Unicode's format characters (general
/// category Cf) that occur in attacks on readers: soft hyphen, bidirectional marks, zero-width characters, tags.
fn is_hazard(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '`' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Plain text in which Markdown and HTML markup is escaped and no link is recognised.
#[must_use]
pub fn markdown_text(text: &str) -> String {
    let mut out = String::new();
    let text = escape_controls(text);
    for (at, character) in text.char_indices() {
        let links = text.get(at..).is_some_and(|rest| rest.starts_with("://"))
            || (character == '.'
                && text.get(..at).is_some_and(|before| before.to_lowercase().ends_with("www")));
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '@' => {
                out.push('\\');
                out.push(character);
            }
            _ if links => {
                out.push('\\');
                out.push(character);
            }
            _ => out.push(character),
        }
    }
    out
}

/// As [`plain`], without the cut: sentences of our own may be longer.
fn escape_controls(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if is_hazard(character) { out.extend(character.escape_unicode()) } else { out.push(character) }
    }
    out
}

/// Seconds in a day.
const DAY_S: u64 = 86_400;

/// A Unix time as `2024-02-29 12:34:56 UTC`.
///
/// The date is computed with the proleptic Gregorian calendar by era (400 years of 146,097 days) counted from
/// 1 March of the year 0, as in Howard Hinnant's `civil_from_days`.
#[must_use]
pub fn utc(timestamp_s: u64) -> String {
    /// Days from 0000-03-01 to 1970-01-01.
    const EPOCH_DAYS: u64 = 719_468;
    let (days, second) = (timestamp_s / DAY_S + EPOCH_DAYS, timestamp_s % DAY_S);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hazardous_characters_are_shown_as_code_points() {
        assert_eq!(plain("not enough"), "not enough");
        assert_eq!(plain("a\n# b"), "a\\u{a}# b");
        assert_eq!(plain("```\x1b[2J"), "\\u{60}\\u{60}\\u{60}\\u{1b}[2J");
        assert_eq!(plain("pay\u{202e}eno"), "pay\\u{202e}eno");
        assert!(plain(&"x".repeat(500)).ends_with("… (340 more characters)"));
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(markdown_text("a | b"), "a \\| b");
        assert_eq!(markdown_text("<img src=x>"), "&lt;img src=x&gt;");
        assert_eq!(markdown_text("[refund](https://x.test)"), "\\[refund\\](https\\://x.test)");
        assert_eq!(markdown_text("WWW.x.test"), "WWW\\.x.test");
    }

    #[test]
    fn times_are_read_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_826_530), "2000-02-29 12:15:30 UTC");
        assert_eq!(utc(1_709_251_199), "2024-02-29 23:59:59 UTC");
        assert_eq!(utc(1_709_251_200), "2024-03-01 00:00:00 UTC");
        assert_eq!(utc(4_102_444_800), "2100-01-01 00:00:00 UTC");
    }
}
