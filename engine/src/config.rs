//! What the operator wants watched, and what Cordon may do about it.
//!
//! Read in two steps. [`raw`] is what was typed: every unknown key is an error that names the key and its line. Then
//! every address, amount, selector and reference is resolved here into [`Config`], and all problems are reported at
//! once, each with its key, its value and what was expected. Secrets never stand in the file: it names the
//! environment variables that hold them. Must never: touch the network, so that `cordon check` runs offline.

mod calibration;
mod chain;
mod checks;
pub mod raw;
pub(crate) mod rules;
pub(crate) mod signatures;

pub use calibration::Calibration;
pub use chain::{Chain, Node};

use crate::config::raw::{RawAccount, RawAsset, RawConfig, RawLever, RawProtocol, RawSigner};
use alloy_primitives::{Address, Selector, U256, keccak256};
use cordon_detect::DetectorConfig;
use cordon_model::protocol::{
    AccountView, AssetSpec, Capability, Contracts, Price, ProtectedContract, Protocol,
};
use cordon_model::units::{Asset, CapabilityId, ChainId, ProtocolId, parse_wad};
use std::fmt;
use std::path::{Path, PathBuf};

/// Most bytes that a configuration file may have: two orders of magnitude above the largest sensible one.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A checked configuration for one chain. A file that names several chains gives one of these for each; they share
/// everything but the chain and its protocols.
#[derive(Debug, Clone)]
pub struct Config {
    /// File that holds the event log.
    pub store: PathBuf,
    /// Folder for investigation reports.
    pub reports: PathBuf,
    /// Artifacts or JSON ABIs that decode calls and errors in reports.
    pub abis: Vec<PathBuf>,
    /// The chain that is watched.
    pub chain: Chain,
    /// What is protected on it.
    pub protocols: Vec<Protocol>,
    /// Detectors, in the order in which they run.
    pub detectors: Vec<DetectorConfig>,
    /// What may be done without a person.
    pub policy: cordon_decide::Policy,
    /// How many false alarms are allowed.
    pub calibration: Calibration,
    /// Keys that Cordon may use.
    pub signers: Vec<Signer>,
    /// Where notices go.
    pub channels: Vec<cordon_notify::ChannelConfig>,
}

/// A key in an encrypted keystore file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Account that the key must belong to.
    pub address: Address,
    /// Web3 Secret Storage file.
    pub keystore: PathBuf,
    /// Where the password is.
    pub password: Password,
}

/// Where a password is; never the password itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// In an environment variable of this name.
    Env(String),
    /// In a file, for instance one that a secret store mounts.
    File(PathBuf),
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, for example `protocol[0].contracts[1].address`.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.key, self.found, self.expected)
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration '{path}'")]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("configuration '{path}' has {bytes} bytes, expected at most {CONFIG_BYTES_MAX}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The text is not the TOML that is expected; the message names key and line.
    #[error("configuration '{origin}' at key '{key}': {message}")]
    Shape {
        /// File or other origin.
        origin: String,
        /// Path of the key.
        key: String,
        /// What the parser says, with line and column.
        message: String,
    },
    /// Values that do not fit.
    #[error("configuration '{origin}' has {} problem(s):\n{}", problems.len(), list(problems))]
    Values {
        /// File or other origin.
        origin: String,
        /// Every problem found.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// Reads and checks a file: one configuration per chain, at least one. Relative paths in it are relative to its
    /// folder.
    ///
    /// # Errors
    /// [`ConfigError`], naming file, key, value and what was expected.
    pub fn load(path: &Path) -> Result<Vec<Self>, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(read)?.len();
        if bytes > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLarge { path: path.to_owned(), bytes });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::parse_all(&text, &path.display().to_string(), path.parent().unwrap_or(Path::new(".")))
    }

    /// How many user rules its detectors judge by.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        rules::count(&self.detectors)
    }

    /// How many signatures the signature files hold.
    #[must_use]
    pub fn signature_count(&self) -> usize {
        signatures::count(&self.detectors)
    }

    /// Checks a text that names one chain.
    ///
    /// # Errors
    /// As [`Config::parse_all`], and where the text names several chains.
    pub fn parse(text: &str, origin: &str, folder: &Path) -> Result<Self, ConfigError> {
        let mut configs = Self::parse_all(text, origin, folder)?;
        match (configs.pop(), configs.len()) {
            (Some(config), 0) => Ok(config),
            (_, others) => {
                let found = format!("{} chains", others.saturating_add(1));
                let problem = Problem { key: "chain".to_owned(), found, expected: "one chain".to_owned() };
                Err(ConfigError::Values { origin: origin.to_owned(), problems: vec![problem] })
            }
        }
    }

    /// Checks a text; `origin` names it in errors, `folder` is where its relative paths start.
    ///
    /// # Errors
    /// [`ConfigError`], naming key, value and what was expected.
    pub fn parse_all(text: &str, origin: &str, folder: &Path) -> Result<Vec<Self>, ConfigError> {
        let shape =
            |key: String, message: String| ConfigError::Shape { origin: origin.to_owned(), key, message };
        let document =
            toml::Deserializer::parse(text).map_err(|error| shape(".".to_owned(), error.to_string()))?;
        let raw: RawConfig = serde_path_to_error::deserialize(document)
            .map_err(|error| shape(error.path().to_string(), error.inner().to_string()))?;
        let mut problems = Vec::new();
        let configs = Resolver { problems: &mut problems, folder }.configs(raw);
        match configs {
            Some(configs) if problems.is_empty() => Ok(configs),
            _ => Err(ConfigError::Values { origin: origin.to_owned(), problems }),
        }
    }
}

