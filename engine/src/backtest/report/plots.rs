//! The pictures of a report.
//!
//! In: a [`BacktestReport`]. Out: SVG that stands by itself. Must never: hold a word that comes from a chain or from a path.
//! Coordinates are read from the figures that the tables print, so that nothing is computed here.

use super::document::Plot;
use super::{BacktestReport, CurvePoint};
use crate::backtest::judge::RecordKind;
use crate::backtest::tally::Share;
use crate::bench::Decimal;
use crate::error::EngineError;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::fmt;

/// Size of a picture, in pixels.
const SIZE: (u32, u32) = (760, 420);

/// Least rate that the logarithmic axis shows, per 100,000; no alarm at all stands there. One transaction in the largest corpus
/// at hand (27,028) is 3.7.
const RATE_MIN: f64 = 1.0;

/// Where an axis of rates or counts ends: at the first of these that holds everything.
const ENDS: [u32; 11] = [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000, 10_000_000];

/// Where bars begin: below one, so that a single transaction shows.
const BARS_FROM: f64 = 0.5;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

fn undrawn(why: impl fmt::Display) -> EngineError {
    EngineError::Page { page: "a plot", why: why.to_string() }
}

/// A figure as it is printed.
fn figure(decimal: Decimal) -> f64 {
    decimal.to_string().parse().unwrap_or_default()
}

/// A count, or the largest that any axis here holds.
fn counted(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn end_of(greatest: f64) -> f64 {
    let end = ENDS.into_iter().map(f64::from).find(|end| *end >= greatest);
    end.unwrap_or(f64::from(u32::MAX))
}

/// Draws on a white ground, and gives the markup.
fn picture(draw: impl FnOnce(&Area<'_>) -> Result<(), EngineError>) -> Result<String, EngineError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(undrawn)?;
        draw(&area)?;
        area.present().map_err(undrawn)?;
    }
    Ok(svg)
}

fn chart<'a, 'b, X, Y>(
    area: &'a Area<'b>,
    (x, y): (X, Y),
) -> Result<Chart<'a, 'b, X::CoordDescType, Y::CoordDescType>, EngineError>
where
    X: AsRangedCoord,
    Y: AsRangedCoord,
{
    let mut builder = ChartBuilder::on(area);
    builder.margin(14).x_label_area_size(44).y_label_area_size(64);
    builder.build_cartesian_2d(x, y).map_err(undrawn)
}

/// A line through the points, and a dot at each.
fn line<'b, X, Y>(
    chart: &mut Chart<'_, 'b, X, Y>,
    points: Vec<(f64, f64)>,
    (colour, name): (RGBColor, String),
) -> Result<(), EngineError>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let dots = points.clone().into_iter().map(move |at| Circle::new(at, 3, colour.filled()));
    let series = chart.draw_series(LineSeries::new(points, colour)).map_err(undrawn)?;
    series.label(name).legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
    chart.draw_series(dots).map_err(undrawn)?;
    Ok(())
}

/// A point with the intervals of both its figures.
fn cross<'b, X, Y>(
    chart: &mut Chart<'_, 'b, X, Y>,
    (x, y): ([f64; 3], [f64; 3]),
    name: &str,
) -> Result<(), EngineError>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let ([x, x_low, x_high], [y, y_low, y_high]) = (x, y);
    let bars = [vec![(x_low, y), (x_high, y)], vec![(x, y_low), (x, y_high)]];
    let bars = bars.map(|bar| PathElement::new(bar, RED.stroke_width(2)));
    let series = chart.draw_series(bars).map_err(undrawn)?;
    series.label(name).legend(|(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], RED.filled()));
    chart.draw_series([Circle::new((x, y), 5, RED.filled())]).map_err(undrawn)?;
    Ok(())
}

fn names<'a, 'b: 'a, X, Y>(
    chart: &mut Chart<'a, 'b, X, Y>,
    at: SeriesLabelPosition,
) -> Result<(), EngineError>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    let mut labels = chart.configure_series_labels();
    labels.position(at).background_style(WHITE.mix(0.9)).border_style(BLACK.mix(0.3));
    labels.draw().map_err(undrawn)
}

/// Figure, and both ends of its interval.
fn interval(share: &Share, least: f64) -> [f64; 3] {
    [share.share, share.low, share.high].map(|decimal| figure(decimal).max(least))
}

fn in_force(report: &BacktestReport) -> Option<&CurvePoint> {
    report.curve.iter().find(|point| point.is_alarm_score)
}

/// Recall against false alarms, for every threshold.
pub(super) fn roc(report: &BacktestReport) -> Result<Plot, EngineError> {
    let at =
        |point: &CurvePoint| (figure(point.false_alarms.share).max(RATE_MIN), figure(point.detected.share));
    let points = report.curve.iter().map(at).collect();
    let svg = picture(|area| {
        let mut chart = chart(area, ((RATE_MIN..100_000.0).log_scale(), 0.0..1.0))?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT);
        mesh.x_desc("false alarms per 100,000 ordinary transactions (none stands at 1)").y_desc("recall");
        mesh.x_label_formatter(&|rate| format!("{rate:.0}")).draw().map_err(undrawn)?;
        line(&mut chart, points, (BLUE, "every threshold".to_owned()))?;
        if let Some(point) = in_force(report) {
            let at = (interval(&point.false_alarms, RATE_MIN), interval(&point.detected, 0.0));
            cross(&mut chart, at, "threshold in force, 95 % intervals")?;
        }
        names(&mut chart, SeriesLabelPosition::LowerRight)
    })?;
    let (attacks, ordinary) = (report.attacks, report.benign_transactions);
    let title = format!(
        "ROC: recall against false alarms per 100,000, for every threshold; {attacks} attacks, {ordinary} ordinary transactions"
    );
    Ok(Plot { title, svg })
}

