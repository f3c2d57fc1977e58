//! The averaged models of a wrapper: what validates, and what is left in the end.

use std::cell::OnceCell;

use burn::module::Module;
use burn_ema::{EmaError, EmaModel, EmaSet};

use super::EmaLearner;

/// The averaged models at one moment, each made when it is first asked for.
#[derive(Clone, Debug)]
pub(super) struct Snapshot<M> {
    /// That of the average which was chosen.
    chosen: OnceCell<M>,
    /// Those of the others, with their names.
    others: OnceCell<Vec<(String, M)>>,
}

impl<M> Snapshot<M> {
    pub(super) fn new() -> Self {
        Self {
            chosen: OnceCell::new(),
            others: OnceCell::new(),
        }
    }
}

impl<M: Module, V> EmaLearner<M, V> {
    /// The averaged model, in validation state: the one to deploy.
    ///
    /// Of a training's result (`result.model`), this is the average at the end of the training. Of several averages it
    /// is the chosen one; `result.model.with_chosen("slow").into_ema()` gives another.
    ///
    /// # Panics
    ///
    /// Where [`try_into_ema`](Self::try_into_ema) returns an error.
    pub fn into_ema(self) -> M {
        self.try_into_ema()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`into_ema`](Self::into_ema), fallible. After an error nothing is lost: [`average`](Self::average) still has
    /// the average.
    ///
    /// # Errors
    ///
    /// If running statistics are to be [re-estimated](Self::with_reestimation), and the data fails.
    pub fn try_into_ema(&self) -> Result<M, EmaError> {
        let cached = self.snapshot.as_ref().and_then(|s| s.chosen.get());
        cached.map_or_else(|| self.chosen_model(), |model| Ok(model.clone()))
    }

    /// A snapshot of the average and its counters.
    ///
    /// # Errors
    ///
    /// If training has not begun and no average can be made of the model.
    pub fn average(&self) -> Result<EmaModel<M>, EmaError> {
        let name = self.chosen_name();
        self.averages()?.into_average(&name)
    }

    /// A snapshot of all averages and their counters.
    ///
    /// # Errors
    ///
    /// If training has not begun and no average can be made of the model.
    pub fn averages(&self) -> Result<EmaSet<M>, EmaError> {
        self.averages.snapshot(&self.online)
    }

    /// The name of the average that validates: empty for the only one.
    pub(crate) fn chosen_name(&self) -> String {
        let config = self.averages.config();
        config.averages[self.chosen].name.clone()
    }

    /// Runs `step` on the averaged model that was chosen.
    pub(crate) fn on_average<T>(&self, step: impl FnOnce(&M) -> T) -> T {
        let as_it_is = || self.usable(self.running_averages().swap_remove(self.chosen).1);
        let make = || self.or_stop(self.chosen_model(), as_it_is);
        match &self.snapshot {
            Some(snapshot) => step(snapshot.chosen.get_or_init(make)),
            None => step(&make()),
        }
    }

    /// Runs `step` on each of the other averaged models, and gives the results with their names.
    pub(crate) fn on_others<T>(&self, mut step: impl FnMut(&M) -> T) -> Vec<(String, T)> {
        let make = || self.other_models();
        let mut on_each = |others: &[(String, M)]| {
            let others = others.iter();
            others
                .map(|(name, model)| (name.clone(), step(model)))
                .collect()
        };
        match &self.snapshot {
            Some(snapshot) => on_each(snapshot.others.get_or_init(make)),
            None => on_each(&make()),
        }
    }

    fn chosen_model(&self) -> Result<M, EmaError> {
        let (_, average) = self.running_averages().swap_remove(self.chosen);
        self.reestimated(average)
    }

    fn other_models(&self) -> Vec<(String, M)> {
        let mut averages = self.running_averages();
        averages.remove(self.chosen);
        let model = |average: Option<EmaModel<M>>| {
            self.or_stop(self.reestimated(average.clone()), || self.usable(average))
        };
        let averages = averages.into_iter();
        averages
            .map(|(name, average)| (name, model(average)))
            .collect()
    }

    /// `made`. After an error, which stops the training, a step needs something to run on all the same.
    fn or_stop(&self, made: Result<M, EmaError>, otherwise: impl FnOnce() -> M) -> M {
        made.unwrap_or_else(|error| {
            self.fail(&error.to_string());
            otherwise()
        })
    }

    /// The averages with their names, which are `None` before training has begun.
    fn running_averages(&self) -> Vec<(String, Option<EmaModel<M>>)> {
        let running = self.averages.peek(|averages| averages.cloned());
        let config = self.averages.config();
        let average = |name: &str| match &running {
            Some(averages) => averages.average(name).ok().cloned(),
            None => None,
        };
        config
            .names()
            .map(|name| (name.to_string(), average(name)))
            .collect()
    }

    /// The averaged model with the statistics that it is to have.
    fn reestimated(&self, average: Option<EmaModel<M>>) -> Result<M, EmaError> {
        let reestimates = average
            .as_ref()
            .is_some_and(|average| average.config().policy.reestimates());
        let averaged = self.usable(average);
        match &self.reestimation {
            Some(reestimation) if reestimates => reestimation
                .estimate(&averaged)
                .map_err(|problem| EmaError::Reestimation { problem }),
            _ => Ok(averaged),
        }
    }

    /// The averaged model where the online model can take its place.
    fn usable(&self, average: Option<EmaModel<M>>) -> M {
        let Some(average) = average else {
            return self.online.valid();
        };
        let is_pinned = average.device().is_some();
        let averaged = average.into_model();
        // The average is where it is kept, or where the last step left the online weights: with a
        // sharded optimizer that is on every device.
        match self.online.devices().as_slice() {
            [device] if averaged.devices().iter().any(|other| other != device) => {
                averaged.to_device(&device.clone().without_autodiff())
            }
            [device, _, ..] if is_pinned => averaged.to_device(&device.clone().without_autodiff()),
            _ => averaged,
        }
    }

    /// No models yet, if there is a snapshot to make them for.
    pub(super) fn snapshot_anew(&self) -> Option<Snapshot<M>> {
        self.snapshot.as_ref().map(|_| Snapshot::new())
    }

    /// The same run with other online weights.
    pub(super) fn with_online(self, change: impl FnOnce(M) -> M) -> Self {
        Self {
            online: change(self.online),
            snapshot: None,
            ..self
        }
    }
}
