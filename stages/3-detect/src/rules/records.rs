//! What a rule sees of one execution: records whose fields are computed when they are read, and lists of them.
//!
//! In: an execution and a protocol. Out: the variables of a rule. Must never: copy the execution.

use super::decoded::Schema;
use super::lists::{Budget, Contracts, Items, LIST_MAX};
use super::literals::Constant;
use super::readings::Reading;
use super::types::{Record, Variable};
use super::values::{Amount, Octets};
use alloy_primitives::{Address, B256, Bytes, Selector, U256};
use cel::ExecutionError;
use cel::common::traits::Indexer;
use cel::common::types::{self, CelBool, CelInt, CelNull, CelString, Kind, Type};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cordon_model::execution::{
    AccessKind, Detail, Execution, Frame, FrameKind, Log, StorageAccess, StorageChange, Transfer,
};
use cordon_model::protocol::Protocol;
use cordon_model::units::Asset;
use std::sync::{Arc, OnceLock};

#[cfg(test)]
mod tests;

static RECORD_TYPE: Type = Type::simple_type(Kind::Struct, "record");

/// One value with named fields.
#[derive(Debug, Clone, Copy)]
pub(super) enum Row<'e> {
    Tx(&'e Execution),
    Block(&'e Execution),
    Protocol(&'e Protocol, &'e Contracts<'e>),
    Call(&'e Frame, bool),
    Log(&'e Log, bool),
    Transfer(&'e Transfer),
    Change(&'e StorageChange, bool),
    Read(&'e StorageAccess, bool, bool),
}

/// The value of a field that is no list.
#[derive(Debug)]
pub(super) enum Plain {
    Octets(Octets),
    Amount(U256),
    Flag(bool),
    /// Those of the EVM fit.
    Count(u64),
    Text(&'static str),
    Null,
}

impl Plain {
    fn value<'b, 'v>(self) -> CowVal<'b, 'v> {
        match self {
            Self::Octets(octets) => CowVal::owned(octets),
            Self::Amount(amount) => CowVal::owned(Amount(amount)),
            Self::Flag(flag) => CowVal::owned(CelBool::from(flag)),
            Self::Count(count) => CowVal::owned(CelInt::from(i64::try_from(count).unwrap_or(i64::MAX))),
            Self::Text(text) => CowVal::owned(CelString::from(text)),
            Self::Null => CowVal::owned(CelNull),
        }
    }

    fn address(address: Address) -> Self {
        Self::Octets(Octets::Address(address))
    }

    fn word(word: B256) -> Self {
        Self::Octets(Octets::Word(word))
    }

    fn data(data: &Bytes) -> Self {
        Self::Octets(Octets::Data(data.clone()))
    }

    fn selector(selector: Option<Selector>) -> Self {
        selector.map_or(Self::Null, |found| Self::Octets(Octets::Selector(found)))
    }
}

/// The kinds of call by the names of their opcodes.
pub(super) const KINDS: [(&str, FrameKind); 6] = [
    ("call", FrameKind::Call),
    ("callcode", FrameKind::CallCode),
    ("delegatecall", FrameKind::DelegateCall),
    ("staticcall", FrameKind::StaticCall),
    ("create", FrameKind::Create),
    ("create2", FrameKind::Create2),
];

fn kind(wanted: FrameKind) -> &'static str {
    KINDS.iter().find(|(_, kind)| *kind == wanted).map_or("call", |(name, _)| *name)
}

impl<'e> Row<'e> {
    fn record(&self) -> Record {
        match self {
            Self::Tx(_) => Record::Tx,
            Self::Block(_) => Record::Block,
            Self::Protocol(..) => Record::Protocol,
            Self::Call(..) => Record::Call,
            Self::Log(..) => Record::Log,
            Self::Transfer(_) => Record::Transfer,
            Self::Change(..) => Record::Change,
            Self::Read(..) => Record::Read,
        }
    }

    /// The arguments of a call or log, as `args` and `event_args` ask for them.
    fn decoded<'b, 'v>(&self, schema: &Schema) -> Result<CowVal<'b, 'v>, ExecutionError> {
        let found = match self {
            Self::Call(frame, _) => schema.of_call(frame),
            Self::Log(log, _) => schema.of_log(log),
            _ => None,
        };
        let none = || ExecutionError::function_error("_[_]", "the list has no element at this place");
        found.map(CowVal::Owned).ok_or_else(none)
    }

    /// A field by its name.
    fn field<'b, 'v>(&'b self, name: &str) -> Option<CowVal<'b, 'v>>
    where
        Self: 'v,
        'e: 'v,
    {
        match (self, name) {
            (Self::Protocol(protocol, _), "name") => {
                Some(CowVal::owned(CelString::from(protocol.id.0.as_str())))
            }
            (Self::Protocol(_, contracts), "contracts") => Some(CowVal::Borrowed(*contracts)),
            (Self::Log(log, _), "topics") => {
                let topics =
                    log.topics.iter().map(|topic| Box::new(Octets::Word(*topic)) as Box<dyn Val + 'v>);
                Some(CowVal::owned(types::CelList::from(topics.collect::<Vec<_>>())))
            }
            _ => self.plain(name).map(Plain::value),
        }
    }

    /// A field that is no list, by its name.
    pub(super) fn plain(&self, name: &str) -> Option<Plain> {
        match self {
            Self::Tx(execution) => tx_field(execution, name),
            Self::Block(execution) => match name {
                "number" => Some(Plain::Count(execution.tx.block.number)),
                "timestamp" => Some(Plain::Count(execution.timestamp_s)),
                _ => None,
            },
            Self::Protocol(..) => None,
            Self::Call(frame, protected) => call_field(frame, *protected, name),
            Self::Log(log, protected) => log_field(log, *protected, name),
            Self::Transfer(moved) => match name {
                "asset" => Some(Plain::address(match moved.asset {
                    Asset::Native => Address::ZERO,
                    Asset::Token(token) => token,
                })),
                "native" => Some(Plain::Flag(moved.asset == Asset::Native)),
                "from" => Some(Plain::address(moved.from)),
                "to" => Some(Plain::address(moved.to)),
                "amount" => Some(Plain::Amount(moved.amount_raw)),
                _ => None,
            },
            Self::Change(change, protected) => match name {
                "address" => Some(Plain::address(change.address)),
                "protected" => Some(Plain::Flag(*protected)),
                "slot" => Some(Plain::word(change.slot.into())),
                "before" => Some(Plain::Amount(change.before)),
                "after" => Some(Plain::Amount(change.after)),
                _ => None,
            },
            Self::Read(access, protected, reverted) => match name {
                "address" => Some(Plain::address(access.address)),
                "protected" => Some(Plain::Flag(*protected)),
                "slot" => Some(Plain::word(access.slot.into())),
                "value" => Some(Plain::Amount(access.value)),
                "reverted" => Some(Plain::Flag(*reverted)),
                _ => None,
            },
        }
    }
}

fn tx_field(execution: &Execution, name: &str) -> Option<Plain> {
    let transaction = &execution.transaction;
    Some(match name {
        "hash" => Plain::word(execution.tx.hash),
        "from" => Plain::address(transaction.from),
        "to" => transaction.to.map_or(Plain::Null, Plain::address),
        "value" => Plain::Amount(transaction.value_wei),
        "selector" => {
            let called = transaction.to.and_then(|_| transaction.input.get(..4));
            Plain::selector(called.and_then(|bytes| bytes.try_into().ok()))
        }
        "input" => Plain::data(&transaction.input),
        "gas_used" => Plain::Count(execution.gas_used),
        "success" => Plain::Flag(execution.status.is_success()),
        _ => return None,
    })
}

fn call_field(frame: &Frame, protected: bool, name: &str) -> Option<Plain> {
    Some(match name {
        "caller" => Plain::address(frame.caller),
        "address" => Plain::address(frame.address),
        "code" => Plain::address(frame.code_address),
        "selector" => Plain::selector(frame.selector()),
        "input" => Plain::data(&frame.input),
        "output" => Plain::data(&frame.output),
        "value" => Plain::Amount(frame.value_wei),
        "depth" => Plain::Count(frame.depth.into()),
        "kind" => Plain::Text(kind(frame.kind)),
        "static" => Plain::Flag(frame.kind == FrameKind::StaticCall),
        "reverted" => Plain::Flag(frame.reverted),
        "protected" => Plain::Flag(protected),
        _ => return None,
    })
}

fn log_field(log: &Log, protected: bool, name: &str) -> Option<Plain> {
    Some(match name {
        "address" => Plain::address(log.address),
        "protected" => Plain::Flag(protected),
        "topic0" => log.topics.first().map_or(Plain::Null, |topic| Plain::word(*topic)),
        "data" => Plain::data(&log.data),
        _ => return None,
    })
}

impl Val for Row<'_> {
    fn get_type(&self) -> &Type {
        &RECORD_TYPE
    }

    fn cel_type() -> &'static Type {
        &RECORD_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl<'e> Indexer for Row<'e> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        if let Some(schema) = key.downcast_ref::<Schema>() {
            return self.decoded(schema);
        }
        let name = key.downcast_ref::<CelString<'_>>().map_or("", |name| name.inner());
        self.field(name).ok_or_else(|| {
            let record = self.record();
            ExecutionError::no_such_key(&format!("'{name}' of {}", record.name()))
        })
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

/// Everything rules can see of one execution; lists are made when a rule first asks for them.
#[derive(Debug)]
pub(super) struct Facts<'e> {
    execution: &'e Execution,
    protocol: &'e Protocol,
    budget: Arc<Budget>,
    calls: OnceLock<Items<Row<'e>>>,
    logs: OnceLock<Items<Row<'e>>>,
    transfers: OnceLock<Items<Row<'e>>>,
    changes: OnceLock<Items<Row<'e>>>,
    reads: OnceLock<Items<Row<'e>>>,
    created: OnceLock<Items<Octets>>,
    contracts: Contracts<'e>,
}

impl<'e> Facts<'e> {
    pub(super) fn new(protocol: &'e Protocol, execution: &'e Execution) -> Self {
        let budget: Arc<Budget> = Arc::default();
        Self {
            execution,
            protocol,
            contracts: Contracts::of(protocol, &budget),
            budget,
            calls: OnceLock::new(),
            logs: OnceLock::new(),
            transfers: OnceLock::new(),
            changes: OnceLock::new(),
            reads: OnceLock::new(),
            created: OnceLock::new(),
        }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(super) fn shared_budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }

    pub(super) fn execution(&self) -> &'e Execution {
        self.execution
    }

    pub(super) fn protocol(&self) -> &'e Protocol {
        self.protocol
    }

    /// The elements of a list that have fields.
    pub(super) fn rows(&self, list: Variable) -> Option<&[Row<'e>]> {
        let items = match list {
            Variable::Calls => self.calls(),
            Variable::Logs => self.logs(),
            Variable::Transfers => self.transfers(),
            Variable::Changes => self.changes(),
            Variable::Reads => self.reads(),
            Variable::Tx | Variable::Block | Variable::Protocol | Variable::Created => return None,
        };
        Some(items.as_slice())
    }

    /// How much is known of the execution.
    pub(super) fn detail(&self) -> Detail {
        self.execution.detail
    }

    /// The reading that was not answered, of those that a rule wants.
    pub(super) fn unanswered<'c>(&self, constants: &'c [Constant]) -> Option<&'c Reading> {
        constants
            .iter()
            .filter_map(Constant::reading)
            .find(|reading| reading.answer(self.execution).is_none())
    }

    /// The list that was cut, with its true length.
    pub(super) fn cut(execution: &Execution) -> Option<(&'static str, usize)> {
        let lists = [
            ("calls", execution.frames.len()),
            ("logs", execution.logs.len()),
            ("transfers", execution.transfers.len()),
            ("changes", execution.storage_changes.len()),
            ("created", execution.creations.len()),
            ("reads", reads(execution).count()),
        ];
        lists.into_iter().find(|(_, length)| *length > LIST_MAX)
    }

    fn list<T>(&self, items: impl Iterator<Item = T>) -> Items<T> {
        Items::of(items, &self.budget)
    }

    fn calls(&self) -> &Items<Row<'e>> {
        let row = |frame: &'e Frame| Row::Call(frame, self.protocol.protects(frame.address));
        self.calls.get_or_init(|| self.list(self.execution.frames.iter().map(row)))
    }

    fn logs(&self) -> &Items<Row<'e>> {
        let row = |log: &'e Log| Row::Log(log, self.protocol.protects(log.address));
        self.logs.get_or_init(|| self.list(self.execution.logs.iter().map(row)))
    }

    fn transfers(&self) -> &Items<Row<'e>> {
        self.transfers.get_or_init(|| self.list(self.execution.transfers.iter().map(Row::Transfer)))
    }

    fn changes(&self) -> &Items<Row<'e>> {
        let row = |change: &'e StorageChange| Row::Change(change, self.protocol.protects(change.address));
        self.changes.get_or_init(|| self.list(self.execution.storage_changes.iter().map(row)))
    }

    fn reads(&self) -> &Items<Row<'e>> {
        let row = |access: &'e StorageAccess| {
            let reverted = self.execution.frame(access.frame).is_some_and(|frame| frame.reverted);
            Row::Read(access, self.protocol.protects(access.address), reverted)
        };
        self.reads.get_or_init(|| self.list(reads(self.execution).map(row)))
    }
}

