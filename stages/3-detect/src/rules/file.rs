//! Rule files: from TOML to rules that are known to work.
//!
//! In: text. Out: a [`RuleSet`], or every error of the file. Must never: keep a rule whose own tests fail.

use super::Rule;
use super::abi::{AbiFile, Names};
use super::cases::Case;
use super::fault::RuleError;
use super::formula::{Formula, Source};
use super::functions::environment;
use super::literals::Constant;
use super::records::Facts;
use super::window::RawWindow;
use alloy_primitives::keccak256;
use cel::Env;
use cordon_model::finding::Score;
use cordon_model::log::RuleFile;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use toml::Spanned;

/// Most bytes of a rule file. A thousand rules with their tests are well below.
pub const RULE_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Most rules of a file, ten times the largest library.
const RULES_MAX: usize = 2_000;

/// The rules of one file.
pub struct RuleSet {
    origin: String,
    text: String,
    abis: Vec<AbiFile>,
    pub(super) env: Arc<Env>,
    pub(super) rules: Vec<Rule>,
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleSet")
            .field("origin", &self.origin)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// Two sets are the same where they were read from the same text.
impl PartialEq for RuleSet {
    fn eq(&self, other: &Self) -> bool {
        self.is_of(&other.origin, &other.text) && self.abis == other.abis
    }
}

impl Eq for RuleSet {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    abi: Vec<PathBuf>,
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    title: String,
    /// Word by which a library is ordered; findings of rules have a class of their own.
    class: String,
    score: u16,
    when: Spanned<String>,
    window: Option<RawWindow>,
    explain: Option<String>,
    #[serde(default)]
    test: Vec<Case>,
}

impl RuleSet {
    /// The rules of a file that names no ABIs; see [`Self::parse_with`].
    ///
    /// # Errors
    /// As [`Self::parse_with`].
    pub fn parse(origin: &str, text: &str) -> Result<Self, Vec<RuleError>> {
        Self::parse_with(origin, text, Vec::new())
    }

    /// The ABI files that the text of a rule file names, relative to it; none where it is no rule file at all.
    #[must_use]
    pub fn abi_files(text: &str) -> Vec<PathBuf> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            abi: Vec<PathBuf>,
        }
        toml::from_str::<Named>(text).map(|named| named.abi).unwrap_or_default()
    }

    /// The rules of a file, with the ABIs that it names; `origin` names it in errors.
    ///
    /// # Errors
    /// Everything that is wrong with the file: at most one thing per rule, since the first may cause the others.
    pub fn parse_with(origin: &str, text: &str, abis: Vec<AbiFile>) -> Result<Self, Vec<RuleError>> {
        let error = |place: String, what: String| RuleError { origin: origin.to_owned(), place, what };
        let whole = |what: String| vec![error("the file".to_owned(), what)];
        let raw: RawFile = toml::from_str(text).map_err(|error| whole(error.to_string()))?;
        if raw.rule.is_empty() || raw.rule.len() > RULES_MAX {
            return Err(whole(format!("{} rules: expected 1 to {RULES_MAX}", raw.rule.len())));
        }
        if let Some(unread) = raw.abi.iter().find(|path| abis.iter().all(|abi| abi.path != **path)) {
            return Err(whole(format!("abi '{}' was not read", unread.display())));
        }
        let names = Names::of(&abis).map_err(whole)?;
        let env = environment().map_err(|error| whole(error.to_string()))?.with_optional_support(false);
        let env = Arc::new(env);
        let (mut rules, mut errors, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
        for raw in raw.rule {
            let place = format!("rule '{}'", raw.id);
            if !ids.insert(raw.id.clone()) {
                errors.push(error(place, "its id stands in the file twice".to_owned()));
                continue;
            }
            match raw.ready(&env, text, &names) {
                Ok(rule) => rules.push(rule),
                Err(what) => errors.push(error(place, what)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self { origin: origin.to_owned(), text: text.to_owned(), abis, env, rules })
    }

    /// Whether it was read from this text of this file.
    #[must_use]
    pub fn is_of(&self, origin: &str, text: &str) -> bool {
        self.origin == origin && self.text == text
    }

    /// How the log names it.
    #[must_use]
    pub fn file(&self) -> RuleFile {
        let texts = std::iter::once(&self.text).chain(self.abis.iter().map(|abi| &abi.text));
        let text_hash = keccak256(texts.map(String::as_str).collect::<Vec<_>>().join("\n"));
        RuleFile { name: self.origin.clone(), text_hash }
    }

    /// The ABIs that it was read with.
    #[must_use]
    pub fn abis(&self) -> &[AbiFile] {
        &self.abis
    }

    /// The ids of its rules.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.id.as_str())
    }
}

impl RawRule {
    fn ready(self, env: &Arc<Env>, file: &str, names: &Names) -> Result<Rule, String> {
        self.check_words()?;
        let source = Source { env, file, names };
        let (when, needs) = Formula::when(source, &self.when)?;
        let window = self.window.map(|raw| raw.ready(source, (&self.id, self.when.get_ref()))).transpose()?;
        let rule = Rule {
            explanation: self.explain.unwrap_or_else(|| self.title.clone()),
            id: self.id,
            title: self.title,
            score: Score(self.score),
            needs,
            when,
            window,
        };
        let (protocol, mut execution) = Case::sample().build()?;
        let readings = rule.constants().filter_map(Constant::reading);
        execution.views.extend(readings.map(|reading| reading.sample()));
        let facts = Facts::new(&protocol, &execution);
        // What a window counts need be there only where the condition holds.
        let counted = |holds| match rule.window.as_ref().filter(|_| holds) {
            Some(window) => window.count(env, &facts).map(|_| ()),
            None => Ok(()),
        };
        let tried = rule.when.holds(env, &facts).and_then(counted);
        tried.map_err(|why| format!("on the sample transaction: {why}"))?;
        for case in &self.test {
            run(&rule, env, case)?;
        }
        Ok(rule)
    }

    fn check_words(&self) -> Result<(), String> {
        let plain = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !plain(&self.id) {
            return Err("id: expected letters, digits, '-', '_' and '.' only".to_owned());
        }
        if !plain(&self.class) {
            return Err(format!("class '{}': expected one word, such as 'ownership'", self.class));
        }
        if self.title.trim().is_empty() {
            return Err("title: expected what the rule says when it holds".to_owned());
        }
        if self.score == 0 || self.score > Score::MAX.0 {
            return Err(format!("score {}: expected a number from 1 to 1000", self.score));
        }
        Ok(())
    }
}

/// Runs one test, by the whole way that a transaction goes.
fn run(rule: &Rule, env: &Arc<Env>, case: &Case) -> Result<(), String> {
    let named = |what: String| format!("test '{}': {what}", case.name);
    let (protocol, execution) = case.build().map_err(named)?;
    let facts = Facts::new(&protocol, &execution);
    let mut holds = rule.needs.are_met(super::Present::of(&protocol, &execution))
        && rule.when.holds(env, &facts).map_err(named)?;
    match &rule.window {
        Some(window) if holds => {
            let count = window.count(env, &facts).map_err(named)?;
            let earlier = case.earlier(window, &count, execution.timestamp_s).map_err(named)?;
            holds = window.exceeded(&count, &earlier, execution.timestamp_s).is_some();
        }
        Some(_) | None => {}
    }
    if holds == case.expect {
        return Ok(());
    }
    let said = |holds: bool| if holds { "holds" } else { "does not hold" };
    Err(named(format!("the rule {}, expected that it {}", said(holds), said(case.expect))))
}
