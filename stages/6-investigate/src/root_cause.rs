//! What went wrong, in one sentence, and on which grounds it is said.
//!
//! In: the incident's findings and the executions they speak of. Out: `RootCause`. The sentence is put together from
//! the strongest finding of each class, mechanism first and effect last; the grounds name the calls and transfers
//! in which it can be seen. Must never: claim a mechanism for which there is no finding.

use crate::interfaces::Interfaces;
use crate::labels::Labels;
use alloy_primitives::{Address, Selector};
use cordon_model::execution::{Execution, Frame, Transfer};
use cordon_model::finding::{AttackClass, Evidence, Finding};
use cordon_model::report::RootCause;
use cordon_model::units::{Asset, format_units};
use std::collections::BTreeMap;

/// Most grounds that are listed. A drain over hundreds of transactions repeats itself.
const GROUNDS_MAX: usize = 60;

/// Mechanisms before the effect: the order in which a sentence explains.
const ORDER: [AttackClass; 15] = [
    AttackClass::Preparation,
    AttackClass::Privilege,
    AttackClass::Governance,
    AttackClass::Phishing,
    AttackClass::AllowanceDrain,
    AttackClass::Reentrancy,
    AttackClass::PriceManipulation,
    AttackClass::RateManipulation,
    AttackClass::Oracle,
    AttackClass::UnbackedMint,
    AttackClass::FlashLoan,
    AttackClass::Invariant,
    AttackClass::ControlFlow,
    AttackClass::ValueExtraction,
    AttackClass::UserRule,
];

/// The root cause that the findings add up to.
#[must_use]
pub fn root_cause(
    findings: &[Finding],
    executions: &[Execution],
    interfaces: &Interfaces,
    labels: &Labels,
) -> RootCause {
    let view = View { executions, interfaces, labels };
    let mut strongest: BTreeMap<AttackClass, &Finding> = BTreeMap::new();
    for finding in findings {
        let best = strongest.entry(finding.class).or_insert(finding);
        if finding.score > best.score {
            *best = finding;
        }
    }
    let mut classes: Vec<AttackClass> =
        ORDER.into_iter().filter(|class| strongest.contains_key(class)).collect();
    // The sort is stable: of classes seen equally strongly, the mechanism stands before the effect.
    classes.sort_by_key(|class| std::cmp::Reverse(strongest.get(class).map(|finding| finding.score)));

    let clauses: Vec<String> =
        ORDER.iter().filter_map(|class| strongest.get(class)).map(|finding| view.clause(finding)).collect();
    let summary = if clauses.is_empty() {
        "No finding stands, so no cause can be named.".to_owned()
    } else {
        format!("{}.", clauses.join("; "))
    };
    RootCause { classes, summary, grounds: view.grounds(findings) }
}

struct View<'a> {
    executions: &'a [Execution],
    interfaces: &'a Interfaces,
    labels: &'a Labels,
}

