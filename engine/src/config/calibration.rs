//! How many false alarms the operator allows, and the thresholds that were found for that.
//!
//! In: `[calibration]`. Out: budgets, and the thresholds of the file that it names where there is one. Must never: judge by
//! thresholds that were found for other detectors than the configuration's.

use super::Resolver;
use crate::calibrate::{CalibrationFile, fingerprint};
use cordon_detect::calibrate::{Budget, Period};
use serde::Deserialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// `[calibration]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Calibration {
    /// Most false alarms that may wake people, for each protocol. Default `"1 per week"`: who is woken for nothing more often
    /// switches it off.
    pub page: Budget,
    /// Most false alarms on which a lever may act by itself, for each protocol. Default `"1 per year"`: a pause by mistake
    /// costs more than a night's sleep.
    pub act: Budget,
    /// What `cordon calibrate` writes and `cordon watch` goes by; until it is there, the policy's own scores hold.
    pub file: PathBuf,
}

impl Default for Calibration {
    fn default() -> Self {
        Self {
            page: Budget { at_most: 1, per: Period::Week },
            act: Budget { at_most: 1, per: Period::Year },
            file: PathBuf::from("calibration.toml"),
        }
    }
}

impl Resolver<'_> {
    /// The thresholds that were written, if any were.
    pub(super) fn calibrated(&mut self, path: &Path) -> Option<CalibrationFile> {
        let text = match read(path) {
            Ok(text) => text?,
            Err(why) => {
                return self.problem(
                    "calibration.file",
                    path.display(),
                    format!("a file that can be read ({why})"),
                );
            }
        };
        let parsed = CalibrationFile::parse(&text);
        parsed.map_or_else(
            |why| {
                let expected = format!("what `cordon calibrate` writes; {why}");
                self.problem("calibration.file", path.display(), expected)
            },
            Some,
        )
    }
}

/// The text, or nothing where there is no such file.
fn read(path: &Path) -> Result<Option<String>, String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(found) if found.len() > crate::calibrate::BYTES_MAX => {
            return Err(format!("{} bytes, at most {}", found.len(), crate::calibrate::BYTES_MAX));
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| error.to_string())
}

impl super::Config {
    /// Goes by the thresholds of a file, as far as they were found for these detectors; says of which protocols not.
    pub(super) fn go_by(&mut self, file: &CalibrationFile) {
        let (thresholds, unfit) = file.thresholds(self.chain.id, fingerprint(&self.detectors));
        for protocol in unfit {
            let protocol = crate::render::plain(&protocol.0);
            tracing::warn!(%protocol, "its calibrated thresholds were found for other detectors and are not used; calibrate again");
        }
        self.policy.calibrated = thresholds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use cordon_detect::DetectorConfig;

    fn text(file: &str) -> String {
        format!(
            "[chain]\nid = 1\nrpc = \"http://127.0.0.1:1\"\n[calibration]\npage = \"2 per month\"\nfile = \"{file}\"\n\
             [[detector]]\ntype = \"profit\"\n[[protocol]]\nid = \"lending\"\n[[protocol.contracts]]\nname = \"pool\"\n\
             address = \"0x1111111111111111111111111111111111111111\"\n"
        )
    }

    fn written(detectors: &[DetectorConfig], act: u16) -> String {
        let held = "budget = \"1 per week\"\nis_shown = true\nis_exceeded = false\nepisodes = 0\n";
        format!(
            "format = 1\n[[protocol]]\nchain = 1\nid = \"lending\"\npage_score = 301\nact_score = {act}\n[protocol.provenance]\n\
             program = \"0.1.0\"\ndetectors = \"{}\"\nfrom_s = 1\nto_s = 2\ntransactions = 3\nwith_findings = 0\n\
             attacks_left_out = 0\nundecided_counted = 0\n[protocol.provenance.page]\n{held}[protocol.provenance.act]\n{held}",
            fingerprint(detectors)
        )
    }

    #[test]
    fn thresholds_hold_for_the_detectors_that_they_were_found_for() {
        let folder = tempfile::tempdir().unwrap();
        let load = || Config::parse(&text("found.toml"), "test", folder.path());
        let before = load().unwrap();
        assert_eq!(
            (before.calibration.page.to_string(), before.policy.calibrated.len()),
            ("2 per month".to_owned(), 0)
        );
        let file = folder.path().join("found.toml");
        std::fs::write(&file, written(&before.detectors, 700)).unwrap();
        let found = load().unwrap().policy.calibrated;
        let [own] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((own.protocol.0.as_str(), own.page.0, own.act.0), ("lending", 301, 700));
        std::fs::write(&file, written(&[], 700)).unwrap();
        assert_eq!(load().unwrap().policy.calibrated, []);
    }

    #[test]
    fn a_broken_file_is_named_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("found.toml");
        for (content, expected) in [
            ("format = 2", "key 'format': found '2', expected 1"),
            ("format = 1\nscores = 3", "unknown field `scores`"),
            (
                &written(&[], 300),
                "key 'protocol[0].act_score': found '300', expected page_score (301) or more",
            ),
            (
                &written(&[], 1_001),
                "key 'protocol[0].act_score': found '1001', expected a number from 1 to 1000",
            ),
        ] {
            std::fs::write(&file, content).unwrap();
            let error = Config::parse(&text("found.toml"), "test", folder.path()).unwrap_err().to_string();
            assert!(error.contains("calibration.file: found") && error.contains(expected), "{error}");
        }
        let error = Config::parse(&text("found.toml").replace("2 per month", "often"), "test", folder.path());
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("calibration.page") && error.contains("'often': expected a number per day"),
            "{error}"
        );
    }
}
