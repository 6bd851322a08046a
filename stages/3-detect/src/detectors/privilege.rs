//! Privilege: who may do what on a protected contract was changed.
//!
//! In: logs, slots that differ afterwards, and calls. Out: one finding for each protected contract whose rights changed.
//! Must never: call a change an attack by itself. Teams hand over, upgrade and rotate keys; what makes it worth waking
//! somebody is that the same transaction takes what the contract holds.
//!
//! Where logs are known: events of Ownable, AccessControl, initialisers, proxies, beacons, Safe, and timelocks, emitted by
//! a protected contract that existed before the transaction. Where storage is known: the slots of EIP-1967 as well, since a
//! proxy may change them silently. Where neither is (archived call trees): calls of the functions that do it, which says
//! that they succeeded, not that anything changed.
//!
//! Source: EIP-1967, EIP-173, OpenZeppelin's contracts, Safe; Parity's wallet (July 2017: `initWallet` on a wallet in use),
//! Audius (2022: initialised again). 1 of 93 archived attacks and none of 6,041 ordinary calls show it where nothing is
//! configured, since the contract that is called first is then the sender's. Limits: rights under other names and other events; a change that is made in one
//! transaction and used in the next, which is why the weak finding stands by itself; a contract's first initialiser in the
//! transaction after its creation.

use crate::detector::{Detector, Statement};
use crate::parties::{NetFlows, SendersSide, is_creation};
use alloy_primitives::map::{AddressSet, B256Map};
use alloy_primitives::{Address, B256, Selector, U256, b256, keccak256};
use cordon_model::execution::{Execution, FrameKind};
use cordon_model::finding::{AttackClass, Evidence, Finding, PrivilegeChange, Score};
use cordon_model::protocol::Protocol;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Below what counts together with another detector: administration is ordinary, and profit is no sign beside it.
const SCORE: Score = Score(200);

/// Opens an incident alone: rights over a contract changed, and the same transaction moved what it holds to the sender.
const SCORE_TAKEN: Score = Score(700);

/// Slots of EIP-1967: `keccak256("eip1967.proxy.implementation") - 1` and its relatives.
const SLOTS: [(B256, PrivilegeChange); 3] = [
    (
        b256!("0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"),
        PrivilegeChange::Implementation,
    ),
    (b256!("0xb53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103"), PrivilegeChange::Owner),
    (
        b256!("0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50"),
        PrivilegeChange::Implementation,
    ),
];

/// Events that tell of a change.
const EVENTS: [(&str, PrivilegeChange); 18] = [
    ("OwnershipTransferred(address,address)", PrivilegeChange::Owner),
    ("AdminChanged(address,address)", PrivilegeChange::Owner),
    ("NewAdmin(address)", PrivilegeChange::Owner),
    ("NewAdmin(address,address)", PrivilegeChange::Owner),
    ("AddedOwner(address)", PrivilegeChange::Owner),
    ("RemovedOwner(address)", PrivilegeChange::Owner),
    ("RoleGranted(bytes32,address,address)", PrivilegeChange::Role),
    ("RoleRevoked(bytes32,address,address)", PrivilegeChange::Role),
    ("RoleAdminChanged(bytes32,bytes32,bytes32)", PrivilegeChange::Role),
    ("Upgraded(address)", PrivilegeChange::Implementation),
    ("BeaconUpgraded(address)", PrivilegeChange::Implementation),
    ("Initialized(uint8)", PrivilegeChange::Initialiser),
    ("Initialized(uint64)", PrivilegeChange::Initialiser),
    ("ChangedThreshold(uint256)", PrivilegeChange::Safeguard),
    ("EnabledModule(address)", PrivilegeChange::Safeguard),
    ("ChangedGuard(address)", PrivilegeChange::Safeguard),
    ("MinDelayChange(uint256,uint256)", PrivilegeChange::Safeguard),
    ("NewDelay(uint256)", PrivilegeChange::Safeguard),
];