impl View<'_> {
    fn grounds(&self, findings: &[Finding]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for ground in findings.iter().flat_map(|finding| self.ground(finding)) {
            if !all.contains(&ground) {
                all.push(ground);
            }
            if all.len() > GROUNDS_MAX {
                all.truncate(GROUNDS_MAX);
                all.push(format!("… further grounds are in the findings (limit {GROUNDS_MAX})"));
                break;
            }
        }
        all
    }

    /// One clause of the summary: what the finding says, and for a moved rate by what.
    fn clause(&self, finding: &Finding) -> String {
        let gift = self.execution(finding).and_then(|execution| donation(execution, &finding.evidence));
        let how = gift.map_or_else(String::new, |gift| {
            format!(", by {} sent to it directly", self.labels.amount(gift.asset, gift.amount_raw))
        });
        format!("{}{how}", self.statement(finding))
    }

    fn statement(&self, finding: &Finding) -> String {
        match &finding.evidence {
            Evidence::Reentry { contract, outer, inner, via, .. } => format!(
                "{} let {} enter {} while {} was unfinished, so that the inner call worked on state that the outer one \
                 had not settled",
                self.labels.short(*contract),
                self.labels.short(*via),
                self.function(*inner),
                self.function(*outer),
            ),
            Evidence::RateJump { contract, jump_bps, .. } => {
                format!(
                    "the rate of {} was moved by {jump_bps} within one transaction",
                    self.labels.short(*contract)
                )
            }
            Evidence::ValueLoss { loss_wad, .. } if loss_wad.is_zero() => {
                format!("{} paid out assets that nobody was owed", self.labels.short(finding.contract))
            }
            Evidence::ValueLoss { loss_wad, loss_share_bps, .. } => {
                let share =
                    loss_share_bps.map_or_else(String::new, |share| format!(" ({share} of what it held)"));
                format!(
                    "{} paid out value that nobody was owed, {}{share} in one transaction",
                    self.labels.short(finding.contract),
                    format_units(*loss_wad, 18),
                )
            }
            Evidence::FlashLoan { lender, asset, amount_raw, calls, .. } => format!(
                "{} were borrowed from {} for this one transaction, and the protocol was called {calls} times meanwhile",
                self.labels.amount(*asset, *amount_raw),
                self.labels.short(*lender),
            ),
            Evidence::RepeatedCalls { contract, function, times, frames } => format!(
                "{} of {} was called {times} times in a transaction of {frames} calls",
                self.function(*function),
                self.labels.short(*contract),
            ),
            Evidence::FreshCaller { caller, contract, function } => format!(
                "{} of {} was called by {}, which the same transaction created",
                self.function(*function),
                self.labels.short(*contract),
                self.labels.short(*caller),
            ),
            Evidence::Profit { loser: Some(loser), losses, .. } => {
                let lost: Vec<String> = losses
                    .iter()
                    .map(|loss| self.labels.amount(loss.asset, loss.delta_raw.unsigned_abs()))
                    .collect();
                let lost = lost.join(", ");
                format!("{} gave away {lost} and received nothing for it", self.labels.short(*loser))
            }
            Evidence::Profit { loser: None, gains, .. } => {
                format!("the sender's side gained {} assets and paid nothing", gains.len())
            }
            Evidence::Unprecedented { .. } => {
                format!("{} was used as {}", self.labels.short(finding.contract), finding.evidence)
            }
            Evidence::AllowanceDrain { spender, account, accounts, asset, amount_raw, .. } => format!(
                "{} of {accounts} accounts, {} first, were pulled through {}, which they had allowed to and did not ask to",
                self.labels.amount(*asset, *amount_raw),
                self.labels.short(*account),
                self.labels.short(*spender),
            ),
            Evidence::PriceManipulation { .. }
            | Evidence::Privilege { .. }
            | Evidence::Ordinary { .. }
            | Evidence::Sign(_) => finding.evidence.to_string(),
            Evidence::Rule { rule, explanation, .. } => format!("rule {rule} holds: {explanation}"),
        }
    }

    /// What a finding says, and where it can be seen in the transaction.
    fn ground(&self, finding: &Finding) -> Vec<String> {
        let tx = finding.tx.hash;
        let statement = self.statement(finding);
        let mut grounds = vec![format!(
            "transaction {tx}, detector {} (score {}): {statement}",
            finding.detector, finding.score
        )];
        let Some(execution) = self.execution(finding) else {
            return grounds;
        };
        match &finding.evidence {
            Evidence::Reentry { contract, outer, inner, via, .. } => {
                if let Some((outer, inner)) = reentry(execution, *contract, (*outer, *inner)) {
                    grounds.push(format!(
                        "transaction {tx}: call {} ({}) was still open when call {} ({}) came in through {}",
                        outer.index,
                        self.function(outer.selector()),
                        inner.index,
                        self.function(inner.selector()),
                        self.labels.full(*via),
                    ));
                }
            }
            Evidence::RateJump { contract, .. } => {
                if let Some(gift) = donation(execution, &finding.evidence) {
                    grounds.push(format!(
                        "transaction {tx}: {} reached {} from {} by a plain transfer (call {}), for which no shares were \
                         issued",
                        self.labels.amount(gift.asset, gift.amount_raw),
                        self.labels.short(*contract),
                        self.labels.full(gift.from),
                        gift.frame,
                    ));
                }
            }
            Evidence::ValueLoss { holdings, gainers, .. } => {
                for delta in holdings.iter().filter(|delta| delta.delta_raw.is_negative()) {
                    grounds.push(format!(
                        "transaction {tx}: holdings changed by {}",
                        self.labels.change(delta.asset, delta.delta_raw)
                    ));
                }
                if let Some((gainer, _)) = gainers.first() {
                    grounds.push(format!("transaction {tx}: {} gained most", self.labels.full(*gainer)));
                }
            }
            Evidence::Profit { gains, .. } => grounds.extend(gains.iter().map(|gain| {
                let change = self.labels.change(gain.asset, gain.delta_raw);
                format!("transaction {tx}: the sender's side changed by {change}")
            })),
            Evidence::FlashLoan { .. }
            | Evidence::RepeatedCalls { .. }
            | Evidence::FreshCaller { .. }
            | Evidence::Unprecedented { .. }
            | Evidence::AllowanceDrain { .. }
            | Evidence::PriceManipulation { .. }
            | Evidence::Privilege { .. }
            | Evidence::Ordinary { .. }
            | Evidence::Sign(_)
            | Evidence::Rule { .. } => {}
        }
        grounds
    }

    fn execution(&self, finding: &Finding) -> Option<&Execution> {
        self.executions.iter().find(|execution| execution.tx.hash == finding.tx.hash)
    }

    fn function(&self, selector: Option<Selector>) -> String {
        self.interfaces.function_name(selector)
    }
}

