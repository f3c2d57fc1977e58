//! The averaged models of a wrapper: what validates, and what is left in the end.

use burn::module::Module;
use burn_ema::{EmaError, EmaModel, EmaSet};

use super::EmaLearner;
use crate::handle::Handle;

/// The averaged models at one moment.
#[derive(Clone, Debug)]
pub(super) struct Averaged<M> {
    /// That of the average which was chosen.
    chosen: M,
    /// Those of the others, with their names.
    others: Vec<(String, M)>,
}

impl<M: Module, V> EmaLearner<M, V> {
    /// The averaged model, in validation state: the one to deploy.
    ///
    /// Of a training's result (`result.model`), this is the average at the end of the training.
    pub fn into_ema(self) -> M {
        match self.averaged {
            Some(averaged) => averaged.chosen,
            None => self.current(&self.averages).chosen,
        }
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
        match &self.averaged {
            Some(averaged) => step(&averaged.chosen),
            None => step(&self.current(&self.averages).chosen),
        }
    }

    /// Runs `step` on each of the other averaged models, and gives the results with their names.
    pub(crate) fn on_others<T>(&self, mut step: impl FnMut(&M) -> T) -> Vec<(String, T)> {
        let current;
        let averaged = match &self.averaged {
            Some(averaged) => averaged,
            None => {
                current = self.current(&self.averages);
                &current
            }
        };
        let others = averaged.others.iter();
        others
            .map(|(name, model)| (name.clone(), step(model)))
            .collect()
    }

    /// The averaged models as they are in `averages`, where the online model can take their place.
    pub(super) fn current(&self, averages: &Handle<M>) -> Averaged<M> {
        let Some(averages) = averages.peek(|averages| averages.cloned()) else {
            let config = self.averages.config();
            let mut names: Vec<String> = config.names().map(str::to_string).collect();
            names.remove(self.chosen);
            return Averaged {
                chosen: self.online.valid(),
                others: names
                    .into_iter()
                    .map(|name| (name, self.online.valid()))
                    .collect(),
            };
        };
        let model = |(name, average): (&str, &EmaModel<M>)| {
            (name.to_string(), self.usable(average.clone()))
        };
        let mut others: Vec<(String, M)> = averages.iter().map(model).collect();
        let (_, chosen) = others.remove(self.chosen);
        Averaged { chosen, others }
    }

    /// The averaged model where the online model can take its place, with the statistics that it is to have.
    fn usable(&self, average: EmaModel<M>) -> M {
        let is_pinned = average.device().is_some();
        let reestimates = average.config().policy.reestimates();
        let averaged = average.into_model();
        // The average is where it is kept, or where the last step left the online weights: with a
        // sharded optimizer that is on every device.
        let averaged = match self.online.devices().as_slice() {
            [device] if averaged.devices().iter().any(|other| other != device) => {
                averaged.to_device(&device.clone().without_autodiff())
            }
            [device, _, ..] if is_pinned => averaged.to_device(&device.clone().without_autodiff()),
            _ => averaged,
        };
        match &self.reestimation {
            Some(reestimation) if reestimates => reestimation.apply(averaged),
            _ => averaged,
        }
    }

    /// The same run with other online weights.
    pub(super) fn with_online(self, change: impl FnOnce(M) -> M) -> Self {
        Self {
            online: change(self.online),
            averaged: None,
            ..self
        }
    }
}
