//! What is judged by while detection is measured: rules, detectors and protected contracts in several numbers.
//!
//! In: the executions of the blocks that are measured. Out: [`Setting`]s. In the ordinary ones a thousand contracts are
//! protected, a tenth of which occur; in the hardest ones every account is, so that every transaction is judged. Must never: make a rule
//! that no transaction could meet look like one that is met, or the other way round.

use crate::error::EngineError;
use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, B256, Selector, keccak256};
use cordon_detect::rules::{AbiFile, RuleError, RuleSet, RulesConfig};
use cordon_detect::{DetectorConfig, DetectorSet};
use cordon_model::baseline::Baselines;
use cordon_model::execution::Execution;
use cordon_model::protocol::{ProtectedContract, Protocol};
use cordon_model::units::{ChainId, ProtocolId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Rules of the full setting, as in the goals (P1).
const RULES: usize = 1_000;
/// One rule in so many names an event or a function that occurs in the blocks (as in the measurement that the goals
/// come from).
const LIVE_EVERY: usize = 10;
/// One rule in so many names neither, so that it is evaluated for every transaction; of the 62 rules of the library
/// these are two.
const OPEN_EVERY: usize = 31;
/// Protected contracts of the ordinary setting, and how many of them take part in transactions of the blocks (as in
/// `cordon bench replay`). An operator who protects a thousand contracts is a large one.
const CONTRACTS: usize = 1_000;
/// See [`CONTRACTS`].
const CONTRACTS_LIVE: usize = 100;
/// Numbers of rules that are compared.
const RULE_STEPS: [usize; 3] = [1, 10, 100];
/// Numbers of protected contracts that are compared.
const CONTRACT_STEPS: [usize; 3] = [1, 100, 10_000];

/// The setting that compares with a baseline.
const COMPARED: &str = "every detector and baseline";

/// Numbers of entries of the ABI by which rules name functions: a token's few, and those of a large contract.
const ABI_STEPS: [usize; 2] = [2, 122];
/// Rules of these settings. Half of them decode every `transfer` of every transaction, half every `approve`.
const ABI_RULES: usize = 100;

/// One way to judge.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) rules: usize,
    pub(super) contracts: usize,
    pub(super) detectors: Arc<DetectorSet>,
    /// What was ordinary so far, where that is compared with as well.
    pub(super) baselines: Option<Baselines>,
}

/// What occurs in the blocks.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Accounts, those that take part in most transactions first.
    accounts: Vec<Address>,
    topics: Vec<B256>,
    selectors: Vec<Selector>,
}

impl Live {
    pub(super) fn of<'e>(executions: impl Iterator<Item = &'e Execution> + Clone) -> Self {
        let mut times: BTreeMap<Address, u64> = BTreeMap::new();
        for execution in executions.clone() {
            let accounts: BTreeSet<Address> = execution.frames.iter().map(|frame| frame.address).collect();
            accounts.into_iter().for_each(|account| *times.entry(account).or_default() += 1);
        }
        let mut accounts: Vec<(Address, u64)> = times.into_iter().collect();
        accounts.sort_by_key(|(account, times)| (std::cmp::Reverse(*times), *account));
        let logs = executions.clone().flat_map(|execution| &execution.logs);
        let topics: BTreeSet<B256> = logs.filter_map(|log| log.topics.first().copied()).collect();
        let frames = executions.flat_map(|execution| &execution.frames);
        let selectors: BTreeSet<Selector> = frames.filter_map(|frame| frame.selector()).collect();
        Self {
            accounts: accounts.into_iter().map(|(account, _)| account).collect(),
            topics: topics.into_iter().collect(),
            selectors: selectors.into_iter().collect(),
        }
    }
}

