//! Logistic regression with a penalty on large weights.
//!
//! In: features with labels. Out: weights in thousandths. Must never: depend on anything but its input, in its order. All arithmetic
//! is addition, multiplication and division of IEEE 754 doubles, which every machine does alike; the exponential is a sum of
//! its own, since those of libraries differ.
#![expect(
    clippy::float_arithmetic,
    reason = "training is arithmetic on fractions; what is shipped of it are integers"
)]

use super::corpus::Code;
use cordon_detect::bytecode::{DIMENSIONS, Features};
use cordon_model::units::Milli;

/// Weight of the squared weights beside the mean loss. Chosen before the first run, not tuned.
const PENALTY: f64 = 0.001;

/// Steps of the descent, after which the slope has vanished (see the test).
const STEPS: u32 = 400;

/// One code to learn from.
#[derive(Debug)]
pub(super) struct Sample {
    entries: Vec<(usize, f64)>,
    is_attacker: bool,
}

impl Sample {
    pub(super) fn of(code: &Code) -> Self {
        Self { entries: entries(&code.features), is_attacker: code.is_attacker }
    }
}

fn entries(features: &Features) -> Vec<(usize, f64)> {
    let known =
        features.entries().iter().filter_map(|(place, value)| Some((usize::try_from(*place).ok()?, *value)));
    known.map(|(place, value)| (place, f64::from(value) / 1_000.0)).collect()
}

/// Bias and weights. Attackers and ordinary codes count the same in sum, however many there are of each.
pub(super) fn fit(samples: &[Sample]) -> (Milli, Vec<i32>) {
    let share = |is_attacker: bool| {
        let count = samples.iter().filter(|sample| sample.is_attacker == is_attacker).count();
        0.5 / f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX))
    };
    let (attacker, ordinary) = (share(true), share(false));
    let weighted: Vec<(&Sample, f64)> =
        samples.iter().map(|sample| (sample, if sample.is_attacker { attacker } else { ordinary })).collect();
    // Nesterov's accelerated descent, with the step that the curvature of the loss allows at most: a quarter of the largest
    // squared length (the bias counted as a feature of one), and the penalty.
    let longest =
        samples.iter().map(|sample| sample.entries.iter().map(|(_, value)| value * value).sum::<f64>());
    let step = 1.0 / (0.25 * (longest.fold(0.0, f64::max) + 1.0) + PENALTY);
    let places = usize::try_from(DIMENSIONS).unwrap_or(usize::MAX);
    let (mut weights, mut ahead) = (vec![0.0; places], vec![0.0; places]);
    let (mut bias, mut bias_ahead, mut momentum) = (0.0f64, 0.0f64, 1.0f64);
    for _ in 0..STEPS {
        let (slope, bias_slope) = slope(&weighted, &ahead, bias_ahead);
        // (1 + sqrt(1 + 4 t^2)) / 2 grows by a half with each step; that alone keeps the rate of convergence.
        let next = momentum + 0.5;
        let carry = (momentum - 1.0) / next;
        momentum = next;
        for ((weight, ahead), slope) in weights.iter_mut().zip(&mut ahead).zip(&slope) {
            let stepped = *ahead - step * (slope + PENALTY * *ahead);
            *ahead = stepped + carry * (stepped - *weight);
            *weight = stepped;
        }
        let stepped = bias_ahead - step * bias_slope;
        bias_ahead = stepped + carry * (stepped - bias);
        bias = stepped;
    }
    (
        Milli(thousandths(bias)),
        weights.into_iter().map(|weight| i32::try_from(thousandths(weight)).unwrap_or(0)).collect(),
    )
}

