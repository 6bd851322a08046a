//! Notices as text on a terminal.
//!
//! In: a notice. Out: a few lines on the standard error stream, which leaves the standard output to what a command
//! was asked for. Source of the escaping: terminals obey bytes that they are shown (CWE-150), and a notice may carry
//! a token symbol that an attacker chose. Must never: write a control character other than its own line breaks.

use crate::channel::{Channel, DeliveryError, DeliveryFuture};
use crate::text::{Clipped, escape};
use cordon_model::notice::{Audience, Notice};
use serde::Deserialize;
use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// `[[channel]]` with `type = "terminal"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalConfig {
    /// Name of the channel.
    #[serde(default = "default_name")]
    pub name: String,
}

fn default_name() -> String {
    "terminal".to_owned()
}

impl TerminalConfig {
    /// The channel on the standard error stream.
    #[must_use]
    pub fn build(&self) -> TerminalChannel {
        TerminalChannel::new(&self.name, Box::new(std::io::stderr()))
    }
}

/// Writes notices as text.
pub struct TerminalChannel {
    name: String,
    writer: Mutex<Box<dyn Write + Send>>,
}

impl fmt::Debug for TerminalChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalChannel").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TerminalChannel {
    /// A channel that writes to `writer`.
    #[must_use]
    pub fn new(name: &str, writer: Box<dyn Write + Send>) -> Self {
        Self { name: name.to_owned(), writer: Mutex::new(writer) }
    }

    fn write(&self, notice: &Notice) -> Result<(), DeliveryError> {
        let text = render(notice);
        // A thread that panicked while it wrote left at worst half a line; that is no reason to stay silent.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(text.as_bytes()).and_then(|()| writer.flush()).map_err(DeliveryError::Write)
    }
}

impl Channel for TerminalChannel {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver<'a>(&'a self, notice: &'a Notice, _sent_at_s: u64) -> DeliveryFuture<'a> {
        Box::pin(async move { self.write(notice) })
    }
}

/// The text of a notice, ended by a line break.
#[must_use]
pub fn render(notice: &Notice) -> String {
    let Clipped { protocol, title, lines } = Clipped::new(notice);
    let audience = match notice.audience {
        Audience::Responders => "responders",
        Audience::Signers => "signers",
        Audience::Users => "users",
        Audience::Operators => "operators",
    };
    let severity = notice.severity.to_string().to_uppercase();
    let mut text = format!("[{severity}] {}\n", escape(&title));
    let incident = notice.incident.map(|incident| format!("{incident}, "));
    let protocol = protocol.map(|protocol| format!("protocol {} on ", escape(&protocol)));
    text.push_str(&format!(
        "    {}{}chain {}, for {audience}\n",
        incident.unwrap_or_default(),
        protocol.unwrap_or_default(),
        notice.chain_id
    ));
    for line in lines {
        text.push_str(&format!("    - {}\n", escape(&line)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_model::incident::Severity;
    use cordon_model::units::{ChainId, IncidentId, NoticeId, ProtocolId};

    fn notice() -> Notice {
        Notice {
            id: NoticeId::derive(&["a"]),
            incident: Some(IncidentId([0xab; 32].into())),
            protocol: Some(ProtocolId("lending".to_owned())),
            chain_id: ChainId(1),
            severity: Severity::Critical,
            audience: Audience::Responders,
            title: "value leaves the lending vault".to_owned(),
            lines: vec!["lost: 1250 USD".to_owned(), "proposed: pause-lending".to_owned()],
        }
    }

    #[test]
    fn a_notice_reads_as_a_message() {
        let expected = "\
[CRITICAL] value leaves the lending vault
    inc-abababab, protocol lending on chain 1, for responders
    - lost: 1250 USD
    - proposed: pause-lending
";
        assert_eq!(render(&notice()), expected);
    }

    #[test]
    fn text_from_a_chain_can_neither_command_the_terminal_nor_fake_a_line() {
        let mut hostile = notice();
        hostile.title = "\u{1b}[2J\u{1b}[H all clear".to_owned();
        hostile.lines = vec!["token \u{202e}HTE\nfake: incident closed\r".to_owned()];
        hostile.protocol = Some(ProtocolId("p\u{9b}31m".to_owned()));
        let expected = "\
[CRITICAL] \\u{1b}[2J\\u{1b}[H all clear
    inc-abababab, protocol p\\u{9b}31m on chain 1, for responders
    - token \\u{202e}HTE\\u{a}fake: incident closed\\u{d}
";
        assert_eq!(render(&hostile), expected);
    }

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let mut flood = notice();
        flood.lines = vec!["x".repeat(10_000); 1_000];
        let text = render(&flood);
        assert!(text.len() < 40_000, "{}", text.len());
        assert!(text.ends_with("    - (950 more lines)\n"));
        assert!(text.contains("(9500 more characters)"));
    }
}
