//! Rule files that a configuration names.
//!
//! In: paths. Out: parsed rules inside the detector's configuration, or problems that name file, rule and column; and the
//! same once more while Cordon watches, where a file has changed. Must never: judge by a rule that does not pass its own
//! tests.

use super::{Resolver, signatures};
use cordon_detect::DetectorConfig;
use cordon_detect::rules::{AbiFile, RULE_FILE_BYTES_MAX, RuleSet, RulesConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Resolver<'_> {
    /// Reads the rule files of every detector that has some, and makes their paths those of the files. True where all of
    /// them are usable.
    pub(super) fn read_rules(&mut self, detectors: &mut [DetectorConfig]) -> bool {
        let before = self.problems.len();
        for (index, detector) in detectors.iter_mut().enumerate() {
            if let DetectorConfig::Rules(rules) = detector {
                self.read_files(&format!("detector[{index}].files"), rules);
            }
        }
        self.problems.len() == before
    }

    fn read_files(&mut self, key: &str, rules: &mut RulesConfig) {
        for (index, file) in rules.files.iter_mut().enumerate() {
            let key = format!("{key}[{index}]");
            let path = self.folder.join(&*file);
            match read(&path) {
                Err(why) => {
                    let expected =
                        format!("a rule file that can be read, of at most {RULE_FILE_BYTES_MAX} bytes");
                    self.problem::<()>(&key, path.display(), format!("{expected} ({why})"));
                }
                Ok(text) => match parse(&path, &text) {
                    Ok(set) => rules.sets.push(Arc::new(set)),
                    Err(errors) => {
                        for error in errors {
                            let expected = format!("rules that hold their own tests\n{error}");
                            self.problem::<()>(&key, file.display(), expected);
                        }
                    }
                },
            }
            *file = path;
        }
    }
}

/// How many rules these detectors have.
pub(crate) fn count(detectors: &[DetectorConfig]) -> usize {
    sets(detectors).map(|set| set.ids().count()).sum()
}

/// How many rules, and signatures where there are some, these detectors have, in words.
pub(crate) fn counted(detectors: &[DetectorConfig]) -> String {
    match (count(detectors), signatures::count(detectors)) {
        (rules, 0) => format!("{rules} rules"),
        (rules, signatures) => format!("{rules} rules and {signatures} signatures"),
    }
}

/// The rule files of these detectors, the ABIs that they name as they stand now, and the signature files.
pub(crate) fn files(detectors: &[DetectorConfig]) -> Vec<PathBuf> {
    let files = detectors.iter().filter_map(|detector| match detector {
        DetectorConfig::Rules(rules) => Some(&rules.files),
        _ => None,
    });
    let files: Vec<PathBuf> = files.flatten().cloned().collect();
    let abis = files.iter().flat_map(|file| {
        let named = read(file).map(|text| RuleSet::abi_files(&text)).unwrap_or_default();
        named.into_iter().map(|path| beside(file, &path))
    });
    let abis: Vec<PathBuf> = abis.collect();
    files.into_iter().chain(abis).chain(signatures::files(detectors)).collect()
}

/// A path that a rule file names, relative to it.
fn beside(rule_file: &Path, named: &Path) -> PathBuf {
    rule_file.parent().unwrap_or(Path::new("")).join(named)
}

/// The ABIs that a rule file names.
fn abis(rule_file: &Path, text: &str) -> Result<Vec<AbiFile>, String> {
    let one = |path: PathBuf| match read(&beside(rule_file, &path)) {
        Ok(text) => Ok(AbiFile { path, text }),
        Err(why) => {
            let (file, abi) = (rule_file.display(), path.display());
            Err(format!(
                "rule file '{file}', abi '{abi}': expected an ABI of at most {RULE_FILE_BYTES_MAX} bytes ({why})"
            ))
        }
    };
    RuleSet::abi_files(text).into_iter().map(one).collect()
}

fn parse(path: &Path, text: &str) -> Result<RuleSet, Vec<String>> {
    let abis = abis(path, text).map_err(|why| vec![why])?;
    let parsed = RuleSet::parse_with(&path.display().to_string(), text, abis);
    parsed.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// The same detectors with their rule and signature files read again. A file whose text is what it was is not parsed again.
///
/// # Errors
/// Everything that is wrong with the files, one entry each.
pub(crate) fn reread(detectors: &[DetectorConfig]) -> Result<Vec<DetectorConfig>, Vec<String>> {
    let known: Vec<&Arc<RuleSet>> = sets(detectors).collect();
    let mut fresh = detectors.to_vec();
    let mut wrong = Vec::new();
    for detector in &mut fresh {
        match detector {
            DetectorConfig::Rules(rules) => {
                rules.sets.clear();
                for file in &rules.files {
                    match read_again(file, &known) {
                        Ok(set) => rules.sets.push(set),
                        Err(errors) => wrong.extend(errors),
                    }
                }
            }
            DetectorConfig::KnownAttack(known) => signatures::reread(known, &mut wrong),
            _ => {}
        }
    }
    if wrong.is_empty() {
        wrong.extend(
            fresh.iter().filter_map(|detector| detector.build().err()).map(|error| error.to_string()),
        );
    }
    if wrong.is_empty() { Ok(fresh) } else { Err(wrong) }
}

fn sets(detectors: &[DetectorConfig]) -> impl Iterator<Item = &Arc<RuleSet>> {
    let sets = detectors.iter().filter_map(|detector| match detector {
        DetectorConfig::Rules(rules) => Some(&rules.sets),
        _ => None,
    });
    sets.flatten()
}

fn read_again(path: &Path, known: &[&Arc<RuleSet>]) -> Result<Arc<RuleSet>, Vec<String>> {
    let origin = path.display().to_string();
    let text = read(path).map_err(|why| vec![format!("rule file '{origin}' cannot be read: {why}")])?;
    let is_as_before = |set: &&&Arc<RuleSet>| {
        set.is_of(&origin, &text) && abis(path, &text).is_ok_and(|abis| abis == set.abis())
    };
    if let Some(same) = known.iter().find(is_as_before) {
        return Ok(Arc::clone(same));
    }
    parse(path, &text).map(Arc::new)
}

fn read(path: &Path) -> Result<String, String> {
    read_at_most(path, RULE_FILE_BYTES_MAX)
}

/// The text of a file of at most so many bytes.
pub(super) fn read_at_most(path: &Path, bytes_max: u64) -> Result<String, String> {
    let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > bytes_max {
        return Err(format!("it has {bytes} bytes, expected at most {bytes_max}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}
