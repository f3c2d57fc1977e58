//! Profiles: the weight of each past step in an EMA, computed before the run.

use serde::{Deserialize, Serialize};

use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::known::Decay;
use crate::decay::progress::Progress;
use crate::error::RulesError;
use crate::schedule::Schedule;

/// The most updates that a [`Profile`] is computed for: 100 million, which take 800 MB.
pub const MAX_UPDATES: u64 = 100_000_000;

/// Tells what a decay schedule and an update schedule amount to: the weight of each past step in the EMA.
///
/// Made by [`Schedule::profile`]. No tensor is needed, so a profile can be computed before the run.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::schedule::Schedule;
///
/// let schedule = Schedule { start: 2, interval: 10 };
/// let profile = schedule.profile(&Decay::weight(0.5), 3)?;
/// // Step 2 is the last copy; steps 12, 22 and 32 are updates.
/// assert_eq!(profile.steps().collect::<Vec<_>>(), [2, 12, 22, 32]);
/// assert_eq!(profile.weights(), [0.125, 0.125, 0.25, 0.5]);
/// assert_eq!(profile.mean_age(), 0.125 * 30.0 + 0.125 * 20.0 + 0.25 * 10.0);
/// assert_eq!(profile.half_life(), 10.0);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Profile {
    schedule: Schedule,
    weights: Vec<f64>,
}

/// A profile as read from a file, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schedule: Schedule,
    weights: Vec<f64>,
}

impl TryFrom<Stored> for Profile {
    type Error = RulesError;

    fn try_from(Stored { schedule, weights }: Stored) -> Result<Self, RulesError> {
        Self::new(schedule, weights)
    }
}

impl Schedule {
    /// Computes the weight of each past step after `updates` updates, if none was skipped.
    ///
    /// Time and memory are proportional to `updates`.
    ///
    /// # Errors
    ///
    /// - [`RulesError::InvalidConfig`] if the interval is 0, or `updates` is above [`MAX_UPDATES`], or there is not
    ///   enough memory for the weights.
    /// - [`RulesError::InvalidDecay`] if the decay schedule is not [valid](DecaySchedule::validate), or returns a decay
    ///   outside `[0, 1]`.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::decay::Decay;
    /// use burn_ema_rules::schedule::Schedule;
    ///
    /// let profile = Schedule::default().profile(&Decay::constant(0.999), 100_000)?;
    /// assert!((profile.mean_age() - 999.0).abs() < 1e-6);
    /// assert!(Schedule::default().profile(&Decay::constant(0.999), u64::MAX).is_err());
    /// # Ok::<(), burn_ema_rules::RulesError>(())
    /// ```
    pub fn profile(&self, decay: &Decay, updates: u64) -> Result<Profile, RulesError> {
        self.validate()?;
        decay.validate()?;
        Ok(Profile {
            schedule: *self,
            weights: weights(decay, self.interval, updates)?,
        })
    }
}

fn weights(decay: &Decay, interval: u64, updates: u64) -> Result<Vec<f64>, RulesError> {
    let mut weights = reserved(updates)?;
    // First the decays, in the order in which a run asks for them.
    weights.push(0.0);
    for updates in 0..updates {
        weights.push(decay.try_decay(Progress { updates, interval })?);
    }
    // From the last update backwards, `kept` is what later updates leave of an earlier one.
    let mut kept = 1.0;
    for weight in weights.iter_mut().skip(1).rev() {
        let decay = *weight;
        *weight = kept * (1.0 - decay);
        kept *= decay;
    }
    weights[0] = kept;
    Ok(weights)
}

/// An empty list with room for `updates` weights and the first.
fn reserved(updates: u64) -> Result<Vec<f64>, RulesError> {
    let invalid = |problem| RulesError::InvalidConfig {
        field: "updates",
        problem,
    };
    if updates > MAX_UPDATES {
        return Err(invalid(format!(
            "a profile holds one weight per update, up to 100,000,000 (100 million) updates, found {updates}: ask for \
             fewer updates"
        )));
    }
    let mut weights = Vec::new();
    match weights.try_reserve_exact(updates as usize + 1) {
        Ok(()) => Ok(weights),
        Err(error) => Err(invalid(format!(
            "no memory for the weights of {updates} updates ({error}): ask for fewer updates"
        ))),
    }
}

