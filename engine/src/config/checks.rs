//! What must hold between the entries of a configuration, and between it and the files that it names.
//!
//! In: entries that were understood one by one. Out: problems, each with key, value and what was expected. What is
//! refused here would otherwise be found when an incident is under way. Must never: touch the network.

use super::{Password, Resolver, Signer};
use alloy_primitives::Address;
use cordon_model::protocol::{AssetSpec, Grant, Price, Protocol};
use cordon_model::units::{Asset, ChainId};
use cordon_notify::channels::CHANNELS_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

/// Most steps from a share to the asset that is priced: what the detectors' valuation follows. A vault over a vault
/// over a vault is the deepest nesting in use.
const SHARE_STEPS_MAX: usize = 4;

/// Scores are per mille (see `cordon_model::finding::Score`); zero would alarm on everything.
const SCORES: RangeInclusive<u64> = 1..=1_000;

/// Shares in basis points; 10,000 is the whole.
const SHARES_BPS: RangeInclusive<u64> = 0..=10_000;

impl Resolver<'_> {
    /// Detectors, with the rule files of those that have some.
    pub(super) fn check_detectors(&mut self, detectors: &[cordon_detect::DetectorConfig]) {
        if detectors.is_empty() {
            self.problem::<()>("detector", "nothing", "all_detectors = true, or at least one [[detector]]");
        }
        let mut types = Vec::new();
        for (index, detector) in detectors.iter().enumerate() {
            match detector.build() {
                Ok(detector) => types.push((format!("detector[{index}].type"), detector.name())),
                Err(error) => {
                    self.problem::<()>(&format!("detector[{index}]"), error, "a valid detector");
                }
            }
        }
        // The same detector twice would speak with two voices for one signal.
        self.unique(types, "a type that no other [[detector]] has");
    }

    /// Bridges: whoever pays out and whoever sends must be watched, or it is never asked whether a message was sent.
    pub(super) fn check_bridges(
        &mut self,
        detectors: &[cordon_detect::DetectorConfig],
        protocols: &[Protocol],
    ) {
        let protects = |chain: Option<u64>, contract| {
            let on_chain = |protocol: &&Protocol| chain.is_none_or(|chain| protocol.chain_id.0 == chain);
            protocols.iter().filter(on_chain).any(|protocol| protocol.protects(contract))
        };
        for (index, detector) in detectors.iter().enumerate() {
            let cordon_detect::DetectorConfig::UnbackedMint(config) = detector else { continue };
            let key = |place: usize| format!("detector[{index}].bridge[{place}]");
            let custodies = config.bridge.iter().enumerate();
            let custodies =
                custodies.map(|(place, bridge)| (format!("{}.custody", key(place)), bridge.custody));
            self.unique(custodies, "a custody that no other bridge has");
            for (place, bridge) in config.bridge.iter().enumerate() {
                if !protects(None, bridge.custody) {
                    let expected = "a contract that a [[protocol]] protects";
                    self.problem::<()>(&format!("{}.custody", key(place)), bridge.custody, expected);
                }
                for (at, source) in bridge.source.iter().enumerate() {
                    if !protects(Some(source.chain), source.contract) {
                        let expected =
                            format!("a contract that a [[protocol]] on chain {} protects", source.chain);
                        let key = format!("{}.source[{at}].contract", key(place));
                        self.problem::<()>(&key, source.contract, expected);
                    }
                    let pays_elsewhere = |protocol: &Protocol| {
                        protocol.chain_id.0 != source.chain && protocol.protects(bridge.custody)
                    };
                    if !protocols.iter().any(pays_elsewhere) {
                        let key = format!("{}.source[{at}].chain", key(place));
                        self.problem::<()>(&key, source.chain, "another chain than that of the custody");
                    }
                }
            }
        }
    }

    /// Channels.
    pub(super) fn check_channels(&mut self, channels: &[cordon_notify::ChannelConfig]) {
        for (index, channel) in channels.iter().enumerate() {
            if let Err(error) = channel.check() {
                self.problem::<()>(&format!("channel[{index}]"), error, "a valid channel");
            }
        }
        let name = |(index, channel)| {
            (format!("channel[{index}].name"), cordon_notify::ChannelConfig::name(channel))
        };
        self.unique(channels.iter().enumerate().map(name), "a name that no other [[channel]] has");
        if channels.len() > CHANNELS_MAX {
            self.problem::<()>("channel", channels.len(), format!("at most {CHANNELS_MAX} channels"));
        }
    }

    /// The policy's numbers.
    pub(super) fn check_policy(&mut self, policy: &cordon_decide::Policy) {
        self.within("policy.alarm_score", policy.alarm_score.into(), &SCORES);
        self.within("policy.joint_alarm_score", policy.joint_alarm_score.into(), &SCORES);
        self.within("policy.critical_loss_bps", policy.critical_loss_bps.into(), &(1..=*SHARES_BPS.end()));
        self.within("policy.side_effect_max_bps", policy.side_effect_max_bps.into(), &SHARES_BPS);
        if policy.window_blocks == 0 {
            self.problem::<()>("policy.window_blocks", 0, "at least 1");
        }
    }

    fn within(&mut self, key: &str, found: u64, range: &RangeInclusive<u64>) {
        if !range.contains(&found) {
            let expected = format!("a number from {} to {}", range.start(), range.end());
            self.problem::<()>(key, found, expected);
        }
    }

    /// Protocols, each by itself and beside the others. Their order must be that of the file.
    pub(super) fn check_protocols(&mut self, protocols: &[Protocol]) {
        if protocols.is_empty() {
            self.problem::<()>("protocol", "nothing", "at least one [[protocol]] to protect");
        }
        let ids = protocols.iter().enumerate();
        let ids = ids.map(|(index, protocol)| (format!("protocol[{index}].id"), protocol.id.0.as_str()));
        self.unique(ids, "an id that no other [[protocol]] has");
        let mut contracts: BTreeMap<ChainId, Vec<(String, Address)>> = BTreeMap::new();
        for (index, protocol) in protocols.iter().enumerate() {
            for (position, contract) in protocol.contracts.iter().enumerate() {
                let key = format!("protocol[{index}].contracts[{position}].address");
                contracts.entry(protocol.chain_id).or_default().push((key, contract.address));
            }
        }
        // A finding belongs to one protocol; a contract of two would belong to whichever is looked at first.
        for (_, contracts) in contracts {
            self.unique(contracts, "a contract that no other entry has, in this or another protocol");
        }
        for (index, protocol) in protocols.iter().enumerate() {
            let key = format!("protocol[{index}]");
            if protocol.id.0.trim().is_empty() {
                self.problem::<()>(&format!("{key}.id"), &protocol.id.0, "a name for the protocol");
            }
            self.check_assets(&key, protocol);
            self.check_targets(&key, protocol);
        }
    }

    fn check_assets(&mut self, key: &str, protocol: &Protocol) {
        let tokens = protocol.assets.iter().enumerate();
        let tokens = tokens.map(|(index, spec)| (format!("{key}.asset[{index}].token"), spec.asset));
        self.unique(tokens, "a token that no other asset of the protocol has");
        for (index, spec) in protocol.assets.iter().enumerate() {
            if let Price::ShareRate { underlying, .. } = spec.price
                && let Err(expected) = leads_to_a_price(protocol, spec)
            {
                self.problem::<()>(&format!("{key}.asset[{index}].underlying"), underlying, expected);
            }
        }
        let expected = format!(
            "the token of one of the protocol's assets ({})",
            names(protocol.assets.iter().map(|spec| spec.symbol.as_str()))
        );
        for (index, view) in protocol.account_views.iter().enumerate() {
            if protocol.asset(view.asset).is_none() {
                self.problem::<()>(&format!("{key}.account[{index}].asset"), view.asset, expected.as_str());
            }
        }
    }

    fn check_targets(&mut self, key: &str, protocol: &Protocol) {
        let ids = protocol.capabilities.iter().enumerate();
        let ids = ids.map(|(index, lever)| (format!("{key}.lever[{index}].id"), lever.id.0.as_str()));
        self.unique(ids, "an id that no other lever of the protocol has");
        let accounts = protocol.account_views.iter().map(|view| view.target).enumerate();
        let accounts = accounts.map(|(index, target)| (format!("{key}.account[{index}].target"), target));
        let levers = protocol.capabilities.iter().map(|lever| lever.target).enumerate();
        let levers = levers.map(|(index, target)| (format!("{key}.lever[{index}].target"), target));
        let expected = format!(
            "one of the protocol's contracts ({})",
            names(protocol.contracts.iter().map(|contract| contract.name.as_str()))
        );
        for (key, target) in accounts.chain(levers) {
            if !protocol.protects(target) {
                self.problem::<()>(&key, target, expected.as_str());
            }
        }
    }

    /// Keys: each once, their files there, and one for every granted lever.
    pub(super) fn check_signers(&mut self, signers: &[Signer], protocols: &[Protocol]) {
        let addresses = signers.iter().enumerate();
        let addresses = addresses.map(|(index, signer)| (format!("signer[{index}].address"), signer.address));
        self.unique(addresses, "an account that no other [[signer]] has");
        for (index, signer) in signers.iter().enumerate() {
            if !signer.keystore.is_file() {
                let expected = "a Web3 Secret Storage file that exists";
                self.problem::<()>(&format!("signer[{index}].keystore"), signer.keystore.display(), expected);
            }
            if let Password::File(path) = &signer.password
                && !path.is_file()
            {
                let expected = "a file that exists and holds the keystore's password";
                self.problem::<()>(&format!("signer[{index}].password_file"), path.display(), expected);
            }
        }
        self.check_authorities(protocols, signers.iter().map(|signer| signer.address).collect());
    }

    /// A granted lever without a key would fail at the worst moment.
    fn check_authorities(&mut self, protocols: &[Protocol], keys: BTreeSet<Address>) {
        for lever in protocols.iter().flat_map(|protocol| &protocol.capabilities) {
            if lever.grant == Grant::Automatic && !keys.contains(&lever.authority) {
                let key = format!("lever '{}'.authority", lever.id);
                let expected = "an account with a [[signer]], since the lever is granted";
                self.problem::<()>(&key, lever.authority, expected);
            }
        }
    }

    /// Blames every entry whose value an earlier one has.
    pub(super) fn unique<T: Ord + fmt::Display>(
        &mut self,
        entries: impl IntoIterator<Item = (String, T)>,
        expected: &str,
    ) {
        let mut seen = BTreeSet::new();
        for (key, value) in entries {
            if seen.contains(&value) {
                self.problem::<()>(&key, value, expected);
            } else {
                seen.insert(value);
            }
        }
    }
}

/// Follows a share over its underlying assets to one with a fixed price; an error says what was expected.
fn leads_to_a_price(protocol: &Protocol, share: &AssetSpec) -> Result<(), String> {
    let mut spec = share;
    for _ in 0..=SHARE_STEPS_MAX {
        match spec.price {
            Price::Fixed { .. } => return Ok(()),
            Price::Unpriced => {
                return Err(format!("an asset that leads to a price, but '{}' has none", spec.symbol));
            }
            Price::ShareRate { underlying, .. } => {
                spec = protocol.asset(underlying).ok_or_else(|| missing(underlying))?;
            }
        }
    }
    Err(format!("an asset that leads to a price in at most {SHARE_STEPS_MAX} steps, and in no circle"))
}

fn missing(underlying: Asset) -> String {
    format!("an asset that leads to a price, but {underlying} is none of the protocol's assets")
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
