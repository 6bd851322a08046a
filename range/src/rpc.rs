//! The JSON-RPC methods of the range, by the Ethereum execution API. In go a method name and its parameters, out come
//! a JSON value or an error object. Unknown methods and parameters are refused, never ignored.

mod blocks;
mod fees;
mod logs;
mod params;
mod state;

use alloy_json_rpc::ErrorPayload;
use alloy_primitives::{Bytes, U64};
use serde::Serialize;
use serde_json::{Value, json};

use self::params::Params;
use crate::chain::data::ChainData;
use crate::chain::error::TxRejection;
use crate::chain::simulate::SimulateError;

/// JSON-RPC 2.0: the method does not exist.
const METHOD_NOT_FOUND: i64 = -32_601;
/// JSON-RPC 2.0: the parameters do not fit the method.
const INVALID_PARAMS: i64 = -32_602;
/// JSON-RPC 2.0: a defect of the server.
const INTERNAL: i64 = -32_603;
/// What geth answers when it understood the request and can not serve it.
const SERVER_ERROR: i64 = -32_000;
/// What geth answers when an execution reverted; the data are the revert data.
const REVERTED: i64 = 3;

/// A JSON-RPC error object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("json-rpc error {code}: {message}")]
pub struct RpcError {
    /// Error code of JSON-RPC 2.0 or of geth.
    pub code: i64,
    /// Human-readable text.
    pub message: String,
    /// Revert data, for code 3.
    pub data: Option<Bytes>,
}

impl RpcError {
    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        Self { code: INVALID_PARAMS, message: message.into(), data: None }
    }

    fn server(message: impl Into<String>) -> Self {
        Self { code: SERVER_ERROR, message: message.into(), data: None }
    }

    /// The error as it goes over the wire.
    pub(crate) fn payload(&self) -> ErrorPayload {
        let data = self.data.as_ref().and_then(|data| serde_json::value::to_raw_value(data).ok());
        ErrorPayload { code: self.code, message: self.message.clone().into(), data }
    }
}

impl From<SimulateError> for RpcError {
    fn from(error: SimulateError) -> Self {
        match error {
            SimulateError::Reverted(data) => {
                Self { code: REVERTED, message: "execution reverted".to_owned(), data: Some(data) }
            }
            other => Self::server(other.to_string()),
        }
    }
}

impl From<TxRejection> for RpcError {
    fn from(rejection: TxRejection) -> Self {
        Self::server(rejection.to_string())
    }
}

/// What a method gives back.
type Answer = Result<Value, RpcError>;

fn to_value(value: impl Serialize) -> Answer {
    serde_json::to_value(value).map_err(|error| RpcError {
        code: INTERNAL,
        message: format!("cannot encode the answer: {error}"),
        data: None,
    })
}

fn quantity(number: u64) -> Value {
    json!(U64::from(number))
}

/// Answers one method call.
pub(crate) fn answer(data: &mut ChainData, method: &str, params: Value) -> Answer {
    let params = Params::new(params)?;
    match method {
        "web3_clientVersion" => {
            no_params(params, || json!(concat!("cordon-range/", env!("CARGO_PKG_VERSION"))))
        }
        "net_version" => no_params(params, || json!(data.config.chain_id.to_string())),
        "eth_chainId" => no_params(params, || quantity(data.config.chain_id)),
        "eth_blockNumber" => no_params(params, || quantity(data.head().number())),
        "eth_syncing" => no_params(params, || json!(false)),
        "eth_getBlockByNumber" => blocks::by_number(data, params),
        "eth_getBlockByHash" => blocks::by_hash(data, params),
        "eth_getTransactionByHash" => blocks::transaction(data, params),
        "eth_getTransactionReceipt" => blocks::receipt(data, params),
        "eth_getBlockReceipts" => blocks::receipts(data, params),
        "eth_getLogs" => logs::get(data, params),
        "eth_getBalance" => state::balance(data, params),
        "eth_getCode" => state::code(data, params),
        "eth_getStorageAt" => state::storage(data, params),
        "eth_getTransactionCount" => state::nonce(data, params),
        "eth_call" => state::call(data, params),
        "eth_estimateGas" => state::estimate_gas(data, params),
        "eth_sendRawTransaction" => send_raw(data, params),
        "eth_gasPrice" => fees::gas_price(data, params),
        "eth_maxPriorityFeePerGas" => fees::priority_fee(data, params),
        "eth_feeHistory" => fees::history(data, params),
        _ => Err(RpcError {
            code: METHOD_NOT_FOUND,
            message: format!("the method {method} does not exist/is not available"),
            data: None,
        }),
    }
}

fn no_params(params: Params, answer: impl FnOnce() -> Value) -> Answer {
    params.at_most(0)?;
    Ok(answer())
}

fn send_raw(data: &mut ChainData, params: Params) -> Answer {
    params.at_most(1)?;
    let bytes: Bytes = params.required(0, "transaction")?;
    to_value(data.submit_raw(&bytes)?)
}