/// The first pair of calls of `contract` of which the second began while the first was open.
fn reentry(
    execution: &Execution,
    contract: Address,
    (outer, inner): (Option<Selector>, Option<Selector>),
) -> Option<(&Frame, &Frame)> {
    let called = |frame: &Frame, selector: Option<Selector>| {
        frame.address == contract && frame.code_address == contract && frame.selector() == selector
    };
    let above = |frame: &&Frame| frame.parent.and_then(|parent| execution.frame(parent));
    execution.frames.iter().filter(|frame| called(frame, inner)).find_map(|second| {
        let first = std::iter::successors(above(&second), above).find(|frame| called(frame, outer))?;
        Some((first, second))
    })
}

/// The largest transfer of the underlying to the vault that the vault did not pull itself. A deposit is pulled: the vault
/// calls the token. In a donation somebody else does.
fn donation<'a>(execution: &'a Execution, evidence: &Evidence) -> Option<&'a Transfer> {
    let Evidence::RateJump { contract, underlying, .. } = evidence else {
        return None;
    };
    let pushed = |transfer: &&Transfer| {
        let incoming =
            transfer.to == *contract && transfer.asset == *underlying && !transfer.amount_raw.is_zero();
        incoming && mover(execution, transfer) != Some(*contract)
    };
    execution.transfers.iter().filter(pushed).max_by_key(|transfer| transfer.amount_raw)
}

