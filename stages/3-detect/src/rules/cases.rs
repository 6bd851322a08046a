//! The tests of a rule, as they are written in its file, and the executions that they describe.
//!
//! In: a few facts in a table. Out: a protocol and an execution. What a test does not say takes a plain default: one
//! protected contract, a sender from outside, a transaction that succeeds. Must never: guess at a value that was
//! written and is wrong.

use super::records::KINDS;
use super::window::{Count, Window};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use cordon_model::block::Transaction;
use cordon_model::execution::{
    AccessKind, Creation, Execution, Frame, FrameKind, Log, Status, StorageAccess, StorageChange, Transfer,
    ViewCall, ViewReading,
};
use cordon_model::protocol::{ProtectedContract, Protocol};
use cordon_model::tally::{Tallies, Tally};
use cordon_model::units::{Asset, BlockRef, ChainId, ProtocolId, TxRef};
use serde::Deserialize;

/// The protected contract, where a test names none.
const CONTRACT: &str = "0xc0";
/// The sender, where a test names none.
const SENDER: &str = "0xaa";

/// When a test takes place, late enough for any window before it.
const TIMESTAMP_S: u64 = 1_700_000_000;

/// One test of a rule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    /// Whether the rule must fire.
    pub(super) expect: bool,
    /// Protected contracts.
    #[serde(default)]
    contracts: Vec<String>,
    #[serde(default)]
    tx: CaseTx,
    #[serde(default)]
    calls: Vec<CaseCall>,
    #[serde(default)]
    logs: Vec<CaseLog>,
    #[serde(default)]
    transfers: Vec<CaseTransfer>,
    #[serde(default)]
    changes: Vec<CaseChange>,
    #[serde(default)]
    reads: Vec<CaseRead>,
    #[serde(default)]
    created: Vec<String>,
    #[serde(default)]
    views: Vec<CaseView>,
    /// What the rule's window counted before.
    #[serde(default)]
    earlier: Vec<CaseEarlier>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseEarlier {
    seconds_ago: u64,
    /// How many transactions.
    #[serde(default = "once")]
    times: u32,
    /// What each of them added to a sum; one.
    amount: Option<String>,
    /// What each of them was, where different ones are counted; that of the test.
    value: Option<String>,
    /// How many different ones instead, none of them that of the test.
    different: Option<u32>,
    /// Whose window; that of the test.
    by: Option<String>,
}