/// Functions that make a change, for records without logs.
const FUNCTIONS: [(&str, PrivilegeChange); 22] = [
    ("transferOwnership(address)", PrivilegeChange::Owner),
    ("setOwner(address)", PrivilegeChange::Owner),
    ("changeOwner(address)", PrivilegeChange::Owner),
    ("changeAdmin(address)", PrivilegeChange::Owner),
    ("setAdmin(address)", PrivilegeChange::Owner),
    ("addOwnerWithThreshold(address,uint256)", PrivilegeChange::Owner),
    ("grantRole(bytes32,address)", PrivilegeChange::Role),
    ("addMinter(address)", PrivilegeChange::Role),
    ("setMinter(address)", PrivilegeChange::Role),
    ("upgradeTo(address)", PrivilegeChange::Implementation),
    ("upgradeToAndCall(address,bytes)", PrivilegeChange::Implementation),
    ("setImplementation(address)", PrivilegeChange::Implementation),
    ("initialize()", PrivilegeChange::Initialiser),
    ("initialize(address)", PrivilegeChange::Initialiser),
    ("initialize(address,address)", PrivilegeChange::Initialiser),
    ("initialize(address,address,address)", PrivilegeChange::Initialiser),
    ("init(address)", PrivilegeChange::Initialiser),
    ("initWallet(address[],uint256,uint256)", PrivilegeChange::Initialiser),
    ("changeThreshold(uint256)", PrivilegeChange::Safeguard),
    ("enableModule(address)", PrivilegeChange::Safeguard),
    ("setGuard(address)", PrivilegeChange::Safeguard),
    ("updateDelay(uint256)", PrivilegeChange::Safeguard),
];

static TOPICS: LazyLock<B256Map<PrivilegeChange>> =
    LazyLock::new(|| EVENTS.iter().map(|(text, change)| (keccak256(text), *change)).collect());

static SELECTORS: LazyLock<BTreeMap<Selector, PrivilegeChange>> = LazyLock::new(|| {
    let function = |text: &str| Selector::from_slice(keccak256(text).get(..4).unwrap_or(&[0; 4]));
    FUNCTIONS.iter().map(|(text, change)| (function(text), *change)).collect()
});

/// Configuration of [`Privilege`]. There is nothing to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivilegeConfig {}