/// The storage reads, those of calls that were undone included.
fn reads(execution: &Execution) -> impl Iterator<Item = &StorageAccess> {
    execution.accesses.iter().filter(|access| access.kind == AccessKind::Read)
}

/// The variables of one rule: the facts, and the literals of the rule that were turned into values at load.
#[derive(Debug)]
pub(super) struct Scope<'s, 'e> {
    pub(super) facts: &'s Facts<'e>,
    pub(super) constants: &'s [Constant],
}

impl VariableResolver for Scope<'_, '_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(constant) = Constant::find(self.constants, name) {
            return constant.value(self.facts);
        }
        let facts = self.facts;
        Some(match Variable::named(name)? {
            Variable::Tx => CowVal::owned(Row::Tx(facts.execution)),
            Variable::Block => CowVal::owned(Row::Block(facts.execution)),
            Variable::Protocol => CowVal::owned(Row::Protocol(facts.protocol, &facts.contracts)),
            Variable::Calls => CowVal::Borrowed(facts.calls()),
            Variable::Logs => CowVal::Borrowed(facts.logs()),
            Variable::Transfers => CowVal::Borrowed(facts.transfers()),
            Variable::Changes => CowVal::Borrowed(facts.changes()),
            Variable::Reads => CowVal::Borrowed(facts.reads()),
            Variable::Created => CowVal::Borrowed(facts.created.get_or_init(|| {
                let created = facts.execution.creations.iter();
                facts.list(created.map(|creation| Octets::Address(creation.address)))
            })),
        })
    }
}
