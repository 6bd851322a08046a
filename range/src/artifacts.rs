//! The compiled contracts of the drills, built into the crate.
//!
//! In go contract names; out come the artifact texts exactly as they are committed, and creation code. The texts must
//! never be edited or re-serialised here: who checks an artifact has to see the same bytes as in the repository.

use alloy_primitives::Bytes;
use serde::Deserialize;

/// Why an artifact cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// No contract of the drills has this name.
    #[error("unknown contract '{name}': expected one of the names in `contracts/artifacts`")]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// The text is no artifact.
    #[error("artifact '{name}' cannot be read: expected a JSON object with hex in `bytecode`")]
    Unreadable {
        /// Contract name.
        name: String,
        /// What the JSON reader said.
        #[source]
        source: serde_json::Error,
    },
}

/// Every committed artifact by contract name.
const ARTIFACTS: [(&str, &str); 12] = [
    ("CollateralVault", include_str!("../../contracts/artifacts/CollateralVault.json")),
    ("DrainController", include_str!("../../contracts/artifacts/DrainController.json")),
    ("Drainer", include_str!("../../contracts/artifacts/Drainer.json")),
    ("DrillToken", include_str!("../../contracts/artifacts/DrillToken.json")),
    ("ERC1967Proxy", include_str!("../../contracts/artifacts/ERC1967Proxy.json")),
    ("LendingVault", include_str!("../../contracts/artifacts/LendingVault.json")),
    ("LendingVaultV2", include_str!("../../contracts/artifacts/LendingVaultV2.json")),
    ("LendingVaultV2BadLayout", include_str!("../../contracts/artifacts/LendingVaultV2BadLayout.json")),
    ("LendingVaultV2Wrong", include_str!("../../contracts/artifacts/LendingVaultV2Wrong.json")),
    ("LeverageZap", include_str!("../../contracts/artifacts/LeverageZap.json")),
    ("MerkleClaim", include_str!("../../contracts/artifacts/MerkleClaim.json")),
    ("TimelockController", include_str!("../../contracts/artifacts/TimelockController.json")),
];

/// The one field that a deployment needs.
#[derive(Deserialize)]
struct Artifact {
    bytecode: Bytes,
}

/// Names of all contracts whose artifact is built in, in alphabetical order.
pub fn names() -> impl Iterator<Item = &'static str> {
    ARTIFACTS.iter().map(|(name, _)| *name)
}

/// The artifact text of contract `name`, byte for byte as committed.
///
/// # Errors
/// [`ArtifactError::Unknown`] if there is no such contract.
pub fn json(name: &str) -> Result<&'static str, ArtifactError> {
    let found = ARTIFACTS.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text).ok_or_else(|| ArtifactError::Unknown { name: name.to_owned() })
}

/// The creation code of contract `name`, without constructor arguments.
///
/// # Errors
/// The contract is unknown, or its artifact is damaged.
pub fn creation_code(name: &str) -> Result<Bytes, ArtifactError> {
    let artifact: Artifact = serde_json::from_str(json(name)?)
        .map_err(|source| ArtifactError::Unreadable { name: name.to_owned(), source })?;
    Ok(artifact.bytecode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_artifact_carries_its_own_name_and_creation_code() {
        for name in names() {
            let artifact: serde_json::Value = serde_json::from_str(json(name).unwrap()).unwrap();
            assert_eq!(artifact["contractName"], name);
            assert!(!creation_code(name).unwrap().is_empty());
        }
    }

    #[test]
    fn an_unknown_name_is_refused_by_name() {
        let error = creation_code("LendingVaultV3").unwrap_err();
        assert!(error.to_string().contains("'LendingVaultV3'"));
    }
}
