//! Layers against a plain model and against deep copies, under random operations.

use super::*;
use crate::state::WitnessState;
use cordon_model::block::{Witness, WitnessAccount};
use proptest::prelude::*;
use revm::Database as _;
use revm::database::CacheDB;
use revm::database_interface::DatabaseCommit as _;
use revm::state::{Account, EvmState, EvmStorageSlot, TransactionId};
use std::collections::BTreeMap;

const ACCOUNTS: u8 = 4;
const SLOTS: u64 = 4;

fn address(n: u8) -> Address {
    Address::repeat_byte(n + 1)
}

/// All but the last account exist, each with a value in every slot.
fn base() -> Db {
    let account = |n: u8| WitnessAccount {
        balance_wei: U256::from(n),
        nonce: 1,
        code_hash: None,
        storage: (0..SLOTS).map(|slot| (U256::from(slot), U256::from(1_000 + slot))).collect(),
    };
    let accounts = (0..ACCOUNTS - 1).map(|n| (address(n), account(n))).collect();
    let witness = Witness { accounts, ..Witness::default() };
    CacheDB::new(Source::Witness(WitnessState::new(Arc::new(witness))))
}

/// The same state as maps, copied whole with every branch.
#[derive(Debug, Clone, PartialEq)]
struct Model(BTreeMap<u8, (u64, BTreeMap<u64, u64>)>);

impl Model {
    fn new() -> Self {
        let storage = || (0..SLOTS).map(|slot| (slot, 1_000 + slot)).collect();
        Self((0..ACCOUNTS - 1).map(|n| (n, (u64::from(n), storage()))).collect())
    }
}

#[derive(Debug, Clone)]
enum Operation {
    /// Writes a slot; creates the contract first where there is none, as only a contract writes.
    Write {
        account: u8,
        slot: u64,
        value: u64,
    },
    Read {
        account: u8,
        slot: u64,
    },
    Pay {
        account: u8,
        amount: u64,
    },
    /// CREATE2 on top of whatever is there: storage starts empty.
    Create {
        account: u8,
        slot: u64,
        value: u64,
    },
    Destroy {
        account: u8,
    },
    Branch,
}

fn operation() -> impl Strategy<Value = (usize, Operation)> {
    let operation = (0..ACCOUNTS, 0..SLOTS, 0u64..100).prop_flat_map(|(account, slot, value)| {
        prop_oneof![
            3 => Just(Operation::Write { account, slot, value }),
            2 => Just(Operation::Read { account, slot }),
            1 => Just(Operation::Pay { account, amount: value }),
            1 => Just(Operation::Create { account, slot, value }),
            1 => Just(Operation::Destroy { account }),
            2 => Just(Operation::Branch),
        ]
    });
    (any::<usize>(), operation)
}

/// A state three times: in layers, as a deep copy, and as maps.
#[derive(Debug)]
struct Branch {
    layered: Db,
    copied: Db,
    model: Model,
}

fn slot_of(value: u64) -> EvmStorageSlot {
    EvmStorageSlot::new_changed(U256::ZERO, U256::from(value), TransactionId::ZERO)
}

fn changed(balance: u64, slots: &[(u64, u64)]) -> Account {
    let info = AccountInfo { balance: U256::from(balance), nonce: 1, ..AccountInfo::default() };
    Account::from(info)
        .with_touched_mark()
        .with_storage(slots.iter().map(|(slot, value)| (U256::from(*slot), slot_of(*value))))
}

impl Branch {
    fn commit(&mut self, account: u8, change: Account) {
        for db in [&mut self.layered, &mut self.copied] {
            // The EVM loads an account before it changes it.
            db.basic(address(account)).unwrap();
            db.commit(EvmState::from_iter([(address(account), change.clone())]));
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Write { account, slot, value } => {
                let Some((balance, storage)) = self.model.0.get_mut(&account) else {
                    return self.apply(&Operation::Create { account, slot, value });
                };
                storage.insert(slot, value);
                let change = changed(*balance, &[(slot, value)]);
                self.commit(account, change);
            }
            Operation::Create { account, slot, value } => {
                let balance = self.model.0.get(&account).map_or(0, |(balance, _)| *balance);
                self.model.0.insert(account, (balance, [(slot, value)].into()));
                let mut change = changed(balance, &[(slot, value)]);
                change.mark_created();
                self.commit(account, change);
            }
            Operation::Pay { account, amount } => {
                // A payment to nobody would be an account without code, whose storage nothing can read.
                let Some((balance, _)) = self.model.0.get_mut(&account) else { return };
                *balance += amount;
                let change = changed(*balance, &[]);
                self.commit(account, change);
            }
            Operation::Destroy { account } => {
                self.model.0.remove(&account);
                let mut change = changed(0, &[]);
                change.mark_selfdestruct();
                self.commit(account, change);
            }
            Operation::Read { account, slot } => self.compare(account, slot),
            Operation::Branch => {}
        }
    }

