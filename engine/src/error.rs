//! What can go wrong, and what that means for the one who called.
//!
//! In: errors of all rooms. Out: [`EngineError`] with a [`Kind`] that the command line turns into an exit code.

use crate::config::ConfigError;
use crate::journal::JournalError;
use cordon_model::log::LogError;
use std::path::PathBuf;

/// What kind of failure it is, for the caller's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unexpected.
    Failure,
    /// An argument is wrong.
    Usage,
    /// The configuration is wrong.
    Config,
    /// The node cannot be used.
    Node,
    /// The answer is no.
    Refused,
    /// A file cannot be used.
    File,
}

/// Any failure of the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A detector cannot be built.
    #[error("detector configuration")]
    Detector(#[from] cordon_detect::ConfigError),
    /// A chain source failed.
    #[error(transparent)]
    Source(#[from] cordon_ingest::SourceError),
    /// An archive cannot be used.
    #[error("archive")]
    Archive(#[source] cordon_ingest::SourceError),
    /// There is nothing to replay.
    #[error("'{}' holds no block (format cordon-block/1); {skipped} files of another format were passed over", path.display())]
    NoBlocks {
        /// File or folder.
        path: PathBuf,
        /// Files of another format.
        skipped: usize,
    },
    /// Replay failed.
    #[error(transparent)]
    Replay(#[from] cordon_replay::ReplayError),
    /// The log failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] cordon_model::log::LogError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] cordon_store::StoreError),
    /// A key cannot be used.
    #[error("signer {address}")]
    Key {
        /// Account.
        address: alloy_primitives::Address,
        /// Cause.
        #[source]
        source: cordon_contain::KeystoreError,
    },
    /// A channel cannot be used.
    #[error("channel")]
    Channel(#[from] cordon_notify::channels::ChannelConfigError),
    /// An interface cannot be read.
    #[error("interface")]
    Interface(#[from] cordon_investigate::InterfaceError),
    /// The playbook cannot be used.
    #[error(transparent)]
    Playbook(#[from] cordon_decide::PlaybookError),
    /// A lever could not be probed.
    #[error("probing a lever")]
    Probe(#[source] cordon_contain::NodeError),
    /// A signer's lane cannot be read.
    #[error(transparent)]
    Lane(#[from] cordon_contain::LaneError),
    /// A step could not be sent.
    #[error("sending a step")]
    Send(#[source] Box<cordon_contain::SendError>),
    /// A check could not be asked.
    #[error(transparent)]
    Verify(#[from] cordon_contain::VerifyError),
    /// A node request outside of the rooms failed.
    #[error("node request {what}")]
    Node {
        /// What was asked.
        what: String,
        /// Cause.
        #[source]
        source: alloy_transport::TransportError,
    },
    /// The practice range failed.
    #[error("practice range")]
    Range(#[source] Box<cordon_range::RangeError>),
    /// A file cannot be read or written.
    #[error("cannot {doing} '{}'", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// An artifact cannot be used.
    #[error("artifact")]
    Artifact(#[from] cordon_eradicate::ArtifactError),
    /// Recovery arithmetic refused its input.
    #[error("recovery: {0}")]
    Recovery(String),
    /// An argument is wrong.
    #[error("{what}: found '{found}', expected {expected}")]
    Argument {
        /// Which.
        what: &'static str,
        /// Value.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A page of a report cannot be made: a defect of ours.
    #[error("{page} cannot be made: {why}")]
    Page {
        /// Which.
        page: &'static str,
        /// Cause.
        why: String,
    },
    /// The answer is no.
    #[error("{0}")]
    Refused(String),
}

impl EngineError {
    /// Whether the log failed. Nothing may happen that is not recorded, so this ends the process; everything else is
    /// tried again.
    #[must_use]
    pub fn is_of_the_log(&self) -> bool {
        match self {
            // Somebody else wrote first: it is read and decided again.
            Self::Journal(JournalError::Log(LogError::Conflict { .. }))
            | Self::Log(LogError::Conflict { .. }) => false,
            // An event that does not fit was not written: a defect to look at, and no reason to stop watching.
            Self::Journal(JournalError::Illegal { .. }) => false,
            Self::Journal(_) | Self::Log(_) | Self::Lane(_) => true,
            Self::Send(error) => {
                matches!(**error, cordon_contain::SendError::Log(_) | cordon_contain::SendError::Lane(_))
            }
            _ => false,
        }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Config(_) | Self::Detector(_) | Self::Channel(_) => Kind::Config,
            Self::Source(_) | Self::Node { .. } => Kind::Node,
            Self::Archive(_)
            | Self::NoBlocks { .. }
            | Self::Store(_)
            | Self::Key { .. }
            | Self::File { .. }
            | Self::Artifact(_)
            | Self::Interface(_) => Kind::File,
            Self::Argument { .. } => Kind::Usage,
            Self::Refused(_) => Kind::Refused,
            Self::Replay(_)
            | Self::Journal(_)
            | Self::Log(_)
            | Self::Playbook(_)
            | Self::Probe(_)
            | Self::Lane(_)
            | Self::Send(_)
            | Self::Verify(_)
            | Self::Range(_)
            | Self::Recovery(_)
            | Self::Page { .. } => Kind::Failure,
        }
    }
}

impl From<cordon_contain::SendError> for EngineError {
    /// Boxed, since it is by far the largest and every result carries room for it.
    fn from(error: cordon_contain::SendError) -> Self {
        Self::Send(Box::new(error))
    }
}

impl From<cordon_range::RangeError> for EngineError {
    /// Boxed for the same reason.
    fn from(error: cordon_range::RangeError) -> Self {
        Self::Range(Box::new(error))
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