impl Profile {
    /// A profile with these weights: the first for step `start` of the schedule, and each later one an interval later.
    ///
    /// Weights may be negative, as those of an average without lag are.
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidConfig`] if the weights do not sum to 1 (up to a millionth of the sum of their absolute values),
    /// or the interval is 0.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::profile::Profile;
    /// use burn_ema_rules::schedule::Schedule;
    ///
    /// // Twice the mean of two steps less the mean of the four before.
    /// let schedule = Schedule { start: 10, interval: 1 };
    /// let profile = Profile::new(schedule, vec![-0.25, -0.25, -0.25, -0.25, 1.0, 1.0])?;
    /// assert_eq!(profile.mean_age(), 0.5 * 2.0 - 3.5);
    /// # Ok::<(), burn_ema_rules::RulesError>(())
    /// ```
    pub fn new(schedule: Schedule, weights: Vec<f64>) -> Result<Self, RulesError> {
        schedule.validate()?;
        let sum: f64 = weights.iter().sum();
        let size: f64 = weights.iter().map(|weight| weight.abs()).sum();
        // NaN is not.
        match size.is_finite() && (sum - 1.0).abs() <= 1e-6 * size {
            true => Ok(Self { schedule, weights }),
            false => Err(RulesError::InvalidConfig {
                field: "weights",
                problem: format!("the weights of a profile must sum to 1, found {sum}"),
            }),
        }
    }

    /// The profile of the online weights after optimizer step `step`, as a plain checkpoint holds them.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::profile::Profile;
    ///
    /// let checkpoint = Profile::checkpoint(5_000);
    /// assert_eq!(checkpoint.steps().collect::<Vec<_>>(), [5_000]);
    /// assert_eq!(checkpoint.weights(), [1.0]);
    /// ```
    #[must_use]
    pub fn checkpoint(step: u64) -> Self {
        Self {
            schedule: Schedule {
                start: step,
                interval: 1,
            },
            weights: vec![1.0],
        }
    }

    /// The weight of the weights that averaging started from (the copy at step `start`, or the initial weights), and
    /// then the weight of each update, the oldest first. The sum is 1.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The optimizer step, counted from 1, that each of the [`weights`](Self::weights) belongs to. The first is
    /// `start`; 0 stands for the initial weights.
    pub fn steps(&self) -> impl Iterator<Item = u64> {
        let Schedule { start, interval } = self.schedule;
        let updates = 0..self.weights.len() as u64;
        updates.map(move |n| start.saturating_add(n.saturating_mul(interval)))
    }

    /// The optimizer step of the last weight.
    #[must_use]
    pub fn last_step(&self) -> u64 {
        let Schedule { start, interval } = self.schedule;
        let updates = self.weights.len() as u64 - 1;
        start.saturating_add(updates.saturating_mul(interval))
    }

    /// The mean age of the averaged weights, in optimizer steps before the last update.
    ///
    /// `decay / (1 - decay)` for a constant decay, an update at each step and a long run.
    #[must_use]
    pub fn mean_age(&self) -> f64 {
        let ages = self.newest_first();
        ages.map(|(age, weight)| age * weight).sum()
    }

    /// The age, in optimizer steps before the last update, at which half of the total weight is younger and half is
    /// older. With negative weights, the oldest such age.
    ///
    /// Between two updates the age is interpolated as if the decay were constant, so an EMA by half-life has that
    /// half-life after a long run. The age is never above that of the weights that averaging started from. No memory
    /// is allocated.
    #[must_use]
    pub fn half_life(&self) -> f64 {
        // Summed from the oldest, so that there is exactly nothing before it.
        let mut older = 0.0;
        let mut middle = None;
        for (n, weight) in self.weights.iter().enumerate() {
            if older > 0.5 {
                break;
            }
            middle = Some((self.weights.len() - 1 - n, older, older + weight));
            older += weight;
        }
        let Some((age, older, from_here)) = middle else {
            return 0.0;
        };
        // Nothing older has weight, or less than nothing: there is no decay to go by.
        let way = match older > 0.0 {
            true => (2.0 * from_here).ln() / (from_here / older).ln(),
            false => 0.0,
        };
        let interval = self.schedule.interval as f64;
        age as f64 * interval + way * interval
    }

    /// The number of optimizer steps whose plain mean is as noisy as the EMA: the interval times
    /// `1 / sum of weights^2`.
    ///
    /// `(1 + decay) / (1 - decay)` for a constant decay, an update at each step and a long run; the number of steps for
    /// equal weights.
    #[must_use]
    #[doc(alias = "effective sample size")]
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