/// Precision against recall, for every threshold.
pub(super) fn precision_recall(report: &BacktestReport) -> Result<Plot, EngineError> {
    let at = |point: &CurvePoint| (figure(point.detected.share), figure(point.precision.share));
    // Where nothing alarms there is no precision.
    let points = report.curve.iter().filter(|point| point.precision.of > 0).map(at).collect();
    let svg = picture(|area| {
        let mut chart = chart(area, (0.0..1.0, 0.0..1.0))?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT);
        mesh.x_desc("recall").y_desc("precision").draw().map_err(undrawn)?;
        line(&mut chart, points, (BLUE, "every threshold".to_owned()))?;
        if let Some(point) = in_force(report) {
            let at = (interval(&point.detected, 0.0), interval(&point.precision, 0.0));
            cross(&mut chart, at, "threshold in force, 95 % intervals")?;
        }
        names(&mut chart, SeriesLabelPosition::LowerLeft)
    })?;
    let (attacks, ordinary) = (report.attacks, report.benign_transactions);
    let ratio = ordinary.checked_div(attacks).map_or_else(String::new, |ratio| format!(", one to {ratio}"));
    let title = format!(
        "Precision against recall, for every threshold, at this corpus' ratio of {attacks} attacks to {ordinary} ordinary transactions{ratio}"
    );
    Ok(Plot { title, svg })
}

/// Alarms per 100,000 from the first tenth of the streams to the last, all streams of one kind together.
pub(super) fn over_time(report: &BacktestReport) -> Result<Plot, EngineError> {
    let mut kinds: BTreeMap<RecordKind, BTreeMap<u64, (u64, u64)>> = BTreeMap::new();
    for row in &report.over_time {
        for slice in &row.slices {
            let (alarms, of) = kinds.entry(row.kind).or_default().entry(slice.tenth).or_default();
            *alarms = alarms.saturating_add(slice.alarms.count);
            *of = of.saturating_add(slice.alarms.of);
        }
    }
    let rate = |(tenth, (alarms, of)): (u64, (u64, u64))| {
        (counted(tenth), figure(Share::per_100k(alarms, of).share))
    };
    let lines: Vec<(RecordKind, Vec<(f64, f64)>)> =
        kinds.into_iter().map(|(kind, tenths)| (kind, tenths.into_iter().map(rate).collect())).collect();
    let greatest = lines.iter().flat_map(|(_, points)| points).map(|(_, rate)| *rate).fold(0.0, f64::max);
    let svg = picture(|area| {
        let mut chart = chart(area, (1.0..10.0, 0.0..end_of(greatest)))?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT);
        mesh.x_desc("tenth of the stream, oldest first").y_desc("alarms per 100,000");
        mesh.x_labels(10).x_label_formatter(&|tenth| format!("{tenth:.0}"));
        mesh.y_label_formatter(&|rate| format!("{rate:.0}")).draw().map_err(undrawn)?;
        for ((kind, points), colour) in lines.into_iter().zip([BLUE, RED, MAGENTA, BLACK]) {
            line(&mut chart, points, (colour, kind.to_string()))?;
        }
        names(&mut chart, SeriesLabelPosition::UpperRight)
    })?;
    let title =
        "Alarms per 100,000 ordinary transactions over time, the streams of one kind together".to_owned();
    Ok(Plot { title, svg })
}

/// How many attacks and ordinary transactions are how strong.
pub(super) fn strengths(report: &BacktestReport) -> Result<Plot, EngineError> {
    let greatest = report.strengths.iter().map(|row| row.attacks.max(row.ordinary)).max().unwrap_or(0);
    let bars = i32::try_from(report.strengths.len()).unwrap_or(i32::MAX);
    // Each group of bars is three units wide: attacks, ordinary, a gap.
    let group = |at: i32| at.saturating_mul(3);
    let labels: BTreeMap<i32, String> = (0..bars)
        .zip(&report.strengths)
        .map(|(at, row)| (group(at).saturating_add(1), row.from.to_string()))
        .collect();
    let svg = picture(|area| {
        let y = (BARS_FROM..end_of(counted(greatest))).log_scale();
        let mut chart = chart(area, (0..group(bars), y))?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT);
        mesh.disable_x_mesh().x_desc("strength, from").y_desc("transactions");
        mesh.x_labels(usize::try_from(group(bars)).unwrap_or(0).saturating_add(1));
        let label = |at: &i32| labels.get(at).cloned().unwrap_or_default();
        mesh.x_label_formatter(&label);
        mesh.y_label_formatter(&|count| format!("{count:.0}")).draw().map_err(undrawn)?;
        for (offset, name, colour) in [(0, "attacks", RED), (1, "ordinary", BLUE)] {
            let bar = |(at, row): (i32, &super::StrengthRow)| {
                let count = if offset == 0 { row.attacks } else { row.ordinary };
                let left = group(at).saturating_add(offset);
                let (from, to) = ((left, BARS_FROM), (left.saturating_add(1), counted(count).max(BARS_FROM)));
                Rectangle::new([from, to], colour.filled())
            };
            let series = chart.draw_series((0..bars).zip(&report.strengths).map(bar)).map_err(undrawn)?;
            series
                .label(name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
        }
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperRight).background_style(WHITE).border_style(BLACK.mix(0.3));
        labels.draw().map_err(undrawn)
    })?;
    Ok(Plot {
        title: "How many attacks and ordinary transactions are how strong (counts on a log axis)".to_owned(),
        svg,
    })
}
