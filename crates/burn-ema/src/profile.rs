//! What a rule means, in numbers: the weight with which each past step counts in an average.

use crate::rule::{Decay, Moment};
use crate::{EmaConfig, EmaError, Schedule};

/// The weight of each past step in an average, after a number of updates: a function of the configuration
/// alone. Made by [`EmaConfig::profile`].
///
/// # Example
///
/// ```
/// use burn_ema::{Decay, EmaConfig};
///
/// let config = EmaConfig::new().with_decay(Decay::weight(0.5)).with_start(2).with_interval(10);
/// let profile = config.profile(3)?;
/// // Step 2 is the last that was copied; steps 12, 22 and 32 were averaged.
/// assert_eq!(profile.steps().collect::<Vec<_>>(), [2, 12, 22, 32]);
/// assert_eq!(profile.weights(), [0.125, 0.125, 0.25, 0.5]);
/// assert_eq!(profile.mean_age(), 0.125 * 30.0 + 0.125 * 20.0 + 0.25 * 10.0);
/// assert_eq!(profile.half_life(), 10.0);
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    schedule: Schedule,
    weights: Vec<f64>,
}

impl EmaConfig {
    /// The weights with which past steps count after `updates` averages, if none was skipped.
    ///
    /// Takes time and memory in proportion to `updates`; the time of a [debiased](Decay::debiased) rule without
    /// closed form grows faster.
    ///
    /// # Errors
    ///
    /// If the configuration is not [valid](Self::validate), or a rule of the user's own gives a decay
    /// outside `[0, 1]`.
    pub fn profile(&self, updates: u64) -> Result<Profile, EmaError> {
        self.validate()?;
        Profile::new(&self.decay, self.schedule(), updates)
    }
}

impl Profile {
    fn new(rule: &Decay, schedule: Schedule, updates: u64) -> Result<Self, EmaError> {
        let interval = schedule.interval;
        let mut weights = vec![1.0; updates as usize + 1];
        // From the last update backwards, `kept` is what later updates leave of an earlier one.
        let mut kept = 1.0;
        for updates in (0..updates).rev() {
            let decay = rule.try_decay(Moment { updates, interval })?;
            weights[updates as usize + 1] = kept * (1.0 - decay);
            kept *= decay;
        }
        weights[0] = kept;
        Ok(Self { schedule, weights })
    }

    /// The weight of what was there when averaging began (a copy of step `start`, or the initial weights), and
    /// then of each update, the oldest first. They sum to 1.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The optimizer step, counted from 1, whose weights each of [`weights`](Self::weights) is for. The first
    /// is `start`, where 0 stands for the weights that the average was made from.
    pub fn steps(&self) -> impl Iterator<Item = u64> {
        let Schedule { start, interval } = self.schedule;
        let updates = 0..self.weights.len() as u64;
        updates.map(move |n| start.saturating_add(n.saturating_mul(interval)))
    }

    /// The mean age of what is averaged, in optimizer steps before the last update: `decay / (1 - decay)`
    /// for a constant decay, an average at each step and a long training.
    pub fn mean_age(&self) -> f64 {
        let ages = self.newest_first();
        ages.map(|(age, weight)| age * weight).sum()
    }

    /// The age, in optimizer steps before the last update, that splits the weights into halves: younger ones
    /// have as much weight in all as older ones. Between two updates it is interpolated as if the decay were
    /// constant, so that a long average by half-life gives just that. Never more than the age of what was
    /// there when averaging began.
    pub fn half_life(&self) -> f64 {
        // Summed from the oldest, so that there is exactly nothing before it.
        let mut older = vec![0.0];
        for (n, weight) in self.weights.iter().enumerate() {
            older.push(older[n] + weight);
        }
        let mut from_here = older.pop().unwrap_or(1.0);
        for ((age, _), older) in self.newest_first().zip(older.into_iter().rev()) {
            if older <= 0.5 {
                let way = (2.0 * from_here).ln() / (from_here / older).ln();
                return age + way * self.schedule.interval as f64;
            }
            from_here = older;
        }
        unreachable!("nothing is older than the oldest")
    }

    /// How many updates of equal weight have as little noise: `1 / sum of weights^2`, in optimizer steps (times
    /// the interval). `(1 + decay) / (1 - decay)` for a constant decay, an average at each step and a long
    /// training; the number of steps for their mean.
    pub fn effective_window(&self) -> f64 {
        let squares: f64 = self.weights.iter().map(|weight| weight * weight).sum();
        self.schedule.interval as f64 / squares
    }

    /// Age and weight of each update.
    fn newest_first(&self) -> impl Iterator<Item = (f64, f64)> {
        let interval = self.schedule.interval as f64;
        let weights = self.weights.iter().rev().enumerate();
        weights.map(move |(age, weight)| (age as f64 * interval, *weight))
    }
}
