//! ema-pytorch (lucidrains).

use super::{Peer, all_floats, checked, delay};
use crate::rule::Checks;
use crate::{
    Clock, Decay, EmaConfig, EmaError, PowerFunction, PowerWarmup, Ticks, gamma_of_sigma_rel,
};

/// ema-pytorch's `EMA`: a [`PowerWarmup`] that counts calls, also those between averages.
///
/// The first call copies; then every `update_every`-th does something, and copies as long as no more than
/// `update_after_step` calls were before it. Between those copies the average is stale, as there. With a `beta` of 1
/// it stays what it is after them. (Integers are never copied there, and always here.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmaPytorch {
    /// `beta`, default 0.9999.
    pub beta: f64,
    /// `update_after_step`, default 100.
    pub update_after_step: u64,
    /// `update_every`, default 10.
    pub update_every: u64,
    /// `inv_gamma`, default 1.
    pub inv_gamma: f64,
    /// `power`, default 2/3.
    pub power: f64,
    /// `min_value`, default 0.
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

impl Peer for EmaPytorch {
    fn decay(&self) -> Result<Decay, EmaError> {
        if self.beta == 1.0 {
            let copies = self.update_after_step / self.update_every.max(1);
            return Ok(Decay::constant(1.0).copy_first(copies));
        }
        Checks::of("EmaPytorch").decay("beta", self.beta).done()?;
        Decay::from(PowerWarmup {
            power: self.power,
            inv_gamma: self.inv_gamma,
            min: self.min_value,
            max: self.beta,
            clock: Clock {
                ticks: Ticks::Steps,
                inclusive: true,
                offset: delay(self.update_after_step),
            },
        })
        .checked()
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        checked(
            EmaConfig::new()
                .with_decay(self.decay()?)
                .with_start(1)
                .with_interval(self.update_every)
                .with_policy(all_floats(true)),
        )
    }
}

/// ema-pytorch's `KarrasEMA`, as it was meant: the power function average with the time between updates in the
/// formula.
///
/// There `update_every` is missing in it, so with the default of 100 the average is dominated by the *earliest*
/// weights: for `sigma_rel = 0.05` and 10 000 steps its mean is at 0.151 of the training in place of 0.947. (The
/// exponent's base there is also one step late, `1 - 1/(s + 2)`, so that the first update is no copy.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KarrasEma {
    /// `sigma_rel`; one of this and `gamma`. Default 0.05, which there has no default.
    pub sigma_rel: Option<f64>,
    /// `gamma`. Default: by `sigma_rel`.
    pub gamma: Option<f64>,
    /// `update_every`, default 100.
    pub update_every: u64,
}

impl Default for KarrasEma {
    fn default() -> Self {
        Self {
            sigma_rel: Some(0.05),
            gamma: None,
            update_every: 100,
        }
    }
}

impl Peer for KarrasEma {
    fn decay(&self) -> Result<Decay, EmaError> {
        let gamma = match (self.sigma_rel, self.gamma) {
            (Some(sigma_rel), None) => gamma_of_sigma_rel(sigma_rel)?,
            (None, Some(gamma)) => gamma,
            (None, None) | (Some(_), Some(_)) => {
                return Err(EmaError::InvalidConfig {
                    field: "decay",
                    problem: "KarrasEma wants one of sigma_rel and gamma".into(),
                });
            }
        };
        Decay::from(PowerFunction { gamma }).checked()
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        checked(
            EmaConfig::new()
                .with_decay(self.decay()?)
                .with_interval(self.update_every)
                .with_policy(all_floats(true)),
        )
    }
}