/// Turns typed text into checked values, collecting every problem on the way.
struct Resolver<'a> {
    problems: &'a mut Vec<Problem>,
    folder: &'a Path,
}

impl Resolver<'_> {
    fn problem<T>(&mut self, key: &str, found: impl fmt::Display, expected: impl Into<String>) -> Option<T> {
        self.problems.push(Problem {
            key: key.to_owned(),
            found: format!("'{found}'"),
            expected: expected.into(),
        });
        None
    }

    fn configs(&mut self, raw: RawConfig) -> Option<Vec<Config>> {
        let before = self.problems.len();
        let chains = self.chains(raw.chain);
        let mut protocols = Vec::new();
        let mut abis = Vec::new();
        for (index, protocol) in raw.protocol.into_iter().enumerate() {
            abis.extend(protocol.abi.iter().map(|path| self.folder.join(path)));
            let key = format!("protocol[{index}]");
            if let Some(chain_id) = self.chain_of(&key, protocol.chain, &chains) {
                protocols.extend(self.protocol(&key, protocol, chain_id));
            }
        }
        let mut signers = Vec::new();
        for (index, signer) in raw.signer.into_iter().enumerate() {
            signers.extend(self.signer(&format!("signer[{index}]"), signer));
        }
        if self.problems.len() == before {
            // An entry that was not understood is missing from the lists, so what refers to it would be blamed too.
            self.check_protocols(&protocols);
            self.check_signers(&signers, &protocols);
        }
        let mut detectors = raw.detector;
        if raw.all_detectors {
            detectors = DetectorConfig::all_beside(detectors);
        }
        let (rules, signatures) = (self.read_rules(&mut detectors), self.read_signatures(&mut detectors));
        if rules && signatures {
            self.check_detectors(&detectors);
            if self.problems.len() == before {
                self.check_bridges(&detectors, &protocols);
            }
        }
        self.check_channels(&raw.channel);
        self.check_policy(&raw.policy);
        for path in abis.iter().filter(|path| !path.is_file()) {
            self.problem::<()>("protocol.abi", path.display(), "a file with an artifact or a JSON ABI");
        }
        let calibration = Calibration { file: self.folder.join(&raw.calibration.file), ..raw.calibration };
        let calibrated = self.calibrated(&calibration.file);
        let config = |chain: Chain| Config {
            store: self.folder.join(&raw.store.path),
            reports: self.folder.join(&raw.store.reports),
            abis: abis.clone(),
            protocols: protocols.iter().filter(|protocol| protocol.chain_id == chain.id).cloned().collect(),
            chain,
            detectors: detectors.clone(),
            policy: raw.policy.clone(),
            calibration: calibration.clone(),
            signers: signers.clone(),
            channels: raw.channel.clone(),
        };
        let mut configs: Vec<Config> = chains.into_iter().map(config).collect();
        if let Some(file) = calibrated {
            configs.iter_mut().for_each(|config| config.go_by(&file));
        }
        Some(configs)
    }

    fn protocol(&mut self, key: &str, raw: RawProtocol, chain_id: ChainId) -> Option<Protocol> {
        let before = self.problems.len();
        let mut contracts = Contracts::default();
        for (index, contract) in raw.contracts.into_iter().enumerate() {
            let address = self.address(&format!("{key}.contracts[{index}].address"), &contract.address);
            contracts.extend(address.map(|address| ProtectedContract { address, name: contract.name }));
        }
        if contracts.is_empty() && self.problems.len() == before {
            self.problem::<()>(&format!("{key}.contracts"), "nothing", "at least one contract");
        }
        let mut factories = Vec::new();
        for (index, factory) in raw.factories.iter().enumerate() {
            factories.extend(self.address(&format!("{key}.factories[{index}]"), factory));
        }
        let mut assets = Vec::new();
        for (index, asset) in raw.asset.into_iter().enumerate() {
            assets.extend(self.asset(&format!("{key}.asset[{index}]"), asset));
        }
        let mut account_views = Vec::new();
        for (index, account) in raw.account.into_iter().enumerate() {
            account_views.extend(self.account(&format!("{key}.account[{index}]"), account));
        }
        let mut capabilities = Vec::new();
        for (index, lever) in raw.lever.into_iter().enumerate() {
            capabilities.extend(self.lever(&format!("{key}.lever[{index}]"), lever));
        }
        let id = ProtocolId(raw.id);
        Some(Protocol { id, chain_id, contracts, factories, assets, account_views, capabilities })
    }

    fn asset(&mut self, key: &str, raw: RawAsset) -> Option<AssetSpec> {
        let asset = self.asset_id(&format!("{key}.token"), &raw.token);
        let price = match (raw.price, raw.share_of, raw.underlying) {
            (Some(price), None, None) => {
                self.wad(&format!("{key}.price"), &price).map(|value_wad| Price::Fixed { value_wad })
            }
            (None, Some(vault), Some(underlying)) => {
                let vault = self.address(&format!("{key}.share_of"), &vault);
                let underlying = self.asset_id(&format!("{key}.underlying"), &underlying);
                vault.zip(underlying).map(|(vault, underlying)| Price::ShareRate { vault, underlying })
            }
            (None, None, None) => Some(Price::Unpriced),
            _ => self.problem(key, "a mixture", "either price, or share_of with underlying, or none of them"),
        };
        if raw.decimals > 36 {
            return self.problem(&format!("{key}.decimals"), raw.decimals, "at most 36");
        }
        Some(AssetSpec { asset: asset?, symbol: raw.symbol, decimals: raw.decimals, price: price? })
    }

    fn account(&mut self, key: &str, raw: RawAccount) -> Option<AccountView> {
        let target = self.address(&format!("{key}.target"), &raw.target);
        let asset = self.asset_id(&format!("{key}.asset"), &raw.asset);
        let name = raw
            .function
            .strip_suffix("(address)")
            .filter(|name| !name.is_empty() && !name.contains(['(', ' ']));
        if name.is_none() {
            return self.problem(
                &format!("{key}.function"),
                &raw.function,
                "a signature such as 'debtOf(address)'",
            );
        }
        let hash = keccak256(raw.function.as_bytes());
        let selector = Selector::from_slice(hash.get(..4)?);
        Some(AccountView { target: target?, selector, asset: asset?, side: raw.side })
    }

    fn lever(&mut self, key: &str, raw: RawLever) -> Option<Capability> {
        let target = self.address(&format!("{key}.target"), &raw.target);
        let authority = self.address(&format!("{key}.authority"), &raw.authority);
        let undo_authority = match raw.undo_authority {
            Some(text) => Some(self.address(&format!("{key}.undo_authority"), &text)?),
            None => None,
        };
        let id = CapabilityId(raw.id);
        Some(Capability {
            id,
            adapter: raw.kind,
            target: target?,
            authority: authority?,
            undo_authority,
            grant: raw.grant,
        })
    }

    fn signer(&mut self, key: &str, raw: RawSigner) -> Option<Signer> {
        let address = self.address(&format!("{key}.address"), &raw.address)?;
        let password = match (raw.password_env, raw.password_file) {
            (Some(name), None) if !name.is_empty() => Password::Env(name),
            (None, Some(path)) => Password::File(self.folder.join(path)),
            _ => {
                let expected = "either password_env (name of a variable) or password_file (path)";
                return self.problem(key, "none or both", expected);
            }
        };
        Some(Signer { address, keystore: self.folder.join(raw.keystore), password })
    }

    fn address(&mut self, key: &str, text: &str) -> Option<Address> {
        let address = text.parse::<Address>().ok().filter(|_| text.starts_with("0x"));
        let mixed = text.chars().any(|c| c.is_ascii_lowercase() && c != 'x')
            && text.chars().any(|c| c.is_ascii_uppercase());
        match address {
            Some(_) if mixed && Address::parse_checksummed(text, None).is_err() => {
                self.problem(key, text, "an address whose EIP-55 checksum holds, or all lower case")
            }
            Some(address) => Some(address),
            None => self.problem(key, text, "an address: 0x and 40 hex digits"),
        }
    }

    fn asset_id(&mut self, key: &str, text: &str) -> Option<Asset> {
        if text == "native" { Some(Asset::Native) } else { self.address(key, text).map(Asset::Token) }
    }

    fn wad(&mut self, key: &str, text: &str) -> Option<U256> {
        parse_wad(text).or_else(|| {
            self.problem(key, text, "a decimal number such as \"1\" or \"1999.95\", at most 18 decimals")
        })
    }
}
