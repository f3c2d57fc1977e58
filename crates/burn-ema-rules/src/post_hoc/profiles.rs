//! Averages of any kind, by their weights at every step.

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::error::RulesError;
use crate::post_hoc::reconstruction::{Reconstruction, invalid, normalized};
use crate::profile::Profile;

/// The most points at which profiles are compared: every step of a run that has no more.
const MOST_POINTS: u64 = 16_384;

/// Directions of less than this, relative to the strongest, are rounding and not used.
const NEGLIGIBLE: f64 = 1e-12;

/// The error that [`reconstruct_profiles`] minimizes. See the [two errors](crate::post_hoc#two-errors).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Measure {
    /// The error in the weights of the models. As in Karras et al., the weights found are then divided by their sum.
    Weights,
    /// The error in the shares of the changes of the steps, among weights that sum to 1.
    Changes,
}

/// How [`reconstruct_profiles`] chooses among combinations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fit {
    /// The error to minimize. Default: [`Measure::Changes`].
    pub measure: Measure,
    /// The relative precision of what is stored, finite and at least 0: 2^-24 for f32 (the default), 2^-8 for bf16, 2^-11 for
    /// f16.
    ///
    /// Large weights of both signs amplify rounding. So the fit minimizes the error together with `precision` times the norm
    /// of the weights: for bf16 snapshots it finds smaller weights than for f32 snapshots, and a slightly larger error. With
    /// 0, rounding is left out.
    pub precision: f64,
}

impl Default for Fit {
    fn default() -> Self {
        Self {
            measure: Measure::Changes,
            precision: 2.0_f64.powi(-24),
        }
    }
}

/// Finds the combination of stored averages whose profile is closest to the profile `wanted`, by the [`Measure`] of `fit`.
///
/// Profiles come from a configuration ([`Schedule::profile`](crate::schedule::Schedule::profile) at the number of updates that
/// the snapshot has had), from [`Profile::checkpoint`] for plain checkpoints, and from [`merge::window`](crate::merge::window)
/// for means and merges of a window. The fit is least squares in f64 over every step, or, in runs of more than 16,384 steps,
/// over every `n`-th step, which is between about 8,200 and 16,400 points.
///
/// # Errors
///
/// [`RulesError::Reconstruction`] if `stored` is empty, a stored profile is later than `wanted`, every profile has weight at
/// one and the same step only, the precision is out of its range, or, by weights, the stored profiles have nothing in common
/// with `wanted`.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::merge::{MergeSchedule, window};
/// use burn_ema_rules::post_hoc::{Fit, reconstruct_profiles};
/// use burn_ema_rules::schedule::Schedule;
///
/// // One EMA was kept, and saved 32 times. Wanted: the mean of the last quarter of the run.
/// let (decay, schedule) = (Decay::half_life(20.0), Schedule::default());
/// let stored: Vec<_> = (1..=32).map(|n| schedule.profile(&decay, n * 1024 / 32)).collect::<Result<_, _>>()?;
/// let found = reconstruct_profiles(&stored, &window(1024, 256, MergeSchedule::Linear)?, Fit::default())?;
/// assert!(found.change_error() < 0.02 && found.noise_gain() < 2.0);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
pub fn reconstruct_profiles(
    stored: &[Profile],
    wanted: &Profile,
    fit: Fit,
) -> Result<Reconstruction, RulesError> {
    if stored.is_empty() {
        return invalid("there are no stored averages: give at least one profile".into());
    }
    if !(fit.precision.is_finite() && fit.precision >= 0.0) {
        return invalid(format!(
            "the precision of what is stored must be finite and at least 0, found {}",
            fit.precision
        ));
    }
    let last = wanted.last_step();
    if let Some(later) = stored.iter().find(|profile| profile.last_step() > last) {
        return invalid(format!(
            "the average of step {} has seen weights from after {last}: leave it out",
            later.last_step()
        ));
    }
    let profiles = || stored.iter().chain([wanted]);
    let first = profiles()
        .filter_map(|profile| profile.steps().next())
        .min();
    let first = first.unwrap_or(last);
    if first == last {
        return invalid(format!(
            "every profile has weight at step {last} only: use the checkpoint of that step"
        ));
    }
    let points = Points::between(first, last);
    let shares: Vec<Vec<f64>> = profiles().map(|profile| points.shares(profile)).collect();
    let of_weights = points.problem(&shares, Measure::Weights);
    let of_changes = points.problem(&shares, Measure::Changes);
    let (weights, normalized) = match fit.measure {
        Measure::Weights => normalized(of_weights.solve(fit.precision))?,
        Measure::Changes => {
            let weights = of_changes.solve_for_sum_of_1(fit.precision);
            (weights.clone(), weights)
        }
    };
    Ok(Reconstruction {
        relative_error: of_weights.error(&normalized),
        change_error: of_changes.error(&normalized),
        weights: weights.iter().copied().collect(),
        normalized: normalized.iter().copied().collect(),
    })
}

/// The steps at which profiles are compared.
struct Points {
    /// In ascending order, the first being the first step that has a weight.
    steps: Vec<u64>,
    last: u64,
}

impl Points {
    fn between(first: u64, last: u64) -> Self {
        let stride = (last - first).div_ceil(MOST_POINTS);
        let others = (first + 1..=last).step_by(stride as usize);
        Self {
            steps: [first].into_iter().chain(others).collect(),
            last,
        }
    }

