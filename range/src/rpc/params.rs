//! Positional JSON-RPC parameters. In goes the `params` value of a request, out come typed values or an error that
//! names the parameter.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::RpcError;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Params(Vec<Value>);

impl Params {
    /// Takes an array, or null for none.
    pub(super) fn new(params: Value) -> Result<Self, RpcError> {
        match params {
            Value::Null => Ok(Self(Vec::new())),
            Value::Array(values) => Ok(Self(values)),
            other => Err(RpcError::invalid_params(format!("params must be an array, got {other}"))),
        }
    }

    /// Refuses surplus parameters: one that is not understood must not be ignored.
    pub(super) fn at_most(&self, count: usize) -> Result<(), RpcError> {
        if self.0.iter().skip(count).all(Value::is_null) {
            return Ok(());
        }
        Err(RpcError::invalid_params(format!(
            "too many arguments: want at most {count}, got {}",
            self.0.len()
        )))
    }

    /// The parameter at `index`, which must be there.
    pub(super) fn required<T: DeserializeOwned>(&self, index: usize, name: &str) -> Result<T, RpcError> {
        self.optional(index, name)?.ok_or_else(|| {
            RpcError::invalid_params(format!("missing value for required argument {index} ({name})"))
        })
    }

    /// The parameter at `index`, if it is there and not null.
    pub(super) fn optional<T: DeserializeOwned>(
        &self,
        index: usize,
        name: &str,
    ) -> Result<Option<T>, RpcError> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|error| {
                RpcError::invalid_params(format!("invalid argument {index} ({name}): {error}"))
            }),
        }
    }
}
