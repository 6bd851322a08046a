//! A protocol's whole history, judged as it happened.
//!
//! In: a [`History`]. Out: one [`Judged`] for each transaction up to the exploit, in the order of the chain, each by what was
//! learned from those before it. Must never: look ahead, or learn from the exploit. All contracts whose calls the history
//! holds count as the protocol. It holds no callers and no logs, so that only those detectors judge it that compare with
//! what was before.
//!
//! An alarm on an ordinary transaction is answered as people would: they call it ordinary before the next one comes, and it
//! is learned.

use super::judge::{Judged, RecordKind, Unjudged, Verdict, chain_of};
use alloy_primitives::{Address, B256};
use cordon_decide::Policy;
use cordon_detect::DetectorSet;
use cordon_ingest::History;
use cordon_model::baseline::Baseline;
use cordon_model::execution::Execution;
use cordon_model::protocol::{ProtectedContract, Protocol};
use cordon_model::units::{ChainId, ProtocolId};
use cordon_replay::read_history_block;
use std::collections::BTreeSet;

/// Histories do not tell the time. This is Ethereum's block time, since all that are known are of Ethereum; over hours it is right within a
/// tenth before the merge as well.
const BLOCK_TIME_S: u64 = 12;

/// Judges a history. Where it is named as one with an attack and there are no labels at all, the attack is the last
/// transaction: such histories end with it.
pub(super) fn judge(
    history: &History,
    is_attack: bool,
    (detectors, policy): (&DetectorSet, &Policy),
) -> Verdict {
    let executions = match executions(history) {
        Ok(executions) => executions,
        Err(reason) => return Verdict::from(Unjudged::File(reason)),
    };
    let exploits = exploits(history, &executions, is_attack);
    let protocol = protocol(&executions);
    let mut baseline = Baseline::default();
    let mut transactions = Vec::with_capacity(executions.len());
    let mut after = 0usize;
    for execution in &executions {
        let is_exploit = exploits.contains(&execution.tx.hash);
        let is_over = transactions.last().is_some_and(|judged: &Judged| judged.is_attack);
        if is_over && !is_exploit {
            after = after.saturating_add(1);
            continue;
        }
        let compared = detectors.compare_for(&protocol, execution, &baseline);
        compared.pass_into(&mut baseline, execution, is_exploit);
        transactions.push(Judged::new(execution, is_exploit, compared.findings, policy));
    }
    let reason = || Unjudged::File(format!("{after} transactions after the exploit are not counted"));
    // Named as ordinary use, a history still holds its exploit, which is not.
    transactions.retain(|judged| is_attack || !judged.is_attack);
    let unjudged = (after > 0).then(reason);
    Verdict { kind: Some(RecordKind::History), transactions, unjudged, stream: None }
}

fn executions(history: &History) -> Result<Vec<Execution>, String> {
    let mut executions = Vec::new();
    for (number, text) in &history.blocks {
        let block = read_history_block(text, *number);
        let block = block.map_err(|error| format!("block {number}: {}", chain_of(&error)))?;
        let timestamp_s = number.saturating_mul(BLOCK_TIME_S);
        executions.extend(block.into_iter().map(|execution| Execution { timestamp_s, ..execution }));
    }
    Ok(executions)
}

fn exploits(history: &History, executions: &[Execution], is_attack: bool) -> BTreeSet<B256> {
    match &history.exploits {
        Some(labels) => labels.clone(),
        None if is_attack => executions.last().map(|last| last.tx.hash).into_iter().collect(),
        None => BTreeSet::new(),
    }
}

