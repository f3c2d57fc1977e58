//! Writing the EMA back into the model that is trained.

use burn::module::Module;
use burn_ema_rules::schedule::Schedule;
use serde::{Deserialize, Serialize};

use crate::burn_facts::rank;
use crate::error::EmaError;
use crate::model::EmaModel;
use crate::model::exchange::assign;
use crate::plan::PlanAction;

/// Writes the EMA back into the online model every few optimizer steps: Switch EMA (Li et al. 2024,
/// arXiv:2402.09240), Keras' `ema_overwrite_frequency`, ema-pytorch's `update_model_with_ema_every`.
///
/// Training then continues from the EMA. What the [`Policy`](crate::Policy) averages is written:
/// `online = ema + (online - ema) * keep`; everything else, and the state of the optimizer, stays. Steps are
/// counted from 1, as by [`Schedule`].
///
/// # Example
///
/// ```
/// use burn_ema::EmaConfig;
/// use burn_ema::write_back::WriteBack;
///
/// // Every two epochs of 500 steps, after a warm-up of 1,000 steps, keeping a tenth of the online weights.
/// let write_back = WriteBack { start: 1_000, keep: 0.1, ..WriteBack::every_epochs(2, 500) };
/// assert!(write_back.is_due(2_000) && !write_back.is_due(1_000) && !write_back.is_due(2_001));
/// let config = EmaConfig::new().with_write_back(write_back);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias = "SwitchEMA")]
pub struct WriteBack {
    /// Optimizer steps from one write-back to the next: at least 1, and a multiple of the
    /// [interval](crate::EmaConfig::interval) of the EMA, so that it is written as an update left it.
    pub every: u64,
    /// Optimizer steps before it begins. The first write-back is at `start + every`.
    #[serde(default)]
    pub start: u64,
    /// Share of the online weights that stays, at least 0 and below 1. At 0 they become a copy of the EMA.
    #[serde(default)]
    pub keep: f64,
}

impl WriteBack {
    /// A copy of the EMA every `steps` optimizer steps, at least 1: checked when it is
    /// [used](crate::EmaConfig::validate).
    pub fn every(steps: u64) -> Self {
        Self {
            every: steps,
            start: 0,
            keep: 0.0,
        }
    }

    /// A copy of the EMA every `epochs` epochs of `steps_per_epoch` optimizer steps, after the last of them.
    pub fn every_epochs(epochs: u64, steps_per_epoch: u64) -> Self {
        Self::every(epochs.saturating_mul(steps_per_epoch))
    }

    /// Whether the EMA is written back after optimizer step `step`, counted from 1.
    pub fn is_due(&self, step: u64) -> bool {
        step > self.start && self.every > 0 && (step - self.start).is_multiple_of(self.every)
    }

    pub(crate) fn validate(&self, schedule: Schedule) -> Result<(), EmaError> {
        let Schedule { start, interval } = schedule;
        let first = self.start.saturating_add(self.every);
        let problem = if self.every == 0 {
            "every 0 steps: write at least 1".to_string()
        } else if !(0.0..1.0).contains(&self.keep) {
            format!(
                "keep, the share of the online weights that stays, must be at least 0 and below 1, found {}",
                self.keep
            )
        } else if !self.every.is_multiple_of(interval) {
            format!(
                "every {} steps, but the EMA is updated every {interval}, and would be written several steps old: write a \
                 multiple of {interval}",
                self.every
            )
        } else if first > start && !(first - start).is_multiple_of(interval) {
            format!(
                "the first write-back is at step {first}, between two updates of the EMA (every {interval} steps after step \
                 {start}): choose a start that is a multiple of {interval} away from it"
            )
        } else {
            return Ok(());
        };
        Err(EmaError::InvalidConfig {
            field: "write_back",
            problem,
        })
    }
}

impl<M: Module> EmaModel<M> {
    /// Writes the EMA back into `model` if the [`WriteBack`] of the configuration says so of the step that
    /// [`update`](Self::update) has just counted. Call it right after that. A second call in the same step, or one after an
    /// update that returned an error, does nothing.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the EMA, or an earlier update panicked. Nothing has changed then.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::EmaConfig;
    /// use burn_ema::write_back::WriteBack;
    ///
    /// let mut model = LinearConfig::new(2, 1).init(&Default::default());
    /// let mut ema = EmaConfig::new().with_write_back(WriteBack::every(3)).init(&model);
    /// for step in 1..=6 {
    ///     // After the optimizer step:
    ///     ema.update(&model)?;
    ///     let is_written = ema.write_back_if_due(&mut model)?;
    ///     assert_eq!(is_written, step % 3 == 0);
    /// }
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn write_back_if_due(&mut self, model: &mut M) -> Result<bool, EmaError> {
        let step = self.num_steps();
        match self.config.write_back {
            Some(write_back) if write_back.is_due(step) && self.written_back_at != step => {
                self.write_back(model, write_back.keep)?;
                self.written_back_at = step;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Moves what is averaged in `model` to the EMA: `model = ema + (model - ema) * keep`. With a `keep` of 0
    /// it becomes a copy. `model` continues training, with its ids; what is not averaged stays.
    ///
    /// # Errors
    ///
    /// If `keep` is not in `[0, 1]`, `model` does not have the structure of the EMA, or an earlier update panicked. Nothing
    /// has changed then.
    pub fn write_back(&self, model: &mut M, keep: f64) -> Result<(), EmaError> {
        if !(0.0..=1.0).contains(&keep) {
            return Err(EmaError::Keep { found: keep });
        }
        self.check_whole()?;
        let (reading, actions) = self.read_averaged(model)?;
        let is_averaged = |place: usize| actions[place] == PlanAction::Average;
        // From what was read, for a tensor that is at two places is written twice.
        let next = |place: usize| {
            let ema = self.store.share(place);
            let online = reading.shown[place]
                .as_ref()
                .map(|shown| shown.tensor.clone());
            let online = online.unwrap_or_else(|| ema.clone());
            let dtype = rank::wider(ema.dtype(), online.dtype());
            let (device, ema) = (rank::device(&ema), rank::cast(ema, dtype));
            let online = rank::conform(online, &device, dtype);
            rank::lerp(ema, online, keep)
        };
        assign(model, &self.plan.places, is_averaged, next);
        Ok(())
    }
}
