//! The chains of a configuration: their nodes, and how their blocks are executed again.
//!
//! In: `[chain]` or `[[chain]]` as typed. Out: [`Chain`]s. Must never: repeat a node's URL in a problem, since it may
//! carry a key.

use super::Resolver;
use super::raw::{Execution, RawChain, RawChains, RawNode};
use cordon_detect::network::{ChainTiming, Consensus, NetworkConfig};
use cordon_model::chains::{ChainFamily, ChainSpec, ExecutionMode, chain_spec};
use cordon_model::network::SignalKind;
use cordon_model::units::ChainId;
use cordon_replay::RulesError;
use std::num::{NonZeroU32, NonZeroU64};

/// Most nodes of one chain. Each is asked before anything is sent, and more than a handful adds delay and no trust.
const NODES_MAX: usize = 9;

/// Most chains of one process: four times as many as were ever measured together (`benches/chains.rs`), and each needs a
/// share of a core.
const CHAINS_MAX: usize = 32;

/// Most blocks that are fetched ahead: half a megabyte each.
const FETCH_AHEAD_MAX: usize = 64;

/// Block time of a chain of which nothing is known: Ethereum's, the slowest in wide use, so that nothing is called late
/// too early.
const BLOCK_TIME_MS_UNKNOWN: NonZeroU64 = NonZeroU64::new(12_000).expect("twelve thousand is not zero");

/// A chain that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// EIP-155 id; every node must answer with the same one.
    pub id: ChainId,
    /// Nodes, at least one, in order of preference.
    pub nodes: Vec<Node>,
    /// Nodes that must agree on a block before anything is sent; `None` leaves it to the default, a majority.
    pub quorum: Option<usize>,
    /// Who executes transactions again.
    pub execution: Execution,
    /// Hardfork by name, for chains whose schedule is not built in.
    pub hardfork: Option<String>,
    /// First block to judge; `None` starts at the node's newest block.
    pub start_block: Option<u64>,
    /// How often to ask for new blocks where the node does not push them.
    pub poll_interval_ms: u64,
    /// Blocks that are fetched before they are judged while the chain is caught up with; zero for a node that allows few
    /// requests.
    pub fetch_ahead: usize,
    /// Whether transactions that wait to be mined are looked at too. Each is executed once, so this wants a node of one's
    /// own.
    pub pending: bool,
    /// URL of a beacon node's API.
    pub beacon: Option<String>,
    /// How blocks come.
    pub timing: ChainTiming,
    /// What is monitored of the chain itself.
    pub network: NetworkConfig,
}

/// A node of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name for people; host and port where there is none.
    pub name: Option<String>,
    /// URL: http, https, ws, wss or ipc.
    pub url: String,
    /// Most requests per second; `None` is no limit of ours.
    pub requests_per_s: Option<NonZeroU32>,
}

/// How blocks come: as the operator says, else as is known of the chain, else as on Ethereum but irregularly.
fn timing(
    spec: Option<&ChainSpec>,
    block_time_ms: Option<NonZeroU64>,
    consensus: Option<Consensus>,
) -> ChainTiming {
    let known = spec.and_then(|spec| NonZeroU64::new(spec.block_time_ms));
    let usual = spec.map(|spec| match spec.family {
        ChainFamily::Ethereum => Consensus::Slots,
        ChainFamily::OpStack | ChainFamily::Arbitrum | ChainFamily::Scroll | ChainFamily::Linea => {
            Consensus::Sequencer
        }
        ChainFamily::Bsc | ChainFamily::Polygon | ChainFamily::Local => Consensus::Irregular,
    });
    ChainTiming {
        block_time_ms: block_time_ms.or(known).unwrap_or(BLOCK_TIME_MS_UNKNOWN),
        consensus: consensus.or(usual).unwrap_or(Consensus::Irregular),
    }
}

/// What is monitored where the operator says nothing: everything, but silence on a chain that makes blocks on demand is
/// no halt.
fn network(spec: Option<&ChainSpec>) -> NetworkConfig {
    let is_public = spec.is_some_and(|spec| spec.family != ChainFamily::Local);
    let off = if is_public { Vec::new() } else { vec![SignalKind::ChainHalt] };
    NetworkConfig { off, ..NetworkConfig::default() }
}

