//! The configuration as it is typed: nothing is resolved, and no unknown key is let through.
//!
//! In: TOML. Out: strings and numbers for [`super`] to check. Must never consult anything outside of the text.

use cordon_detect::network::{Consensus, NetworkConfig};
use cordon_model::protocol::{AccountSide, Grant, LeverKind};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where the log lies.
    #[serde(default)]
    pub store: RawStore,
    /// The chain, or several.
    pub chain: RawChains,
    /// What is protected.
    #[serde(default)]
    pub protocol: Vec<RawProtocol>,
    /// Every detector that has defaults, at its defaults; what is written in `detector` takes the place of its own.
    #[serde(default)]
    pub all_detectors: bool,
    /// Detectors.
    #[serde(default)]
    pub detector: Vec<cordon_detect::DetectorConfig>,
    /// Policy.
    #[serde(default)]
    pub policy: cordon_decide::Policy,
    /// How many false alarms are allowed.
    #[serde(default)]
    pub calibration: super::Calibration,
    /// Keys.
    #[serde(default)]
    pub signer: Vec<RawSigner>,
    /// Where notices go.
    #[serde(default)]
    pub channel: Vec<cordon_notify::ChannelConfig>,
}

/// Where the log lies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawStore {
    /// SQLite file.
    #[serde(default = "default_store")]
    pub path: PathBuf,
    /// Folder for investigation reports.
    #[serde(default = "default_reports")]
    pub reports: PathBuf,
}

fn default_store() -> PathBuf {
    PathBuf::from("cordon.sqlite")
}

fn default_reports() -> PathBuf {
    PathBuf::from("cordon-reports")
}

impl Default for RawStore {
    fn default() -> Self {
        Self { path: default_store(), reports: default_reports() }
    }
}

/// `[chain]`, or several `[[chain]]`. Read by hand, because a derived choice between two shapes would swallow the name of
/// an unknown key.
#[derive(Debug)]
pub enum RawChains {
    /// One table.
    One(Box<RawChain>),
    /// An array of tables.
    Several(Vec<RawChain>),
}

impl<'de> Deserialize<'de> for RawChains {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChainsVisitor)
    }
}

struct ChainsVisitor;

impl<'de> Visitor<'de> for ChainsVisitor {
    type Value = RawChains;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table [chain] or tables [[chain]]")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawChains, A::Error> {
        RawChain::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(RawChains::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<RawChains, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(RawChains::Several)
    }
}

/// The chain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawChain {
    /// EIP-155 id.
    pub id: u64,
    /// Node URL.
    pub rpc: Option<String>,
    /// Environment variable that holds the node URL, where it carries a secret.
    pub rpc_env: Option<String>,
    /// Nodes, where there are several.
    #[serde(default)]
    pub node: Vec<RawNode>,
    /// Nodes that must agree on a block before anything is sent.
    pub quorum: Option<usize>,
    /// Who executes transactions again; what is known of the chain decides where nothing is said.
    pub execution: Option<Execution>,
    /// Whether transactions that wait to be mined are looked at too.
    #[serde(default)]
    pub pending: bool,
    /// URL of a beacon node's API.
    pub beacon: Option<String>,
    /// Environment variable that holds it, where it carries a secret.
    pub beacon_env: Option<String>,
    /// Time from block to block.
    pub block_time_ms: Option<NonZeroU64>,
    /// Who makes blocks.
    pub consensus: Option<Consensus>,
    /// What is monitored of the chain itself.
    pub network: Option<NetworkConfig>,
    /// Hardfork by name.
    pub hardfork: Option<String>,
    /// First block to judge.
    pub start_block: Option<u64>,
    /// Poll interval.
    #[serde(default = "default_poll_interval_ms")]
    pub poll_interval_ms: u64,
    /// Blocks fetched ahead while catching up.
    #[serde(default = "default_fetch_ahead")]
    pub fetch_ahead: usize,
}

fn default_fetch_ahead() -> usize {
    cordon_ingest::sources::json_rpc::FETCH_AHEAD_DEFAULT
}

/// A quarter of the fastest common block time (1 s on several rollups), so that polling adds little to latency.
fn default_poll_interval_ms() -> u64 {
    250
}

/// One node of several.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawNode {
    /// Name for people.
    pub name: Option<String>,
    /// URL.
    pub rpc: Option<String>,
    /// Environment variable that holds the URL, where it carries a secret.
    pub rpc_env: Option<String>,
    /// Most requests per second.
    pub requests_per_s: Option<u32>,
}

/// Who executes transactions again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Execution {
    /// Our own EVM.
    Local,
    /// The node, by its debug traces.
    NodeTraces,
}

/// One protected protocol.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawProtocol {
    /// Name.
    pub id: String,
    /// Chain, where there are several.
    pub chain: Option<u64>,
    /// Contracts.
    #[serde(default)]
    pub contracts: Vec<RawContract>,
    /// Contracts whose creations join the protocol.
    #[serde(default)]
    pub factories: Vec<String>,
    /// Valued assets.
    #[serde(default)]
    pub asset: Vec<RawAsset>,
    /// Account lines.
    #[serde(default)]
    pub account: Vec<RawAccount>,
    /// Levers.
    #[serde(default)]
    pub lever: Vec<RawLever>,
    /// Artifacts or JSON ABIs of its contracts, to decode calls and errors in reports.
    #[serde(default)]
    pub abi: Vec<PathBuf>,
}

/// One protected contract.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawContract {
    /// Address.
    pub address: String,
    /// Name for people.
    pub name: String,
}

/// One valued asset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAsset {
    /// `native`, or the token's address.
    pub token: String,
    /// Symbol for people.
    pub symbol: String,
    /// Decimals.
    pub decimals: u8,
    /// Fixed price in units of account, as a decimal number.
    pub price: Option<String>,
    /// Vault whose share this token is.
    pub share_of: Option<String>,
    /// What a share of that vault converts to.
    pub underlying: Option<String>,
}

/// One line of a user's account with the protocol.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAccount {
    /// Contract to ask.
    pub target: String,
    /// Signature of the view; its only argument is the account.
    pub function: String,
    /// Asset in which the answer is counted.
    pub asset: String,
    /// Who owes whom.
    pub side: AccountSide,
}

/// One lever.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLever {
    /// Name.
    pub id: String,
    /// Adapter.
    #[serde(rename = "type")]
    pub kind: LeverKind,
    /// Contract that carries it.
    pub target: String,
    /// Account that may pull it.
    pub authority: String,
    /// Account that may undo it.
    pub undo_authority: Option<String>,
    /// What Cordon may do with it.
    #[serde(default)]
    pub grant: Grant,
}

/// One key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSigner {
    /// Account.
    pub address: String,
    /// Encrypted keystore file.
    pub keystore: PathBuf,
    /// Environment variable that holds its password.
    pub password_env: Option<String>,
    /// File that holds its password.
    pub password_file: Option<PathBuf>,
}
