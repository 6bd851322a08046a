//! Signature files that a configuration names.
//!
//! In: paths. Out: checked signatures inside the detector's configuration, or problems that name file, key and value; and the same
//! once more while Cordon watches, where a file has changed. Must never: take a part of a file that is wrong somewhere.

use super::Resolver;
use super::rules::read_at_most;
use cordon_detect::DetectorConfig;
use cordon_detect::detectors::known_attack::KnownAttackConfig;
use cordon_detect::signatures::{SIGNATURE_FILE_BYTES_MAX, SignatureSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Resolver<'_> {
    /// Reads the signature files of every detector that has some, and makes their paths those of the files. True where all of
    /// them are usable.
    pub(super) fn read_signatures(&mut self, detectors: &mut [DetectorConfig]) -> bool {
        let before = self.problems.len();
        for (index, detector) in detectors.iter_mut().enumerate() {
            if let DetectorConfig::KnownAttack(known) = detector {
                self.read_sets(&format!("detector[{index}].files"), known);
            }
        }
        self.problems.len() == before
    }

    fn read_sets(&mut self, key: &str, known: &mut KnownAttackConfig) {
        for (index, file) in known.files.iter_mut().enumerate() {
            let path = self.folder.join(&*file);
            match load(&path, &[]) {
                Ok(set) => known.sets.push(set),
                Err(why) => {
                    let expected = format!("a signature file that can be used\n{why}");
                    self.problem::<()>(&format!("{key}[{index}]"), file.display(), expected);
                }
            }
            *file = path;
        }
    }
}

/// How many signatures these detectors have.
pub(crate) fn count(detectors: &[DetectorConfig]) -> usize {
    configs(detectors).flat_map(|known| &known.sets).map(|set| set.signatures().len()).sum()
}

/// The signature files of these detectors.
pub(super) fn files(detectors: &[DetectorConfig]) -> impl Iterator<Item = PathBuf> {
    configs(detectors).flat_map(|known| known.files.clone())
}

/// Reads the files of a detector again. A file whose text is what it was is not parsed again.
pub(super) fn reread(known: &mut KnownAttackConfig, wrong: &mut Vec<String>) {
    let before = std::mem::take(&mut known.sets);
    for file in &known.files {
        match load(file, &before) {
            Ok(set) => known.sets.push(set),
            Err(why) => wrong.push(why),
        }
    }
}

fn configs(detectors: &[DetectorConfig]) -> impl Iterator<Item = &KnownAttackConfig> {
    detectors.iter().filter_map(|detector| match detector {
        DetectorConfig::KnownAttack(known) => Some(known),
        _ => None,
    })
}

/// The signatures of a file.
///
/// # Errors
/// Why it cannot be used, in one sentence.
pub(crate) fn load(path: &Path, known: &[Arc<SignatureSet>]) -> Result<Arc<SignatureSet>, String> {
    let origin = path.display().to_string();
    let text = read_at_most(path, SIGNATURE_FILE_BYTES_MAX)
        .map_err(|why| format!("signature file '{origin}' cannot be read: {why}"))?;
    if let Some(same) = known.iter().find(|set| set.is_of(&origin, &text)) {
        return Ok(Arc::clone(same));
    }
    SignatureSet::parse(&origin, &text).map(Arc::new).map_err(|error| error.to_string())
}
