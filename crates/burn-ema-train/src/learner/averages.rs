//! The averaged models of a wrapper: what validates, and what is left in the end.

use std::cell::OnceCell;

use burn::module::Module;
use burn_ema::{EmaError, EmaModel, EmaSet};

use super::EmaLearner;
use crate::reestimation::Reestimation;

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
    pub fn into_ema(self) -> M {
        self.on_average(M::clone)
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
        match &self.snapshot {
            Some(snapshot) => step(snapshot.chosen.get_or_init(|| self.chosen_model())),
            None => step(&self.chosen_model()),
        }
    }

    /// Runs `step` on each of the other averaged models, and gives the results with their names.
    pub(crate) fn on_others<T>(&self, mut step: impl FnMut(&M) -> T) -> Vec<(String, T)> {
        let mut on_each = |others: &[(String, M)]| {
            let others = others.iter();
            others
                .map(|(name, model)| (name.clone(), step(model)))
                .collect()
        };
        match &self.snapshot {
            Some(snapshot) => on_each(snapshot.others.get_or_init(|| self.other_models())),
            None => on_each(&self.other_models()),
        }
    }

    fn chosen_model(&self) -> M {
        let (_, average) = self.running_averages().swap_remove(self.chosen);
        self.usable(average)
    }

    fn other_models(&self) -> Vec<(String, M)> {
        let mut averages = self.running_averages();
        averages.remove(self.chosen);
        let averages = averages.into_iter();
        averages
            .map(|(name, average)| (name, self.usable(average)))
            .collect()
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

    /// The averaged model where the online model can take its place, with the statistics that it is to have.
    fn usable(&self, average: Option<EmaModel<M>>) -> M {
        let Some(average) = average else {
            return self.online.valid();
        };
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
            Some(reestimation) if reestimates => self.reestimated(averaged, reestimation),
            _ => averaged,
        }
    }

    /// `averaged` with statistics of the data. If there are none, it keeps those of the online model, and the training
    /// stops.
    fn reestimated(&self, averaged: M, reestimation: &Reestimation<M>) -> M {
        match reestimation.estimate(&averaged) {
            Ok(estimated) => estimated,
            Err(problem) => {
                let problem = format!("running statistics cannot be re-estimated: {problem}");
                self.fail(&problem);
                averaged
            }
        }
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