/// Every setting: without detectors, by numbers of rules, all detectors, by numbers of protected contracts.
pub(super) fn settings(live: &Live, chains: &BTreeSet<ChainId>) -> Result<Vec<Setting>, EngineError> {
    let all = live.accounts.len();
    let full = rules(live, RULES)?;
    let every = |rules: &DetectorConfig| {
        let mut configs = DetectorConfig::all();
        configs.push(rules.clone());
        configs
    };
    let all = (all, all);
    let usual = (CONTRACTS_LIVE, CONTRACTS);
    let setting = |name: &str, rules, configs: &[DetectorConfig], (lively, contracts)| {
        let protocols = chains.iter().map(|chain| protocol(*chain, live, lively, contracts)).collect();
        let detectors = Arc::new(DetectorSet::from_configs(configs, protocols)?);
        Ok::<_, EngineError>(Setting { name: name.to_owned(), rules, contracts, detectors, baselines: None })
    };
    let only_rules = std::slice::from_ref(&full);
    let mut settings = vec![
        setting("facts and flows", 0, &[], usual)?,
        setting("facts, flows and rules", RULES, only_rules, usual)?,
        setting("every detector", 0, &DetectorConfig::all(), usual)?,
        setting("every detector and rules", RULES, &every(&full), usual)?,
        setting(COMPARED, 0, &DetectorConfig::all(), usual)?,
        setting("all accounts: facts", 0, &[], all)?,
        setting("all accounts: detectors", 0, &DetectorConfig::all(), all)?,
        setting("all accounts: and rules", RULES, &every(&full), all)?,
    ];
    for count in RULE_STEPS {
        settings.push(setting("by rules", count, &[rules(live, count)?], usual)?);
    }
    settings.push(setting("by rules", RULES, only_rules, usual)?);
    for entries in ABI_STEPS {
        let name = format!("rules by an ABI of {entries}");
        settings.push(setting(&name, ABI_RULES, &[rules_by_abi(entries)?], usual)?);
    }
    for contracts in CONTRACT_STEPS {
        settings.push(setting("by protected contracts", RULES, &every(&full), (1, contracts))?);
    }
    Ok(settings)
}

/// Accounts of the blocks, spread evenly from the one that takes part most often to the one that does so least, and
/// others that do not occur.
fn protocol(chain_id: ChainId, live: &Live, lively: usize, contracts: usize) -> Protocol {
    let lively = lively.min(live.accounts.len());
    let every = live.accounts.len().checked_div(lively).unwrap_or(1).max(1);
    let silent = (0u64..).map(|n| Address::from_word(keccak256(n.to_be_bytes())));
    let silent = silent.take(contracts.saturating_sub(lively));
    let addresses = live.accounts.iter().step_by(every).take(lively).copied().chain(silent);
    let contract = |address: Address| ProtectedContract { address, name: String::new() };
    Protocol {
        id: ProtocolId("bench".to_owned()),
        chain_id,
        contracts: addresses.map(contract).collect(),
        factories: Vec::new(),
        assets: Vec::new(),
        account_views: Vec::new(),
        capabilities: Vec::new(),
    }
}

/// So many rules, read as every rule file is read.
fn rules(live: &Live, count: usize) -> Result<DetectorConfig, EngineError> {
    let mut text = String::new();
    for number in 0..count {
        let when = when(live, number);
        // Writing to a text cannot fail.
        let _written = write!(
            text,
            "[[rule]]\nid = 'r{number}'\ntitle = 'r{number}'\nclass = 'bench'\nscore = 1\nwhen = '''{when}'''\n"
        );
    }
    loaded(RuleSet::parse("bench", &text))
}

/// Rules that name functions of an ABI and decode their arguments.
fn rules_by_abi(entries: usize) -> Result<DetectorConfig, EngineError> {
    let entry = |name: &str| {
        format!(
            r#"{{"type":"function","name":"{name}","inputs":[{{"name":"a","type":"address"}},{{"name":"b","type":"uint256"}}],"outputs":[],"stateMutability":"nonpayable"}}"#
        )
    };
    let others = (0..entries.saturating_sub(2)).map(|number| entry(&format!("bench{number}")));
    let all: Vec<String> = ["transfer", "approve"].into_iter().map(entry).chain(others).collect();
    let mut text = "abi = ['bench.json']\n".to_owned();
    for number in 0..ABI_RULES {
        let name = if number % 2 == 0 { "transfer" } else { "approve" };
        // Writing to a text cannot fail.
        let _written = write!(
            text,
            "[[rule]]\nid = 'a{number}'\ntitle = 'a{number}'\nclass = 'bench'\nscore = 1\n\
             when = '''calls.exists(c, c.selector == sig(\"{name}\") && args(c, \"{name}\")[1] == {number} && c.depth > 5000)'''\n"
        );
    }
    let abi = AbiFile { path: PathBuf::from("bench.json"), text: format!("[{}]", all.join(",")) };
    loaded(RuleSet::parse_with("bench", &text, vec![abi]))
}

