//! New contract: somebody puts code on the chain that is like code that attacked before.
//!
//! In: creations with the code that they left. Out: a finding for each code that a model scores high, stronger where the code names a
//! protected contract. Must never: score code that the protocol itself creates, or say that an attack happened. Nothing has
//! happened yet.
//!
//! Source: most attackers create their contract some minutes before they use it (median 420 s in 21 cases of LookAhead, 2024), and
//! a model of code tells such contracts from others (Forta's Early Attack Detector, LookAhead). What a model of code can do here is
//! in the model's own file and in `docs/detection.md`. The bounds come from cross-validation over families of similar codes: `likely`
//! is the lowest figure that at most one in two hundred ordinary codes reached, `sure` is where a third of the attackers' codes are
//! found and 2 of 3,590 ordinary ones.
//!
//! The code is the output of the creating frame, in every kind of record: the EVM returns what it stores, and tracers give it.
//! Limits: an attack out of a constructor leaves no code, an attack by a plain account has none; an address that comes as an
//! argument of a later call is not in the code; and whoever reads this file can write code that is like anybody's.

use crate::bytecode::{Features, Model, constant_addresses};
use crate::detector::{Detector, Opinion, Statement};
use crate::detectors::ConfigError;
use crate::parties::climb;
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, keccak256};
use cordon_model::execution::{Creation, Execution};
use cordon_model::finding::sign::{NewContract as Sign, Sign as Signs};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use serde::Deserialize;
use std::collections::BTreeSet;

/// It names a protected contract, and hardly any ordinary code is like it: opens an incident alone.
const NAMED_AND_SURE: Score = Score(700);
/// One of both, beside the model's `likely`: half of what opens one.
const NAMED_OR_SURE: Score = Score(300);
/// Neither: a word beside other findings on the same transaction.
const LIKELY: Score = Score(200);

/// New contracts of one transaction that are scored, the first ones. A factory that makes more makes copies, and the price of
/// scoring is that of reading the code.
const CREATIONS_MAX: usize = 32;
/// Protected contracts that a finding names.
const NAMES_MAX: usize = 8;

/// Configuration of [`NewContract`]. There is nothing to choose: the bounds belong to the model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewContractConfig {}

impl NewContractConfig {
    /// The detector.
    ///
    /// # Errors
    /// Where the model that comes with the program cannot be used.
    pub fn build(&self) -> Result<NewContract, ConfigError> {
        let unusable = |error: crate::bytecode::ModelError| ConfigError {
            key: "new-contract.model",
            value: error.to_string(),
            expected: "the model that comes with the program",
        };
        Ok(NewContract { model: Model::shipped().map_err(unusable)? })
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct NewContract {
    model: Model,
}

impl Detector for NewContract {
    fn name(&self) -> &'static str {
        "new-contract"
    }

    fn looks_at_creations(&self) -> bool {
        true
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        self.judge(protocol, execution).findings
    }

    fn gaps(&self, protocol: &Protocol, execution: &Execution) -> Vec<String> {
        self.judge(protocol, execution).gaps
    }

    fn judge(&self, protocol: &Protocol, execution: &Execution) -> Opinion {
        let mut opinion = Opinion::default();
        let foreign = execution.creations.iter().filter(|creation| is_foreign(protocol, execution, creation));
        let mut seen = BTreeSet::new();
        for creation in foreign.filter(|creation| creation.code_hash != KECCAK256_EMPTY) {
            if !seen.insert(creation.code_hash) {
                continue;
            }
            if seen.len() > CREATIONS_MAX {
                opinion.gaps.push(format!("of more than {CREATIONS_MAX} new codes the first are scored"));
                break;
            }
            match code_of(execution, creation) {
                Some(code) => opinion.findings.extend(self.scored(protocol, execution, (creation, code))),
                None => opinion.gaps.push(format!("the code of {} is not in the record", creation.address)),
            }
        }
        opinion
    }
}

impl NewContract {
    fn scored(
        &self,
        protocol: &Protocol,
        execution: &Execution,
        (creation, code): (&Creation, &Bytes),
    ) -> Option<Finding> {
        let likeness = self.model.judge(&Features::of(code));
        let bound = self.model.bounds.likely;
        if likeness.log_odds < bound {
            return None;
        }
        let sure = likeness.log_odds >= self.model.bounds.sure;
        let mut names = named(execution, creation);
        names.retain(|address| protocol.protects(*address));
        let score = match (!names.is_empty(), sure) {
            (true, true) => NAMED_AND_SURE,
            (true, false) | (false, true) => NAMED_OR_SURE,
            (false, false) => LIKELY,
        };
        // Who is meant is known only where somebody is named.
        let contract =
            names.first().copied().or_else(|| protocol.contracts.iter().map(|one| one.address).next())?;
        let sign = Sign {
            address: creation.address,
            creator: creation.creator,
            code_hash: creation.code_hash,
            log_odds: likeness.log_odds,
            bound,
            sure,
            parts: likeness.parts,
            names: names.into_iter().take(NAMES_MAX).collect(),
        };
        let evidence = Evidence::Sign(Signs::NewContract(sign));
        let class = AttackClass::Preparation;
        Some(Statement { class, contract, score, evidence }.by(self.name(), protocol, execution))
    }
}

/// Addresses that a new contract names: constants of its code, and whatever its constructor left in its storage. An argument of the
/// constructor that is kept in neither place is of no use to the contract afterwards.
pub(crate) fn named(execution: &Execution, creation: &Creation) -> Vec<Address> {
    let own = execution.storage_changes.iter().filter(|change| change.address == creation.address);
    // Packed with other values or not, an address stands in the low bytes of its slot in all but contrived layouts.
    let kept = own.map(|change| Address::from_word(change.after.into()));
    let mut names = code_of(execution, creation).map(|code| constant_addresses(code)).unwrap_or_default();
    names.extend(kept);
    names.into_iter().collect()
}

/// The code that a creation left: what its frame returned, where that is what was stored.
fn code_of<'a>(execution: &'a Execution, creation: &Creation) -> Option<&'a Bytes> {
    let frame = execution.frame(creation.frame).filter(|frame| frame.address == creation.address)?;
    (keccak256(&frame.output) == creation.code_hash).then_some(&frame.output)
}

/// True where no protected contract had it created.
fn is_foreign(protocol: &Protocol, execution: &Execution, creation: &Creation) -> bool {
    let by_protocol = climb(execution, creation.frame).any(|frame| protocol.protects(frame.address));
    !by_protocol && !protocol.protects(creation.creator) && !protocol.protects(creation.address)
}

#[cfg(test)]
mod tests;
