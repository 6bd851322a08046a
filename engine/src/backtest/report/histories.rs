//! One history after the other, and how alarms change as a history goes on.
//!
//! In: the judged transactions of each stream that has an order: a protocol's history, the blocks of one chain. Out: a
//! [`HistoryRow`] for each history, an [`OverTimeRow`] for each stream. Must never: put transactions in an order that is not the
//! chain's.

use crate::backtest::judge::{Judged, RecordKind};
use crate::backtest::tally::Share;
use cordon_detect::calibrate::EPISODE_GAP_BLOCKS;
use serde::Serialize;
use std::collections::BTreeMap;

/// The first part of a history, in percent of its ordinary transactions, in which nothing is known yet of what is ordinary. It is
/// the part that the published measurements over these histories leave out, see the note beside the table.
pub(super) const WARM_UP_PERCENT: u64 = 30;

/// Parts into which a stream is cut to see how alarms change. The shortest history at hand has 17 ordinary transactions.
const SLICES: u64 = 10;

/// How one history went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// Its name.
    pub history: String,
    /// What it is.
    pub kind: RecordKind,
    /// Transactions judged, the attack's as well.
    pub transactions: u64,
    /// Those that are the attack.
    pub attack_transactions: u64,
    /// Whether one of them raised an alarm; `None` where there is no attack.
    pub detected: Option<bool>,
    /// Alarms on ordinary transactions, per 100,000.
    pub false_alarms: Share,
    /// The same without the first 30 % of the ordinary transactions.
    pub false_alarms_after_warm_up: Share,
    /// Alarms on ordinary transactions, those taken together that have at most 50 blocks between them.
    pub episodes: u64,
    /// Blocks from the first alarm of the attack to its last transaction; `None` where there are not several, or no alarm.
    pub lead_blocks: Option<u64>,
}

/// How often ordinary transactions of one stream raised an alarm, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverTimeRow {
    /// A protocol's history, or a chain.
    pub stream: String,
    /// What it is. Recorded blocks of a chain stand in order and far apart.
    pub kind: RecordKind,
    /// Its tenths, each of as many transactions; fewer where it has fewer transactions.
    pub slices: Vec<Slice>,
}

/// A part of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slice {
    /// Which tenth, from 1.
    pub tenth: u64,
    /// Block of its first transaction.
    pub first_block: u64,
    /// Block of its last one.
    pub last_block: u64,
    /// Alarms per 100,000 transactions.
    pub alarms: Share,
}

/// What counts of one transaction here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    block: u64,
    is_attack: bool,
    is_alarm: bool,
}

impl Mark {
    /// `None` where the block is not known.
    pub(super) fn of(judged: &Judged) -> Option<Self> {
        let Judged { is_attack, is_alarm, .. } = *judged;
        Some(Self { block: judged.block?, is_attack, is_alarm })
    }
}

/// Transactions of each stream.
#[derive(Debug, Default)]
pub(super) struct Streams(BTreeMap<(RecordKind, String), Vec<Mark>>);

impl Streams {
    /// Adds those of one recording, which are in order.
    pub(super) fn add(&mut self, kind: RecordKind, stream: String, marks: Vec<Mark>) {
        let known = self.0.entry((kind, stream)).or_default();
        known.extend(marks);
        // Files come in the order of their names. Within a block the order stays.
        known.sort_by_key(|mark| mark.block);
    }
}

/// A row for each history.
pub(super) fn rows(streams: &Streams) -> Vec<HistoryRow> {
    let histories = streams.0.iter().filter(|((kind, _), _)| kind.is_history());
    histories.map(|((kind, name), marks)| HistoryRow::of(*kind, name, marks)).collect()
}

impl HistoryRow {
    fn of(kind: RecordKind, name: &str, marks: &[Mark]) -> Self {
        let (attack, ordinary): (Vec<Mark>, Vec<Mark>) = marks.iter().partition(|mark| mark.is_attack);
        let warm_up = count(&ordinary).saturating_mul(WARM_UP_PERCENT) / 100;
        let after = ordinary.get(usize::try_from(warm_up).unwrap_or(usize::MAX)..).unwrap_or_default();
        Self {
            history: name.to_owned(),
            kind,
            transactions: count(marks),
            attack_transactions: count(&attack),
            detected: (!attack.is_empty()).then(|| attack.iter().any(|mark| mark.is_alarm)),
            false_alarms: alarms(&ordinary),
            false_alarms_after_warm_up: alarms(after),
            episodes: episodes(&ordinary),
            lead_blocks: lead_blocks(&attack),
        }
    }

    /// The row for people.
    pub(super) fn line(&self) -> String {
        let attack = match (self.detected, self.attack_transactions) {
            (None, _) => "no attack".to_owned(),
            (Some(true), 1) => "attack detected".to_owned(),
            (Some(true), several) => {
                let lead = self.lead_blocks.unwrap_or(0);
                format!("attack of {several} transactions detected {lead} blocks before its last")
            }
            (Some(false), _) => "attack missed".to_owned(),
        };
        let (all, after) = (&self.false_alarms, &self.false_alarms_after_warm_up);
        format!(
            "  {} ({}): {attack}; {} alarms in {} ordinary transactions, {} in {} episodes, {} in {} after the first {WARM_UP_PERCENT} %",
            crate::render::plain(&self.history),
            self.kind,
            all.count,
            all.of,
            all.count,
            self.episodes,
            after.count,
            after.of
        )
    }
}

fn count(marks: &[Mark]) -> u64 {
    u64::try_from(marks.len()).unwrap_or(u64::MAX)
}

