//! Which rules a block was executed under: hardfork, blob fee parameter and departures of layer-2 chains.
//!
//! In: chain id, height and time of a block, or a name from the configuration. Out: [`Rules`], resolved per block.
//! Must never: guess. A chain without a built-in schedule needs its hardfork named, and so does a block outside of the
//! time for which a schedule was published.

mod schedules;

use crate::error::RulesError;
use crate::op_stack::OpFork;
use cordon_model::block::{Block, ChainProfile, Witness};
use cordon_model::chains::{ChainFamily, chain_spec};
use cordon_model::units::ChainId;
use revm::primitives::hardfork::SpecId;
use schedules::{FRACTION_CANCUN, FRACTION_PRAGUE, SCHEDULES, Schedule};

/// Every hardfork in order of activation; the names are those of the archive format and of the configuration.
const HARDFORKS: [SpecId; 15] = [
    SpecId::FRONTIER,
    SpecId::HOMESTEAD,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::BYZANTIUM,
    SpecId::PETERSBURG,
    SpecId::ISTANBUL,
    SpecId::BERLIN,
    SpecId::LONDON,
    SpecId::MERGE,
    SpecId::SHANGHAI,
    SpecId::CANCUN,
    SpecId::PRAGUE,
    SpecId::OSAKA,
    SpecId::AMSTERDAM,
];

/// The rules of one chain.
#[derive(Debug, Clone)]
pub struct Rules {
    chain_id: ChainId,
    hardforks: Hardforks,
    profile: ChainProfile,
}

/// Usual time from one block to the next, in milliseconds, for the environment of a block that does not exist yet. A chain that
/// nobody looked at is taken to have Ethereum's slots (consensus specification, `SECONDS_PER_SLOT`).
pub(crate) fn block_time_ms(chain_id: ChainId) -> u64 {
    chain_spec(chain_id).map_or(12_000, |spec| spec.block_time_ms)
}

#[derive(Debug, Clone, Copy)]
enum Hardforks {
    Scheduled(&'static Schedule),
    Fixed(SpecId),
    FixedOp(OpFork),
}

impl Rules {
    /// The rules of `chain_id`: those of the named hardfork for every block, or the built-in schedule where none is
    /// named. A chain of the OP stack also takes that stack's own names. The departures of layer-2 chains follow from
    /// [`chain_spec`]; a chain that is not listed there is taken to follow Ethereum in everything else too, and one that
    /// does not needs a profile.
    ///
    /// # Errors
    /// [`RulesError`] for an unknown name, and for a chain without a schedule when no name is given.
    pub fn new(chain_id: ChainId, hardfork: Option<&str>) -> Result<Self, RulesError> {
        let profile = profile_of(chain_id);
        let op_fork = hardfork.filter(|_| profile == ChainProfile::Optimism).and_then(OpFork::by_name);
        let hardforks = match (hardfork, op_fork) {
            (Some(_), Some(fork)) => Hardforks::FixedOp(fork),
            (Some(name), None) => Hardforks::Fixed(spec_by_name(name)?),
            (None, _) => schedule_of(chain_id)
                .map(Hardforks::Scheduled)
                .ok_or_else(|| RulesError::UnknownChain { chain_id, known: known_names() })?,
        };
        Ok(Self { chain_id, hardforks, profile })
    }

    /// Checks that the rules of a block are known.
    ///
    /// # Errors
    /// [`RulesError::OutsideSchedule`] where no hardfork is named and the built-in schedule does not reach the block.
    pub(crate) fn check_known(&self, number: u64, timestamp_s: u64) -> Result<(), RulesError> {
        let Hardforks::Scheduled(schedule) = self.hardforks else { return Ok(()) };
        let known =
            number >= schedule.from_number && schedule.until_s.is_none_or(|until_s| timestamp_s < until_s);
        if known {
            return Ok(());
        }
        let (chain_id, known) = (self.chain_id, known_names());
        Err(RulesError::OutsideSchedule { chain_id, number, timestamp_s, known })
    }

    /// The same rules with the departures of a layer-2 chain.
    #[must_use]
    pub fn with_profile(mut self, profile: ChainProfile) -> Self {
        self.profile = profile;
        self
    }

    /// Chain the rules belong to.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// Usual time from one block to the next, in milliseconds.
    pub(crate) fn block_time_ms(&self) -> u64 {
        block_time_ms(self.chain_id)
    }

    /// Name of the hardfork in force at a height and time.
    #[must_use]
    pub fn hardfork_at(&self, number: u64, timestamp_s: u64) -> &'static str {
        self.spec_at(number, timestamp_s).into()
    }

