//! The final books: every unit of the asset is somewhere, and everybody's line adds up.
//!
//! In: [`Books`], the holdings before and after with losses, payments and each account's own dealings. Out: a [`Sheet`]
//! with totals, or the [`Imbalance`] that was found. Sums are taken in 512 bits, so that no pair of errors can cancel
//! out by wrapping. Must never: tolerate a difference, not even of one unit.

use alloy_primitives::{Address, I256, U256, U512};
use cordon_model::units::Asset;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Everything that is known of one asset's holders at the end of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Asset in which all amounts are counted.
    pub asset: Asset,
    /// Total supply at the snapshot before the loss, raw.
    pub supply_before_raw: U256,
    /// Total supply at the end, raw.
    pub supply_after_raw: U256,
    /// Users of the protocol.
    pub accounts: Vec<AccountLine>,
    /// Everybody else who holds the asset: treasury, attacker, contracts.
    pub holders: Vec<HolderLine>,
}

/// One user: what it had, lost, was paid, did itself, and has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLine {
    /// Account.
    pub account: Address,
    /// Held at the snapshot, raw.
    pub before_raw: U256,
    /// Lost, raw.
    pub loss_raw: U256,
    /// Paid back, raw.
    pub paid_raw: U256,
    /// Net change by its own transactions between snapshot and end, raw, as the chain shows them.
    pub own_dealings_raw: I256,
    /// Holds at the end, raw.
    pub after_raw: U256,
}

/// One holder that is neither harmed nor paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderLine {
    /// Account.
    pub account: Address,
    /// Name for people.
    pub name: String,
    /// Held at the snapshot, raw.
    pub before_raw: U256,
    /// Holds at the end, raw.
    pub after_raw: U256,
}

/// Books that add up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sheet {
    /// Asset.
    pub asset: Asset,
    /// One line per user and holder, users first.
    pub lines: Vec<SheetLine>,
    /// Total supply at the snapshot, raw; the sum of all `before_raw`.
    pub supply_before_raw: U256,
    /// Total supply at the end, raw; the sum of all `after_raw`.
    pub supply_after_raw: U256,
    /// Sum of all losses, raw.
    pub loss_raw: U256,
    /// Sum of all payments, raw.
    pub paid_raw: U256,
    /// What users lost and were not paid, raw.
    pub unpaid_raw: U256,
}

/// One line of the sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetLine {
    /// Account.
    pub account: Address,
    /// Name, for holders.
    pub name: Option<String>,
    /// Held at the snapshot, raw.
    pub before_raw: U256,
    /// Lost, raw; zero for holders.
    pub loss_raw: U256,
    /// Paid back, raw; zero for holders.
    pub paid_raw: U256,
    /// Holds at the end, raw.
    pub after_raw: U256,
}

/// The first thing in the books that does not add up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Imbalance {
    /// An account is counted twice.
    #[error("account {account} appears twice in the books, expected each account once")]
    Duplicate {
        /// The account.
        account: Address,
    },
    /// An account was paid more than it lost.
    #[error("account {account} was paid {paid_raw} and lost {loss_raw}, expected no payment beyond the loss")]
    Overpaid {
        /// The account.
        account: Address,
        /// Paid, raw.
        paid_raw: U256,
        /// Lost, raw.
        loss_raw: U256,
    },
    /// An account's own line does not add up.
    #[error(
        "account {account} holds {found_raw}, expected {expected} (before, less loss, plus payment and own dealings)"
    )]
    Account {
        /// The account.
        account: Address,
        /// What it holds, raw.
        found_raw: U256,
        /// What its line adds up to, raw; with a minus sign where it is below zero.
        expected: String,
    },
    /// All lines together are not the total supply.
    #[error("holdings {when} add up to {sum}, expected the total supply of {supply_raw}")]
    Supply {
        /// `before` or `after`.
        when: &'static str,
        /// Sum of the holdings, raw.
        sum: U512,
        /// Total supply, raw.
        supply_raw: U256,
    },
    /// A sum that is reported does not fit the number type.
    #[error("the sum of all {what} exceeds 256 bits")]
    Overflow {
        /// What was summed.
        what: &'static str,
    },
}