impl PrivilegeConfig {
    /// The detector.
    #[must_use]
    pub fn build(&self) -> Privilege {
        Privilege {}
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Privilege {}

impl Detector for Privilege {
    fn name(&self) -> &'static str {
        "privilege"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let changes = changes(protocol, execution);
        if changes.is_empty() {
            return Vec::new();
        }
        let side = SendersSide::of(protocol, execution);
        let drained = drained(&side, execution);
        let state = |(contract, change): (Address, PrivilegeChange)| {
            let taken = drained.contains(&contract);
            Statement {
                class: AttackClass::Privilege,
                contract,
                score: if taken { SCORE_TAKEN } else { SCORE },
                evidence: Evidence::Privilege { contract, change, taken },
            }
            .by(self.name(), protocol, execution)
        };
        changes.into_iter().map(state).collect()
    }
}

/// The first change of each protected contract that existed before.
fn changes(protocol: &Protocol, execution: &Execution) -> BTreeMap<Address, PrivilegeChange> {
    let created = execution.frames.iter().filter(|frame| is_creation(frame));
    let new: AddressSet = created.map(|frame| frame.address).collect();
    let mut changes = BTreeMap::new();
    let mut note = |contract: Address, change: PrivilegeChange| {
        if protocol.protects(contract) && !new.contains(&contract) {
            changes.entry(contract).or_insert(change);
        }
    };
    for log in &execution.logs {
        if let Some(change) = log.topics.first().and_then(|topic| TOPICS.get(topic)) {
            note(log.address, *change);
        }
    }
    for change in execution.storage_changes.iter().filter(|change| change.before != change.after) {
        let slot = SLOTS.iter().find(|(slot, _)| U256::from_be_bytes(slot.0) == change.slot);
        slot.into_iter().for_each(|(_, what)| note(change.address, *what));
    }
    if !execution.detail.knows_logs() {
        let calls = execution.frames.iter().filter(|f| f.kind == FrameKind::Call && !f.reverted);
        for frame in calls {
            let change = frame.selector().and_then(|selector| SELECTORS.get(&selector));
            change.into_iter().for_each(|change| note(frame.address, *change));
        }
    }
    changes
}

/// Accounts that paid the sender's side and ended with less of something. What they were given beside does not matter:
/// dust is cheap, and a trade with a contract in the transaction that takes it over is no ordinary administration.
fn drained(side: &SendersSide, execution: &Execution) -> AddressSet {
    let flows = NetFlows::of(execution);
    let to_side = execution.transfers.iter().filter(|moved| side.has(moved.to) && !side.has(moved.from));
    let paying: AddressSet = to_side.map(|transfer| transfer.from).collect();
    let loses = |account: &Address| flows.of_account(*account).iter().any(|d| d.delta_raw.is_negative());
    paying.into_iter().filter(loses).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use alloy_primitives::Bytes;
    use cordon_model::execution::{Detail, Log, StorageChange};

    fn judged(execution: &Execution) -> Vec<(Address, PrivilegeChange, u16)> {
        let findings = PrivilegeConfig::default().build().inspect(&World::protocol(), execution);
        let said = findings.into_iter().map(|finding| match finding.evidence {
            Evidence::Privilege { contract, change, .. } => (contract, change, finding.score.0),
            other => panic!("{other}"),
        });
        said.collect()
    }

    fn emitted(script: Script, address: Address, event: &str) -> Execution {
        let mut execution = script.finish(&[]);
        let topics = vec![keccak256(event)];
        execution.logs.push(Log { seq: 9, frame: 0, address, topics, data: Bytes::new() });
        execution
    }

    #[test]
    fn a_change_of_rights_is_a_finding_that_wakes_nobody() {
        let execution = emitted(World::new().script(), LENDING_VAULT, "Upgraded(address)");
        assert_eq!(judged(&execution), [(LENDING_VAULT, PrivilegeChange::Implementation, 200)]);
        let execution = emitted(World::new().script(), LENDING_VAULT, "Initialized(uint64)");
        assert_eq!(judged(&execution), [(LENDING_VAULT, PrivilegeChange::Initialiser, 200)]);
    }

    #[test]
    fn with_the_contracts_assets_gone_to_the_sender_it_opens_an_incident() {
        let mut script = World::new().script();
        script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
        let execution = emitted(script, LENDING_VAULT, "OwnershipTransferred(address,address)");
        assert_eq!(judged(&execution), [(LENDING_VAULT, PrivilegeChange::Owner, 700)]);
    }

    /// The benign twins: a deposit beside an upgrade, another contract's payment, and a new contract's initialiser.
    #[test]
    fn administration_beside_ordinary_use_stays_weak() {
        let mut script = World::new().script();
        script.transfer(USD, CONTROLLER, LENDING_VAULT, wad(5));
        script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
        script.transfer(COIN, COLLATERAL_VAULT, CONTROLLER, wad(5));
        let execution = emitted(script, LENDING_VAULT, "RoleGranted(bytes32,address,address)");
        assert_eq!(judged(&execution), [(LENDING_VAULT, PrivilegeChange::Role, 200)]);
        let mut script = World::new().script();
        script.create(COLLATERAL_VAULT, |_| {});
        assert_eq!(judged(&emitted(script, COLLATERAL_VAULT, "Initialized(uint8)")), []);
        assert_eq!(judged(&emitted(World::new().script(), BOB, "Upgraded(address)")), []);
    }

    #[test]
    fn a_proxy_that_changes_its_code_without_an_event_is_seen_by_its_slot() {
        let mut execution = World::new().script().finish(&[]);
        let slot = U256::from_be_bytes(keccak256("eip1967.proxy.implementation").0) - U256::ONE;
        let (before, after) = (U256::ONE, U256::from(2));
        execution.storage_changes.push(StorageChange { address: LENDING_VAULT, slot, before, after });
        assert_eq!(judged(&execution), [(LENDING_VAULT, PrivilegeChange::Implementation, 200)]);
        for (name, slot) in ["implementation", "admin", "beacon"].into_iter().zip(SLOTS) {
            let hash = U256::from_be_bytes(keccak256(format!("eip1967.proxy.{name}")).0);
            assert_eq!(U256::from_be_bytes(slot.0.0), hash - U256::ONE);
        }
    }

    #[test]
    fn calls_speak_only_where_there_are_no_logs() {
        let called = |reverted: bool| {
            let mut script = World::new().script();
            let input = keccak256("initWallet(address[],uint256,uint256)")[..4].to_vec();
            script.frame(FrameKind::Call, LENDING_VAULT, &input, |_| {});
            let mut execution = script.finish(&[]);
            execution.frames.iter_mut().for_each(|frame| frame.reverted = reverted);
            execution
        };
        assert_eq!(judged(&called(false)), [], "logs are known, and there is none");
        let archived = |execution| judged(&Execution { detail: Detail::Calls, ..execution });
        assert_eq!(archived(called(false)), [(LENDING_VAULT, PrivilegeChange::Initialiser, 200)]);
        assert_eq!(archived(called(true)), [], "hostile input: a call that was undone");
    }

    /// Hostile input.
    #[test]
    fn dust_from_the_sender_does_not_hide_what_was_taken() {
        let mut script = World::new().script();
        script.transfer(COIN, CONTROLLER, LENDING_VAULT, wad(1));
        script.transfer(USD, LENDING_VAULT, CONTROLLER, wad(5));
        let execution = emitted(script, LENDING_VAULT, "OwnershipTransferred(address,address)");
        assert_eq!(judged(&execution)[0].2, 700);
    }
}
