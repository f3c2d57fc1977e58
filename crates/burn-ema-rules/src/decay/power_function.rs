//! The power function of Karras et al., by exponent or by relative width.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Power function EMA of EDM2 (Karras et al. 2023, arXiv:2312.02696, equation 127):
/// `decay = (1 - dt / t)^(gamma + 1)`, where `t` is the time after the update and `dt` the time since the update before.
///
/// Weights of time `tau` of a run of length `t` count as `tau^gamma`. So the width of the EMA is a fixed share of the
/// length of the run: the mean time is `(gamma + 1) / (gamma + 2) * t` and the [relative width](sigma_rel_of_gamma) is
/// `sigma_rel`. EDM2 tracks the widths 0.05 and 0.10. The first update is a copy.
///
/// With `gamma` below 0 early weights count most. Such an EMA replaces the decay of the learning rate:
/// [`Decay::one_minus_power`](crate::decay::Decay::one_minus_power).
///
/// Time is counted in optimizer steps since averaging started, and an update covers `interval` steps, so the profile does
/// not depend on the interval. (ema-pytorch's `KarrasEMA` leaves `update_every` out of the formula: with the default of
/// 100 and a relative width of 0.05, the mean time of 10,000 steps is at 0.151 of the run instead of 0.947.)
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::schedule::Schedule;
///
/// let schedule = Schedule { start: 0, interval: 100 };
/// let profile = schedule.profile(&Decay::sigma_rel(0.05), 1_000)?;
/// let mean = 1.0 - profile.mean_age() / 100_000.0;
/// assert!((mean - 0.947).abs() < 1e-3);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerFunction {
    /// Exponent of the profile, finite and above -1. 0 is the mean of all updates.
    pub gamma: f64,
}

impl DecaySchedule for PowerFunction {
    fn decay(&self, at: Progress) -> f64 {
        self.retained(at, 1)
    }

    fn validate(&self) -> Result<(), RulesError> {
        let holds = self.gamma.is_finite() && self.gamma > -1.0;
        Checks::of("PowerFunction")
            .that(holds, "gamma", "finite and above -1", self.gamma)
            .done()
    }

    fn retained(&self, from: Progress, updates: u64) -> f64 {
        // The interval cancels out of t / (t + dt): it is in both.
        let before = from.updates as f64;
        match updates {
            0 => 1.0,
            _ => (before / (before + updates as f64)).powf(self.gamma + 1.0),
        }
    }
}

/// Converts the exponent of a power function EMA to its relative width (standard deviation divided by the length of the
/// run): `sqrt((gamma + 1) / ((gamma + 2)^2 (gamma + 3)))` (arXiv:2312.02696, equation 123).
///
/// `gamma` must be above -1. The result is then below 0.32, and at most `1/sqrt(12)` for a `gamma` of at least 0.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{gamma_of_sigma_rel, sigma_rel_of_gamma};
///
/// let gamma = gamma_of_sigma_rel(0.05)?;
/// assert!((gamma - 16.97219860230).abs() < 1e-10);
/// assert!((sigma_rel_of_gamma(gamma) - 0.05).abs() < 1e-15);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[must_use]
pub fn sigma_rel_of_gamma(gamma: f64) -> f64 {
    let mean = gamma + 2.0;
    ((gamma + 1.0) / (mean * mean * (gamma + 3.0))).sqrt()
}

/// Converts the relative width of a power function EMA to its exponent: the inverse of [`sigma_rel_of_gamma`].
///
/// # Errors
///
/// [`RulesError::InvalidDecay`] if `sigma_rel` is not above 0 and below `1/sqrt(12)`, about 0.2887.
pub fn gamma_of_sigma_rel(sigma_rel: f64) -> Result<f64, RulesError> {
    let widest = sigma_rel_of_gamma(0.0);
    let holds = sigma_rel > 0.0 && sigma_rel < widest && sigma_rel.powi(-2).is_finite();
    Checks::of("PowerFunction")
        .that(
            holds,
            "sigma_rel",
            "above 0 and below 1/sqrt(12) = 0.28867",
            sigma_rel,
        )
        .done()?;
    // The largest root of g^3 + 7 g^2 + (16 - s) g + (12 - s) with s = sigma_rel^-2 (equation 126).
    // From the right of it, where the cubic is convex, Newton's method falls onto it.
    let s = sigma_rel.powi(-2);
    let cubic = |g: f64| ((g + 7.0) * g + (16.0 - s)) * g + (12.0 - s);
    let slope = |g: f64| (3.0 * g + 14.0) * g + (16.0 - s);
    let mut gamma = s.sqrt();
    loop {
        let next = gamma - cubic(gamma) / slope(gamma);
        if next >= gamma || next.is_nan() {
            return Ok(gamma.max(0.0));
        }
        gamma = next;
    }
}