/// Checks the books to the last unit.
///
/// # Errors
/// The first [`Imbalance`]: a duplicate, an overpayment, an account's line, or the total supply.
pub fn balance_sheet(books: &Books) -> Result<Sheet, Imbalance> {
    let mut seen = BTreeSet::new();
    let accounts = books.accounts.iter().map(|line| line.account);
    for account in accounts.chain(books.holders.iter().map(|line| line.account)) {
        if !seen.insert(account) {
            return Err(Imbalance::Duplicate { account });
        }
    }
    for line in &books.accounts {
        check_line(line)?;
    }
    let lines: Vec<SheetLine> =
        books.accounts.iter().map(user_line).chain(books.holders.iter().map(holder_line)).collect();
    check_supply("before", books.supply_before_raw, lines.iter().map(|line| line.before_raw))?;
    check_supply("after", books.supply_after_raw, lines.iter().map(|line| line.after_raw))?;

    let total = |what, amounts: &dyn Fn(&SheetLine) -> U256| {
        let sum = lines.iter().try_fold(U256::ZERO, |sum, line| sum.checked_add(amounts(line)));
        sum.ok_or(Imbalance::Overflow { what })
    };
    let loss_raw = total("losses", &|line| line.loss_raw)?;
    let paid_raw = total("payments", &|line| line.paid_raw)?;
    Ok(Sheet {
        asset: books.asset,
        supply_before_raw: books.supply_before_raw,
        supply_after_raw: books.supply_after_raw,
        loss_raw,
        paid_raw,
        unpaid_raw: loss_raw.saturating_sub(paid_raw),
        lines,
    })
}

fn check_line(line: &AccountLine) -> Result<(), Imbalance> {
    let (account, paid_raw, loss_raw) = (line.account, line.paid_raw, line.loss_raw);
    if paid_raw > loss_raw {
        return Err(Imbalance::Overpaid { account, paid_raw, loss_raw });
    }
    let own_raw = line.own_dealings_raw.unsigned_abs();
    let (gained, spent) =
        if line.own_dealings_raw.is_negative() { (U256::ZERO, own_raw) } else { (own_raw, U256::ZERO) };
    let income = sum([line.before_raw, paid_raw, gained]);
    let outgo = sum([loss_raw, spent]);
    if income == outgo.saturating_add(U512::from(line.after_raw)) {
        return Ok(());
    }
    let expected = match income.checked_sub(outgo) {
        Some(left) => left.to_string(),
        None => format!("-{}", outgo.saturating_sub(income)),
    };
    Err(Imbalance::Account { account, found_raw: line.after_raw, expected })
}

fn check_supply(
    when: &'static str,
    supply_raw: U256,
    amounts: impl IntoIterator<Item = U256>,
) -> Result<(), Imbalance> {
    let sum = sum(amounts);
    if sum == U512::from(supply_raw) { Ok(()) } else { Err(Imbalance::Supply { when, sum, supply_raw }) }
}

/// Exact: 2^256 addends of 256 bits would be needed to reach the bound of 512 bits.
fn sum(amounts: impl IntoIterator<Item = U256>) -> U512 {
    amounts.into_iter().fold(U512::ZERO, |sum, amount| sum.saturating_add(U512::from(amount)))
}

fn user_line(line: &AccountLine) -> SheetLine {
    SheetLine {
        account: line.account,
        name: None,
        before_raw: line.before_raw,
        loss_raw: line.loss_raw,
        paid_raw: line.paid_raw,
        after_raw: line.after_raw,
    }
}

