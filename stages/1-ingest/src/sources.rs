//! The visible list of sources: one file each, one variant each.
//!
//! In: what the operator wrote. Out: which source to open. A new source stands here and passes the conformance suite.

pub mod archive;
pub mod json_rpc;

use serde::{Deserialize, Serialize};

/// Configuration of a chain source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum SourceConfig {
    /// An Ethereum node; its url is given apart, because urls of nodes often hold keys.
    JsonRpc(json_rpc::Config),
    /// Recorded blocks.
    Archive(archive::Config),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Integrity, StartAt};
    use cordon_model::units::ChainId;

    #[test]
    fn a_node_needs_its_chain_alone() {
        let read: SourceConfig = serde_json::from_str(r#"{"type":"json-rpc","chain_id":1}"#).unwrap();
        assert_eq!(read, SourceConfig::JsonRpc(json_rpc::Config::new(ChainId(1))));
    }

    #[test]
    fn everything_can_be_set() {
        let text = r#"{"type":"json-rpc","chain_id":137,"start":{"block":5},"poll_interval_ms":50,
            "request_timeout_ms":900,"integrity":"header"}"#;
        let SourceConfig::JsonRpc(config) = serde_json::from_str(text).unwrap() else { panic!("json-rpc") };
        assert_eq!(config.start, StartAt::Block(5));
        assert_eq!(config.integrity, Integrity::Header);
        assert_eq!(config.poll_interval_ms.get(), 50);
    }

    #[test]
    fn unknown_keys_and_a_zero_interval_are_refused() {
        let misspelt = r#"{"type":"json-rpc","chain_id":1,"poll_intervall_ms":5}"#;
        let error = serde_json::from_str::<SourceConfig>(misspelt).unwrap_err().to_string();
        assert!(error.contains("unknown field `poll_intervall_ms`"), "{error}");
        let zero = r#"{"type":"json-rpc","chain_id":1,"poll_interval_ms":0}"#;
        assert!(serde_json::from_str::<SourceConfig>(zero).unwrap_err().to_string().contains("nonzero"));
        let archive = r#"{"type":"archive","path":"blocks","chain":"ethereum"}"#;
        assert!(serde_json::from_str::<SourceConfig>(archive).is_err());
    }
}
