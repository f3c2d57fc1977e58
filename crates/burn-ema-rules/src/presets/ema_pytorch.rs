//! ema-pytorch (lucidrains).

use serde::{Deserialize, Serialize};

use crate::decay::clock::{Clock, Ticks};
use crate::decay::known::Decay;
use crate::decay::power_function::{PowerFunction, gamma_of_sigma_rel};
use crate::decay::power_warmup::PowerWarmup;
use crate::error::RulesError;
use crate::presets::convert::{constant, delay};
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// ema-pytorch's `EMA`: a [`PowerWarmup`] that counts all calls, also those between two updates.
///
/// The first call copies. Then every `update_every`-th call copies or updates: it copies while at most `update_after_step`
/// calls were before it. Between two of these copies the EMA is stale, as in ema-pytorch. With a `beta` of 1 the EMA does
/// not change after the copies. Difference: ema-pytorch never copies integers; this preset always does.
///
/// # Example
///
/// ```
/// use burn_ema_rules::presets::{EmaPytorch, Preset};
///
/// // EMA(model, beta=0.9999, update_every=10)
/// let settings = EmaPytorch { beta: 0.9999, ..EmaPytorch::default() }.settings()?;
/// assert_eq!((settings.start, settings.interval), (1, 10));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaPytorch {
    /// `beta`, in `[0, 1]`. Default: 0.9999.
    pub beta: f64,
    /// `update_after_step`. Default: 100.
    pub update_after_step: u64,
    /// `update_every`, at least 1. Default: 10.
    pub update_every: u64,
    /// `inv_gamma`, finite and positive. Default: 1.
    pub inv_gamma: f64,
    /// `power`, finite and positive. Default: 2/3.
    pub power: f64,
    /// `min_value`, in `[0, beta]`. Default: 0.
    pub min_value: f64,
}

impl Default for EmaPytorch {
    fn default() -> Self {
        Self {
            beta: 0.9999,
            update_after_step: 100,
            update_every: 10,
            inv_gamma: 1.0,
            power: 2.0 / 3.0,
            min_value: 0.0,
        }
    }
}

impl Preset for EmaPytorch {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = constant("EmaPytorch", "beta", self.beta)?;
        let decay = match self.beta {
            1.0 => decay.copy_first(self.update_after_step / self.update_every.max(1)),
            beta => Decay::from(PowerWarmup {
                power: self.power,
                inv_gamma: self.inv_gamma,
                min: self.min_value,
                max: beta,
                clock: Clock {
                    ticks: Ticks::Steps,
                    inclusive: true,
                    offset: delay(self.update_after_step),
                },
            }),
        };
        Settings {
            start: 1,
            interval: self.update_every,
            ..Settings::of_all_floats(decay, true)
        }
        .checked()
    }
}

/// ema-pytorch's `KarrasEMA`, as its documentation describes it: the power function EMA with the time between updates in
/// the formula.
///
/// Difference: ema-pytorch leaves `update_every` out of the formula, so with the default of 100 the *earliest* weights
/// dominate: for `sigma_rel = 0.05` and 10,000 steps the mean time is at 0.151 of the run instead of 0.947. The base of
/// the power is also one step late in ema-pytorch, `1 - 1/(s + 2)`, so its first update is not a copy.
///
/// # Example
///
/// ```
/// use burn_ema_rules::presets::{KarrasEma, Preset};
///
/// let settings = KarrasEma::default().settings()?;
/// let profile = settings.schedule().profile(&settings.decay, 100)?;
/// assert!(1.0 - profile.mean_age() / 10_000.0 > 0.94);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KarrasEma {
    /// `sigma_rel`, above 0 and below `1/sqrt(12)`. Give `sigma_rel` or `gamma`, not both. Default: 0.05; ema-pytorch has
    /// no default. A file must name one of the two.
    #[serde(default)]
    pub sigma_rel: Option<f64>,
    /// `gamma`, finite and at least 0. Default: none, and `sigma_rel` is used.
    #[serde(default)]
    pub gamma: Option<f64>,
    /// `update_every`, at least 1. Default: 100.
    #[serde(default = "usual_update_every")]
    pub update_every: u64,
}

fn usual_update_every() -> u64 {
    100
}

impl Default for KarrasEma {
    fn default() -> Self {
        Self {
            sigma_rel: Some(0.05),
            gamma: None,
            update_every: usual_update_every(),
        }
    }
}

impl Preset for KarrasEma {
    fn settings(&self) -> Result<Settings, RulesError> {
        let gamma = match (self.sigma_rel, self.gamma) {
            (Some(sigma_rel), None) => gamma_of_sigma_rel(sigma_rel)?,
            (None, Some(gamma)) => gamma,
            (None, None) | (Some(_), Some(_)) => {
                return Err(RulesError::InvalidConfig {
                    field: "decay",
                    problem: "KarrasEma needs one of sigma_rel and gamma: set the other to None"
                        .into(),
                });
            }
        };
        Settings {
            interval: self.update_every,
            ..Settings::of_all_floats(PowerFunction { gamma }.into(), true)
        }
        .checked()
    }
}
