//! Rule and signature files that change while Cordon watches.
//!
//! In: the detectors as they were configured, and the files that their rules come from. Out: the same detectors with the
//! new rules, once all files together are usable and hold their own tests. One look for all chains, beside their loops:
//! a chain takes the new rules up between two blocks and never waits for a file. Must never: take a part of what
//! changed, take a file that is still being written, or give up good rules for bad ones.

use super::Say;
use crate::config::rules;
use cordon_detect::DetectorConfig;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch::{Receiver, Sender};

/// How often the files are looked at. A change counts once two looks found the same, so that a person waits at most two
/// seconds, and an editor that writes in steps is not taken in the middle.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Detectors that every chain judges by.
pub(super) type Units = Arc<Vec<DetectorConfig>>;

/// When a file was written and how long it is; `None` where it is not there.
type Stamp = Option<(SystemTime, u64)>;

/// What a look found.
#[derive(Debug)]
enum Look {
    /// Nothing that is not known.
    Same,
    /// Other rules, all of them usable.
    Changed(Units),
    /// Files that cannot be used, and why. Told once.
    Refused(Vec<String>),
    /// Files that could not be used say again what is in force.
    Mended,
}

/// See the module.
#[derive(Debug)]
pub(super) struct RuleFiles {
    units: Units,
    files: Vec<PathBuf>,
    /// What the last look found.
    seen: Vec<Stamp>,
    /// What the files were when they were last read; nothing before the first time, since they may have changed since
    /// the configuration was.
    read: Option<Vec<Stamp>>,
    refused: Vec<String>,
}

impl RuleFiles {
    pub(super) fn new(units: Units) -> Self {
        let files = rules::files(&units);
        let seen = files.iter().map(|file| stamp(file)).collect();
        Self { units, files, seen, read: None, refused: Vec::new() }
    }

    fn look(&mut self) -> Look {
        let now: Vec<Stamp> = self.files.iter().map(|file| stamp(file)).collect();
        let is_settled = now == self.seen;
        self.seen.clone_from(&now);
        if !is_settled || self.read.as_ref() == Some(&now) {
            return Look::Same;
        }
        self.read = Some(now);
        let reread = rules::reread(&self.units);
        let files = rules::files(&self.units);
        if files != self.files {
            // Other ABIs are named now; what they are is looked at from here on.
            self.seen = files.iter().map(|file| stamp(file)).collect();
            (self.files, self.read) = (files, None);
        }
        match reread {
            Err(wrong) if wrong == self.refused => Look::Same,
            Err(wrong) => {
                self.refused.clone_from(&wrong);
                Look::Refused(wrong)
            }
            Ok(units) => {
                let was_refused = !std::mem::take(&mut self.refused).is_empty();
                if units == *self.units {
                    return if was_refused { Look::Mended } else { Look::Same };
                }
                self.units = Arc::new(units);
                Look::Changed(Arc::clone(&self.units))
            }
        }
    }
}

