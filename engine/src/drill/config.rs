//! The operator's configuration for a scenario, as the TOML that an operator would write.
//!
//! In: what the operator knows of the protocol. Out: text for the ordinary configuration parser, so that the drill
//! goes through the same door as everybody. Must never hold anything that only the attacker knows.

use cordon_detect::{Detector, DetectorConfig};
use cordon_range::world::{AssetPrice, Facts, LineSide};
use std::fmt::Write as _;

/// The configuration text. Keys and passwords are files in the same folder.
pub(super) fn toml(facts: &Facts, keystores: &[(alloy_primitives::Address, String)]) -> String {
    let mut text = format!(
        "[chain]\nid = {}\nrpc = \"http://practice-range.invalid\"\nhardfork = \"{}\"\nstart_block = {}\n\n\
         [[protocol]]\nid = \"{}\"\n",
        facts.chain_id, facts.hardfork, facts.start_block, facts.protocol
    );
    let contracts: Vec<String> = facts
        .contracts
        .iter()
        .map(|contract| format!("{{ address = \"{}\", name = \"{}\" }}", contract.address, contract.name))
        .collect();
    line(&mut text, format_args!("contracts = [{}]", contracts.join(", ")));
    for asset in &facts.assets {
        let price = match asset.price {
            AssetPrice::FixedUsd(dollars) => format!("price = \"{dollars}\""),
            AssetPrice::ShareOf { underlying } => {
                format!("share_of = \"{}\"\nunderlying = \"{underlying}\"", asset.token)
            }
        };
        let (token, symbol, decimals) = (asset.token, asset.symbol, asset.decimals);
        line(
            &mut text,
            format_args!(
                "[[protocol.asset]]\ntoken = \"{token}\"\nsymbol = \"{symbol}\"\ndecimals = {decimals}\n{price}"
            ),
        );
    }
    for account in &facts.account_lines {
        let side = match account.side {
            LineSide::Collateral => "collateral",
            LineSide::Debt => "debt",
        };
        let (target, function, asset) = (account.target, account.function, account.asset);
        line(
            &mut text,
            format_args!(
                "[[protocol.account]]\ntarget = \"{target}\"\nfunction = \"{function}\"\nasset = \"{asset}\"\nside = \"{side}\""
            ),
        );
    }
    for lever in &facts.pause_levers {
        let (id, target, authority, undo) = (lever.id, lever.target, lever.authority, lever.undo_authority);
        line(
            &mut text,
            format_args!(
                "[[protocol.lever]]\nid = \"{id}\"\ntype = \"pausable\"\ntarget = \"{target}\"\n\
                 authority = \"{authority}\"\nundo_authority = \"{undo}\"\ngrant = \"automatic\""
            ),
        );
    }
    // A drill is too short to learn what is ordinary.
    let learns = |detector: &dyn Detector| detector.compares();
    let detectors = DetectorConfig::all().iter().filter_map(|config| config.build().ok()).collect::<Vec<_>>();
    for detector in detectors.iter().filter(|detector| !learns(detector.as_ref())) {
        line(&mut text, format_args!("[[detector]]\ntype = \"{}\"", detector.name()));
    }
    for (address, keystore) in keystores {
        line(
            &mut text,
            format_args!(
                "[[signer]]\naddress = \"{address}\"\nkeystore = \"{keystore}\"\npassword_file = \"password\""
            ),
        );
    }
    line(&mut text, format_args!("[[channel]]\ntype = \"terminal\""));
    text
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("writing to a string cannot fail");
}
