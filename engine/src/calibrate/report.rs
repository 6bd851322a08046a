//! What a calibration came to, for people and for the file.
//!
//! In: a protocol's history and the budgets. Out: what each threshold would have done, and which one each budget allows. Must
//! never: show a rate without the time that it was seen in.

use super::file::{Held, Provenance, ThresholdEntry};
use super::streams::Past;
use crate::bench::Decimal;
use crate::config::Config;
use crate::render::plain;
use cordon_detect::calibrate::{Budget, Choice, Level, Range, Stream, choose, episodes_max_milli, levels};
use cordon_model::finding::Score;
use cordon_model::units::ProtocolId;
use serde::Serialize;

/// Most thresholds of a protocol that are shown, the highest ones.
const LEVELS_SHOWN: usize = 24;

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// All protocols of a configuration.
#[derive(Debug, Clone, Serialize)]
pub struct CalibrationReport {
    /// In the order of the configuration.
    pub protocols: Vec<ProtocolRow>,
}

/// One protocol.
#[derive(Debug, Clone, Serialize)]
pub struct ProtocolRow {
    /// What goes into the file.
    #[serde(flatten)]
    pub entry: ThresholdEntry,
    /// What each threshold would have done, the lowest first.
    pub levels: Vec<LevelRow>,
}

/// What one threshold would have done.
#[derive(Debug, Clone, Serialize)]
pub struct LevelRow {
    /// The threshold, in per mille.
    pub threshold: u16,
    /// Ordinary transactions that reach it.
    pub transactions: u64,
    /// Episodes that they make.
    pub episodes: u64,
    /// How many a week are to be expected at most, with 95 % confidence; `None` where no time has passed.
    pub per_week_max: Option<Decimal>,
}

impl LevelRow {
    fn new(level: &Level, stream: &Stream) -> Self {
        let Level { threshold, transactions, episodes } = *level;
        let week: Budget = Budget { at_most: 1, per: cordon_detect::calibrate::Period::Week };
        Self {
            threshold: threshold.0,
            transactions,
            episodes,
            per_week_max: rate_max(episodes, stream, week),
        }
    }
}

/// The upper bound of a rate, in the period of a budget.
fn rate_max(episodes: u64, stream: &Stream, budget: Budget) -> Option<Decimal> {
    let scaled = u128::from(episodes_max_milli(episodes)).saturating_mul(u128::from(budget.per.length_s()));
    let milli = scaled.checked_div(u128::from(stream.length_s()))?;
    Some(Decimal::thousandths(u64::try_from(milli).unwrap_or(u64::MAX)))
}

impl ProtocolRow {
    pub(super) fn new(config: &Config, protocol: &ProtocolId, past: Option<&Past>) -> Self {
        let nothing = Stream::default();
        let stream = past.map_or(&nothing, |past| &past.stream);
        let (page, act) = (config.calibration.page, config.calibration.act);
        let (floor, default) = (Score(config.policy.joint_alarm_score), Score(config.policy.alarm_score));
        let range = Range { floor, default };
        let paged = choose(stream, page, range);
        // A lever that acts where nobody is woken would act behind people's backs.
        let acted = choose(stream, act, range);
        let act_score = acted.level().threshold.max(paged.level().threshold);
        let provenance = Provenance {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            detectors: super::fingerprint(&config.detectors),
            from_s: stream.from_s,
            to_s: stream.to_s,
            transactions: stream.transactions,
            with_findings: u64::try_from(stream.weights.len()).unwrap_or(u64::MAX),
            attacks_left_out: past.map_or(0, |past| past.attacks),
            undecided_counted: past.map_or(0, |past| past.undecided),
            page: held(&paged, page, stream),
            act: held(&acted, act, stream),
        };
        let rows: Vec<LevelRow> = levels(stream).iter().map(|level| LevelRow::new(level, stream)).collect();
        let hidden = rows.len().saturating_sub(LEVELS_SHOWN);
        Self {
            entry: ThresholdEntry {
                chain: config.chain.id.0,
                id: protocol.0.clone(),
                page_score: paged.level().threshold.0,
                act_score: act_score.0,
                provenance,
            },
            levels: rows.into_iter().skip(hidden).collect(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let ThresholdEntry { chain, id, provenance: from, page_score, act_score } = &self.entry;
        let days = Decimal::thousandths(from.to_s.saturating_sub(from.from_s).saturating_mul(1_000) / DAY_S);
        let mut lines = vec![format!(
            "protocol {} on chain {chain}: {days} days, {} transactions, {} of them with findings; {} attacks left out, {} \
             undecided counted as false alarms",
            plain(id),
            from.transactions,
            from.with_findings,
            from.attacks_left_out,
            from.undecided_counted
        )];
        lines.extend(self.levels.iter().map(|row| {
            let rate = row
                .per_week_max
                .map_or_else(|| "no time".to_owned(), |rate| format!("at most {rate} a week"));
            let threshold = Score(row.threshold);
            format!("  from {threshold} on: {} alarms in {} episodes, {rate}", row.transactions, row.episodes)
        }));
        for (what, score, held) in [("page", page_score, &from.page), ("act", act_score, &from.act)] {
            lines.push(format!("  {what} from {} on: {}", Score(*score), held.line()));
        }
        lines
    }
}

fn held(choice: &Choice, budget: Budget, stream: &Stream) -> Held {
    let level = choice.level();
    let needs_days = match choice {
        Choice::Shown(_) | Choice::Exceeded(_) => None,
        Choice::TooShort { needs_s, .. } => Some(needs_s.div_ceil(DAY_S)),
    };
    Held {
        budget: budget.to_string(),
        is_shown: matches!(choice, Choice::Shown(_)),
        is_exceeded: matches!(choice, Choice::Exceeded(_)),
        episodes: level.episodes,
        rate_max: rate_max(level.episodes, stream, budget).map(|rate| rate.to_string()),
        needs_days,
    }
}

impl Held {
    fn line(&self) -> String {
        let rate = self.rate_max.as_deref().unwrap_or("no bound");
        let (budget, episodes) = (&self.budget, self.episodes);
        match self.needs_days {
            _ if self.is_exceeded => {
                format!(
                    "'{budget}' is exceeded even there: {episodes} episodes; detectors or the budget must change"
                )
            }
            Some(days) => format!(
                "'{budget}' is not shown, {episodes} episodes were seen; a history of {days} days without a false alarm would show it"
            ),
            None => {
                format!(
                    "'{budget}' is kept: {episodes} episodes, at most {rate} per period with 95 % confidence"
                )
            }
        }
    }
}

impl CalibrationReport {
    /// The report for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.protocols.iter().flat_map(ProtocolRow::lines).collect()
    }
}