fn holder_line(line: &HolderLine) -> SheetLine {
    SheetLine {
        account: line.account,
        name: Some(line.name.clone()),
        before_raw: line.before_raw,
        loss_raw: U256::ZERO,
        paid_raw: U256::ZERO,
        after_raw: line.after_raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(byte: u8, before: u64, loss: u64, paid: u64, after: u64) -> AccountLine {
        AccountLine {
            account: Address::repeat_byte(byte),
            before_raw: U256::from(before),
            loss_raw: U256::from(loss),
            paid_raw: U256::from(paid),
            own_dealings_raw: I256::ZERO,
            after_raw: U256::from(after),
        }
    }

    fn holder(byte: u8, name: &str, before: u64, after: u64) -> HolderLine {
        let (before_raw, after_raw) = (U256::from(before), U256::from(after));
        HolderLine { account: Address::repeat_byte(byte), name: name.to_owned(), before_raw, after_raw }
    }

    /// Two users lose 60 to the attacker; the treasury pays 45 of it back.
    fn books() -> Books {
        Books {
            asset: Asset::Native,
            supply_before_raw: U256::from(1000),
            supply_after_raw: U256::from(1000),
            accounts: vec![account(1, 100, 40, 30, 90), account(2, 50, 20, 15, 45)],
            holders: vec![holder(8, "treasury", 850, 805), holder(9, "attacker", 0, 60)],
        }
    }

    #[test]
    fn books_that_add_up_give_a_sheet() {
        let sheet = balance_sheet(&books()).unwrap();
        assert_eq!((sheet.loss_raw, sheet.paid_raw), (U256::from(60), U256::from(45)));
        assert_eq!(sheet.unpaid_raw, U256::from(15));
        assert_eq!(sheet.lines.len(), 4);
        assert_eq!(sheet.lines[3].name.as_deref(), Some("attacker"));
    }

    #[test]
    fn own_dealings_are_part_of_an_accounts_line() {
        let mut books = books();
        // The first user buys ten from the treasury, the second sells five to it.
        books.accounts[0].own_dealings_raw = I256::try_from(10).unwrap();
        books.accounts[0].after_raw = U256::from(100);
        books.accounts[1].own_dealings_raw = I256::try_from(-5).unwrap();
        books.accounts[1].after_raw = U256::from(40);
        books.holders[0].after_raw = U256::from(800);
        assert!(balance_sheet(&books).is_ok());
    }

    #[test]
    fn one_unit_too_few_is_found() {
        let mut books = books();
        books.accounts[1].after_raw = U256::from(44);
        let error = balance_sheet(&books).unwrap_err().to_string();
        assert!(error.contains("holds 44, expected 45"), "{error}");

        books.accounts[1].after_raw = U256::from(45);
        books.holders[1].after_raw = U256::from(59);
        let error = balance_sheet(&books).unwrap_err().to_string();
        assert_eq!(error, "holdings after add up to 999, expected the total supply of 1000");
    }

    #[test]
    fn duplicates_and_overpayments_are_found() {
        let mut twice = books();
        twice.holders.push(holder(1, "again", 0, 0));
        assert!(matches!(balance_sheet(&twice), Err(Imbalance::Duplicate { .. })));

        let mut rich = books();
        rich.accounts[0] = account(1, 100, 40, 41, 101);
        assert!(matches!(balance_sheet(&rich), Err(Imbalance::Overpaid { .. })));
    }

    #[test]
    fn huge_amounts_do_not_wrap_into_balance() {
        let mut books = books();
        books.holders.push(HolderLine {
            account: Address::repeat_byte(7),
            name: "counterfeit".to_owned(),
            before_raw: U256::ZERO,
            after_raw: U256::MAX,
        });
        books.holders.push(holder(6, "one more", 0, 1));
        assert!(matches!(balance_sheet(&books), Err(Imbalance::Supply { when: "after", .. })));
    }

    #[test]
    fn a_line_below_zero_is_shown_with_its_sign() {
        let mut books = books();
        books.accounts[0] = account(1, 10, 40, 0, 0);
        let error = balance_sheet(&books).unwrap_err().to_string();
        assert!(error.contains("expected -30"), "{error}");
    }
}
