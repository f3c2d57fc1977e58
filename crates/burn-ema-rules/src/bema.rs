//! BEMA: an average that is corrected for its lag, as numbers.
//!
//! An EMA is behind the weights by its mean age. BEMA (Block and Zhang 2025, arXiv:2508.00180) adds a part of the way that the
//! weights have come since the beginning: `bema = ema + alpha * (online - first)`, where both the weight of an update of the
//! EMA and `alpha` fall as powers of the step. `burn-ema` computes it for tensors.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::clock::{Clock, Ticks};
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::known::Decay;
use crate::decay::power_law::PowerLaw;
use crate::error::RulesError;
use crate::profile::Profile;
use crate::schedule::Schedule;

/// How BEMA's three published implementations count. `t` is the optimizer step, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BemaConvention {
    /// The paper, and TRL's `BEMACallback`: `(lag + multiplier * t)^-power`, where `t` includes the burn-in.
    Trl,
    /// The authors' online callback: `multiplier * (1 + max(0, t - lag))^-power`, so `lag` is a delay, during which the EMA is
    /// a copy if `multiplier` is at least 1.
    Online,
    /// The authors' offline script: `(1 + multiplier * (t - update_after + lag))^-power`.
    Offline,
}

/// How BEMA averages and corrects. Fields are called as in TRL.
///
/// # Example
///
/// ```
/// use burn_ema_rules::bema::Bema;
///
/// let bema = Bema { update_freq: 1, ..Bema::trl() };
/// // At step 54 a share of 64^-0.2 of the way since the beginning is added to the EMA.
/// assert!((bema.correction(54) - 64.0_f64.powf(-0.2)).abs() < 1e-15);
/// // The weight of each past step: the weights that averaging started from count negatively.
/// let profile = bema.profile(54)?;
/// assert!(profile.weights()[0] < -0.4 && profile.weights()[54] > 0.5);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bema {
    /// How steps are counted.
    pub convention: BemaConvention,
    /// Exponent of the weight of an update, kappa in the paper; finite and above 0. Default: 0.5.
    pub ema_power: f64,
    /// Exponent of the correction, eta in the paper; finite and above 0. Default: 0.2.
    pub bias_power: f64,
    /// The factor `multiplier` in the formulas of [`BemaConvention`], gamma in the paper; finite and above 0. Default: 1.
    pub multiplier: f64,
    /// The number `lag` in the formulas of [`BemaConvention`]; at least 1 for TRL. Default: 10.
    pub lag: u32,
    /// Lower bound of the weight of an update, in `[0, 1]`. Default: 0, and 1e-4 offline.
    pub min_ema_multiplier: f64,
    /// Length of the burn-in: averaging begins after this step, and the online weights at this step are the first weights, from
    /// which the correction is measured. Default: 0.
    pub update_after: u64,
    /// Number of optimizer steps from one update to the next, at least 1. Default: 400 for TRL, 100 online and 1 offline.
    pub update_freq: u64,
}

impl Bema {
    /// The defaults of TRL.
    ///
    /// TRL's callback pairs trainable parameters with all parameters, so a frozen layer is an error there; it keeps nothing in
    /// checkpoints; and until the first update it shows the weights from before the burn-in. Here frozen layers are copied, a
    /// resumed run goes on bit for bit, and until the end of the burn-in the average is the online weights.
    #[must_use]
    pub fn trl() -> Self {
        Self {
            convention: BemaConvention::Trl,
            ema_power: 0.5,
            bias_power: 0.2,
            multiplier: 1.0,
            lag: 10,
            min_ema_multiplier: 0.0,
            update_after: 0,
            update_freq: 400,
        }
    }

    /// The authors' online callback.
    #[must_use]
    pub fn online() -> Self {
        Self {
            convention: BemaConvention::Online,
            update_freq: 100,
            ..Self::trl()
        }
    }

    /// The authors' offline script, on every step.
    #[must_use]
    pub fn offline() -> Self {
        Self {
            convention: BemaConvention::Offline,
            min_ema_multiplier: 1e-4,
            update_freq: 1,
            ..Self::trl()
        }
    }

    /// `alpha` at optimizer step `step`: the share of the way from the first weights to the online ones that is added to the
    /// EMA. 0 before averaging begins.
    #[must_use]
    pub fn correction(&self, step: u64) -> f64 {
        if step <= self.update_after {
            return 0.0;
        }
        let (step, lag) = (step as f64, f64::from(self.lag));
        let power = |base: f64| base.powf(-self.bias_power);
        match self.convention {
            BemaConvention::Trl => power(lag + self.multiplier * step),
            BemaConvention::Online => self.multiplier * power(1.0 + (step - lag).max(0.0)),
            BemaConvention::Offline => {
                let time = step - self.update_after as f64 + lag;
                power(1.0 + self.multiplier * time)
            }
        }
    }

    /// The decay schedule of the EMA. The weight of an update is at most 1.
    #[must_use]
    pub fn decay(&self) -> Decay {
        let start = i64::try_from(self.update_after).unwrap_or(i64::MAX);
        let lag = i64::from(self.lag);
        let (rho, gamma, offset) = match self.convention {
            BemaConvention::Trl => (f64::from(self.lag), self.multiplier, start),
            BemaConvention::Online => {
                // A factor of the power is one of what is raised to it.
                let factor = self.multiplier.powf(-1.0 / self.ema_power);
                (factor, factor, start.saturating_sub(lag))
            }
            BemaConvention::Offline => (1.0, self.multiplier, lag),
        };
        let clock = Clock {
            ticks: Ticks::Steps,
            inclusive: true,
            offset,
        };
        let law = PowerLaw {
            rho,
            gamma,
            power: self.ema_power,
            min_weight: self.min_ema_multiplier,
            clock,
        };
        law.into()
    }

    /// The update schedule of the EMA.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule {
            start: self.update_after,
            interval: self.update_freq,
        }
    }

    /// The weight of each past step after `updates` updates, right after the last of them. Only the first, that of the weights
    /// which averaging started from, can be negative.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate) and [`Schedule::profile`].
    pub fn profile(&self, updates: u64) -> Result<Profile, RulesError> {
        self.validate()?;
        let ema = self.schedule().profile(&self.decay(), updates)?;
        let correction = self.correction(ema.last_step());
        let mut weights = ema.weights().to_vec();
        weights[0] -= correction;
        if let Some(last) = weights.last_mut() {
            *last += correction;
        }
        Profile::new(self.schedule(), weights)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    ///
    /// [`RulesError`] for the first number that is out of its range.
    pub fn validate(&self) -> Result<(), RulesError> {
        let has_lag = self.convention != BemaConvention::Trl || self.lag > 0;
        Checks::of("Bema")
            .positive("ema_power", self.ema_power)
            .positive("bias_power", self.bias_power)
            .positive("multiplier", self.multiplier)
            .that(has_lag, "lag", "at least 1 for TRL", f64::from(self.lag))
            .share("min_ema_multiplier", self.min_ema_multiplier)
            .done()?;
        self.schedule().validate()?;
        self.decay().validate()
    }
}