/// The slope of the mean loss at these weights.
fn slope(samples: &[(&Sample, f64)], weights: &[f64], bias: f64) -> (Vec<f64>, f64) {
    let mut slope = vec![0.0; weights.len()];
    let mut bias_slope = 0.0;
    for (sample, share) in samples {
        let mut log_odds = bias;
        for (place, value) in &sample.entries {
            log_odds += weights.get(*place).copied().unwrap_or(0.0) * value;
        }
        let error = share * (logistic(log_odds) - if sample.is_attacker { 1.0 } else { 0.0 });
        for (place, value) in &sample.entries {
            if let Some(slope) = slope.get_mut(*place) {
                *slope += error * value;
            }
        }
        bias_slope += error;
    }
    (slope, bias_slope)
}

/// `1 / (1 + e^-x)`.
fn logistic(log_odds: f64) -> f64 {
    1.0 / (1.0 + exponential(-log_odds.clamp(-40.0, 40.0)))
}

/// e^x for x between -40 and 40: the series up to the tenth power of x / 64, which leaves less than 10^-12, squared six times.
fn exponential(x: f64) -> f64 {
    let small = x / 64.0;
    let (mut term, mut sum) = (1.0, 1.0);
    for power in 1..=10u32 {
        term *= small / f64::from(power);
        sum += term;
    }
    (0..6).fold(sum, |value, _| value * value)
}

/// Rounded to thousandths; what is no number, or too large for a model, is an error of this file and shows as zero.
fn thousandths(value: f64) -> i64 {
    format!("{:.0}", value * 1_000.0).parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(entries: &[(usize, f64)], is_attacker: bool) -> Sample {
        Sample { entries: entries.to_vec(), is_attacker }
    }

    #[test]
    fn the_exponential_is_one() {
        for x in [-40.0, -7.5, -1.0, 0.0, 0.3, 1.0, 12.0, 40.0f64] {
            // What ten powers of 40 / 64 leave out, 64 times.
            assert!((exponential(x) / x.exp() - 1.0).abs() < 1e-7, "{x}");
        }
        assert!((logistic(0.0) - 0.5).abs() < 1e-15 && logistic(1e9) > 0.999 && logistic(-1e9) < 0.001);
    }

    #[test]
    fn what_tells_attackers_gets_a_weight_and_what_all_have_gets_none() {
        let samples: Vec<Sample> = (0..40usize)
            .map(|number| {
                let is_attacker = number % 4 == 0;
                let telling = if is_attacker { 7 } else { 8 };
                sample(&[(telling, 1.0), (9, 1.0), (10 + number, 1.0)], is_attacker)
            })
            .collect();
        let (bias, weights) = fit(&samples);
        assert!(weights[7] > 1_500 && weights[8] < -1_500, "{} {}", weights[7], weights[8]);
        assert!(weights[9].abs() < weights[7] / 3, "{}", weights[9]);
        assert_eq!((weights[60], weights.len()), (0, usize::try_from(DIMENSIONS).unwrap()));
        assert_eq!((bias, weights), fit(&samples), "twice the same");
    }

    /// At the least loss the slope is nothing: what each weight adds is balanced by its penalty.
    #[test]
    fn the_descent_arrives() {
        let samples: Vec<Sample> = (0..60usize)
            .map(|number| sample(&[(number % 7, 0.8), (7 + number % 5, 0.6)], number % 3 == 0))
            .collect();
        let (bias, weights) = fit(&samples);
        let weights: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) / 1_000.0).collect();
        let counts = [20.0, 40.0];
        let weighted: Vec<(&Sample, f64)> =
            samples.iter().map(|sample| (sample, 0.5 / counts[usize::from(!sample.is_attacker)])).collect();
        let bias = f64::from(i32::try_from(bias.0).unwrap()) / 1_000.0;
        let (slope, bias_slope) = slope(&weighted, &weights, bias);
        assert!(bias_slope.abs() < 1e-3, "{bias_slope}");
        for (slope, weight) in slope.iter().zip(&weights) {
            assert!((slope + PENALTY * weight).abs() < 1e-3, "{slope} {weight}");
        }
    }
}