/// The account that called the token to make it move: above delegate calls of the token, if it is a proxy.
fn mover(execution: &Execution, transfer: &Transfer) -> Option<Address> {
    let mut frame = execution.frame(transfer.frame)?;
    let Asset::Token(token) = transfer.asset else {
        return Some(frame.caller);
    };
    while frame.caller == token {
        frame = execution.frame(frame.parent?)?;
    }
    Some(frame.caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{ATTACKER, DRAINER, TxBuilder, USD, VAULT, call, labels};
    use alloy_primitives::{Bytes, U256};
    use cordon_model::execution::FrameKind;
    use cordon_model::finding::Score;
    use cordon_model::units::{Bps, ProtocolId};

    /// A donation, then a borrow that is re-entered.
    fn attack() -> Execution {
        let mut tx = TxBuilder::new(1, ATTACKER, DRAINER, Bytes::new());
        // A deposit: the vault pulls. It is larger than the donation and none itself.
        tx.enter(FrameKind::Call, DRAINER, VAULT, call("deposit(uint256,address)", &[]));
        tx.enter(FrameKind::Call, VAULT, USD, call("transferFrom(address,address,uint256)", &[]));
        tx.transfer(Asset::Token(USD), DRAINER, VAULT, 9_000_000);
        tx.leave(Bytes::new());
        tx.leave(Bytes::new());
        tx.token_transfer(USD, DRAINER, VAULT, 5_000_000);
        tx.enter(FrameKind::Call, DRAINER, VAULT, call("flashLoan(address,address,uint256,bytes)", &[]));
        tx.enter(FrameKind::Call, VAULT, DRAINER, Bytes::new());
        tx.enter(FrameKind::Call, DRAINER, VAULT, call("withdraw(uint256)", &[]));
        tx.build()
    }

    fn finding(execution: &Execution, class: AttackClass, score: u16, evidence: Evidence) -> Finding {
        Finding {
            id: Finding::derive_id("test", execution.tx.chain_id, VAULT, &execution.tx),
            detector: format!("{class} detector"),
            class,
            protocol: ProtocolId("lending".to_owned()),
            contract: VAULT,
            tx: execution.tx,
            score: Score(score),
            evidence,
            suspects: vec![ATTACKER],
        }
    }

    fn selector(signature: &str) -> Option<Selector> {
        Selector::try_from(&call(signature, &[])[..]).ok()
    }

    #[test]
    fn mechanism_and_effect_make_one_sentence() {
        let execution = attack();
        let reentry = Evidence::Reentry {
            contract: VAULT,
            outer: selector("flashLoan(address,address,uint256,bytes)"),
            inner: selector("withdraw(uint256)"),
            via: DRAINER,
            slots: vec![U256::from(1)],
            kind: None,
        };
        let jump = Evidence::RateJump {
            contract: VAULT,
            underlying: Asset::Token(USD),
            before_raw: U256::from(1),
            extreme_raw: U256::from(2),
            jump_bps: Bps(10_000),
        };
        let findings = [
            finding(&execution, AttackClass::RateManipulation, 950, jump),
            finding(&execution, AttackClass::Reentrancy, 900, reentry),
        ];
        let cause = root_cause(&findings, &[execution], &Interfaces::standard(), &labels());
        assert_eq!(cause.classes, [AttackClass::RateManipulation, AttackClass::Reentrancy]);
        assert_eq!(
            cause.summary,
            format!(
                "Vault let {DRAINER} enter withdraw while flashLoan was unfinished, so that the inner call worked on state \
                 that the outer one had not settled; the rate of Vault was moved by 100.00 % within one transaction, by 5 \
                 USD sent to it directly."
            )
        );
        assert_eq!(cause.grounds.len(), 4);
        assert!(
            cause.grounds[0].contains("detector rate manipulation detector (score 0.950): the rate of Vault")
        );
        assert!(cause.grounds[1].contains("5 USD reached Vault"), "{}", cause.grounds[1]);
        assert!(
            cause.grounds[3].contains("call 4 (flashLoan) was still open when call 6 (withdraw)"),
            "{}",
            cause.grounds[3]
        );
    }

    /// A rule explains itself, after whatever shows the mechanism.
    #[test]
    fn a_rule_speaks_in_the_words_of_who_wrote_it() {
        let execution = attack();
        let evidence = Evidence::Rule {
            rule: "upgraded".to_owned(),
            title: "The code changed".to_owned(),
            explanation: "the proxy runs another contract from now on".to_owned(),
        };
        let findings = [finding(&execution, AttackClass::UserRule, 900, evidence)];
        let cause = root_cause(&findings, &[execution], &Interfaces::standard(), &labels());
        assert_eq!(cause.classes, [AttackClass::UserRule]);
        assert_eq!(cause.summary, "rule upgraded holds: the proxy runs another contract from now on.");
    }

    #[test]
    fn no_cause_is_invented() {
        let cause = root_cause(&[], &[attack()], &Interfaces::standard(), &labels());
        assert_eq!(cause.summary, "No finding stands, so no cause can be named.");
        assert!(cause.classes.is_empty() && cause.grounds.is_empty());
    }
}