fn stamp(file: &Path) -> Stamp {
    let found = std::fs::metadata(file).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// Looks at the files until `over`, hands good rules to the chains, and tells people what happened.
pub(super) async fn run(mut files: RuleFiles, ready: Sender<Units>, say: Say, mut over: Receiver<bool>) {
    if files.files.is_empty() {
        return;
    }
    loop {
        tokio::select! {
            // Whoever could say that it is over is gone: that is the same.
            _ended = over.wait_for(|over| *over) => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let look = files.look();
            (files, look)
        });
        let look = match looked.await {
            Ok((same, look)) => {
                files = same;
                look
            }
            Err(error) => {
                tracing::error!(%error, "rule files are no longer looked at");
                return;
            }
        };
        match look {
            Look::Same => {}
            Look::Changed(units) => {
                let counted = rules::counted(&units);
                say(format!("rule files changed: {counted} are in force from the next block on"));
                ready.send_replace(units);
            }
            Look::Mended => say("rule files are usable again and say what is in force".to_owned()),
            Look::Refused(wrong) => {
                let kept = rules::counted(&files.units);
                say(format!("rule files changed and cannot be used; the {kept} before stay in force"));
                for what in wrong {
                    tracing::warn!(%what, "rule file cannot be used");
                    what.lines().for_each(|line| say(format!("    {line}")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use cordon_detect::detectors::known_attack::KnownAttackConfig;
    use std::sync::Mutex;
    use tempfile::TempDir;

    /// Rules of these ids, each of which holds for every transaction.
    fn rules_of(ids: &[&str]) -> String {
        let rule = |id: &&str| {
            format!("[[rule]]\nid = '{id}'\ntitle = 't'\nclass = 'c'\nscore = 5\nwhen = 'tx.success'\n")
        };
        ids.iter().map(rule).collect()
    }

    fn write(folder: &TempDir, file: &str, text: &str) {
        std::fs::write(folder.path().join(file), text).unwrap();
    }

    /// The files `a.toml` and `b.toml`, read as a configuration reads them.
    fn opened() -> (TempDir, RuleFiles) {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, "a.toml", &rules_of(&["a"]));
        write(&folder, "b.toml", &rules_of(&["b"]));
        let text = "[chain]\nid = 1\nrpc = 'http://127.0.0.1:1'\n[store]\npath = 's'\n\
            [[protocol]]\nid = 'p'\n[[protocol.contracts]]\nname = 'c'\naddress = '0x00000000000000000000000000000000000000c0'\n\
            [[detector]]\ntype = 'rules'\nfiles = ['a.toml', 'b.toml']\n[policy]\n";
        let config = Config::parse(text, "test", folder.path()).unwrap();
        (folder, RuleFiles::new(Arc::new(config.detectors)))
    }

    /// Looks until a change has settled.
    fn look(files: &mut RuleFiles) -> Look {
        match files.look() {
            Look::Same => files.look(),
            first => panic!("taken before it settled: {first:?}"),
        }
    }

    fn ids(units: &Units) -> Vec<String> {
        let DetectorConfig::Rules(rules) = &units[0] else { panic!("{units:?}") };
        rules.sets.iter().flat_map(|set| set.ids().map(ToOwned::to_owned)).collect()
    }

    #[test]
    fn what_changed_is_taken_as_a_whole_once_it_has_settled() {
        let (folder, mut files) = opened();
        assert!(matches!(files.look(), Look::Same), "nothing has changed");
        write(&folder, "a.toml", &rules_of(&["a", "c"]));
        assert!(matches!(files.look(), Look::Same), "it may still be written to");
        let Look::Changed(units) = files.look() else { panic!("not taken") };
        assert_eq!(ids(&units), ["a", "c", "b"]);
        assert!(matches!(files.look(), Look::Same));
        // The same text with another time is no change.
        write(&folder, "a.toml", &rules_of(&["a", "c"]));
        assert!(matches!(look(&mut files), Look::Same));
    }

    #[test]
    fn one_bad_file_keeps_all_as_they_were_and_is_told_once() {
        let (folder, mut files) = opened();
        let before = Arc::clone(&files.units);
        write(&folder, "a.toml", &rules_of(&["a2"]));
        write(&folder, "b.toml", &rules_of(&["b2"]).replace("tx.success", "tx.sucess"));
        let Look::Refused(wrong) = look(&mut files) else { panic!("taken") };
        assert!(wrong[0].contains("b.toml', rule 'b2': line 6, column 11: tx has no 'sucess'"), "{wrong:?}");
        assert_eq!((wrong.len(), &files.units), (1, &before));
        // The same mistake at another time.
        write(&folder, "a.toml", &rules_of(&["a3"]));
        assert!(matches!(look(&mut files), Look::Same));
        // Repaired: both changes at once.
        write(&folder, "b.toml", &rules_of(&["b3"]));
        let Look::Changed(units) = look(&mut files) else { panic!("not taken") };
        assert_eq!(ids(&units), ["a3", "b3"]);
    }

    #[test]
    fn a_missing_file_a_repeated_id_and_a_failing_test_are_refused_until_they_are_gone() {
        let (folder, mut files) = opened();
        std::fs::remove_file(folder.path().join("b.toml")).unwrap();
        let Look::Refused(wrong) = look(&mut files) else { panic!("taken") };
        assert!(wrong[0].contains("b.toml' cannot be read: "), "{wrong:?}");
        write(&folder, "b.toml", &rules_of(&["a"]));
        let Look::Refused(wrong) = look(&mut files) else { panic!("taken") };
        assert_eq!(wrong, ["rules.files = 'a': expected rule ids that no other rule has, in any file"]);
        let test = "[[rule.test]]\nname = 'no'\nexpect = false\n";
        write(&folder, "b.toml", &(rules_of(&["b"]) + test));
        let Look::Refused(wrong) = look(&mut files) else { panic!("taken") };
        assert!(wrong[0].ends_with("test 'no': the rule holds, expected that it does not hold"), "{wrong:?}");
        write(&folder, "b.toml", &rules_of(&["b"]));
        assert!(matches!(look(&mut files), Look::Mended));
    }

    #[test]
    fn abis_that_rule_files_name_are_looked_at_too() {
        let (folder, mut files) = opened();
        let abi = |name: &str| {
            format!(
                r#"[{{"type":"function","name":"{name}","inputs":[],"outputs":[],"stateMutability":"view"}}]"#
            )
        };
        let rule = rules_of(&["a"]).replace("tx.success", "tx.selector == sig(\"pause\")");
        write(&folder, "a.toml", &format!("abi = ['abi.json']\n{rule}"));
        let Look::Refused(wrong) = look(&mut files) else { panic!("taken") };
        assert!(wrong[0].contains("a.toml', abi 'abi.json': expected an ABI"), "{wrong:?}");
        write(&folder, "abi.json", &abi("pause"));
        let Look::Changed(_) = look(&mut files) else { panic!("not taken") };
        assert!(matches!(look(&mut files), Look::Same));
        write(&folder, "abi.json", &abi("stop"));
        let Look::Refused(wrong) = look(&mut files) else { panic!("taken") };
        assert!(wrong[0].contains("no ABI of this file has function 'pause'"), "{wrong:?}");
        write(&folder, "abi.json", &abi("pause"));
        assert!(matches!(look(&mut files), Look::Mended));
    }

    /// A signature file with signatures of these names.
    fn signatures_of(names: &[&str]) -> String {
        let signature = |name: &&str| {
            format!(
                r#"{{"name":"{name}","class":"reentrancy","provenance":{{"chain_id":1,"tx":"{:?}","text":""}},
                "shape":{{"steps":[{{"callee":"foreign","kind":"call","depth":0}}],"whole":true}}}}"#,
                alloy_primitives::B256::ZERO
            )
        };
        let signatures: Vec<String> = names.iter().map(signature).collect();
        format!(r#"{{"format":1,"signatures":[{}]}}"#, signatures.join(","))
    }

    #[test]
    fn signature_files_are_looked_at_like_rule_files() {
        let (folder, files) = opened();
        let path = folder.path().join("known.json");
        write(&folder, "known.json", &signatures_of(&["one"]));
        let known = KnownAttackConfig { files: vec![path], ..KnownAttackConfig::default() };
        let units = [files.units.to_vec(), vec![DetectorConfig::KnownAttack(known)]].concat();
        let mut files = RuleFiles::new(Arc::new(rules::reread(&units).unwrap()));
        assert!(matches!(look(&mut files), Look::Same));
        assert_eq!(rules::counted(&files.units), "2 rules and 1 signatures");

        write(&folder, "known.json", &signatures_of(&["one", "one"]));
        let Look::Refused(wrong) = look(&mut files) else { panic!("taken") };
        let why = "signatures[1].name: found 'one', expected a name that no other signature has";
        assert!(wrong[0].ends_with(why), "{wrong:?}");
        write(&folder, "known.json", &signatures_of(&["one", "two"]));
        let Look::Changed(units) = look(&mut files) else { panic!("not taken") };
        assert_eq!(rules::counted(&units), "2 rules and 2 signatures");
    }

    #[test]
    fn a_change_between_the_configuration_and_the_first_look_is_seen() {
        let (folder, files) = opened();
        write(&folder, "a.toml", &rules_of(&["late"]));
        let mut files = RuleFiles::new(files.units);
        let Look::Changed(units) = files.look() else { panic!("not taken") };
        assert_eq!(ids(&units), ["late", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn people_are_told_and_chains_get_the_rules() {
        let (folder, files) = opened();
        write(&folder, "a.toml", "rule = 5");
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&said);
        let (ready, mut units) = tokio::sync::watch::channel(Arc::clone(&files.units));
        let (ended, over) = tokio::sync::watch::channel(false);
        let say: Say = Arc::new(move |line| hears.lock().unwrap().push(line));
        let task = tokio::spawn(run(files, ready, say, over));
        let told = |text: &str| said.lock().unwrap().iter().any(|line| line.contains(text));
        for _ in 0..100 {
            tokio::time::sleep(PERIOD).await;
        }
        assert!(told("cannot be used; the 2 rules before stay in force"));
        let times = said.lock().unwrap().iter().filter(|line| line.contains("cannot be used")).count();
        assert_eq!(times, 1, "once, and not with every look");
        assert!(told("a.toml', the file: ") && !units.has_changed().unwrap());
        write(&folder, "a.toml", &rules_of(&["a", "x", "y"]));
        units.changed().await.unwrap();
        assert_eq!(ids(&units.borrow()), ["a", "x", "y", "b"]);
        assert!(told("4 rules are in force from the next block on"));
        ended.send_replace(true);
        task.await.unwrap();
    }
}