fn protocol(executions: &[Execution]) -> Protocol {
    let frames = executions.iter().flat_map(|execution| &execution.frames);
    let contracts: BTreeSet<Address> = frames.map(|frame| frame.address).collect();
    let contract = |address: Address| ProtectedContract { address, name: address.to_string() };
    Protocol {
        id: ProtocolId("history".to_owned()),
        chain_id: ChainId(0),
        contracts: contracts.into_iter().map(contract).collect(),
        factories: Vec::new(),
        assets: Vec::new(),
        account_views: Vec::new(),
        capabilities: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_detect::DetectorConfig;

    const POOL: &str = "0x0000000000000000000000000000000000009001";
    const ALICE: &str = "0x00000000000000000000000000000000000a11ce";

    fn detectors() -> DetectorSet {
        DetectorSet::from_configs(&DetectorConfig::all(), Vec::new()).unwrap()
    }

    fn hash(number: u64) -> B256 {
        B256::left_padding_from(&number.to_be_bytes())
    }

    /// A block in which somebody calls one function so many times, and takes so much with each call.
    fn block(number: u64, function: u8, times: u64, amount: u64) -> (u64, String) {
        let call = |at: u64| {
            let (start, end) = (at * 10, at * 10 + 9);
            format!(
                r#"["{POOL}","0xaaaa00{function:02x}","complete",{start},{end},"call",{{"{POOL}":[["sstore","0x1","0x2",1,{start}]]}}]"#
            )
        };
        let calls: Vec<String> = (0..times).map(call).collect();
        let moved: Vec<String> =
            (0..times).map(|_| format!(r#"["ether","{POOL}","{ALICE}",{amount}]"#)).collect();
        let (tx, calls, moved) = (hash(number), calls.join(","), moved.join(","));
        (number, format!(r#"{{"{tx}":[[{calls}],[{moved}]]}}"#))
    }

    /// Fifty plain withdrawals, then one that is none, then two more.
    fn history(labelled: bool) -> History {
        let mut blocks: Vec<_> = (1..=50).map(|number| block(number, 1, 1, 100 + number % 7)).collect();
        blocks.push(block(51, 1, 40, 90));
        blocks.extend([block(52, 1, 1, 100), block(53, 1, 1, 100)]);
        History { blocks, exploits: labelled.then(|| BTreeSet::from([hash(51)])) }
    }

    fn outcome(history: &History, is_attack: bool) -> (Vec<B256>, Vec<B256>, usize) {
        let verdict = judge(history, is_attack, (&detectors(), &Policy::default()));
        let hashes = |is_attack| {
            let of =
                verdict.transactions.iter().filter(|judged| judged.is_alarm && judged.is_attack == is_attack);
            of.map(|judged| judged.tx).collect()
        };
        (hashes(true), hashes(false), verdict.transactions.len())
    }

    #[test]
    fn the_exploit_is_told_from_what_came_before_it() {
        assert_eq!(outcome(&history(true), true), (vec![hash(51)], vec![], 51));
        let left_out = judge(&history(true), true, (&detectors(), &Policy::default())).unjudged.unwrap();
        assert_eq!(left_out, Unjudged::File("2 transactions after the exploit are not counted".to_owned()));
    }

    #[test]
    fn without_a_label_the_last_transaction_is_the_exploit_where_one_is_said_to_be_there() {
        let mut history = history(false);
        assert_eq!(outcome(&history, true), (vec![], vec![hash(51)], 53));
        history.blocks.truncate(51);
        assert_eq!(outcome(&history, true), (vec![hash(51)], vec![], 51));
        assert_eq!(outcome(&history, false), (vec![], vec![hash(51)], 51));
    }

    #[test]
    fn named_as_ordinary_use_a_history_does_not_count_its_exploit() {
        assert_eq!(outcome(&history(true), false), (vec![], vec![], 50));
        let none = History { exploits: Some(BTreeSet::new()), ..history(true) };
        assert_eq!(outcome(&none, true).2, 53, "an index that names no exploit of it means that it has none");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_block() {
        let broken = History { blocks: vec![(7, "{".to_owned())], exploits: None };
        let Some(Unjudged::File(why)) = judge(&broken, true, (&detectors(), &Policy::default())).unjudged
        else {
            panic!("it is broken")
        };
        assert!(why.starts_with("block 7: history of a protocol"), "{why}");
    }
}
