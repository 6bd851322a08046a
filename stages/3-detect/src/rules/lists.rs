//! Lists that a rule walks, and how far it may walk.
//!
//! In: elements of one execution, the contracts of a protocol. Out: lists of CEL. Must never: hand out a list longer than
//! [`LIST_MAX`], or let a rule walk more than [`ELEMENTS_MAX`] elements without saying so.

use super::values::{Octets, natural};
use alloy_primitives::Address;
use cel::ExecutionError;
use cel::common::traits::{Container, Indexer, Iterable, Iterator as Walk, Sizer};
use cel::common::types::{self, CelInt, CelNull, Type};
use cel::common::value::{CowVal, Val};
use cordon_model::protocol::Protocol;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Most elements of a list that a rule sees. A full block's gas pays for about this many calls with an effect; what is
/// longer is cut, and the cut is stated as a gap.
pub(super) const LIST_MAX: usize = 10_000;

/// Most elements that one rule may walk in one transaction: ten passes over the longest list. A loop in a loop over a
/// hostile transaction would otherwise take minutes.
pub(super) const ELEMENTS_MAX: usize = 100_000;

static LIST_TYPE: Type = types::LIST_TYPE;

/// What one rule may still walk.
#[derive(Debug, Default)]
pub(super) struct Budget {
    walked: AtomicUsize,
    spent: AtomicBool,
}

impl Budget {
    /// Takes so many elements; false where not all of them are left.
    pub(super) fn take(&self, elements: usize) -> bool {
        let walked = self.walked.fetch_add(elements, Ordering::Relaxed);
        let within = walked.saturating_add(elements) <= ELEMENTS_MAX;
        if !within {
            self.spent.store(true, Ordering::Relaxed);
        }
        within
    }

    pub(super) fn renew(&self) {
        self.walked.store(0, Ordering::Relaxed);
        self.spent.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }
}

/// A list of an execution. Walking it is counted.
#[derive(Debug)]
pub(super) struct Items<T> {
    items: Vec<T>,
    budget: Arc<Budget>,
}

impl<T> Items<T> {
    pub(super) fn of(items: impl Iterator<Item = T>, budget: &Arc<Budget>) -> Self {
        Self { items: items.take(LIST_MAX).collect(), budget: Arc::clone(budget) }
    }
}

impl<T> Items<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        &self.items
    }
}

impl<T: Val> Val for Items<T> {
    fn get_type(&self) -> &Type {
        &LIST_TYPE
    }

    fn cel_type() -> &'static Type {
        &LIST_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        let items = self.items.iter().map(Val::clone_as_boxed).collect::<Vec<_>>();
        Box::new(types::CelList::from(items))
    }
}

impl<T: Val> Container for Items<T> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.items.iter().any(|item| self.budget.take(1) && item.equals(value)))
    }
}

impl<T: Val> Sizer for Items<T> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.items.len()).unwrap_or(i64::MAX))
    }
}

impl<T: Val> Indexer for Items<T> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let index = natural(key).and_then(|index| usize::try_from(index).ok());
        let item = index.and_then(|index| self.items.get(index));
        item.map(|item| CowVal::Borrowed(item as &'b (dyn Val + 'v)))
            .ok_or_else(|| ExecutionError::function_error("_[_]", "the list has no element at this place"))
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl<T: Val> Iterable for Items<T> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn Walk<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Steps { items: self.items.iter(), budget: &self.budget })
    }
}

struct Steps<'b, T> {
    items: std::slice::Iter<'b, T>,
    budget: &'b Budget,
}

impl<'b, 'v, T: Val + 'v> Walk<'b, 'v> for Steps<'b, T> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        if !self.budget.take(1) {
            return None;
        }
        self.items.next().map(|item| item as &'b (dyn Val + 'v))
    }
}

/// The addresses of the protected contracts. Whether one of them is meant is looked up; the list is made only for a
/// rule that walks it. CEL copies what is a field of something, so a copy shares the list.
#[derive(Debug, Clone)]
pub(super) struct Contracts<'e> {
    protocol: &'e Protocol,
    list: Arc<OnceLock<Items<Octets>>>,
    budget: Arc<Budget>,
}

impl<'e> Contracts<'e> {
    pub(super) fn of(protocol: &'e Protocol, budget: &Arc<Budget>) -> Self {
        Self { protocol, list: Arc::default(), budget: Arc::clone(budget) }
    }

    fn list(&self) -> &Items<Octets> {
        self.list.get_or_init(|| {
            let contracts = self.protocol.contracts.iter();
            Items::of(contracts.map(|contract| Octets::Address(contract.address)), &self.budget)
        })
    }
}

impl Val for Contracts<'_> {
    fn get_type(&self) -> &Type {
        &LIST_TYPE
    }

    fn cel_type() -> &'static Type {
        &LIST_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        self.list().as_indexer()
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        self.list().as_iterable()
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        self.list().as_sizer()
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Container for Contracts<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        if value.downcast_ref::<CelNull>().is_some() {
            return Ok(false);
        }
        let Some(octets) = value.downcast_ref::<Octets>() else { return self.list().contains(value) };
        let address = Address::try_from(octets.as_slice());
        Ok(address.is_ok_and(|address| self.budget.take(1) && self.protocol.protects(address)))
    }
}
