//! Where a ramp of a given length begins and ends.

use serde::{Deserialize, Serialize};

/// Which ends of a ramp are decays of updates. Frameworks that ramp over a total of `K` updates differ by one.
///
/// `s` is the count of the [`Clock`](crate::decay::Clock): by default the number of updates before this update.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Ends, LinearWarmup, Progress};
///
/// let decays = |ends| {
///     let ramp = LinearWarmup { ends, ..LinearWarmup::new(0.5, 1.0, 2) };
///     [0, 1, 2].map(|updates| ramp.decay(Progress { updates, interval: 1 }))
/// };
/// assert_eq!(decays(Ends::Both), [0.5, 1.0, 1.0]);
/// assert_eq!(decays(Ends::First), [0.5, 0.75, 1.0]);
/// assert_eq!(decays(Ends::Last), [0.75, 1.0, 1.0]);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Ends {
    /// The first update has `from` and the last has `to`: the way is `s / (K - 1)`. Ignite, lightly.
    #[default]
    Both,
    /// The first update has `from`, and `to` is the decay of the update after the last: `s / K`. BYOL, MoCo v3, DINO, I-JEPA.
    First,
    /// The last update has `to`, and `from` would be the decay before the first: `(s + 1) / K`. data2vec.
    Last,
}

impl Ends {
    /// The share of the way that is behind at count `s`, at most 1.
    pub(crate) fn way(self, s: f64, updates: u64) -> f64 {
        let (done, length) = match self {
            Self::Both => (s, updates.saturating_sub(1)),
            Self::First => (s, updates),
            Self::Last => (s + 1.0, updates),
        };
        (done / length.max(1) as f64).min(1.0)
    }
}
