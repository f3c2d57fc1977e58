//! The arithmetic mean.

use serde::{Deserialize, Serialize};

use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;

/// Equal weights, as in stochastic weight averaging (SWA; Izmailov et al. 2018, arXiv:1803.05407):
/// `decay = (n + prior) / (n + prior + 1)` at the `n`-th update, counted from 0.
///
/// With a `prior` of 0 the first update is a copy, and no trace of the earlier weights is left, as in torch's
/// `AveragedModel`. With a `prior` of 1 the weights that averaging started from count as one update, as in mmengine's
/// `StochasticWeightAverage`.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
///
/// let decay = |updates| Decay::equal_weights().decay(Progress { updates, interval: 1 });
/// assert_eq!([0, 1, 3].map(decay), [0.0, 0.5, 0.75]);
/// ```
#[doc(alias = "SWA")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EqualWeights {
    /// Number of updates that the weights before the first update count as.
    pub prior: u64,
}

impl EqualWeights {
    /// The decay of an update that counts as `weight` updates, after updates that together counted as `sum`: that of the
    /// weighted mean, `(sum + prior) / (sum + prior + weight)`. It is 1, which changes nothing, where all are 0.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::decay::EqualWeights;
    ///
    /// let mean = EqualWeights::default();
    /// // Values 8 and 2 with weights 1 and 3: 8 * 0.25 + 2 * 0.75.
    /// assert_eq!([(0.0, 1.0), (1.0, 3.0)].map(|(sum, weight)| mean.weighted_decay(sum, weight)), [0.0, 0.25]);
    /// ```
    #[must_use]
    pub fn weighted_decay(&self, sum: f64, weight: f64) -> f64 {
        let before = sum + self.prior as f64;
        match before + weight {
            0.0 => 1.0,
            after => before / after,
        }
    }
}

impl DecaySchedule for EqualWeights {
    fn decay(&self, at: Progress) -> f64 {
        self.retained(at, 1)
    }

    fn retained(&self, from: Progress, updates: u64) -> f64 {
        let before = from.updates as f64 + self.prior as f64;
        match updates {
            0 => 1.0,
            _ => before / (before + updates as f64),
        }
    }
}
