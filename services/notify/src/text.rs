//! Text from a chain, made harmless and short.
//!
//! In: strings that anybody may have written, such as a token's symbol. Out: the same words, bounded, and without
//! characters that act on a terminal or reorder what stands around them. Must never: drop something without a mark.

use cordon_model::notice::Notice;

/// Longest title, characters: about three lines of a terminal.
const TITLE_CHARS_MAX: usize = 300;

/// Longest line of details, characters: a 32-byte word in hex is 66, so that several and their names fit.
const LINE_CHARS_MAX: usize = 500;

/// Most lines of details: what a person on call reads before opening the report.
const LINES_MAX: usize = 50;

/// Longest protocol name, characters.
const NAME_CHARS_MAX: usize = 100;

/// The texts of a notice, within the bounds above.
#[derive(Debug)]
pub(crate) struct Clipped {
    /// Name of the protocol, where it is about one.
    pub(crate) protocol: Option<String>,
    /// Title.
    pub(crate) title: String,
    /// Details.
    pub(crate) lines: Vec<String>,
}

impl Clipped {
    pub(crate) fn new(notice: &Notice) -> Self {
        let shown = notice.lines.iter().take(LINES_MAX);
        let mut lines: Vec<String> = shown.map(|line| clip(line, LINE_CHARS_MAX)).collect();
        let hidden = notice.lines.len().saturating_sub(LINES_MAX);
        if hidden > 0 {
            lines.push(format!("({hidden} more lines)"));
        }
        let title = clip(&notice.title, TITLE_CHARS_MAX);
        let protocol = notice.protocol.as_ref().map(|protocol| clip(&protocol.0, NAME_CHARS_MAX));
        Self { protocol, title, lines }
    }
}

/// The first `chars_max` characters, with a mark where more were cut off.
pub(crate) fn clip(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => {
            let (kept, cut) = text.split_at(end);
            format!("{kept} ({} more characters)", cut.chars().count())
        }
    }
}

/// The text with every character that could act on a terminal written as `\u{..}`.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether a character does something else than to show itself.
fn acts(c: char) -> bool {
    // C0 and C1 controls: ESC and CSI start terminal commands, CR and backspace overwrite, LF fakes further lines.
    c.is_control()
        || matches!(c,
            // Zero-width characters and marks of direction: they hide or reorder text (Unicode TR 36, 2.4 and 2.5).
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags and variation selectors, invisible carriers of text.
            | '\u{e0000}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_to_a_terminal_become_text() {
        assert_eq!(escape("\u{1b}[2J\u{1b}]0;x\u{7}"), "\\u{1b}[2J\\u{1b}]0;x\\u{7}");
        assert_eq!(escape("a\r\nb\u{8}\u{7f}\u{9b}"), "a\\u{d}\\u{a}b\\u{8}\\u{7f}\\u{9b}");
        assert_eq!(escape("0x\u{202e}dcba"), "0x\\u{202e}dcba");
        assert_eq!(escape("\u{200b}\u{2066}\u{feff}\u{e0041}"), "\\u{200b}\\u{2066}\\u{feff}\\u{e0041}");
    }

    #[test]
    fn ordinary_text_of_any_script_stays() {
        let text = "Vault \"A\" lost 1,5 ‰ of čETH – 金庫 \\o/ 🚨";
        assert_eq!(escape(text), text);
    }

    #[test]
    fn long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(clip("金庫金庫", 4), "金庫金庫");
        assert_eq!(clip("金庫金庫", 3), "金庫金 (1 more characters)");
        assert_eq!(clip("", 0), "");
    }
}
