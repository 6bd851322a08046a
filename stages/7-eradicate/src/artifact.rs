//! A compiled contract as compilers write it.
//!
//! In: the JSON text of an artifact: our own form and Hardhat's (`"bytecode": "0x.."`), or Foundry's
//! (`"bytecode": {"object": "0x.."}`). Out: [`Artifact`]. An error names the file, the key and what was expected there.
//! Must never: accept code that still has holes for libraries, or invent a storage layout where the file has none.

use crate::layout::{LayoutError, StorageLayout};
use alloy_json_abi::{Function, JsonAbi, StateMutability};
use alloy_primitives::{B256, Bytes, Selector, hex, keccak256};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Largest artifact that is read. EIP-3860 bounds init code to 48 KiB; 16 MiB leaves room for the AST and metadata that
/// some tools add.
pub const ARTIFACT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A compiled contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Name of the contract; the file's stem where the artifact does not say.
    pub contract_name: String,
    /// Init code without constructor arguments.
    pub init_code: Bytes,
    /// Runtime code as compiled, immutables still zero; empty where the artifact does not say.
    pub runtime_code: Bytes,
    /// Storage layout.
    pub layout: StorageLayout,
    /// Functions by signature.
    pub functions: BTreeMap<String, Selector>,
    /// Signatures of view and pure functions without arguments that return something.
    pub getters: Vec<String>,
    /// Whether the contract answers calls to functions that it does not have.
    pub has_fallback: bool,
    /// The ABI as JSON text, for whoever decodes calls.
    pub abi_json: String,
}

impl Artifact {
    /// Reads an artifact. `file` is its name, for messages and as a fallback for the contract's name.
    ///
    /// # Errors
    /// [`ArtifactError`] with the file, the key and what was expected.
    pub fn parse(file: &str, text: &str) -> Result<Self, ArtifactError> {
        if text.len() > ARTIFACT_BYTES_MAX {
            return Err(ArtifactError::TooLarge { file: file.to_owned(), bytes: text.len() });
        }
        let json: Value = serde_json::from_str(text)
            .map_err(|source| ArtifactError::Json { file: file.to_owned(), source })?;
        let json = json.as_object().ok_or_else(|| wrong(file, "", "a JSON object"))?;
        let abi_json = json.get("abi").ok_or_else(|| wrong(file, "abi", "the contract's ABI, a list"))?;
        let abi = JsonAbi::deserialize(abi_json)
            .map_err(|error| wrong(file, "abi", &format!("the contract's ABI, a list ({error})")))?;
        let layout = json.get("storageLayout").ok_or_else(|| {
            wrong(file, "storageLayout", "the compiler's storage layout (add it to the output selection)")
        })?;
        let layout = StorageLayout::from_json(layout)
            .map_err(|source| ArtifactError::Layout { file: file.to_owned(), source })?;
        let init_code = code(file, json, "bytecode")?;
        if init_code.is_empty() {
            return Err(wrong(file, "bytecode", "code (an interface or abstract contract has none)"));
        }
        let runtime_code = match json.get("deployedBytecode") {
            Some(_) => code(file, json, "deployedBytecode")?,
            None => Bytes::new(),
        };
        Ok(Self {
            contract_name: name(file, json),
            init_code,
            runtime_code,
            layout,
            functions: functions(&abi),
            getters: getters(&abi),
            has_fallback: abi.fallback.is_some(),
            abi_json: abi_json.to_string(),
        })
    }

    /// Hash of the init code without constructor arguments.
    #[must_use]
    pub fn init_code_hash(&self) -> B256 {
        keccak256(&self.init_code)
    }

    /// Init code with ABI-encoded constructor arguments.
    #[must_use]
    pub fn creation_code(&self, constructor_arguments: &[u8]) -> Bytes {
        [&self.init_code, constructor_arguments].concat().into()
    }
}

/// Why an artifact cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It is larger than any real one.
    #[error("artifact '{file}' has {bytes} bytes, expected at most {ARTIFACT_BYTES_MAX}")]
    TooLarge {
        /// File.
        file: String,
        /// Its size.
        bytes: usize,
    },
    /// It is not JSON.
    #[error("artifact '{file}' is not valid JSON")]
    Json {
        /// File.
        file: String,
        /// Cause, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A key is missing or holds something else.
    #[error("artifact '{file}': key '{key}' is missing or wrong, expected {expected}")]
    Key {
        /// File.
        file: String,
        /// Key, dotted.
        key: String,
        /// What was expected there.
        expected: String,
    },
    /// The code has holes for libraries.
    #[error(
        "artifact '{file}': key '{key}' holds code that is not linked: library placeholder '{placeholder}'"
    )]
    Unlinked {
        /// File.
        file: String,
        /// Key.
        key: String,
        /// The placeholder.
        placeholder: String,
    },
    /// The storage layout cannot be read.
    #[error("artifact '{file}': key 'storageLayout' cannot be read")]
    Layout {
        /// File.
        file: String,
        /// Cause.
        #[source]
        source: LayoutError,
    },
}

