//! Merges: the weights with which checkpoints of a run, or models of several, are combined.
//!
//! A merge of checkpoints of one run is an average after the fact, and can replace the decay of the learning rate: with `g_i`
//! the change that step `i` made, weights `c_0..c_k` give `sum c_j theta_j = theta_0 + sum w_i g_i` with `w_i = c_i + .. +
//! c_k`, which is what training with steps scaled by `w_i` would have given, to first order (WSM, arXiv:2507.17634).
//! [`weights`] computes the `c` of a decay; `burn-ema` sums the tensors.
//!
//! ```
//! use burn_ema_rules::merge::{MergeSchedule, weights};
//!
//! // Four checkpoints, the oldest first: as if the learning rate had decayed as 1 - sqrt(x) between them.
//! let found = weights(4, MergeSchedule::MinusSqrt)?;
//! assert_eq!(found[0], 0.5);
//! assert!((found[3] - 0.133974596216).abs() < 1e-12);
//! # Ok::<(), burn_ema_rules::RulesError>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::error::RulesError;
use crate::profile::{MAX_UPDATES, Profile};
use crate::schedule::Schedule;

/// How the weights of a merge run from the oldest checkpoint to the newest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub enum MergeSchedule {
    /// Equal weights: the linear decay `1 - x`.
    Linear,
    /// The decay `1 - sqrt(x)`, which gives the oldest checkpoint the most weight: Nemotron 3 and Ling merge by it.
    MinusSqrt,
    /// The decay `1 - x^power`. 1 is [`Linear`](Self::Linear), 0.5 is [`MinusSqrt`](Self::MinusSqrt), above 1 the newest
    /// checkpoint has the most weight.
    OneMinusPower {
        /// The exponent, finite and above 0.
        power: f64,
    },
    /// The decay `(1 + cos(pi x)) / 2`.
    Cosine,
    /// An EMA over the checkpoints, which begins with the oldest.
    Ema {
        /// The number of checkpoints after which a weight has halved, finite and above 0.
        half_life: f64,
    },
}

/// The weights of `count` checkpoints, the oldest first. They sum to 1.
///
/// For a decay `s(x)` they are those of NVIDIA Megatron-LM's `weighted_merge.py`: `s(i / count) - s((i + 1) / count)` for `i`
/// above 0 with `s(1) = 0`, and what is left for the oldest. With a power, `Linear` and `MinusSqrt` among them, the merge is,
/// whatever the number of checkpoints, the one that [`Decay::one_minus_power`](crate::decay::Decay::one_minus_power) keeps
/// during the run.
///
/// # Errors
///
/// [`RulesError::InvalidConfig`] if `count` is 0 or above [`MAX_UPDATES`], or a number of `schedule` is out of its range.
pub fn weights(count: usize, schedule: MergeSchedule) -> Result<Vec<f64>, RulesError> {
    if !(1..=MAX_UPDATES).contains(&(count as u64)) {
        return invalid(
            "count",
            format!("a merge has at least one model and at most {MAX_UPDATES}, found {count}"),
        );
    }
    let positive = |name, found: f64| match found.is_finite() && found > 0.0 {
        true => Ok(found),
        false => invalid(name, format!("must be finite and above 0, found {found}")),
    };
    let of_decay = |decay: &dyn Fn(f64) -> f64| {
        let at = |i: usize| match i == count {
            true => 0.0,
            false => decay(i as f64 / count as f64),
        };
        (0..count).map(|i| at(i) - at(i + 1)).collect()
    };
    Ok(match schedule {
        MergeSchedule::Linear => vec![1.0 / count as f64; count],
        MergeSchedule::MinusSqrt => of_decay(&|x| 1.0 - x.sqrt()),
        MergeSchedule::OneMinusPower { power } => {
            let power = positive("power", power)?;
            of_decay(&|x| 1.0 - x.powf(power))
        }
        MergeSchedule::Cosine => of_decay(&|x| 0.5 + 0.5 * (std::f64::consts::PI * x).cos()),
        MergeSchedule::Ema { half_life } => {
            let kept = |updates: usize| (-(updates as f64) / half_life).exp2();
            positive("half_life", half_life)?;
            let weight = |i: usize| match i {
                0 => kept(count - 1),
                i => kept(count - 1 - i) * (1.0 - kept(1)),
            };
            (0..count).map(weight).collect()
        }
    })
}

