//! What a rule sees of one execution: records whose fields are computed when they are read, and lists of them.
//!
//! In: an execution and a protocol. Out: the variables of a rule. Must never: copy the execution.

use super::decoded::Schema;
use super::lists::{Budget, Contracts, Items, LIST_MAX};
use super::literals::Constant;
use super::readings::Reading;
use super::types::{Record, Variable};
use super::values::{Amount, Octets};
use alloy_primitives::{Address, Bytes, U256};
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

fn octets<'b, 'v>(octets: Octets) -> CowVal<'b, 'v> {
    CowVal::owned(octets)
}

fn address<'b, 'v>(address: Address) -> CowVal<'b, 'v> {
    octets(Octets::Address(address))
}

fn amount<'b, 'v>(amount: U256) -> CowVal<'b, 'v> {
    CowVal::owned(Amount(amount))
}

fn flag<'b, 'v>(flag: bool) -> CowVal<'b, 'v> {
    CowVal::owned(CelBool::from(flag))
}

fn null<'b, 'v>() -> CowVal<'b, 'v> {
    CowVal::owned(CelNull)
}

/// A count; those of the EVM fit.
fn count<'b, 'v>(count: u64) -> CowVal<'b, 'v> {
    CowVal::owned(CelInt::from(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn selector<'b, 'v>(input: &Bytes) -> CowVal<'b, 'v> {
    let selector = input.get(..4).and_then(|bytes| bytes.try_into().ok());
    selector.map_or_else(null, |selector| octets(Octets::Selector(selector)))
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

    fn field<'b, 'v>(&'b self, name: &str) -> Option<CowVal<'b, 'v>>
    where
        Self: 'v,
        'e: 'v,
    {
        match self {
            Self::Tx(execution) => tx_field(execution, name),
            Self::Block(execution) => match name {
                "number" => Some(count(execution.tx.block.number)),
                "timestamp" => Some(count(execution.timestamp_s)),
                _ => None,
            },
            Self::Protocol(protocol, contracts) => match name {
                "name" => Some(CowVal::owned(CelString::from(protocol.id.0.as_str()))),
                "contracts" => Some(CowVal::Borrowed(*contracts)),
                _ => None,
            },
            Self::Call(frame, protected) => call_field(frame, *protected, name),
            Self::Log(log, protected) => log_field(log, *protected, name),
            Self::Transfer(moved) => match name {
                "asset" => Some(address(match moved.asset {
                    Asset::Native => Address::ZERO,
                    Asset::Token(token) => token,
                })),
                "native" => Some(flag(moved.asset == Asset::Native)),
                "from" => Some(address(moved.from)),
                "to" => Some(address(moved.to)),
                "amount" => Some(amount(moved.amount_raw)),
                _ => None,
            },
            Self::Change(change, protected) => match name {
                "address" => Some(address(change.address)),
                "protected" => Some(flag(*protected)),
                "slot" => Some(octets(Octets::Word(change.slot.into()))),
                "before" => Some(amount(change.before)),
                "after" => Some(amount(change.after)),
                _ => None,
            },
            Self::Read(access, protected, reverted) => match name {
                "address" => Some(address(access.address)),
                "protected" => Some(flag(*protected)),
                "slot" => Some(octets(Octets::Word(access.slot.into()))),
                "value" => Some(amount(access.value)),
                "reverted" => Some(flag(*reverted)),
                _ => None,
            },
        }
    }
}

fn tx_field<'b, 'v>(execution: &Execution, name: &str) -> Option<CowVal<'b, 'v>> {
    let transaction = &execution.transaction;
    Some(match name {
        "hash" => octets(Octets::Word(execution.tx.hash)),
        "from" => address(transaction.from),
        "to" => transaction.to.map_or_else(null, address),
        "value" => amount(transaction.value_wei),
        "selector" if transaction.to.is_some() => selector(&transaction.input),
        "selector" => null(),
        "input" => octets(Octets::Data(transaction.input.clone())),
        "gas_used" => count(execution.gas_used),
        "success" => flag(execution.status.is_success()),
        _ => return None,
    })
}

fn call_field<'b, 'v>(frame: &Frame, protected: bool, name: &str) -> Option<CowVal<'b, 'v>> {
    Some(match name {
        "caller" => address(frame.caller),
        "address" => address(frame.address),
        "code" => address(frame.code_address),
        "selector" => frame.selector().map_or_else(null, |found| octets(Octets::Selector(found))),
        "input" => octets(Octets::Data(frame.input.clone())),
        "output" => octets(Octets::Data(frame.output.clone())),
        "value" => amount(frame.value_wei),
        "depth" => count(frame.depth.into()),
        "kind" => CowVal::owned(CelString::from(kind(frame.kind))),
        "static" => flag(frame.kind == FrameKind::StaticCall),
        "reverted" => flag(frame.reverted),
        "protected" => flag(protected),
        _ => return None,
    })
}

fn log_field<'b, 'v>(log: &Log, protected: bool, name: &str) -> Option<CowVal<'b, 'v>> {
    Some(match name {
        "address" => address(log.address),
        "protected" => flag(protected),
        "topic0" => log.topics.first().map_or_else(null, |topic| octets(Octets::Word(*topic))),
        "topics" => {
            let topics = log.topics.iter().map(|topic| Box::new(Octets::Word(*topic)) as Box<dyn Val + 'v>);
            CowVal::owned(types::CelList::from(topics.collect::<Vec<_>>()))
        }
        "data" => octets(Octets::Data(log.data.clone())),
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
            Variable::Transfers => CowVal::Borrowed(
                facts
                    .transfers
                    .get_or_init(|| facts.list(facts.execution.transfers.iter().map(Row::Transfer))),
            ),
            Variable::Changes => CowVal::Borrowed(facts.changes()),
            Variable::Reads => CowVal::Borrowed(facts.reads()),
            Variable::Created => CowVal::Borrowed(facts.created.get_or_init(|| {
                let created = facts.execution.creations.iter();
                facts.list(created.map(|creation| Octets::Address(creation.address)))
            })),
        })
    }
}
