//! Reading blocks of the range back, taking them away, and mining again what was in them.

use alloy_primitives::{Address, B256, Bytes, U256};
use cordon_range::{Call, Chain};
use serde_json::{Value, json};

/// A transaction as it was mined.
#[derive(Debug, Clone)]
pub(crate) struct MinedTx {
    pub(crate) hash: B256,
    pub(crate) block: u64,
    pub(crate) from: Address,
    pub(crate) nonce: u64,
    pub(crate) call: Call,
    pub(crate) success: bool,
}

/// The transactions of the blocks from `first` to the head.
pub(crate) fn transactions_since(chain: &Chain, first: u64) -> Vec<MinedTx> {
    let block = |number: u64| {
        let block = chain.rpc("eth_getBlockByNumber", json!([format!("{number:#x}"), true])).unwrap();
        block["transactions"].as_array().unwrap().clone()
    };
    let mined = (first..=chain.head().number)
        .flat_map(|number| block(number).into_iter().map(move |tx| (number, tx)));
    mined.map(|(number, tx)| read(chain, number, &tx)).collect()
}

fn read(chain: &Chain, block: u64, tx: &Value) -> MinedTx {
    let number = |key: &str| -> U256 { tx[key].as_str().unwrap().parse().unwrap() };
    let hash: B256 = tx["hash"].as_str().unwrap().parse().unwrap();
    let call = Call {
        to: tx["to"].as_str().map(|to| to.parse().unwrap()),
        value_wei: number("value"),
        input: tx["input"].as_str().unwrap().parse::<Bytes>().unwrap(),
        gas_limit: number("gas").to(),
        max_fee_wei: number("maxFeePerGas").to(),
        priority_fee_wei: number("maxPriorityFeePerGas").to(),
    };
    MinedTx {
        hash,
        block,
        from: tx["from"].as_str().unwrap().parse().unwrap(),
        nonce: number("nonce").to(),
        call,
        success: chain.receipt(hash).unwrap().status(),
    }
}

/// Takes the newest `depth` blocks away and returns what was in them.
pub(crate) fn take_back(chain: &Chain, depth: u64) -> Vec<MinedTx> {
    let dropped = transactions_since(chain, chain.head().number - depth + 1);
    chain.reorg(depth).unwrap();
    dropped
}

/// Hands in the same transactions again; they wait for a block. Keys are not needed on the range, so this is for the
/// actors of a scenario only: what Cordon signed, Cordon must send again.
pub(crate) fn hand_in_again(chain: &Chain, transactions: impl IntoIterator<Item = MinedTx>) {
    for tx in transactions {
        let hash = chain.submit_as_with_nonce(tx.from, tx.nonce, tx.call).unwrap();
        assert_eq!(hash, tx.hash, "the same transaction has the same hash");
    }
}