impl Resolver<'_> {
    pub(super) fn chains(&mut self, raw: RawChains) -> Vec<Chain> {
        let several = match raw {
            RawChains::One(raw) => return self.chain("chain", *raw).into_iter().collect(),
            RawChains::Several(several) => several,
        };
        if several.is_empty() || several.len() > CHAINS_MAX {
            let expected = format!("one to {CHAINS_MAX} chains");
            self.problem::<()>("chain", format!("{} chains", several.len()), expected);
        }
        let ids: Vec<u64> = several.iter().map(|raw| raw.id).collect();
        let keyed = ids.iter().enumerate().map(|(index, id)| (format!("chain[{index}].id"), *id));
        self.unique(keyed, "an id that no other [[chain]] has");
        let numbered = several.into_iter().enumerate();
        numbered.filter_map(|(index, raw)| self.chain(&format!("chain[{index}]"), raw)).collect()
    }

    fn chain(&mut self, key: &str, raw: RawChain) -> Option<Chain> {
        let nodes = self.nodes(key, raw.rpc, raw.rpc_env, raw.node);
        // What the node executes needs no rules of ours until something is simulated.
        if let Err(error) = cordon_replay::Rules::new(ChainId(raw.id), raw.hardfork.as_deref()) {
            let found = raw.hardfork.as_deref().unwrap_or("nothing");
            let expected = match error {
                RulesError::UnknownHardfork { known, .. } | RulesError::OutsideSchedule { known, .. } => {
                    format!("one of {known}")
                }
                RulesError::UnknownChain { chain_id, known } => format!(
                    "the hardfork that chain {chain_id} runs, since its schedule is not built in: one of {known}"
                ),
            };
            self.problem::<()>(&format!("{key}.hardfork"), found, expected);
        }
        if raw.poll_interval_ms == 0 {
            self.problem::<()>(&format!("{key}.poll_interval_ms"), 0, "at least 1");
        }
        if raw.fetch_ahead > FETCH_AHEAD_MAX {
            let expected = format!("a number from 0 to {FETCH_AHEAD_MAX}");
            self.problem::<()>(&format!("{key}.fetch_ahead"), raw.fetch_ahead, expected);
        }
        if let Some(quorum) = raw.quorum
            && (quorum == 0 || quorum > nodes.len())
        {
            let expected = format!("a number from 1 to the number of nodes, {}", nodes.len());
            self.problem::<()>(&format!("{key}.quorum"), quorum, expected);
        }
        let spec = chain_spec(ChainId(raw.id));
        let timing = timing(spec, raw.block_time_ms, raw.consensus);
        let network = raw.network.unwrap_or_else(|| network(spec));
        if let Err(error) = network.build(timing) {
            self.problem::<()>(&format!("{key}.network"), error, "a valid table");
        }
        let beacon = match (&raw.beacon, &raw.beacon_env) {
            (None, None) => None,
            _ => self.beacon(key, raw.beacon, raw.beacon_env),
        };
        let known = spec.map(|spec| spec.execution);
        let execution = raw.execution.unwrap_or(match known {
            Some(ExecutionMode::NodeTraces) => Execution::NodeTraces,
            Some(ExecutionMode::Local | ExecutionMode::LocalPlain) | None => Execution::Local,
        });
        (!nodes.is_empty()).then_some(Chain {
            id: ChainId(raw.id),
            nodes,
            quorum: raw.quorum,
            execution,
            hardfork: raw.hardfork,
            start_block: raw.start_block,
            poll_interval_ms: raw.poll_interval_ms,
            fetch_ahead: raw.fetch_ahead,
            pending: raw.pending,
            beacon,
            timing,
            network,
        })
    }

    fn beacon(&mut self, key: &str, url: Option<String>, env: Option<String>) -> Option<String> {
        let (key, url) = match (url, env) {
            (Some(url), None) => (format!("{key}.beacon"), url),
            (None, Some(name)) => {
                let key = format!("{key}.beacon_env");
                let Ok(url) = std::env::var(&name) else {
                    return self.problem(&key, name, "a set environment variable");
                };
                (key, url)
            }
            _ => {
                let key = format!("{key}.beacon");
                return self.problem(&key, "both beacon and beacon_env", "exactly one of them");
            }
        };
        let usable =
            url::Url::parse(&url).is_ok_and(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
        let expected = "an http or https URL with a host";
        if usable { Some(url) } else { self.problem(&key, "no usable URL", expected) }
    }

    /// The nodes: one by `rpc` or `rpc_env`, or a list.
    fn nodes(
        &mut self,
        key: &str,
        rpc: Option<String>,
        rpc_env: Option<String>,
        list: Vec<RawNode>,
    ) -> Vec<Node> {
        if list.is_empty() {
            let url = self.url(key, rpc, rpc_env);
            return url.map(|url| Node { name: None, url, requests_per_s: None }).into_iter().collect();
        }
        if rpc.is_some() || rpc_env.is_some() {
            self.problem::<()>(&format!("{key}.rpc"), "both rpc and node", "exactly one of them");
        }
        if list.len() > NODES_MAX {
            self.problem::<()>(&format!("{key}.node"), list.len(), format!("at most {NODES_MAX} nodes"));
        }
        let names = list.iter().enumerate();
        let names: Vec<(String, String)> = names
            .filter_map(|(index, raw)| Some((format!("{key}.node[{index}].name"), raw.name.clone()?)))
            .collect();
        self.unique(names, "a name that no other node of the chain has");
        let mut nodes = Vec::new();
        for (index, raw) in list.into_iter().enumerate() {
            let key = format!("{key}.node[{index}]");
            let requests_per_s = raw.requests_per_s.map(NonZeroU32::new);
            if requests_per_s == Some(None) {
                self.problem::<()>(&format!("{key}.requests_per_s"), 0, "at least 1");
            }
            let url = self.url(&key, raw.rpc, raw.rpc_env);
            let node = |url| Node { name: raw.name, url, requests_per_s: requests_per_s.flatten() };
            nodes.extend(url.map(node));
        }
        nodes
    }

    fn url(&mut self, key: &str, rpc: Option<String>, rpc_env: Option<String>) -> Option<String> {
        let (key, rpc) = match (rpc, rpc_env) {
            (Some(url), None) => (format!("{key}.rpc"), url),
            (None, Some(name)) => match std::env::var(&name) {
                Ok(url) => (format!("{key}.rpc_env"), url),
                Err(_) => {
                    return self.problem(&format!("{key}.rpc_env"), name, "a set environment variable");
                }
            },
            (Some(_), Some(_)) => {
                let key = format!("{key}.rpc");
                return self.problem(&key, "both rpc and rpc_env", "exactly one of them");
            }
            (None, None) => {
                let expected = "a node's URL, or rpc_env with the variable that has it";
                return self.problem(&format!("{key}.rpc"), "nothing", expected);
            }
        };
        // The URL itself may carry an API key, so it is not repeated.
        if rpc.starts_with('/') || rpc.strip_prefix("ipc://").is_some_and(|path| path.starts_with('/')) {
            return Some(rpc);
        }
        let known = ["http://", "https://", "ws://", "wss://"];
        if !known.iter().any(|scheme| rpc.starts_with(scheme)) {
            let expected = "a URL that starts with http, https, ws, wss or ipc, or the path of a socket";
            return self.problem(&key, "another scheme", expected);
        }
        if url::Url::parse(&rpc).ok().is_none_or(|url| !url.has_host()) {
            let expected = "a URL with a host, such as https://node.example:8545";
            return self.problem(&key, "no usable host", expected);
        }
        Some(rpc)
    }

    /// The chain of a protocol: the one it names, or the only one.
    pub(super) fn chain_of(&mut self, key: &str, named: Option<u64>, chains: &[Chain]) -> Option<ChainId> {
        let known = || chains.iter().map(|chain| chain.id.to_string()).collect::<Vec<_>>().join(", ");
        match (named, chains) {
            (Some(id), _) if chains.iter().any(|chain| chain.id.0 == id) => Some(ChainId(id)),
            (None, [only]) => Some(only.id),
            // The chains themselves were not understood; that was said already.
            (_, []) => None,
            (Some(id), _) => {
                self.problem(&format!("{key}.chain"), id, format!("the id of a chain ({})", known()))
            }
            (None, _) => {
                let expected = format!("the id of one of the chains ({})", known());
                self.problem(&format!("{key}.chain"), "nothing", expected)
            }
        }
    }
}
