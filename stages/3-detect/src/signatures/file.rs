//! Signature files: text of somebody else, checked before anything is compared with it.
//!
//! In: text. Out: a [`SignatureSet`], or what is wrong with it, by key, value and what was expected. Must never: take a part of a file.

use super::{CODES_MAX, STEPS_MAX};
use alloy_primitives::keccak256;
use cordon_model::log::RuleFile;
use cordon_model::signature::{SIGNATURE_FORMAT, Signature, SignatureFile};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most bytes of a signature file: a thousand signatures of the longest kind that were met.
pub const SIGNATURE_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most signatures of a file, over twice the 912 incidents that the longest public list has. An index over more would make the
/// comparison of one transaction cost as much as executing it.
pub const SIGNATURES_MAX: usize = 2_000;

/// Longest name and longest text of a provenance, in characters: a name is a word, a text a sentence or two.
const NAME_MAX: usize = 80;
const TEXT_MAX: usize = 500;

/// Most entries of a shape's flows: three kinds of assets, gained or lost.
const FLOWS_MAX: usize = 6;

/// Why a signature file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signature file '{origin}', {key}: found '{found}', expected {expected}")]
pub struct SignatureError {
    /// File.
    pub origin: String,
    /// Where in it.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

/// The signatures of one file.
#[derive(Debug, Clone)]
pub struct SignatureSet {
    origin: String,
    text: String,
    signatures: Vec<Arc<Signature>>,
}

/// Two sets are the same where they were read from the same text.
impl PartialEq for SignatureSet {
    fn eq(&self, other: &Self) -> bool {
        self.is_of(&other.origin, &other.text)
    }
}

impl Eq for SignatureSet {}

/// What stands in a file of any format.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl SignatureSet {
    /// The signatures of a file; `origin` names it in errors.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(origin: &str, text: &str) -> Result<Self, SignatureError> {
        let wrong = |key: &str, found: String, expected: String| SignatureError {
            origin: origin.to_owned(),
            key: key.to_owned(),
            found,
            expected,
        };
        let unreadable = |error: serde_json::Error| {
            wrong("the file", error.to_string(), format!("JSON of format {SIGNATURE_FORMAT}"))
        };
        // The format is asked for first: what another one holds is not to be guessed at.
        let Versioned { format } = serde_json::from_str(text).map_err(unreadable)?;
        if format != SIGNATURE_FORMAT {
            return Err(wrong("format", format.to_string(), SIGNATURE_FORMAT.to_string()));
        }
        let file: SignatureFile = serde_json::from_str(text).map_err(unreadable)?;
        let found = file.signatures.len();
        if found == 0 || found > SIGNATURES_MAX {
            return Err(wrong("signatures", found.to_string(), format!("1 to {SIGNATURES_MAX} of them")));
        }
        let mut names = BTreeSet::new();
        for (index, signature) in file.signatures.iter().enumerate() {
            let (key, found, expected) = match fault(signature) {
                None if names.insert(signature.name.as_str()) => continue,
                None => ("name", signature.name.clone(), "a name that no other signature has".to_owned()),
                Some(fault) => fault,
            };
            return Err(wrong(&format!("signatures[{index}].{key}"), found, expected));
        }
        let signatures = file.signatures.into_iter().map(Arc::new).collect();
        Ok(Self { origin: origin.to_owned(), text: text.to_owned(), signatures })
    }

    /// Whether it was read from this text of this file.
    #[must_use]
    pub fn is_of(&self, origin: &str, text: &str) -> bool {
        self.origin == origin && self.text == text
    }

    /// The signatures, in the order of the file.
    pub fn signatures(&self) -> impl ExactSizeIterator<Item = &Arc<Signature>> {
        self.signatures.iter()
    }

    /// The file as the log names it.
    #[must_use]
    pub fn file(&self) -> RuleFile {
        RuleFile { name: self.origin.clone(), text_hash: keccak256(&self.text) }
    }
}

/// Key, value and expectation of what is wrong with a signature.
fn fault(signature: &Signature) -> Option<(&'static str, String, String)> {
    let is_plain = |text: &str| !text.chars().any(char::is_control);
    let Signature { name, provenance, codes, shape, .. } = signature;
    if name.trim().is_empty() || name.chars().count() > NAME_MAX || !is_plain(name) {
        return Some(("name", name.escape_default().take(NAME_MAX).collect(), words(NAME_MAX)));
    }
    let text = &provenance.text;
    if text.chars().count() > TEXT_MAX || !is_plain(text) {
        return Some(("provenance.text", text.escape_default().take(NAME_MAX).collect(), words(TEXT_MAX)));
    }
    if codes.len() > CODES_MAX {
        return Some(("codes", codes.len().to_string(), format!("at most {CODES_MAX} of them")));
    }
    if codes.is_empty() && shape.is_none() {
        return Some(("shape", "none".to_owned(), "a shape, or a code in 'codes'".to_owned()));
    }
    let shape = shape.as_ref()?;
    let steps = shape.steps.len();
    if steps == 0 || steps > STEPS_MAX {
        return Some(("shape.steps", steps.to_string(), format!("1 to {STEPS_MAX} of them")));
    }
    let flows = shape.flows.as_ref().map_or(0, Vec::len);
    (flows > FLOWS_MAX).then(|| ("shape.flows", flows.to_string(), format!("at most {FLOWS_MAX} of them")))
}

fn words(most: usize) -> String {
    format!("1 to {most} characters without line ends or control characters")
}