    /// The weight that a profile has at each point and after it.
    fn shares(&self, profile: &Profile) -> Vec<f64> {
        let steps: Vec<u64> = profile.steps().collect();
        let mut newest_first = steps.iter().zip(profile.weights()).rev().peekable();
        let mut share = 0.0;
        let mut shares: Vec<f64> = self
            .steps
            .iter()
            .rev()
            .map(|point| {
                while let Some((_, weight)) = newest_first.next_if(|(step, _)| *step >= point) {
                    share += weight;
                }
                share
            })
            .collect();
        shares.reverse();
        shares
    }

    /// Least squares for the last of `shares`, by all others. What stands for several steps counts as many times.
    fn problem(&self, shares: &[Vec<f64>], measure: Measure) -> Problem {
        let ends = self.steps[1..].iter().copied().chain([self.last + 1]);
        let widths: Vec<f64> = ends
            .zip(&self.steps)
            .map(|(end, step)| (end - step) as f64)
            .collect();
        let row = |shares: &[f64], point: usize| match measure {
            Measure::Weights => {
                let after = shares.get(point + 1).copied().unwrap_or(0.0);
                (shares[point] - after) / widths[point].sqrt()
            }
            Measure::Changes => shares[point + 1] * widths[point + 1].sqrt(),
        };
        let rows = match measure {
            Measure::Weights => self.steps.len(),
            Measure::Changes => self.steps.len() - 1,
        };
        let (wanted, stored) = shares.split_last().expect("the wanted one is there");
        let target = DVector::from_fn(rows, |point, _| row(wanted, point));
        let scale = match measure {
            Measure::Weights => target.norm(),
            Measure::Changes => {
                let lacking = |point: usize| (1.0 - wanted[point + 1]).powi(2) * widths[point + 1];
                (0..rows).map(lacking).sum::<f64>().sqrt()
            }
        };
        Problem {
            basis: DMatrix::from_fn(rows, stored.len(), |point, column| {
                row(&stored[column], point)
            }),
            target,
            scale,
        }
    }
}

/// `basis * weights` is to be close to `target`.
struct Problem {
    basis: DMatrix<f64>,
    target: DVector<f64>,
    /// The distance that is an error of 1.
    scale: f64,
}

impl Problem {
    /// The weights that make the square of the error, and of `precision` times the weights, least.
    fn solve(&self, precision: f64) -> DVector<f64> {
        let columns = self.basis.ncols();
        let ridge = DMatrix::from_diagonal_element(columns, columns, precision * self.scale);
        let none = DVector::zeros(columns);
        least_squares(
            &stacked(&self.basis, &ridge),
            &stacked_column(&self.target, &none),
        )
    }

    /// The same among weights that sum to 1: the last of them is what the others leave.
    fn solve_for_sum_of_1(&self, precision: f64) -> DVector<f64> {
        let columns = self.basis.ncols();
        let others = columns - 1;
        let last = self.basis.column(others).into_owned();
        let basis = DMatrix::from_fn(self.basis.nrows(), others, |row, column| {
            self.basis[(row, column)] - last[row]
        });
        let target = &self.target - last;
        let ridge = precision * self.scale;
        // The last row is that of the last weight.
        let size = DMatrix::from_fn(columns, others, |row, column| match row {
            row if row == others => -ridge,
            row if row == column => ridge,
            _ => 0.0,
        });
        let size_target = DVector::from_fn(columns, |row, _| match row == others {
            true => -ridge,
            false => 0.0,
        });
        let mut weights = match others {
            0 => Vec::new(),
            _ => {
                let target = stacked_column(&target, &size_target);
                let found = least_squares(&stacked(&basis, &size), &target);
                found.iter().copied().collect()
            }
        };
        weights.push(1.0 - weights.iter().sum::<f64>());
        DVector::from_vec(weights)
    }

    /// The distance from the target, relative to the scale.
    fn error(&self, weights: &DVector<f64>) -> f64 {
        let distance = (&self.basis * weights - &self.target).norm();
        match distance == 0.0 {
            true => 0.0,
            false => distance / self.scale,
        }
    }
}

fn stacked(above: &DMatrix<f64>, below: &DMatrix<f64>) -> DMatrix<f64> {
    let rows = above.nrows();
    DMatrix::from_fn(rows + below.nrows(), above.ncols(), |row, column| {
        match row < rows {
            true => above[(row, column)],
            false => below[(row - rows, column)],
        }
    })
}

fn stacked_column(above: &DVector<f64>, below: &DVector<f64>) -> DVector<f64> {
    let values = above.iter().chain(below.iter()).copied();
    DVector::from_vec(values.collect())
}

/// The `x` for which `basis * x` is closest to `target`. There are at least as many rows as columns.
fn least_squares(basis: &DMatrix<f64>, target: &DVector<f64>) -> DVector<f64> {
    let columns = basis.ncols();
    let whole = DMatrix::from_fn(basis.nrows(), columns + 1, |row, column| {
        match column < columns {
            true => basis[(row, column)],
            false => target[row],
        }
    });
    // The singular values are those of the small factor.
    let factor = whole.qr().unpack_r();
    let basis = factor.view((0, 0), (columns, columns)).into_owned();
    let target = factor.view((0, columns), (columns, 1)).into_owned();
    let svd = basis.svd(true, true);
    let negligible = NEGLIGIBLE * svd.singular_values.max();
    let solution = svd.solve(&target, negligible);
    let solution = solution.expect("both factors were asked for");
    solution.column(0).into_owned()
}
