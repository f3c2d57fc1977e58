//! Carrying an EMA on: from other weights, from elsewhere, or over to a model that has changed.

use burn::module::Module;
use burn_ema_rules::decay::Progress;
use serde::{Deserialize, Serialize};

use crate::counters::Counters;
use crate::error::EmaError;
use crate::model::update::copy_all;
use crate::model::{EmaModel, check_dtypes, conformed, planned};
use crate::store::Store;
use crate::store::slot::Slot;

/// What [`EmaModel::adopt`] did with each tensor, by module path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct Adopted {
    /// Kept from the EMA: same path and shape.
    pub kept: Vec<String>,
    /// Started from the new model: new, or of another shape or kind.
    pub started: Vec<String>,
    /// No longer there.
    pub dropped: Vec<String>,
}

impl<M: Module> EmaModel<M> {
    /// Makes the EMA a copy of `model`, whatever the [`Policy`](crate::Policy) says: weights, and everything that is no weight,
    /// such as plain tensor fields. Counters stay. This also repairs an EMA whose update panicked.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the EMA. Nothing has changed then.
    pub fn copy_from(&mut self, model: &M) -> Result<(), EmaError> {
        let mut reading = self.read_alike(model)?;
        let mode = std::mem::take(&mut reading.mode);
        self.store.settle();
        self.release();
        self.is_interrupted = true;
        copy_all(self, reading);
        self.is_interrupted = false;
        let places = self.plan.places.clone();
        self.store.renew_frame(model, &places, &mode);
        Ok(())
    }

    /// Starts again from `model`: weights as [`copy_from`](Self::copy_from), and all counters at 0.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the EMA. Nothing has changed then.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::{Decay, EmaConfig};
    ///
    /// let model = LinearConfig::new(2, 1).init(&Default::default());
    /// let mut ema = EmaConfig::new().with_decay(Decay::equal_weights()).init(&model);
    /// ema.update(&model)?;
    /// ema.restart(&model)?; // a new phase of training
    /// assert_eq!(ema.num_updates(), 0);
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn restart(&mut self, model: &M) -> Result<(), EmaError> {
        self.copy_from(model)?;
        self.counters = Counters::default();
        self.written_back_at = 0;
        Ok(())
    }

    /// Goes on from an EMA from elsewhere: `average` holds its weights, and `progress` how many updates it has had.
    ///
    /// The next update uses the decay of the schedule at that point. Progress of another system is its number of updates that
    /// averaged; copies before the start do not count. `progress.interval` must be the [interval](crate::EmaConfig::interval)
    /// of this EMA.
    ///
    /// # Errors
    ///
    /// If `average` does not have the structure of the EMA, or the interval differs. Nothing has changed then.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::decay::{PowerWarmup, Progress};
    /// use burn_ema::EmaConfig;
    ///
    /// let model = LinearConfig::new(2, 1).init(&Default::default());
    /// let average = LinearConfig::new(2, 1).init(&Default::default()); // loaded from somewhere
    /// let mut ema = EmaConfig::new().with_decay(PowerWarmup::new(0.75).into()).init(&model);
    /// ema.resume_from(&average, Progress { updates: 10_000, interval: 1 })?;
    /// assert!((ema.current_decay() - 0.999).abs() < 1e-4);
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn resume_from(&mut self, average: &M, progress: Progress) -> Result<(), EmaError> {
        let Progress { updates, interval } = progress;
        if interval != self.config.interval {
            return Err(EmaError::IntervalMismatch {
                expected: self.config.interval,
                found: interval,
            });
        }
        self.copy_from(average)?;
        let steps = updates.saturating_mul(interval);
        self.counters = Counters {
            steps: self.config.start.saturating_add(steps),
            updates,
            skipped: 0,
            weight: updates as f64,
            is_weighted: false,
        };
        self.written_back_at = self.counters.steps;
        Ok(())
    }

    /// Carries the EMA over to a model of another structure: one that has grown (progressive GANs), or has another head.
    ///
    /// What has the same path and shape in both is kept, the rest starts from `grown`. Counters stay. The report says what
    /// happened to each tensor.
    ///
    /// # Errors
    ///
    /// If `grown` has no parameters or one of too many dimensions, or an earlier update panicked. Nothing has changed then.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn_ema::EmaConfig;
    ///
    /// let layer = || -> Linear { LinearConfig::new(2, 2).init(&Default::default()) };
    /// let model = vec![layer()];
    /// let mut ema = EmaConfig::new().init(&model);
    /// let grown = vec![model[0].clone(), layer()];
    /// let adopted = ema.adopt(&grown)?;
    /// assert_eq!(adopted.kept, ["0.weight", "0.bias"]);
    /// assert_eq!(adopted.started, ["1.weight", "1.bias"]);
    /// ema.update(&grown)?;
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn adopt(&mut self, grown: &M) -> Result<Adopted, EmaError> {
        self.check_whole()?;
        let (first, plan, frame) = planned(grown, |first, buffers| {
            Ok(self.plan.revised(first, buffers))
        })?;
        let pinned = self.store.pinned.clone();
        let shown = first.shown.iter().map(Some);
        check_dtypes(&self.config, &plan, shown, pinned.as_ref())?;
        self.release();
        let mut adopted = Adopted::default();
        let mut slots = Vec::with_capacity(first.shown.len());
        for (place, shown) in first.shown.into_iter().enumerate() {
            let path = &plan.places.paths[place];
            let known = self.plan.places.position(path).filter(|known| {
                let (old, new) = (&self.plan.entries[*known], &plan.entries[place]);
                old.shape == new.shape && old.kind == new.kind
            });
            match known {
                Some(known) => {
                    adopted.kept.push(path.clone());
                    slots.push(self.store.slot(known));
                }
                None => {
                    adopted.started.push(path.clone());
                    let action = plan.action(place, false);
                    let tensor = conformed(&self.config, shown.tensor, action, pinned.as_ref());
                    slots.push(Slot::new(tensor));
                }
            }
        }
        let old = self.plan.places.paths.iter();
        adopted.dropped = old
            .filter(|path| plan.places.position(path).is_none())
            .cloned()
            .collect();
        self.store = Store::new(slots, frame, pinned);
        self.plan = plan;
        Ok(adopted)
    }
}
