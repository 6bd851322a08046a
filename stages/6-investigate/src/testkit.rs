//! Executions built by hand, for tests: a vault of dollars, a lender, an attacker.

use crate::labels::Labels;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use cordon_model::block::Transaction;
use cordon_model::execution::{Creation, Execution, Frame, FrameKind, Status, Transfer};
use cordon_model::protocol::{AssetSpec, Price, ProtectedContract, Protocol};
use cordon_model::units::{Asset, BlockRef, ChainId, ProtocolId, TxRef, WAD};

pub(crate) const ATTACKER: Address = Address::repeat_byte(0xaa);
pub(crate) const DRAINER: Address = Address::repeat_byte(0xab);
pub(crate) const VAULT: Address = Address::repeat_byte(0x11);
pub(crate) const USD: Address = Address::repeat_byte(0x22);
pub(crate) const LENDER: Address = Address::repeat_byte(0x33);

/// A vault of dollars with six decimals; its shares have eighteen.
pub(crate) fn protocol() -> Protocol {
    let asset = |token, symbol: &str, decimals, price| AssetSpec {
        asset: Asset::Token(token),
        symbol: symbol.to_owned(),
        decimals,
        price,
    };
    Protocol {
        id: ProtocolId("lending".to_owned()),
        chain_id: ChainId(1),
        contracts: vec![ProtectedContract { address: VAULT, name: "Vault".to_owned() }].into(),
        factories: vec![],
        assets: vec![
            asset(USD, "USD", 6, Price::Fixed { value_wad: WAD }),
            asset(VAULT, "vUSD", 18, Price::ShareRate { vault: VAULT, underlying: Asset::Token(USD) }),
        ],
        account_views: vec![],
        capabilities: vec![],
    }
}

pub(crate) fn labels() -> Labels {
    Labels::of(&protocol())
}

/// Calldata of a function whose arguments are one word each.
pub(crate) fn call(signature: &str, words: &[B256]) -> Bytes {
    let mut data = keccak256(signature)[..4].to_vec();
    for word in words {
        data.extend_from_slice(word.as_slice());
    }
    Bytes::from(data)
}

/// Builds one execution frame by frame.
pub(crate) struct TxBuilder {
    execution: Execution,
    open: Vec<usize>,
    seq: u32,
}

impl TxBuilder {
    /// The `number`-th transaction: block `100 + number`, twelve seconds apart. Its own call is open.
    pub(crate) fn new(number: u8, from: Address, to: Address, input: Bytes) -> Self {
        let hash = B256::repeat_byte(number);
        let block = BlockRef { number: 100 + u64::from(number), hash: B256::repeat_byte(0xb0 + number) };
        let transaction = Transaction {
            hash,
            input: input.clone(),
            gas_limit: 1_000_000,
            max_fee_per_gas_wei: Some(1),
            max_priority_fee_per_gas_wei: Some(1),
            chain_id: Some(1),
            ..Transaction::bare(from, Some(to))
        };
        let tx = TxRef { chain_id: ChainId(1), block, index: 0, hash };
        let timestamp_s = 1_700_000_000 + 12 * u64::from(number);
        let execution = Execution { gas_used: 100_000, ..Execution::bare(tx, timestamp_s, transaction) };
        let mut builder = Self { execution, open: vec![], seq: 0 };
        builder.enter(FrameKind::Call, from, to, input);
        builder
    }

    fn next_seq(&mut self) -> u32 {
        self.seq += 1;
        self.seq
    }

    fn push(&mut self, kind: FrameKind, caller: Address, address: Address, code: Address, input: Bytes) {
        let seq = self.next_seq();
        let index = self.execution.frames.len();
        self.execution.frames.push(Frame {
            index: u32::try_from(index).unwrap(),
            parent: self.open.last().map(|parent| u32::try_from(*parent).unwrap()),
            depth: u32::try_from(self.open.len()).unwrap(),
            kind,
            caller,
            address,
            code_address: code,
            value_wei: U256::ZERO,
            input,
            output: Bytes::new(),
            gas_used: 1_000,
            status: Status::Success,
            reverted: false,
            precompile: false,
            enter_seq: seq,
            exit_seq: seq,
        });
        self.open.push(index);
    }

    /// Opens a call or creation.
    pub(crate) fn enter(&mut self, kind: FrameKind, caller: Address, address: Address, input: Bytes) {
        self.push(kind, caller, address, address, input);
    }

    /// Opens a delegate call of `proxy` into `code`.
    pub(crate) fn delegate(&mut self, proxy: Address, code: Address, input: Bytes) {
        self.push(FrameKind::DelegateCall, proxy, proxy, code, input);
    }

    /// Closes the newest open frame as a success.
    pub(crate) fn leave(&mut self, output: Bytes) {
        let index = self.close(Status::Success, output);
        let frame = &self.execution.frames[index];
        if matches!(frame.kind, FrameKind::Create | FrameKind::Create2) {
            let (frame, creator, address) = (frame.index, frame.caller, frame.address);
            let (init_code_hash, code_hash) = (B256::ZERO, B256::ZERO);
            let creation = Creation { frame, creator, address, init_code_hash, code_hash };
            self.execution.creations.push(creation);
        }
    }

    /// Closes the newest open frame as reverted; everything below it is undone.
    pub(crate) fn revert(&mut self, output: Bytes) {
        let index = self.close(Status::Revert { output: output.clone() }, output);
        self.undo_from(index);
    }

    /// Closes the newest open frame as halted.
    pub(crate) fn halt(&mut self, reason: &str) {
        let index = self.close(Status::Halt { reason: reason.to_owned() }, Bytes::new());
        self.undo_from(index);
    }

    fn close(&mut self, status: Status, output: Bytes) -> usize {
        let seq = self.next_seq();
        let index = self.open.pop().expect("a frame is open");
        let frame = &mut self.execution.frames[index];
        (frame.status, frame.output, frame.exit_seq) = (status, output, seq);
        index
    }

    fn undo_from(&mut self, index: usize) {
        for frame in &mut self.execution.frames[index..] {
            frame.reverted = true;
        }
        let first = u32::try_from(index).unwrap();
        self.execution.transfers.retain(|transfer| transfer.frame < first);
    }

    /// Sets the native coin of the newest open frame.
    pub(crate) fn value(&mut self, value_wei: U256) {
        let index = *self.open.last().expect("a frame is open");
        self.execution.frames[index].value_wei = value_wei;
    }

    /// A movement inside the newest open frame.
    pub(crate) fn transfer(&mut self, asset: Asset, from: Address, to: Address, amount: u64) {
        let seq = self.next_seq();
        let frame = u32::try_from(*self.open.last().expect("a frame is open")).unwrap();
        let amount_raw = U256::from(amount);
        self.execution.transfers.push(Transfer { seq, frame, asset, from, to, amount_raw });
    }

    /// A whole call of a token that moves it.
    pub(crate) fn token_transfer(&mut self, token: Address, from: Address, to: Address, amount: u64) {
        let amount_word = B256::from(U256::from(amount));
        self.enter(
            FrameKind::Call,
            from,
            token,
            call("transfer(address,uint256)", &[to.into_word(), amount_word]),
        );
        self.transfer(Asset::Token(token), from, to, amount);
        self.leave(Bytes::from(U256::from(1).to_be_bytes::<32>()));
    }

    /// Closes what is open and gives the execution.
    pub(crate) fn build(mut self) -> Execution {
        while !self.open.is_empty() {
            self.leave(Bytes::new());
        }
        self.execution.status = self.execution.frames[0].status.clone();
        self.execution
    }
}