/// The profile of a merge of every step of a window: `steps` steps up to and with step `last`.
///
/// With [`MergeSchedule::Linear`] it is the mean of the window. It is what a merge of checkpoints comes close to, and what
/// `post_hoc` can be asked for.
///
/// # Errors
///
/// [`RulesError::InvalidConfig`] if `steps` is 0 or above `last` or [`MAX_UPDATES`], or a number of
/// `schedule` is out of its range.
///
/// # Example
///
/// ```
/// use burn_ema_rules::merge::{MergeSchedule, window};
///
/// let profile = window(1_000, 4, MergeSchedule::Linear)?;
/// assert_eq!(profile.steps().collect::<Vec<_>>(), [997, 998, 999, 1_000]);
/// assert_eq!(profile.weights(), [0.25; 4]);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
pub fn window(last: u64, steps: u64, schedule: MergeSchedule) -> Result<Profile, RulesError> {
    if !(1..=last).contains(&steps) {
        return invalid(
            "steps",
            format!(
                "a window that ends at step {last} has between 1 and {last} steps, found {steps}"
            ),
        );
    }
    let start = last - steps + 1;
    let count = usize::try_from(steps).unwrap_or(usize::MAX);
    Profile::new(Schedule { start, interval: 1 }, weights(count, schedule)?)
}

/// The weights that combine two running means of one run into the mean of the updates between them.
///
/// `earlier` and `later` are the numbers of updates of the two means, or the sums of their weights in a weighted mean. `gamma`
/// is the exponent of both ([`PowerFunction`](crate::decay::PowerFunction)): 0 for equal weights. The combination is the part
/// of the later profile that is after `earlier`. With equal weights this is how icefall decodes (`--use-averaged-model`). The
/// first weight is at most 0; rounding of the two grows by up to `|first| + |second|`.
///
/// # Errors
///
/// [`RulesError::InvalidConfig`] if `earlier` is not at least 0 and below `later`, `later` is not finite, or `gamma` is not
/// finite and above -1.
///
/// # Example
///
/// ```
/// use burn_ema_rules::merge::range_weights;
///
/// // Means of 1, 2, 3, 4: the first two have 1.5, all have 2.5, so the last two have 3.5.
/// let [first, second] = range_weights(2.0, 4.0, 0.0)?;
/// assert_eq!((first, second), (-1.0, 2.0));
/// assert_eq!(first * 1.5 + second * 2.5, 3.5);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
pub fn range_weights(earlier: f64, later: f64, gamma: f64) -> Result<[f64; 2], RulesError> {
    if !((0.0..later).contains(&earlier) && later.is_finite()) {
        return invalid(
            "earlier",
            format!(
                "must be at least 0 and below `later`, and `later` finite, found {earlier} and {later}: give the older mean first"
            ),
        );
    }
    if !(gamma.is_finite() && gamma > -1.0) {
        return invalid(
            "gamma",
            format!("must be finite and above -1, found {gamma}"),
        );
    }
    // Of times relative to the later one, which no power overflows.
    let before = (earlier / later).powf(gamma + 1.0);
    let second = 1.0 / (1.0 - before);
    Ok([-before * second, second])
}

/// The positions of the `count` highest of `scores`, the best first; of equal ones the earlier first. NaN is never among
/// them.
///
/// # Example
///
/// ```
/// use burn_ema_rules::merge::best;
///
/// let accuracy = [0.71, f64::NAN, 0.74, 0.74];
/// assert_eq!(best(2, &accuracy), [2, 3]);
/// ```
#[must_use]
pub fn best(count: usize, scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.retain(|position| !scores[*position].is_nan());
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(count);
    order
}

fn invalid<T>(field: &'static str, problem: String) -> Result<T, RulesError> {
    Err(RulesError::InvalidConfig { field, problem })
}