fn loaded(set: Result<RuleSet, Vec<RuleError>>) -> Result<DetectorConfig, EngineError> {
    let set = set.map_err(|errors| {
        let found = errors.first().map(ToString::to_string).unwrap_or_default();
        EngineError::Argument {
            what: "rule",
            found,
            expected: "rules of the measurement that load".to_owned(),
        }
    })?;
    Ok(DetectorConfig::Rules(RulesConfig { files: vec![PathBuf::from("bench")], sets: vec![Arc::new(set)] }))
}

/// Conditions like those of the library, that look at an amount and are not met.
fn when(live: &Live, number: usize) -> String {
    const HUGE: &str = "u(\"1000000000000000000000000000000000000000000000\")";
    let pick = number / LIVE_EVERY;
    let (topic, selector) = (nth(&live.topics, pick), nth(&live.selectors, pick));
    if number % OPEN_EVERY == OPEN_EVERY / 2 {
        return format!(
            "sum(transfers.filter(t, protects(t.from) && !protects(t.to)).map(t, t.amount)) > {HUGE}"
        );
    }
    match (number % LIVE_EVERY, number % 2, topic, selector) {
        (0, _, Some(topic), Some(selector)) => {
            if pick.is_multiple_of(2) {
                format!("logs.exists(l, l.protected && l.topic0 == \"{topic}\" && word(l.data, 0) > {HUGE})")
            } else {
                format!(
                    "calls.exists(c, c.protected && !c.reverted && c.selector == \"{selector}\" && arg(c, 1) == {HUGE})"
                )
            }
        }
        (_, 0, ..) => {
            format!(
                "calls.exists(c, c.protected && c.selector == sig(\"bench{number}(uint256)\") && arg(c, 0) > {HUGE})"
            )
        }
        _ => format!(
            "logs.exists(l, l.protected && l.topic0 == event(\"Bench{number}(uint256)\") && word(l.data, 0) > {HUGE})"
        ),
    }
}

/// Element `index` of a list that starts over at its end.
fn nth<T: Copy>(list: &[T], index: usize) -> Option<T> {
    list.get(index.checked_rem(list.len())?).copied()
}

impl Setting {
    /// Learns from these transactions where the setting compares, as if each had been ordinary. So a comparison later finds
    /// a baseline of full size, and what it looks up.
    pub(super) fn learn<'e>(&mut self, executions: impl Iterator<Item = &'e Execution>) {
        if self.name != COMPARED {
            return;
        }
        let mut baselines = Baselines::default();
        for execution in executions {
            for (protocol, compared) in self.detectors.compare(execution, &baselines) {
                let (block, at_s) = (execution.tx.block, execution.timestamp_s);
                let transactions = baselines.transactions(&protocol).saturating_add(1);
                baselines.learn(&protocol, block, transactions, &compared.measures());
                baselines.count(&protocol, block, at_s, &compared.counted(false));
            }
        }
        self.baselines = Some(baselines);
    }

    /// Judges a transaction that concerns it, as the engine does; false where none of it is concerned.
    pub(super) fn judge(&self, execution: &Execution) -> bool {
        let concerns = self.detectors.concerns(execution);
        if concerns {
            std::hint::black_box(self.detectors.judge(execution));
            if let Some(baselines) = &self.baselines {
                std::hint::black_box(self.detectors.compare(execution, baselines));
            }
        }
        concerns
    }

    /// The addresses that its detectors watch.
    pub(super) fn watched(&self) -> Arc<AddressSet> {
        self.detectors.watched()
    }
}
