//! Flash loan: the protocol was used while the sender held borrowed coins that he gave back in the same transaction.
//!
//! In: calls and transfers. Out: one finding for the largest loan under which protected contracts were called. Must
//! never: speak of an attack by itself. Flash loans pay for liquidations, refinancing and arbitrage every day.
//!
//! A loan is a movement of an asset from an account that is not the sender's to one that is, and at least as much of
//! the same asset back, later, to the same account, at once or in parts. Between the two, control came from a foreign account back to the
//! sender's side: the callback that every lender makes (EIP-3156, Aave `executeOperation`, Balancer
//! `receiveFlashLoan`, Uniswap callbacks). A swap forth and back has no callback in which both happen.
//!
//! Source: 42 of 93 archived attacks against 3 of 6,041 ordinary calls hold such a loan (`cordon backtest`); borrowed
//! funds are what makes price and accounting attacks affordable (Qin et al., "Attacking the DeFi Ecosystem with Flash Loans",
//! FC 2021). Limits: loans that are repaid from another account than the one they went to outside the sender's side,
//! those of a lender that is the protocol itself where nothing else of the protocol was called, and coins that are minted
//! for the transaction and burned at its end.

use crate::detector::{Detector, Statement};
use crate::parties::SendersSide;
use alloy_primitives::{Address, U256};
use cordon_model::execution::{Execution, Frame, FrameKind, Transfer};
use cordon_model::finding::{AttackClass, Evidence, Finding, Score};
use cordon_model::protocol::Protocol;
use cordon_model::units::{Asset, Bps};
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::detectors::ConfigError;

/// Half of what opens an incident: together with another detector it does, alone it does not.
const SCORE: Score = Score(300);

/// Configuration of [`FlashLoan`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlashLoanConfig {
    /// Most that a lender takes on top, as a share of the loan. Default 200 (2 %): lenders of the field take 0 to 0.3 %
    /// (Aave 5 or 9 bps, Uniswap 30 bps), pools of young chains up to 1 %. More than that is a price and no fee.
    pub fee_max_bps: Bps,
}

impl Default for FlashLoanConfig {
    fn default() -> Self {
        Self { fee_max_bps: Bps(200) }
    }
}

impl FlashLoanConfig {
    /// The detector.
    ///
    /// # Errors
    /// A fee of more than the loan.
    pub fn build(&self) -> Result<FlashLoan, ConfigError> {
        let fee_max_bps = self.fee_max_bps;
        if fee_max_bps.0 > 10_000 {
            let (key, value) = ("flash-loan.fee_max_bps", fee_max_bps.0.to_string());
            return Err(ConfigError { key, value, expected: "0 to 10000" });
        }
        Ok(FlashLoan { fee_max_bps })
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct FlashLoan {
    fee_max_bps: Bps,
}

/// Coins that were lent and came back.
#[derive(Debug, Clone, Copy)]
struct Loan {
    lender: Address,
    asset: Asset,
    amount_raw: U256,
    repaid_raw: U256,
    from_seq: u32,
    to_seq: u32,
}

impl Loan {
    /// True where the call is how the loan was taken or given back, and no use of what was lent.
    fn is_made_by(&self, frame: &Frame) -> bool {
        frame.address == self.lender || self.asset == Asset::Token(frame.address)
    }
}

impl Detector for FlashLoan {
    fn name(&self) -> &'static str {
        "flash-loan"
    }

    fn inspect(&self, protocol: &Protocol, execution: &Execution) -> Vec<Finding> {
        let side = SendersSide::of(protocol, execution);
        let callbacks = callbacks(&side, &execution.frames);
        if callbacks.is_empty() {
            return Vec::new();
        }
        let loans = self.loans(&side, execution);
        let entries: Vec<&Frame> = side.entries(protocol, execution).collect();
        let under_loan = loans.iter().filter_map(|loan| {
            let within = |seq: u32| (loan.from_seq..=loan.to_seq).contains(&seq);
            let called_back = callbacks.iter().any(|(enter, exit)| within(*exit) || within(*enter));
            let mut used = entries.iter().filter(|frame| within(frame.enter_seq) && !loan.is_made_by(frame));
            let first = used.next().filter(|_| called_back)?;
            Some((used.count().saturating_add(1), first.address, *loan))
        });
        // The one under which most was done; of equals the first.
        let best = under_loan.reduce(|best, next| if next.0 > best.0 { next } else { best });
        let Some((calls, contract, loan)) = best else { return Vec::new() };
        vec![
            Statement {
                class: AttackClass::FlashLoan,
                contract,
                score: SCORE,
                evidence: Evidence::FlashLoan {
                    lender: loan.lender,
                    asset: loan.asset,
                    amount_raw: loan.amount_raw,
                    repaid_raw: loan.repaid_raw,
                    calls: u32::try_from(calls).unwrap_or(u32::MAX),
                },
            }
            .by(self.name(), protocol, execution),
        ]
    }
}

impl FlashLoan {
    /// What went to the sender's side and came back, each loan once.
    fn loans(&self, side: &SendersSide, execution: &Execution) -> Vec<Loan> {
        let mut accounts: BTreeMap<(Address, Asset), Account> = BTreeMap::new();
        let mut loans = Vec::new();
        for transfer in execution.transfers.iter().filter(|transfer| !transfer.amount_raw.is_zero()) {
            let (from_own, to_own) = (side.has(transfer.from), side.has(transfer.to));
            if !from_own && to_own && !transfer.from.is_zero() {
                accounts.entry((transfer.from, transfer.asset)).or_default().lend(transfer);
            } else if from_own && !to_own {
                let account = accounts.get_mut(&(transfer.to, transfer.asset));
                loans.extend(account.and_then(|account| account.repay(transfer, self.fee_max_bps)));
            }
        }
        loans
    }
}

/// What one lender lent of one asset and did not get back yet.
#[derive(Debug, Clone, Default)]
struct Account {
    /// When each amount was lent, of equal amounts the oldest first.
    lent: BTreeSet<(U256, Reverse<u32>)>,
    since_seq: u32,
    lent_raw: U256,
    paid_raw: U256,
}

impl Account {
    fn lend(&mut self, transfer: &Transfer) {
        if self.lent.is_empty() {
            *self = Self { since_seq: transfer.seq, ..Self::default() };
        }
        self.lent.insert((transfer.amount_raw, Reverse(transfer.seq)));
        self.lent_raw = self.lent_raw.saturating_add(transfer.amount_raw);
    }