fn wrong(file: &str, key: &str, expected: &str) -> ArtifactError {
    ArtifactError::Key { file: file.to_owned(), key: key.to_owned(), expected: expected.to_owned() }
}

fn name(file: &str, json: &Map<String, Value>) -> String {
    let stem = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    json.get("contractName").and_then(Value::as_str).unwrap_or(stem).to_owned()
}

fn code(file: &str, json: &Map<String, Value>, key: &str) -> Result<Bytes, ArtifactError> {
    let (key, value) = match json.get(key) {
        Some(Value::Object(object)) => (format!("{key}.object"), object.get("object")),
        value => (key.to_owned(), value),
    };
    let text =
        value.and_then(Value::as_str).ok_or_else(|| wrong(file, &key, "hex text that starts with 0x"))?;
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if let Some(placeholder) = digits.find("__").and_then(|at| digits.get(at..)) {
        let placeholder = placeholder.chars().take(40).collect();
        return Err(ArtifactError::Unlinked { file: file.to_owned(), key, placeholder });
    }
    hex::decode(digits).map(Bytes::from).map_err(|error| {
        let expected = format!("hex text that starts with 0x ({error})");
        wrong(file, &key, &expected)
    })
}

fn functions(abi: &JsonAbi) -> BTreeMap<String, Selector> {
    abi.functions().map(|function| (function.signature(), function.selector())).collect()
}

/// Signatures of functions that anybody can ask without knowing an argument.
fn getters(abi: &JsonAbi) -> Vec<String> {
    let is_getter = |function: &&Function| {
        let reads = matches!(function.state_mutability, StateMutability::View | StateMutability::Pure);
        reads && function.inputs.is_empty() && !function.outputs.is_empty()
    };
    abi.functions().filter(is_getter).map(Function::signature).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{
        "contractName": "Box",
        "abi": [
            {"type": "function", "name": "value", "stateMutability": "view", "inputs": [],
             "outputs": [{"name": "", "type": "uint256"}]},
            {"type": "function", "name": "set", "stateMutability": "nonpayable",
             "inputs": [{"name": "value", "type": "uint256"}], "outputs": []}
        ],
        "bytecode": "0x6001",
        "deployedBytecode": "0x6002",
        "storageLayout": {"storage": [], "types": null}
    }"#;

    fn error(text: &str) -> String {
        Artifact::parse("out/Box.json", text).unwrap_err().to_string()
    }

    #[test]
    fn an_artifact_is_read() {
        let artifact = Artifact::parse("out/Box.json", MINIMAL).unwrap();
        assert_eq!(artifact.contract_name, "Box");
        assert_eq!(artifact.init_code[..], [0x60, 0x01]);
        assert_eq!(artifact.runtime_code[..], [0x60, 0x02]);
        assert_eq!(artifact.functions["value()"], Selector::new([0x3f, 0xa4, 0xf2, 0x45]));
        assert_eq!(artifact.getters, ["value()"]);
        assert_eq!(artifact.creation_code(&[7])[..], [0x60, 0x01, 7]);
        assert_eq!(artifact.init_code_hash(), keccak256([0x60, 0x01]));
    }

    #[test]
    fn the_form_of_foundry_is_read() {
        let text = MINIMAL
            .replace(r#""contractName": "Box","#, "")
            .replace(r#""0x6001""#, r#"{"object": "0x6001", "linkReferences": {}}"#);
        let artifact = Artifact::parse("out/Box.sol/Box.json", &text).unwrap();
        assert_eq!(artifact.contract_name, "Box");
        assert_eq!(artifact.init_code[..], [0x60, 0x01]);
    }

    #[test]
    fn errors_name_file_key_and_expectation() {
        assert!(error("{").starts_with("artifact 'out/Box.json' is not valid JSON"));
        assert!(error("[]").contains("expected a JSON object"));
        assert!(error(&MINIMAL.replace("\"abi\"", "\"api\"")).contains("key 'abi' is missing or wrong"));
        assert!(error(&MINIMAL.replace("storageLayout", "layout")).contains("key 'storageLayout'"));
        assert!(error(&MINIMAL.replace("0x6001", "0x600")).contains("key 'bytecode'"));
        assert!(error(&MINIMAL.replace("0x6001", "0x")).contains("an interface or abstract contract"));
        assert!(
            error(&MINIMAL.replace(r#""type": "function""#, r#""type": "verb""#))
                .contains("key 'abi' is missing or wrong")
        );
        let unlinked = error(&MINIMAL.replace("0x6001", "0x6001__$aabb$__00"));
        assert!(unlinked.contains("library placeholder '__$aabb$__00'"), "{unlinked}");
    }
}
