//! State of a node at the end of one block, shared by all clones.
//!
//! In: reads of the EVM, and wishes of whoever knows what the EVM will read. Out: values of exactly that block, or a
//! typed error. Must never: answer from another block, or answer zero for what the node did not say.

use super::batch::{Answer, Link, Question, in_time};
use super::known::Known;
use super::reads::{Counters, ReadStats};
use super::{Codes, DbError, Deployed};
use crate::error::StateError;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::map::HashSet;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_provider::Provider as _;
use revm::state::{AccountInfo, Bytecode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;

#[derive(Debug, Clone)]
pub(crate) struct NodeState {
    link: Link,
    runtime: Handle,
    block: BlockId,
    known: Arc<Mutex<Known>>,
    codes: Codes,
    deployed: Deployed,
    counters: Arc<Counters>,
}

/// What is to be read in one go.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) accounts: HashSet<Address>,
    pub(crate) slots: HashSet<(Address, U256)>,
    pub(crate) hashes: HashSet<u64>,
}

impl Wanted {
    pub(crate) fn len(&self) -> usize {
        self.accounts.len().saturating_add(self.slots.len()).saturating_add(self.hashes.len())
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.accounts.extend(more.accounts);
        self.slots.extend(more.slots);
        self.hashes.extend(more.hashes);
    }
}

impl NodeState {
    /// State as of the end of the block with this hash. By hash, because a height may change its meaning between
    /// two reads.
    pub(crate) fn new(link: Link, runtime: Handle, block: B256, codes: Codes, deployed: Deployed) -> Self {
        Self {
            link,
            runtime,
            block: BlockId::from(block),
            known: Arc::default(),
            codes,
            deployed,
            counters: Arc::default(),
        }
    }

    /// The same state, and what is known of it, with sums of its own.
    pub(crate) fn counted_anew(&self) -> Self {
        Self { counters: Arc::default(), ..self.clone() }
    }

    /// Notes an ancestor's hash that is known without asking.
    pub(crate) fn note_hash(&self, number: u64, hash: B256) {
        self.known().hashes.put(number, hash);
    }

    /// What reading took so far.
    pub(crate) fn stats(&self) -> ReadStats {
        self.counters.stats()
    }

    /// Counts a run on guesses.
    pub(crate) fn note_round(&self) {
        self.counters.rounds.add(1);
    }