fn once() -> u32 {
    1
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseTx {
    from: Option<String>,
    to: Option<String>,
    value: Option<String>,
    function: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    gas_used: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseCall {
    caller: Option<String>,
    address: Option<String>,
    code: Option<String>,
    function: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    value: Option<String>,
    #[serde(default)]
    depth: u32,
    kind: Option<String>,
    #[serde(default)]
    reverted: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseLog {
    address: Option<String>,
    event: String,
    /// The indexed arguments.
    #[serde(default)]
    topics: Vec<String>,
    /// The words of the data.
    #[serde(default)]
    data: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseTransfer {
    asset: String,
    from: Option<String>,
    to: Option<String>,
    amount: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseChange {
    address: Option<String>,
    slot: String,
    before: String,
    after: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseRead {
    address: Option<String>,
    slot: String,
    value: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseView {
    address: Option<String>,
    function: String,
    #[serde(default)]
    args: Vec<String>,
    /// The words of the answer; a call without an answer fails.
    before: Option<Vec<String>>,
    after: Option<Vec<String>>,
}

/// A word: hex, short of 32 bytes or not, or decimal digits.
fn word(text: &str) -> Result<B256, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => U256::from_str_radix(digits, 16),
        None => U256::from_str_radix(text, 10),
    };
    let digits = text.trim_start_matches("0x").bytes().all(|byte| byte.is_ascii_hexdigit());
    number
        .ok()
        .filter(|_| digits && text.len() > usize::from(text.starts_with("0x")).saturating_mul(2))
        .map(B256::from)
        .ok_or_else(|| format!("'{text}' is neither hex of at most 32 bytes nor decimal digits"))
}

fn number(text: &str) -> Result<U256, String> {
    word(text).map(|word| U256::from_be_bytes(word.0))
}

fn address(text: &str) -> Result<Address, String> {
    let found = word(text)?;
    if found.iter().take(12).any(|byte| *byte != 0) {
        return Err(format!("'{text}' is longer than an address"));
    }
    Ok(Address::from_word(found))
}

/// Bytes as a rule sees them: an address, where it fits into one.
fn octets(text: &str) -> Result<Vec<u8>, String> {
    let word = word(text)?;
    Ok(address(text).map_or_else(|_| word.to_vec(), |address| address.to_vec()))
}

fn words(texts: &[String]) -> Result<Vec<u8>, String> {
    let words = texts.iter().map(|text| word(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(words.iter().flat_map(|word| word.0).collect())
}

fn kind(text: &str) -> Result<FrameKind, String> {
    KINDS.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind).ok_or_else(|| {
        format!("'{text}' is no kind of call; there are {}", KINDS.map(|(name, _)| name).join(", "))
    })
}

/// Calldata from a signature and words. Without a signature the words are the input as it is.
fn input(function: Option<&str>, args: &[String]) -> Result<Bytes, String> {
    let selector = function.map(|signature| keccak256(signature).0);
    let mut bytes: Vec<u8> = selector.iter().flat_map(|hash| hash.iter().take(4).copied()).collect();
    bytes.extend(words(args)?);
    Ok(bytes.into())
}

impl Case {
    /// The protocol and the transaction of the test.
    pub(super) fn build(&self) -> Result<(Protocol, Execution), String> {
        let contracts = match self.contracts.as_slice() {
            [] => vec![CONTRACT.to_owned()],
            named => named.to_vec(),
        };
        let contracts = contracts.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        let contract = contracts.first().copied().unwrap_or_default();
        let transaction = self.tx.build(contract)?;
        let sender = transaction.from;
        let frame = |(index, call): (usize, &CaseCall)| call.build(index, sender, contract);
        let tx = TxRef {
            chain_id: ChainId(1),
            block: BlockRef { number: 1, hash: B256::ZERO },
            index: 0,
            hash: transaction.hash,
        };
        let mut execution = Execution {
            gas_used: self.tx.gas_used.unwrap_or(100_000),
            frames: self.calls.iter().enumerate().map(frame).collect::<Result<_, _>>()?,
            logs: self.logs.iter().map(|log| log.build(contract)).collect::<Result<_, _>>()?,
            ..Execution::bare(tx, TIMESTAMP_S, transaction)
        };
        for moved in &self.transfers {
            execution.transfers.push(moved.build(sender, contract)?);
        }
        for change in &self.changes {
            execution.storage_changes.push(change.build(contract)?);
        }
        for read in &self.reads {
            execution.accesses.push(read.build(contract)?);
        }
        for created in &self.created {
            execution.creations.push(Creation {
                frame: 0,
                creator: sender,
                address: address(created)?,
                init_code_hash: B256::ZERO,
                code_hash: B256::ZERO,
            });
        }
        for view in &self.views {
            execution.views.push(view.build(contract)?);
        }
        Ok((protocol(&contracts), execution))
    }

    /// What the window of a rule counted before the test.
    pub(super) fn earlier(&self, window: &Window, count: &Count, now_s: u64) -> Result<Tallies, String> {
        let mut earlier: Vec<&CaseEarlier> = self.earlier.iter().collect();
        earlier.sort_by_key(|past| std::cmp::Reverse(past.seconds_ago));
        let mut tallies = Tallies::default();
        for (number, past) in (0u64..).zip(earlier) {
            let by = past.by.as_deref().map(octets).transpose()?;
            let key = window.key(by.as_deref().unwrap_or(&count.by));
            let amount = past.amount.as_deref().map_or(Ok(U256::ONE), self::number)?;
            let values = match past.different {
                Some(different) => (1..=different).map(|one| keccak256(one.to_be_bytes())).collect(),
                None => vec![past.value.as_deref().map_or(Ok(count.tally.value), word)?],
            };
            let amount = amount.saturating_mul(U256::from(past.times));
            let one = |value| Tally { key, value, amount, ..count.tally };
            let counted: Vec<Tally> = values.into_iter().map(one).collect();
            let block = BlockRef { number, hash: B256::ZERO };
            tallies.count(block, now_s.saturating_sub(past.seconds_ago), &counted);
        }
        Ok(tallies)
    }

    /// One of everything, for a rule to be tried on at load.
    pub(super) fn sample() -> Self {
        let zero = || "0".to_owned();
        Self {
            name: "sample".to_owned(),
            calls: vec![CaseCall { function: Some("f()".to_owned()), ..CaseCall::default() }],
            logs: vec![CaseLog {
                event: "E()".to_owned(),
                topics: vec![zero(), zero(), zero()],
                data: vec![zero(), zero()],
                ..CaseLog::default()
            }],
            transfers: vec![CaseTransfer { asset: zero(), amount: zero(), ..CaseTransfer::default() }],
            changes: vec![CaseChange {
                slot: zero(),
                before: zero(),
                after: zero(),
                ..CaseChange::default()
            }],
            reads: vec![CaseRead { slot: zero(), value: zero(), ..CaseRead::default() }],
            created: vec![zero()],
            ..Self::default()
        }
    }
}

fn protocol(contracts: &[Address]) -> Protocol {
    let contract = |address: &Address| ProtectedContract { address: *address, name: "contract".to_owned() };
    Protocol {
        id: ProtocolId("protocol".to_owned()),
        chain_id: ChainId(1),
        contracts: contracts.iter().map(contract).collect(),
        factories: Vec::new(),
        assets: Vec::new(),
        account_views: Vec::new(),
        capabilities: Vec::new(),
    }
}

fn or(text: Option<&String>, default: Address) -> Result<Address, String> {
    text.map_or(Ok(default), |text| address(text))
}

fn or_zero(text: Option<&String>) -> Result<U256, String> {
    text.map_or(Ok(U256::ZERO), |text| number(text))
}

impl CaseTx {
    fn build(&self, contract: Address) -> Result<Transaction, String> {
        let sender = address(SENDER)?;
        let bare = Transaction::bare(or(self.from.as_ref(), sender)?, Some(or(self.to.as_ref(), contract)?));
        Ok(Transaction {
            value_wei: or_zero(self.value.as_ref())?,
            input: input(self.function.as_deref(), &self.args)?,
            gas_limit: 1_000_000,
            chain_id: Some(1),
            ..bare
        })
    }
}

impl CaseCall {
    fn build(&self, index: usize, sender: Address, contract: Address) -> Result<Frame, String> {
        let address = or(self.address.as_ref(), contract)?;
        let index = u32::try_from(index).map_err(|_| "too many calls".to_owned())?;
        Ok(Frame {
            index,
            parent: index.checked_sub(1),
            depth: self.depth,
            kind: self.kind.as_deref().map_or(Ok(FrameKind::Call), kind)?,
            caller: or(self.caller.as_ref(), sender)?,
            address,
            code_address: or(self.code.as_ref(), address)?,
            value_wei: or_zero(self.value.as_ref())?,
            input: input(self.function.as_deref(), &self.args)?,
            output: Bytes::new(),
            gas_used: 0,
            status: Status::Success,
            reverted: self.reverted,
            precompile: false,
            enter_seq: index,
            exit_seq: index,
        })
    }
}

impl CaseLog {
    fn build(&self, contract: Address) -> Result<Log, String> {
        let mut topics = vec![keccak256(&self.event)];
        for topic in &self.topics {
            topics.push(word(topic)?);
        }
        let address = or(self.address.as_ref(), contract)?;
        Ok(Log { seq: 0, frame: 0, address, topics, data: words(&self.data)?.into() })
    }
}

impl CaseTransfer {
    fn build(&self, sender: Address, contract: Address) -> Result<Transfer, String> {
        let asset = match self.asset.as_str() {
            "native" => Asset::Native,
            token => Asset::Token(address(token)?),
        };
        Ok(Transfer {
            seq: 0,
            frame: 0,
            asset,
            from: or(self.from.as_ref(), sender)?,
            to: or(self.to.as_ref(), contract)?,
            amount_raw: number(&self.amount)?,
        })
    }
}

impl CaseView {
    fn build(&self, contract: Address) -> Result<ViewReading, String> {
        let answer = |texts: &Option<Vec<String>>| -> Result<Option<Bytes>, String> {
            texts.as_deref().map(|texts| words(texts).map(Bytes::from)).transpose()
        };
        let target = or(self.address.as_ref(), contract)?;
        let call = ViewCall { target, input: input(Some(&self.function), &self.args)? };
        Ok(ViewReading { call, before: answer(&self.before)?, after: answer(&self.after)? })
    }
}

impl CaseRead {
    fn build(&self, contract: Address) -> Result<StorageAccess, String> {
        let value = number(&self.value)?;
        Ok(StorageAccess {
            seq: 0,
            frame: 0,
            address: or(self.address.as_ref(), contract)?,
            slot: number(&self.slot)?,
            kind: AccessKind::Read,
            times: 1,
            before: value,
            value,
        })
    }
}

impl CaseChange {
    fn build(&self, contract: Address) -> Result<StorageChange, String> {
        Ok(StorageChange {
            address: or(self.address.as_ref(), contract)?,
            slot: number(&self.slot)?,
            before: number(&self.before)?,
            after: number(&self.after)?,
        })
    }
}
