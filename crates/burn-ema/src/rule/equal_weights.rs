//! The arithmetic mean.

use serde::{Deserialize, Serialize};

use super::{Decay, Moment, Rule};

/// Every update counts the same: `decay = (n + prior) / (n + prior + 1)` at the `n`-th average, counted
/// from 0. Stochastic weight averaging (SWA; Izmailov et al. 2018, arXiv:1803.05407).
///
/// With a `prior` of 0 the first average is a copy and what was there before leaves no trace, as in
/// torch's `AveragedModel`. With 1 the weights that averaging started from count as one update, as in
/// mmengine's `StochasticWeightAverage`.
///
/// # Example
///
/// ```
/// use burn_ema::{Decay, Moment, Rule};
///
/// let decay = |updates| Decay::equal_weights().decay(Moment { updates, interval: 1 });
/// assert_eq!([0, 1, 3].map(decay), [0.0, 0.5, 0.75]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EqualWeights {
    /// Number of updates that what was there before counts as.
    pub prior: u64,
}

impl From<EqualWeights> for Decay {
    fn from(rule: EqualWeights) -> Self {
        Self::EqualWeights(rule)
    }
}

impl Rule for EqualWeights {
    fn decay(&self, at: Moment) -> f64 {
        self.retained(at, 1)
    }

    fn retained(&self, from: Moment, updates: u64) -> f64 {
        let before = from.updates as f64 + self.prior as f64;
        match updates {
            0 => 1.0,
            _ => before / (before + updates as f64),
        }
    }
}