    fn compare(&mut self, account: u8, slot: u64) {
        let (at, key) = (address(account), U256::from(slot));
        let stated = self.model.0.get(&account);
        let balance = stated.map(|(balance, _)| U256::from(*balance));
        let value = stated.and_then(|(_, storage)| storage.get(&slot)).copied().unwrap_or_default();
        for db in [&mut self.layered, &mut self.copied] {
            assert_eq!(db.basic(at).unwrap().map(|info| info.balance), balance, "balance of {account}");
            assert_eq!(db.storage(at, key).unwrap(), U256::from(value), "slot {slot} of {account}");
        }
    }

    fn branch(&mut self) -> Self {
        freeze(&mut self.layered);
        Self { layered: self.layered.clone(), copied: self.copied.clone(), model: self.model.clone() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn branches_in_layers_equal_deep_copies(operations in prop::collection::vec(operation(), 1..120)) {
        let mut branches = vec![Branch { layered: base(), copied: base(), model: Model::new() }];
        for (which, operation) in &operations {
            let which = which % branches.len();
            if matches!(operation, Operation::Branch) && branches.len() < 8 {
                let branch = branches[which].branch();
                branches.push(branch);
            } else {
                branches[which].apply(operation);
            }
        }
        for branch in &mut branches {
            for account in 0..ACCOUNTS {
                (0..SLOTS).for_each(|slot| branch.compare(account, slot));
            }
        }
    }
}

fn layers(db: &Db) -> &Layers {
    match &db.db {
        Source::Layers(layers) => layers,
        other => panic!("no layers: {other:?}"),
    }
}

#[test]
fn a_branch_of_an_unchanged_state_adds_no_layer() {
    let mut db = base();
    db.storage(address(0), U256::ZERO).unwrap();
    freeze(&mut db);
    let before = layers(&db).clone();
    for _ in 0..1_000 {
        freeze(&mut db);
    }
    assert_eq!(layers(&db).depth(), 1);
    assert!(Arc::ptr_eq(&layers(&db).layers[0], &before.layers[0]), "nothing was copied");
}

#[test]
fn layers_stay_few_however_often_a_changing_state_is_branched() {
    let mut db = base();
    let mut branches = Vec::new();
    // The base holds nothing from here on.
    for n in SLOTS..20_000 {
        db.insert_account_storage(address(0), U256::from(n), U256::from(n)).unwrap();
        // The branch keeps its layers in use, so that they cannot be changed in place.
        let branch = freeze(&mut db);
        if n % 100 == 0 {
            branches.push((n, branch));
        }
    }
    assert!(layers(&db).depth() <= 8, "{} layers", layers(&db).depth());
    for (n, branch) in branches {
        let mut old = CacheDB::new(branch);
        assert_eq!(old.storage(address(0), U256::from(n)).unwrap(), U256::from(n));
        assert!(old.storage(address(0), U256::from(n + 1)).is_err(), "what came later is not there");
    }
}

#[test]
fn trimming_drops_what_was_used_longest_ago() {
    let mut db = base();
    for n in 0..100u64 {
        db.insert_account_storage(address(0), U256::from(n), U256::from(n)).unwrap();
    }
    freeze(&mut db);
    db.storage(address(0), U256::from(7)).unwrap();
    freeze(&mut db);
    let mut layers = layers(&db).clone();
    layers.trim(50);
    assert!(layers.entries() <= 50);
    assert_eq!(layers.peek_slot(address(0), U256::from(7)), Some(U256::from(7)));
    assert_eq!(layers.peek_slot(address(0), U256::from(8)), None);
}

#[test]
fn a_state_that_grows_beyond_its_bound_gives_up_its_oldest_part_alone() {
    let mut db = base();
    for n in SLOTS..300_000 {
        db.insert_account_storage(address(0), U256::from(n), U256::from(n)).unwrap();
        if n % 1_000 == 0 {
            freeze(&mut db);
            if let Source::Layers(layers) = &mut db.db {
                layers.trim(200_000);
            }
        }
    }
    let layers = layers(&db);
    assert!((100_000..=200_000).contains(&layers.entries()), "{} entries", layers.entries());
    assert!(layers.depth() <= 16, "{} layers", layers.depth());
    assert_eq!(layers.peek_slot(address(0), U256::from(SLOTS)), None);
    for n in [250_000u64, 299_000] {
        assert_eq!(layers.peek_slot(address(0), U256::from(n)), Some(U256::from(n)));
    }
}
