//! What may be said about a node: its scheme, host and port, and texts from which all else of its url is removed.
//!
//! In: a node's url, and texts and errors of the transport. Out: texts without credentials. It must never let a piece
//! of a url pass that could be a key: hosted nodes put keys into the path, the query and the user information alike.

use std::error::Error;
use std::fmt;
use std::path::Path;
use url::Url;

/// Longest foreign text that an error carries; nodes answer whole HTML pages.
pub(crate) const REASON_CHARS_MAX: usize = 300;

/// Shortest piece of a url's path that is treated as a key where it stands alone. Shorter pieces are words such as `v3`
/// or `rpc`, whose removal would garble unrelated text; keys that people choose have six characters, those of hosted
/// nodes sixteen and more.
const KEY_CHARS_MIN: usize = 6;

/// Knows a node's name, and what must not be said of it.
pub(crate) struct Redactor {
    node: String,
    secrets: Vec<String>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Redactor {
    /// For a provider that the caller made, whose url is not known here.
    pub(crate) fn without_url() -> Self {
        Self { node: "given by the caller".to_owned(), secrets: Vec::new() }
    }

    /// For several nodes under one name: what must not be said of one must not be said of all.
    pub(crate) fn joined<'a>(node: String, redactors: impl Iterator<Item = &'a Self>) -> Self {
        let mut secrets: Vec<String> =
            redactors.flat_map(|redactor| redactor.secrets.iter().cloned()).collect();
        secrets.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        secrets.dedup();
        Self { node, secrets }
    }

    /// For a node's url. The error says what is wrong with the url without a piece of it: what is taken for a scheme
    /// may be the beginning of a key.
    pub(crate) fn for_url(url: &str) -> Result<(Url, Self), String> {
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") {
            return Err("its scheme is another one".to_owned());
        }
        let host = url.host_str().ok_or_else(|| "it has no host".to_owned())?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let node = format!("{}://{host}{port}", url.scheme());
        let secrets = secrets(&url);
        Ok((url, Self { node, secrets }))
    }

    /// For the socket of a node on this machine. A path of the file system holds no key.
    pub(crate) fn for_socket(path: &Path) -> Self {
        Self { node: format!("ipc://{}", path.display()), secrets: Vec::new() }
    }

    /// Scheme, host and port.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// A text without urls and keys, cut to a bounded length.
    pub(crate) fn text(&self, text: &str) -> String {
        let clean = self
            .secrets
            .iter()
            .fold(without_urls(text), |text, secret| text.replace(secret.as_str(), "[redacted]"));
        clean.chars().take(REASON_CHARS_MAX).collect()
    }

    /// The innermost cause: what went wrong, without the layers that only say that something did.
    pub(crate) fn cause(&self, error: &(dyn Error + 'static)) -> String {
        let mut innermost = error;
        while let Some(next) = innermost.source() {
            innermost = next;
        }
        self.text(&innermost.to_string())
    }

    /// An error with its causes, each once.
    pub(crate) fn chain(&self, error: &dyn Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            let line = next.to_string();
            if !text.contains(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            cause = next.source();
        }
        self.text(&text)
    }
}

/// Pieces of a url that may be credentials, longest first.
fn secrets(url: &Url) -> Vec<String> {
    let mut pieces = vec![url.as_str().to_owned(), url.as_str().trim_end_matches('/').to_owned()];
    let words = [Some(url.username()), url.password(), url.query(), url.fragment()];
    pieces.extend(words.into_iter().flatten().map(str::to_owned));
    pieces.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    // A bare word such as `?key` is a name without a value.
    pieces.extend(url.query_pairs().filter(|(_, value)| value.is_empty()).map(|(name, _)| name.into_owned()));
    let segments = url.path_segments().into_iter().flatten();
    pieces.extend(segments.filter(|segment| segment.len() >= KEY_CHARS_MIN).map(str::to_owned));
    // Servers repeat the path in their error pages, whatever the length of its pieces.
    pieces.extend(Some(url.path()).filter(|path| path.len() > KEY_CHARS_MIN).map(str::to_owned));
    pieces.retain(|piece| !piece.is_empty());
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    pieces
}

/// Removes whatever looks like a url: that of a provider which the caller made is not known here, nor is one to which
/// a node redirects.
fn without_urls(text: &str) -> String {
    let ends_word =
        |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '\'' | '<' | '>' | ',' | '`');
    let word = |word: &str| {
        let trimmed = word.trim_end_matches(ends_word);
        let end = word.get(trimmed.len()..).unwrap_or_default();
        if trimmed.contains("://") { format!("[url]{end}") } else { word.to_owned() }
    };
    text.split_inclusive(ends_word).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_any_place_of_a_url_are_removed() {
        let url = "https://ann:s3cret@node.example/v3/0123456789abcdef?token=tok99";
        let (_, redactor) = Redactor::for_url(url).unwrap();
        assert_eq!(redactor.node(), "https://node.example");
        let clean = redactor.text(&format!(
            "error for url ({url}): bad key 0123456789abcdef, token tok99 of ann, pass s3cret"
        ));
        assert_eq!(
            clean,
            "error for url ([url]): bad key [redacted], token [redacted] of [redacted], pass [redacted]"
        );
        assert_eq!(redactor.text("no route /v3/0123456789abcdef"), "no route [redacted]");
        assert!(!format!("{redactor:?}").contains("s3cret"));
    }

    #[test]
    fn urls_of_foreign_providers_are_removed_too() {
        let clean =
            Redactor::without_url().text("error sending request for url (https://node.example/key): refused");
        assert_eq!(clean, "error sending request for url ([url]): refused");
    }

    #[test]
    fn long_answers_are_cut() {
        assert_eq!(Redactor::without_url().text(&"x".repeat(10_000)).len(), REASON_CHARS_MAX);
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_the_url() {
        for url in ["s3cret:8545", "s3cret", "ftp://ann:s3cret@node.example", "http://s3cret:x:y@"] {
            let reason = Redactor::for_url(url).unwrap_err();
            assert!(!reason.contains("s3cret"), "{reason}");
        }
    }
}
