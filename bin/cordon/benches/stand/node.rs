//! A real node with a token and a protected contract, and ways to fill its blocks.
//!
//! In: anvil. Out: blocks with token transfers that touch the protected contract, and thefts from it. The protected
//! contract passes every call on to the token, so whoever calls it can empty it.

use crate::stand::anvil::{Anvil, root};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolConstructor, sol};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

sol! {
    interface Token {
        constructor(string name, string symbol, address admin);
        function mint(address to, uint256 amount);
        function transfer(address to, uint256 amount);
    }
}

/// Transactions that are handed in with one request: anvil takes two megabytes.
const BATCH_MAX: usize = 500;

/// Accounts that deploy and steal; the others transfer.
const RESERVED_ACCOUNTS: usize = 2;

/// Accounts that hold tokens or may make them: as many as anvil has without being asked for more.
const HOLDERS: usize = 10;

/// Receivers of transfers that do not touch the protected contract. Each is a slot of its own in the token, so that
/// caches of state see more than the same few; anvil computes its whole state's root for every block, so they are not
/// without end.
const RECEIVERS: u64 = 2_000;

/// A node with its contracts.
pub(crate) struct Node {
    pub(crate) anvil: Anvil,
    pub(crate) chain_id: u64,
    pub(crate) socket: PathBuf,
    pub(crate) token: Address,
    pub(crate) purse: Address,
    pub(crate) thief: Address,
    /// Who transfers, with the next nonce of each.
    senders: Vec<(Address, u64)>,
    transfers: u64,
    client: reqwest::Client,
}

impl Node {
    /// Starts a node of this chain, with its socket in `folder`, and puts the contracts on it.
    pub(crate) async fn start(binary: &Path, folder: &Path, chain_id: u64, further: &[&str]) -> Self {
        let socket = folder.join(format!("anvil-{chain_id}.ipc"));
        let id = chain_id.to_string();
        let own = ["--chain-id", &id, "--ipc", socket.to_str().unwrap()];
        let anvil = Anvil::start_with(binary, &[&own[..], further].concat());
        let accounts = anvil.accounts().await;
        let (admin, thief) = (accounts[0], accounts[1]);
        let token = anvil.deploy(admin, token_code(admin)).await;
        let purse = anvil.deploy(admin, purse_code(token)).await;
        let node = Self {
            anvil,
            chain_id,
            socket,
            token,
            purse,
            thief,
            senders: accounts
                .iter()
                .take(HOLDERS)
                .skip(RESERVED_ACCOUNTS)
                .map(|account| (*account, 0))
                .collect(),
            transfers: 0,
            client: reqwest::Client::new(),
        };
        let amount = U256::from(10).pow(U256::from(24));
        let mints: Vec<Value> = accounts[1..]
            .iter()
            .take(HOLDERS)
            .zip(node.anvil.nonce(admin, "latest").await..)
            .map(|(to, nonce)| call(admin, nonce, token, Token::mintCall { to: *to, amount }.abi_encode()))
            .collect();
        node.hand_in(mints).await;
        node.anvil.mine().await;
        node
    }

    /// Hands in this many token transfers: every second one to the protected contract, the others to changing
    /// receivers. They wait to be mined.
    pub(crate) async fn transfer(&mut self, count: u64) {
        let (token, purse) = (self.token, self.purse);
        let mut requests = Vec::new();
        for _ in 0..count {
            let turn = usize::try_from(self.transfers).unwrap() % self.senders.len();
            let (from, nonce) = &mut self.senders[turn];
            let to = if self.transfers.is_multiple_of(2) {
                purse
            } else {
                Address::left_padding_from(&(1_000_000 + self.transfers % RECEIVERS).to_be_bytes())
            };
            requests.push(call(*from, *nonce, token, transfer(to, U256::from(1))));
            *nonce += 1;
            self.transfers += 1;
        }
        self.hand_in(requests).await;
    }

    /// The same, and a block of them.
    pub(crate) async fn mine_with(&mut self, count: u64) {
        self.transfer(count).await;
        self.anvil.mine().await;
    }

    /// Hands in a payment to the protected contract and the theft of it; returns the theft.
    pub(crate) async fn rob(&self) -> B256 {
        let amount = U256::from(10).pow(U256::from(21));
        self.anvil.send(self.thief, Some(self.token), transfer(self.purse, amount)).await;
        self.anvil.send(self.thief, Some(self.purse), transfer(self.thief, amount)).await
    }

    /// Hands in a theft for every block that the node makes by itself; returns each by its block.
    pub(crate) async fn thieve(&self, blocks: u64) -> BTreeMap<u64, B256> {
        let (mut hashes, mut newest) = (Vec::new(), self.anvil.block_number().await);
        for _ in 0..blocks {
            hashes.push(self.rob().await);
            while self.anvil.block_number().await == newest {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            newest = self.anvil.block_number().await;
        }
        let mut thefts = BTreeMap::new();
        for hash in hashes {
            let receipt = self.anvil.receipt(hash).await;
            assert_eq!(receipt["status"], "0x1");
            let block: U256 = serde_json::from_value(receipt["blockNumber"].clone()).unwrap();
            thefts.insert(block.to::<u64>(), hash);
        }
        thefts
    }

    /// Hands in transactions with few requests.
    async fn hand_in(&self, transactions: Vec<Value>) {
        for part in transactions.chunks(BATCH_MAX) {
            let request = |(id, tx): (usize, &Value)| json!({ "jsonrpc": "2.0", "id": id, "method": "eth_sendTransaction", "params": [tx] });
            let body: Vec<Value> = part.iter().enumerate().map(request).collect();
            let url = format!("http://127.0.0.1:{}", self.anvil.port);
            let answers: Vec<Value> =
                self.client.post(url).json(&body).send().await.unwrap().json().await.unwrap();
            let refused = answers.iter().find(|answer| answer.get("error").is_some());
            assert!(refused.is_none() && answers.len() == part.len(), "not handed in: {refused:?}");
        }
    }
}

/// A call to the token's `transfer`.
pub(crate) fn transfer(to: Address, amount: U256) -> Bytes {
    Bytes::from(Token::transferCall { to, amount }.abi_encode())
}

/// A transaction of an unlocked account that needs nothing from the node but its signature.
fn call(from: Address, nonce: u64, to: Address, data: impl Into<Bytes>) -> Value {
    let data: Bytes = data.into();
    json!({ "from": from, "to": to, "nonce": U256::from(nonce), "data": data, "gas": "0x186a0",
        "maxFeePerGas": "0x2540be400", "maxPriorityFeePerGas": "0x3b9aca00" })
}

fn token_code(admin: Address) -> Vec<u8> {
    let path = root().join("contracts/artifacts/DrillToken.json");
    let artifact: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let code = alloy_primitives::hex::decode(artifact["bytecode"].as_str().unwrap()).unwrap();
    let arguments =
        Token::constructorCall { name: "dollar".into(), symbol: "dUSD".into(), admin }.abi_encode();
    [code, arguments].concat()
}

/// A contract that passes every call on to the token, and the code that puts it there.
fn purse_code(token: Address) -> Vec<u8> {
    let mut runtime = vec![0x36, 0x3d, 0x3d, 0x37, 0x3d, 0x3d, 0x36, 0x3d, 0x3d, 0x73];
    runtime.extend_from_slice(token.as_slice());
    runtime.extend_from_slice(&[0x5a, 0xf1, 0x00]);
    let mut init = vec![0x60, u8::try_from(runtime.len()).unwrap(), 0x80, 0x60, 0x09, 0x3d, 0x39, 0x3d, 0xf3];
    init.extend(runtime);
    init
}