fn alarms(marks: &[Mark]) -> Share {
    let alarms = marks.iter().filter(|mark| mark.is_alarm).count();
    Share::per_100k(u64::try_from(alarms).unwrap_or(u64::MAX), count(marks))
}

fn episodes(marks: &[Mark]) -> u64 {
    let (mut episodes, mut last) = (0u64, None);
    for block in marks.iter().filter(|mark| mark.is_alarm).map(|mark| mark.block) {
        let is_new = last.is_none_or(|last| block.saturating_sub(last) > EPISODE_GAP_BLOCKS);
        episodes = episodes.saturating_add(u64::from(is_new));
        last = Some(block);
    }
    episodes
}

fn lead_blocks(attack: &[Mark]) -> Option<u64> {
    let [_, .., last] = attack else { return None };
    let first_alarm = attack.iter().find(|mark| mark.is_alarm)?;
    Some(last.block.saturating_sub(first_alarm.block))
}

/// Alarms on ordinary transactions by tenths of each stream.
pub(super) fn over_time(streams: &Streams) -> Vec<OverTimeRow> {
    let row = |((kind, name), marks): (&(RecordKind, String), &Vec<Mark>)| {
        let ordinary: Vec<Mark> = marks.iter().filter(|mark| !mark.is_attack).copied().collect();
        OverTimeRow { stream: name.clone(), kind: *kind, slices: slices(&ordinary) }
    };
    streams.0.iter().map(row).filter(|row| !row.slices.is_empty()).collect()
}

fn slices(marks: &[Mark]) -> Vec<Slice> {
    let all = count(marks);
    let border = |tenth: u64| usize::try_from(all.saturating_mul(tenth) / SLICES).unwrap_or(usize::MAX);
    let slice = |tenth: u64| {
        let part = marks.get(border(tenth.saturating_sub(1))..border(tenth))?;
        let (first_block, last_block) = (part.first()?.block, part.last()?.block);
        Some(Slice { tenth, first_block, last_block, alarms: alarms(part) })
    };
    (1..=SLICES).filter_map(slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(alarming: &[u64], blocks: std::ops::Range<u64>) -> Vec<Mark> {
        blocks.map(|block| Mark { block, is_attack: false, is_alarm: alarming.contains(&block) }).collect()
    }

    fn attack(block: u64, is_alarm: bool) -> Mark {
        Mark { block, is_attack: true, is_alarm }
    }

    #[test]
    fn alarms_after_the_warm_up_and_episodes_are_counted_apart() {
        let mut history = marks(&[1_000, 1_029, 1_080, 1_131], 1_000..1_200);
        history.truncate(200);
        let row = HistoryRow::of(RecordKind::History, "P", &history);
        assert_eq!((row.transactions, row.attack_transactions, row.detected), (200, 0, None));
        assert_eq!((row.false_alarms.count, row.false_alarms.of), (4, 200));
        // The first 60 of 200 are left out, and with them the alarms in the blocks 1,000 and 1,029.
        assert_eq!((row.false_alarms_after_warm_up.count, row.false_alarms_after_warm_up.of), (2, 140));
        // From 1,029 to 1,080 there are 51 blocks, from 1,080 to 1,131 as well.
        assert_eq!(row.episodes, 3);
        assert_eq!(HistoryRow::of(RecordKind::History, "P", &marks(&[5, 55], 1..60)).episodes, 1);
    }

    #[test]
    fn the_lead_is_from_the_first_alarm_of_an_attack_to_its_end() {
        let row = |attacks: &[Mark]| {
            let mut history = marks(&[], 1..10);
            history.extend(attacks);
            let row = HistoryRow::of(RecordKind::History, "P", &history);
            (row.detected, row.lead_blocks)
        };
        assert_eq!(row(&[attack(20, true)]), (Some(true), None));
        assert_eq!(row(&[attack(20, false)]), (Some(false), None));
        assert_eq!(row(&[attack(20, false), attack(47, true), attack(48, true)]), (Some(true), Some(1)));
        assert_eq!(row(&[attack(20, false), attack(48, false)]), (Some(false), None));
        let several = HistoryRow::of(RecordKind::History, "P", &[attack(20, true), attack(48, false)]);
        assert!(several.line().contains("attack of 2 transactions detected 28 blocks before its last"));
    }

    #[test]
    fn a_stream_is_cut_into_tenths_in_the_order_of_the_chain() {
        let mut streams = Streams::default();
        // As files come: 1000 before 900.
        streams.add(RecordKind::Block, "chain 1".to_owned(), marks(&[1_003], 1_000..1_005));
        streams.add(RecordKind::Block, "chain 1".to_owned(), marks(&[], 900..915));
        streams.add(RecordKind::History, "P".to_owned(), vec![attack(7, true)]);
        let rows = over_time(&streams);
        let [row] = rows.as_slice() else { panic!("an attack alone is no ordinary use: {rows:?}") };
        let slices: Vec<_> = row.slices.iter().map(|one| (one.tenth, one.first_block, one.alarms)).collect();
        assert_eq!(slices.len(), 10);
        assert_eq!(slices[0], (1, 900, Share::per_100k(0, 2)));
        assert_eq!(slices[8], (9, 1_001, Share::per_100k(0, 2)));
        assert_eq!(slices[9], (10, 1_003, Share::per_100k(1, 2)));
        assert_eq!(self::slices(&marks(&[], 0..3)).len(), 3, "three transactions make three slices");
    }
}
