//! When the average is written back into the model that is trained.

use burn::module::Module;
use serde::{Deserialize, Serialize};

use crate::assign::assign;
use crate::{Action, EmaError, EmaModel, op};

/// Writes the average back into the online model every few optimizer steps: Switch EMA (Li et al. 2024,
/// arXiv:2402.09240), Keras' `ema_overwrite_frequency`, ema-pytorch's `update_model_with_ema_every`.
///
/// Training then goes on from the average. What the [`Policy`](crate::Policy) averages is written:
/// `online = ema + (online - ema) * keep`; everything else, and the state of the optimizer, stays. Steps are
/// counted from 1, as by [`Schedule`](crate::Schedule).
///
/// # Example
///
/// ```
/// use burn_ema::{EmaConfig, Switch};
///
/// // Every two epochs of 500 steps, after a warm-up of 1 000 steps, keeping a tenth of the online weights.
/// let switch = Switch { start: 1_000, keep: 0.1, ..Switch::every_epochs(2, 500) };
/// assert!(switch.is_due(2_000) && !switch.is_due(1_000) && !switch.is_due(2_001));
/// let config = EmaConfig::new().with_switch(switch);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Optimizer steps from one switch to the next, at least 1.
    pub every: u64,
    /// Optimizer steps before switching starts. The first switch is at `start + every`.
    #[serde(default)]
    pub start: u64,
    /// Share of the online weights that stays, at least 0 and below 1. At 0 they become a copy of the average.
    #[serde(default)]
    pub keep: f64,
}

impl Switch {
    /// A copy of the average every `steps` optimizer steps, at least 1: checked when it is
    /// [used](crate::EmaConfig::validate).
    pub fn every(steps: u64) -> Self {
        Self {
            every: steps,
            start: 0,
            keep: 0.0,
        }
    }

    /// A copy of the average every `epochs` epochs of `steps_per_epoch` optimizer steps, after the last of them.
    pub fn every_epochs(epochs: u64, steps_per_epoch: u64) -> Self {
        Self::every(epochs.saturating_mul(steps_per_epoch))
    }

    /// Whether the average is written back after optimizer step `step`, counted from 1.
    pub fn is_due(&self, step: u64) -> bool {
        step > self.start && (step - self.start).is_multiple_of(self.every)
    }

    pub(crate) fn validate(&self) -> Result<(), EmaError> {
        let problem = if self.every == 0 {
            "every 0 steps: write at least 1".to_string()
        } else if !(0.0..1.0).contains(&self.keep) {
            format!(
                "keep, the share of the online weights that stays, must be at least 0 and below 1, found {}",
                self.keep
            )
        } else {
            return Ok(());
        };
        Err(EmaError::InvalidConfig {
            field: "switch",
            problem,
        })
    }
}

impl<M: Module> EmaModel<M> {
    /// Writes the average back into `model` if the [`Switch`] of the configuration says so of the step that
    /// [`update`](Self::update) has just counted. Call it right after that.
    ///
    /// # Errors
    ///
    /// If `model` is not of the structure that the average was made from. Nothing has changed then.
    ///
    /// # Example
    ///
    /// ```
    /// # use burn::nn::LinearConfig;
    /// # let mut model = LinearConfig::new(2, 1).init(&Default::default());
    /// use burn_ema::{EmaConfig, Switch};
    ///
    /// let mut ema = EmaConfig::new().with_switch(Switch::every(3)).init(&model);
    /// for step in 1..=6 {
    ///     // After the optimizer step:
    ///     ema.update(&model)?;
    ///     let switched = ema.switch_if_due(&mut model)?;
    ///     assert_eq!(switched, step % 3 == 0);
    /// }
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn switch_if_due(&self, model: &mut M) -> Result<bool, EmaError> {
        match self.config().switch {
            Some(switch) if switch.is_due(self.num_steps()) => {
                self.write_back(model, switch.keep)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Moves what is averaged in `model` to the average: `model = ema + (model - ema) * keep`. With a `keep` of 0
    /// it becomes a copy. `model` goes on training, with its ids; what is not averaged stays.
    ///
    /// # Errors
    ///
    /// If `keep` is not in `[0, 1]`, or `model` not of the structure that the average was made from. Nothing
    /// has changed then.
    pub fn write_back(&self, model: &mut M, keep: f64) -> Result<(), EmaError> {
        if !(0.0..=1.0).contains(&keep) {
            return Err(EmaError::InvalidConfig {
                field: "switch",
                problem: format!("keep must be in [0, 1], found {keep}"),
            });
        }
        let sources = self.shadow.collect(model)?;
        let averaged: Vec<bool> = self
            .actions(&sources)
            .map(|action| action == Action::Average)
            .collect();
        drop(sources);
        let slots = self.shadow.slots();
        assign(model, slots, |slot, online| {
            averaged[slot].then(|| {
                let ema = slots[slot].share();
                let online = op::conform(online, &op::device(&ema), ema.dtype());
                op::lerp(ema, online, keep)
            })
        });
        Ok(())
    }

    /// Gives `model` every value of the average, also those that are not averaged. `model` goes on training or
    /// validating as it did, on its device, with its ids. See [`Stored`](crate::Stored) for the way back.
    ///
    /// # Errors
    ///
    /// If `model` is not of the structure that the average was made from. Nothing has changed then.
    pub fn copy_to(&self, model: &mut M) -> Result<(), EmaError> {
        self.settled().write_to(model)
    }
}