    /// A payment settles the largest loan that it covers; or, with those before it that settled none, all that is open.
    fn repay(&mut self, transfer: &Transfer, fee_max_bps: Bps) -> Option<Loan> {
        let paid_raw = transfer.amount_raw;
        let nearest = self.lent.range(..=(paid_raw, Reverse(0))).next_back().copied();
        let (amount_raw, repaid_raw, from_seq) = match nearest {
            Some((lent_raw, seq)) if settles(lent_raw, paid_raw, fee_max_bps) => {
                self.lent.remove(&(lent_raw, seq));
                self.lent_raw = self.lent_raw.saturating_sub(lent_raw);
                (lent_raw, paid_raw, seq.0)
            }
            _ => {
                self.paid_raw = self.paid_raw.saturating_add(paid_raw);
                if !settles(self.lent_raw, self.paid_raw, fee_max_bps) {
                    return None;
                }
                self.lent.clear();
                (self.lent_raw, self.paid_raw, self.since_seq)
            }
        };
        let (lender, asset, to_seq) = (transfer.to, transfer.asset, transfer.seq);
        Some(Loan { lender, asset, amount_raw, repaid_raw, from_seq, to_seq })
    }
}

fn settles(lent_raw: U256, paid_raw: U256, fee_max_bps: Bps) -> bool {
    let fee_max = lent_raw.saturating_mul(U256::from(fee_max_bps.0)) / U256::from(10_000u32);
    !lent_raw.is_zero() && paid_raw >= lent_raw && paid_raw <= lent_raw.saturating_add(fee_max)
}

/// When control came from a foreign account back to the sender's side: entry and exit of each such call.
fn callbacks(side: &SendersSide, frames: &[Frame]) -> Vec<(u32, u32)> {
    let back = frames.iter().filter(|frame| {
        let is_call = frame.kind == FrameKind::Call && !frame.reverted && frame.selector().is_some();
        is_call && side.has(frame.address) && !side.has(frame.caller)
    });
    back.map(|frame| (frame.enter_seq, frame.exit_seq)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn judged(execution: &Execution) -> Vec<Finding> {
        FlashLoanConfig::default().build().unwrap().inspect(&World::protocol(), execution)
    }

    /// A lender whose function 9 lends, calls back and takes `repaid`.
    fn lent(lent: u64, repaid: u64, inside: impl FnOnce(&mut Script)) -> Execution {
        let mut script = World::new().script();
        script.call(BOB, 9, |script| {
            script.transfer(USD, BOB, CONTROLLER, wad(lent));
            script.call(CONTROLLER, 8, |script| {
                inside(script);
                script.transfer(USD, CONTROLLER, BOB, wad(repaid));
            });
        });
        script.finish(&[])
    }

    #[test]
    fn the_protocol_used_under_a_loan_is_a_finding_with_lender_and_amount() {
        let execution = lent(1_000, 1_005, |script| script.call(LENDING_VAULT, 1, |_| {}));
        let findings = judged(&execution);
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!(
            (finding.score, finding.class, finding.contract),
            (SCORE, AttackClass::FlashLoan, LENDING_VAULT)
        );
        let expected = Evidence::FlashLoan {
            lender: BOB,
            asset: USD,
            amount_raw: wad(1_000),
            repaid_raw: wad(1_005),
            calls: 1,
        };
        assert_eq!(finding.evidence, expected);
    }

    #[test]
    fn a_loan_under_which_the_protocol_is_left_alone_is_none_of_its_business() {
        assert_eq!(judged(&lent(1_000, 1_000, |script| script.call(CHILD, 1, |_| {}))), []);
        assert_eq!(judged(&lent(1_000, 1_000, |_| {})), []);
    }

    #[test]
    fn a_price_is_no_fee() {
        let use_vault = |script: &mut Script| script.call(LENDING_VAULT, 1, |_| {});
        assert_eq!(judged(&lent(1_000, 1_020, use_vault)).len(), 1);
        assert_eq!(judged(&lent(1_000, 1_021, use_vault)), []);
        assert_eq!(judged(&lent(1_000, 999, use_vault)), []);
        assert_eq!(judged(&lent(0, 0, use_vault)), []);
    }

    /// A lender that lends these parts, calls back and takes those.
    fn in_parts(lent: &[u64], repaid: &[u64]) -> Vec<Finding> {
        let mut script = World::new().script();
        script.call(BOB, 9, |script| {
            lent.iter().for_each(|part| script.transfer(USD, BOB, CONTROLLER, wad(*part)));
            script.call(CONTROLLER, 8, |script| {
                script.call(LENDING_VAULT, 1, |_| {});
                repaid.iter().for_each(|part| script.transfer(USD, CONTROLLER, BOB, wad(*part)));
            });
        });
        judged(&script.finish(&[]))
    }

    fn amounts(findings: &[Finding]) -> Vec<(U256, U256)> {
        let amounts = findings.iter().map(|finding| match &finding.evidence {
            Evidence::FlashLoan { amount_raw, repaid_raw, .. } => (*amount_raw, *repaid_raw),
            other => panic!("{other:?}"),
        });
        amounts.collect()
    }

    #[test]
    fn a_loan_that_is_taken_or_repaid_in_parts_is_a_loan() {
        assert_eq!(amounts(&in_parts(&[1_000], &[400, 1, 604])), [(wad(1_000), wad(1_005))]);
        assert_eq!(amounts(&in_parts(&[600, 400], &[1_005])), [(wad(1_000), wad(1_005))]);
        assert_eq!(amounts(&in_parts(&[600, 400], &[200, 805])), [(wad(1_000), wad(1_005))]);
        assert_eq!(amounts(&in_parts(&[600, 400], &[600, 400])), [(wad(600), wad(600))]);
        assert_eq!(amounts(&in_parts(&[1_000], &[500, 499])), []);
        assert_eq!(amounts(&in_parts(&[1_000], &[500, 521])), []);
    }

    #[test]
    fn money_that_comes_and_goes_without_a_callback_is_a_trade() {
        let mut script = World::new().script();
        script.transfer(USD, BOB, CONTROLLER, wad(1_000));
        script.call(LENDING_VAULT, 1, |_| {});
        script.transfer(USD, CONTROLLER, BOB, wad(1_000));
        assert_eq!(judged(&script.finish(&[])), []);
    }

    #[test]
    fn a_fee_beyond_the_loan_is_refused() {
        let error = FlashLoanConfig { fee_max_bps: Bps(10_001) }.build().unwrap_err();
        assert_eq!(error.to_string(), "flash-loan.fee_max_bps = '10001': expected 0 to 10000");
    }
}
