//! Rule files that a configuration names.
//!
//! In: paths. Out: parsed rules inside the detector's configuration, or problems that name file, rule and column. Must
//! never: start with a rule that does not pass its own tests.

use super::Resolver;
use cordon_detect::DetectorConfig;
use cordon_detect::rules::{RULE_FILE_BYTES_MAX, RuleSet, RulesConfig};
use std::path::Path;
use std::sync::Arc;

impl Resolver<'_> {
    /// Reads the rule files of every detector that has some. True where all of them are usable.
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
        for (index, file) in rules.files.iter().enumerate() {
            let key = format!("{key}[{index}]");
            let path = self.folder.join(file);
            match read(&path) {
                Err(why) => {
                    let expected =
                        format!("a rule file that can be read, of at most {RULE_FILE_BYTES_MAX} bytes");
                    self.problem::<()>(&key, path.display(), format!("{expected} ({why})"));
                }
                Ok(text) => match RuleSet::parse(&path.display().to_string(), &text) {
                    Ok(set) => rules.sets.push(Arc::new(set)),
                    Err(errors) => {
                        for error in errors {
                            let expected = format!("rules that hold their own tests\n{error}");
                            self.problem::<()>(&key, file.display(), expected);
                        }
                    }
                },
            }
        }
    }
}

/// How many rules these detectors have.
pub(super) fn count(detectors: &[DetectorConfig]) -> usize {
    let rules = |detector: &DetectorConfig| match detector {
        DetectorConfig::Rules(rules) => rules.sets.iter().map(|set| set.ids().count()).sum(),
        _ => 0,
    };
    detectors.iter().map(rules).sum()
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > RULE_FILE_BYTES_MAX {
        return Err(format!("it has {bytes}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}