    pub(super) fn note_carried(&self) {
        self.counters.carried.add(1);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known_account(&self, address: Address) -> Option<Option<AccountInfo>> {
        self.known().accounts.get(&address)
    }

    pub(super) fn known_slot(&self, address: Address, slot: U256) -> Option<U256> {
        self.known().slots.get(&(address, slot))
    }

    pub(super) fn known_block_hash(&self, number: u64) -> Option<B256> {
        self.known().hashes.get(&number)
    }

    pub(super) fn code(&self, code_hash: B256) -> Option<Bytecode> {
        self.codes.get(code_hash)
    }

    pub(super) fn account(&self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        if let Some(known) = self.known_account(address) {
            self.counters.ahead.add(1);
            return Ok(known);
        }
        self.counters.late.add(1);
        let read = self.wait(|node| async move { node.read(&[address], &[]).await });
        let read = read.and_then(|read| only(read.accounts));
        read.map_err(|e| DbError::new(format!("account {address}"), Some(address), e))
    }

    pub(super) fn slot(&self, address: Address, slot: U256) -> Result<U256, DbError> {
        if let Some(known) = self.known_slot(address, slot) {
            self.counters.ahead.add(1);
            return Ok(known);
        }
        self.counters.late.add(1);
        let read = self.wait(|node| async move { node.read(&[], &[(address, slot)]).await });
        let read = read.and_then(|read| only(read.slots));
        read.map_err(|e| DbError::new(format!("slot {slot:#x} of {address}"), Some(address), e))
    }

    pub(super) fn block_hash(&self, number: u64) -> Result<B256, DbError> {
        if let Some(known) = self.known_block_hash(number) {
            return Ok(known);
        }
        let fail = |e| DbError::new(format!("hash of block {number}"), None, e);
        self.counters.late.add(1);
        self.wait(|node| async move { node.read_hash(number).await }).map_err(fail)
    }

    /// Reads everything that is wanted, in as few messages as possible, and says how many values were learned. A single
    /// value that cannot be read is left for the read that really needs it.
    ///
    /// # Errors
    /// [`StateError`] where the node as a whole does not answer.
    pub(crate) fn fetch(&self, wanted: &Wanted) -> Result<usize, StateError> {
        let accounts: Vec<Address> = wanted.accounts.iter().copied().collect();
        let slots: Vec<(Address, U256)> = wanted.slots.iter().copied().collect();
        let hashes: Vec<u64> = wanted.hashes.iter().copied().collect();
        let learned = self.wait(|node| async move {
            let read = node.read(&accounts, &slots).await?;
            let accounts = read.accounts.iter().filter(|read| read.is_ok()).count();
            let slots = read.slots.iter().filter(|read| read.is_ok()).count();
            let hashes = hashes.iter().map(|number| node.read_hash(*number));
            let hashes = futures::future::join_all(hashes).await.iter().filter(|read| read.is_ok()).count();
            Ok(accounts.saturating_add(slots).saturating_add(hashes))
        })?;
        if learned < wanted.len() {
            let refused = wanted.len().saturating_sub(learned);
            tracing::debug!(refused, "the node refused a part of what was to be read ahead");
        }
        Ok(learned)
    }

    /// Waits for what the node is asked. It is asked on the runtime and not on this thread: a runtime that ends drops
    /// what it runs, while a timer that another thread polls would panic then.
    fn wait<T: Send + 'static, F>(&self, ask: impl FnOnce(Self) -> F) -> Result<T, StateError>
    where
        F: Future<Output = Result<T, StateError>> + Send + 'static,
    {
        let asked = self.runtime.spawn(ask(self.clone()));
        self.runtime.block_on(asked).unwrap_or_else(|ended| Err(StateError::Ended(ended)))
    }

    async fn read(&self, accounts: &[Address], slots: &[(Address, U256)]) -> Result<Reading, StateError> {
        let mut questions = Vec::with_capacity(accounts.len() * 3 + slots.len());
        let mut codes = Vec::with_capacity(accounts.len());
        for address in accounts {
            let code = self.deployed.get(*address).and_then(|hash| Some((hash, self.codes.get(hash)?)));
            questions.extend([Question::Balance(*address), Question::Nonce(*address)]);
            questions.extend(code.is_none().then_some(Question::Code(*address)));
            codes.push(code);
        }
        questions.extend(slots.iter().map(|(address, slot)| Question::Slot(*address, *slot)));
        self.counters.cold_accounts.add(accounts.len());
        self.counters.cold_slots.add(slots.len());
        self.counters.cold_codes.add(codes.iter().filter(|code| code.is_none()).count());
        let mut answers = self.link.ask(self.block, &questions, &self.counters).await?.into_iter();
        let mut reading = Reading::default();
        for (address, code) in accounts.iter().zip(codes) {
            reading.accounts.push(self.take_account(*address, code, &mut answers));
        }
        for place in slots {
            let value = word(answers.next());
            if let Ok(value) = &value {
                self.known().slots.put(*place, *value);
            }
            reading.slots.push(value);
        }
        Ok(reading)
    }

    /// Takes an account's answers; all of them, whatever the first one is.
    fn take_account(
        &self,
        address: Address,
        code: Option<(B256, Bytecode)>,
        answers: &mut impl Iterator<Item = Result<Answer, StateError>>,
    ) -> Result<Option<AccountInfo>, StateError> {
        let (balance, nonce) = (word(answers.next()), word(answers.next()));
        let code = match code {
            Some(known) => Ok(known),
            None => code_of(answers.next()).map(|code| self.codes.add(code)),
        };
        let (balance, nonce, (code_hash, code)) = (balance?, nonce?, code?);
        // EIP-2681: a nonce fits into 64 bits.
        let nonce = u64::try_from(nonce).map_err(|_| StateError::NotOnNode)?;
        let exists = !balance.is_zero() || nonce != 0 || !code.is_empty();
        self.deployed.note(address, code_hash, &code);
        let info =
            exists.then_some(AccountInfo { balance, nonce, code_hash, account_id: None, code: Some(code) });
        self.known().accounts.put(address, info.clone());
        Ok(info)
    }

    async fn read_hash(&self, number: u64) -> Result<B256, StateError> {
        let provider = &self.link.provider;
        self.counters.round_trips.add(1);
        self.counters.messages.add(1);
        self.counters.requests.add(1);
        let block =
            in_time(async { provider.get_block_by_number(BlockNumberOrTag::Number(number)).await }).await?;
        let hash = block.ok_or(StateError::NotOnNode)?.header.hash;
        self.known().hashes.put(number, hash);
        Ok(hash)
    }
}

/// Answers in the order of the questions.
#[derive(Debug, Default)]
struct Reading {
    accounts: Vec<Result<Option<AccountInfo>, StateError>>,
    slots: Vec<Result<U256, StateError>>,
}

/// The answer to a single question.
fn only<T>(mut answers: Vec<Result<T, StateError>>) -> Result<T, StateError> {
    answers.pop().unwrap_or(Err(StateError::NotOnNode))
}

fn word(answer: Option<Result<Answer, StateError>>) -> Result<U256, StateError> {
    match answer {
        Some(Ok(Answer::Word(word))) => Ok(word),
        Some(Err(error)) => Err(error),
        Some(Ok(Answer::Code(_))) | None => Err(StateError::NotOnNode),
    }
}

fn code_of(answer: Option<Result<Answer, StateError>>) -> Result<Bytes, StateError> {
    match answer {
        Some(Ok(Answer::Code(code))) => Ok(code),
        Some(Err(error)) => Err(error),
        Some(Ok(Answer::Word(_))) | None => Err(StateError::NotOnNode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_json_rpc::RequestPacket;
    use alloy_provider::RootProvider;
    use alloy_rpc_client::RpcClient;
    use alloy_transport::TransportFut;
    use std::time::Duration;

    #[test]
    fn a_program_that_ends_gives_up_its_questions_without_a_panic() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (asked, was_asked) = std::sync::mpsc::channel();
        let silent = tower::service_fn(move |_: RequestPacket| -> TransportFut<'static> {
            asked.send(()).unwrap();
            Box::pin(std::future::pending())
        });
        let link = Link::new(RootProvider::new(RpcClient::new(silent, true)).erased());
        let handle = runtime.handle().clone();
        let state = NodeState::new(link, handle, B256::ZERO, Codes::default(), Deployed::default());
        let (reader, later) = (state.clone(), state);
        let reads = std::thread::spawn(move || reader.account(Address::ZERO));
        was_asked.recv_timeout(Duration::from_secs(60)).unwrap();
        runtime.shutdown_background();
        let error = reads.join().expect("no panic").unwrap_err();
        assert!(matches!(error.source, StateError::Ended(_)), "{error:?}");
        let error = later.slot(Address::ZERO, U256::ONE).unwrap_err();
        assert!(matches!(error.source, StateError::Ended(_)), "{error:?}");
    }
}