    fn spec_at(&self, number: u64, timestamp_s: u64) -> SpecId {
        match self.hardforks {
            Hardforks::Fixed(spec) => spec,
            Hardforks::FixedOp(fork) => fork.spec(),
            Hardforks::Scheduled(schedule) => last_reached(schedule.op_forks_by_time_s, timestamp_s)
                .map(OpFork::spec)
                .or_else(|| last_reached(schedule.by_time_s, timestamp_s))
                .or_else(|| last_reached(schedule.by_number, number))
                .unwrap_or(SpecId::FRONTIER),
        }
    }

    /// The rules for one block.
    pub(crate) fn resolve(&self, number: u64, timestamp_s: u64) -> BlockRules {
        let spec = self.spec_at(number, timestamp_s);
        let blob_fraction = match self.hardforks {
            Hardforks::Fixed(_) | Hardforks::FixedOp(_) => None,
            Hardforks::Scheduled(schedule) => last_reached(schedule.fractions_by_time_s, timestamp_s),
        };
        let op_fork = match self.hardforks {
            Hardforks::FixedOp(fork) => fork,
            Hardforks::Fixed(_) | Hardforks::Scheduled(_) => op_fork_of(self.chain_id, spec, timestamp_s),
        };
        BlockRules {
            chain_id: self.chain_id,
            spec,
            profile: self.profile,
            op_fork: (self.profile == ChainProfile::Optimism).then_some(op_fork),
            blob_fraction: blob_fraction.unwrap_or_else(|| default_fraction(spec)),
        }
    }
}

/// Rules resolved for one block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockRules {
    pub(crate) chain_id: ChainId,
    pub(crate) spec: SpecId,
    pub(crate) profile: ChainProfile,
    /// Hardfork of the OP stack; `None` for every other chain.
    pub(crate) op_fork: Option<OpFork>,
    pub(crate) blob_fraction: u64,
}

impl BlockRules {
    /// The rules that a witness states for its own block.
    pub(crate) fn of_witness(block: &Block, witness: &Witness) -> Result<Self, RulesError> {
        let spec = spec_by_name(&witness.hardfork)?;
        Ok(Self {
            chain_id: block.chain_id,
            spec,
            profile: witness.profile,
            op_fork: (witness.profile == ChainProfile::Optimism)
                .then(|| op_fork_of(block.chain_id, spec, block.timestamp_s)),
            blob_fraction: witness.blob_base_fee_update_fraction.unwrap_or_else(|| default_fraction(spec)),
        })
    }
}

fn profile_of(chain_id: ChainId) -> ChainProfile {
    match chain_spec(chain_id).map(|spec| spec.family) {
        Some(ChainFamily::OpStack) => ChainProfile::Optimism,
        Some(ChainFamily::Scroll) => ChainProfile::Scroll,
        Some(ChainFamily::Linea) => ChainProfile::Linea,
        Some(
            ChainFamily::Ethereum
            | ChainFamily::Arbitrum
            | ChainFamily::Bsc
            | ChainFamily::Polygon
            | ChainFamily::Local,
        )
        | None => ChainProfile::Ethereum,
    }
}

fn schedule_of(chain_id: ChainId) -> Option<&'static Schedule> {
    SCHEDULES.iter().find(|schedule| schedule.chain_id == chain_id.0)
}

/// The OP stack's hardfork for a block of which Ethereum's is known: the chain's own at that time where it carries the
/// same one, and otherwise the newest that does.
fn op_fork_of(chain_id: ChainId, spec: SpecId, timestamp_s: u64) -> OpFork {
    schedule_of(chain_id)
        .and_then(|schedule| last_reached(schedule.op_forks_by_time_s, timestamp_s))
        .filter(|fork| fork.spec() == spec)
        .unwrap_or_else(|| OpFork::newest_with(spec))
}

fn last_reached<T: Copy>(steps: &[(u64, T)], at: u64) -> Option<T> {
    steps.iter().rev().find(|(start, _)| *start <= at).map(|(_, value)| *value)
}

fn default_fraction(spec: SpecId) -> u64 {
    if spec.is_enabled_in(SpecId::PRAGUE) { FRACTION_PRAGUE } else { FRACTION_CANCUN }
}

fn spec_by_name(name: &str) -> Result<SpecId, RulesError> {
    // "Paris" is the execution layer's own name of the fork that is commonly called the merge.
    let wanted = if name.eq_ignore_ascii_case("paris") { "Merge" } else { name };
    HARDFORKS
        .into_iter()
        .find(|spec| <&'static str>::from(*spec).eq_ignore_ascii_case(wanted))
        .ok_or_else(|| RulesError::UnknownHardfork { name: name.to_owned(), known: known_names() })
}

fn known_names() -> String {
    let names: Vec<String> =
        HARDFORKS.iter().map(|spec| <&'static str>::from(*spec).to_ascii_lowercase()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
