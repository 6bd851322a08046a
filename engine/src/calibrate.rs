//! `cordon calibrate`: thresholds from what a protocol's own history did to the detectors, for the budgets of the operator.
//!
//! In: the event log, and what people said of its incidents. Out: a [`CalibrationReport`], and the file that `cordon watch` takes its
//! thresholds from. Must never: count a transaction as a false alarm of which people have not said so, unless they ask
//! for it, nor one that was an attack; or write a threshold without what it rests on.

mod file;
mod report;
mod streams;

pub(crate) use file::BYTES_MAX;
pub use file::{CalibrationFile, FORMAT, Held, Provenance, ThresholdEntry};
pub use report::{CalibrationReport, LevelRow, ProtocolRow};

use crate::config::Config;
use crate::error::EngineError;
use crate::incidents;
use alloy_primitives::{B256, keccak256};
use cordon_detect::DetectorConfig;

/// What tells one set of detectors from another: their configuration, without the operator's rules and the signatures of
/// known attacks. Those are somebody's judgement, outside of any statistics, and change far more often.
pub(crate) fn fingerprint(detectors: &[DetectorConfig]) -> B256 {
    let is_of_files = |detector: &&DetectorConfig| {
        matches!(detector, DetectorConfig::Rules(_) | DetectorConfig::KnownAttack(_))
    };
    let counted = detectors.iter().filter(|detector| !is_of_files(detector));
    let texts: Vec<String> = counted.map(|detector| format!("{detector:?}")).collect();
    keccak256(texts.join("\n"))
}

/// Calibrates every protocol of a configuration by the log that it names. With `count_undecided`, open incidents count as false
/// alarms.
///
/// # Errors
/// [`EngineError::Refused`] where incidents of the history are still open, and what reading the log can fail with.
pub async fn calibrate(configs: &[Config], count_undecided: bool) -> Result<CalibrationReport, EngineError> {
    let mut protocols = Vec::new();
    for config in configs {
        let log = incidents::open(&config.store).await?;
        let histories = streams::of(&log, config.chain.id).await;
        log.close().await;
        let histories = histories?;
        let undecided: Vec<&str> = histories.iter().flat_map(|one| one.undecided_incidents()).collect();
        if !undecided.is_empty() && !count_undecided {
            let list = undecided.join(", ");
            return Err(EngineError::Refused(format!(
                "whether these incidents were attacks is not decided: {list}. Close them or call them false alarms \
                 (`cordon incident`), or count them as false alarms with --count-undecided"
            )));
        }
        for protocol in &config.protocols {
            let history = histories.iter().find(|history| history.protocol == protocol.id);
            protocols.push(ProtocolRow::new(config, &protocol.id, history));
        }
    }
    Ok(CalibrationReport { protocols })
}
