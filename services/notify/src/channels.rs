//! The list of channels: one line here per kind, one file under `channels/`.
//!
//! In: `[[channel]]` entries of the configuration. Out: channels ready to deliver, or what is wrong with an entry.
//! A secret is named by its environment variable and never stands in the file. [`ChannelConfig::check`] needs
//! neither the secret nor the network, so that a configuration can be judged anywhere.

pub mod terminal;
pub mod webhook;

use crate::channel::Channel;
use secrecy::SecretString;
use serde::Deserialize;
use std::collections::BTreeSet;
use terminal::TerminalConfig;
use webhook::WebhookConfig;

/// Longest name of a channel, characters; it is part of a stream's name.
const NAME_CHARS_MAX: usize = 64;

/// Most channels of one deployment: each is drained by itself, and more than this is a list for a mail server.
pub const CHANNELS_MAX: usize = 32;

/// One `[[channel]]` entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ChannelConfig {
    /// Text on the standard error stream.
    Terminal(TerminalConfig),
    /// Signed JSON to a URL.
    Webhook(WebhookConfig),
}

impl ChannelConfig {
    /// The channel's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Terminal(config) => &config.name,
            Self::Webhook(config) => &config.name,
        }
    }

    /// Judges the entry by itself: offline, and without its secret.
    ///
    /// # Errors
    /// [`ChannelConfigError`] names key, value (never a secret one) and what was expected.
    pub fn check(&self) -> Result<(), ChannelConfigError> {
        check_name(self.name())?;
        match self {
            Self::Terminal(_) => Ok(()),
            Self::Webhook(config) => config.check(),
        }
    }

    /// The channel; `secret` gives the value behind an environment variable's name, usually [`environment`].
    ///
    /// # Errors
    /// What [`Self::check`] finds, and a secret that is missing or too short.
    pub fn build(
        &self,
        secret: &dyn Fn(&str) -> Option<SecretString>,
    ) -> Result<Box<dyn Channel>, ChannelConfigError> {
        self.check()?;
        match self {
            Self::Terminal(config) => Ok(Box::new(config.build())),
            Self::Webhook(config) => Ok(Box::new(config.build(secret)?)),
        }
    }

    /// All channels of a configuration.
    ///
    /// # Errors
    /// What [`Self::build`] finds, two channels of one name, and more than [`CHANNELS_MAX`].
    pub fn build_all(
        configs: &[Self],
        secret: &dyn Fn(&str) -> Option<SecretString>,
    ) -> Result<Vec<Box<dyn Channel>>, ChannelConfigError> {
        if configs.len() > CHANNELS_MAX {
            return Err(ChannelConfigError::TooMany { found: configs.len() });
        }
        let mut names = BTreeSet::new();
        for config in configs {
            // Two channels on one stream would each think that the other's deliveries were its own.
            if !names.insert(config.name()) {
                return Err(ChannelConfigError::Duplicate { name: config.name().to_owned() });
            }
        }
        configs.iter().map(|config| config.build(secret)).collect()
    }
}

/// The value of an environment variable; `None` where it is absent or not UTF-8.
#[must_use]
pub fn environment(name: &str) -> Option<SecretString> {
    std::env::var(name).ok().map(SecretString::from)
}

/// What is wrong with a channel's configuration.
#[derive(Debug, thiserror::Error)]
pub enum ChannelConfigError {
    /// The name does not fit into the name of a stream.
    #[error("name '{name}': expected 1 to {NAME_CHARS_MAX} of the characters a-z, 0-9 and '-'")]
    Name {
        /// The name.
        name: String,
    },
    /// Two channels have one name.
    #[error(
        "name '{name}' is given to two channels: each needs its own, since it names the channel's outbox"
    )]
    Duplicate {
        /// The name.
        name: String,
    },
    /// More channels than are drained.
    #[error("{found} channels: expected at most {CHANNELS_MAX}")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// The URL cannot be used. It is not shown: its path may be a secret.
    #[error("url of channel '{channel}': {reason}")]
    Url {
        /// Channel.
        channel: String,
        /// What was expected.
        reason: &'static str,
    },
    /// A number is out of range.
    #[error("{key} of channel '{channel}' is {found}: expected {least} to {most}")]
    Range {
        /// Channel.
        channel: String,
        /// Key.
        key: &'static str,
        /// Value.
        found: u64,
        /// Smallest accepted value.
        least: u64,
        /// Largest accepted value.
        most: u64,
    },
    /// The secret cannot be used.
    #[error("secret_env of channel '{channel}': environment variable '{variable}' {problem}")]
    Secret {
        /// Channel.
        channel: String,
        /// Environment variable.
        variable: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The HTTP client cannot be set up.
    #[error("channel '{channel}': cannot set up an HTTP client")]
    Client {
        /// Channel.
        channel: String,
        /// Cause.
        #[source]
        source: reqwest::Error,
    },
}

fn check_name(name: &str) -> Result<(), ChannelConfigError> {
    let fits = !name.is_empty()
        && name.len() <= NAME_CHARS_MAX
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err(ChannelConfigError::Name { name: crate::text::clip(name, NAME_CHARS_MAX) })
    }
}
