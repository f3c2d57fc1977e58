//! The EMA models of a wrapper: what validates, and what is left in the end.

use std::sync::OnceLock;

use burn::module::Module;
use burn_ema::{EmaError, EmaModel, EmaSet};

use crate::learner::WithEma;

/// The EMA models at one moment, each created when it is first asked for.
#[derive(Clone, Debug)]
pub(super) struct Snapshot<M> {
    /// That of the EMA which was chosen.
    chosen: OnceLock<M>,
    /// Those of the others, with their names.
    others: OnceLock<Vec<(String, M)>>,
}

impl<M> Snapshot<M> {
    pub(super) fn new() -> Self {
        Self {
            chosen: OnceLock::new(),
            others: OnceLock::new(),
        }
    }
}

impl<M: Module, V> WithEma<M, V> {
    /// The EMA model, in inference mode: the one to deploy.
    ///
    /// Of the result of a run (`result.model`), this is the EMA at the end of the run. Of several EMAs it
    /// is the chosen one; `result.model.with_chosen("slow").into_ema()` gives another.
    ///
    /// # Panics
    ///
    /// Where [`try_into_ema`](Self::try_into_ema) returns an error.
    pub fn into_ema(self) -> M {
        self.try_into_ema()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`into_ema`](Self::into_ema), fallible. After an error nothing is lost: [`ema`](Self::ema) still has
    /// the EMA. The model shares no state with this wrapper.
    ///
    /// # Errors
    ///
    /// If running statistics are to be [re-estimated](Self::with_reestimation), and the data fails; if an earlier update
    /// panicked; and if BEMA is read beside online weights of another structure.
    pub fn try_into_ema(&self) -> Result<M, EmaError> {
        let cached = self.snapshot.as_ref().and_then(|s| s.chosen.get());
        // Not a clone, which would share running statistics.
        cached.map_or_else(|| self.chosen_model(), |model| Ok(model.valid()))
    }

    /// A snapshot of the EMA and its counters.
    ///
    /// # Errors
    ///
    /// If training has not begun and no EMA of the model can be created.
    pub fn ema(&self) -> Result<EmaModel<M>, EmaError> {
        let name = self.chosen_name();
        self.emas()?.into_ema(&name)
    }

    /// A snapshot of all EMAs and their counters.
    ///
    /// # Errors
    ///
    /// If training has not begun and no EMA of the model can be created.
    pub fn emas(&self) -> Result<EmaSet<M>, EmaError> {
        self.emas.snapshot(&self.online)
    }

    /// The name of the EMA that validates: empty for the only one.
    pub(crate) fn chosen_name(&self) -> String {
        let config = self.emas.config();
        config.emas[self.chosen].name.clone()
    }

    /// Runs `step` on the EMA model that was chosen.
    pub(crate) fn on_ema<T>(&self, step: impl FnOnce(&M) -> T) -> T {
        let as_it_is = || self.usable(&self.chosen_name(), self.running_emas().as_ref());
        let make = || self.or_stop(self.chosen_model(), as_it_is);
        match &self.snapshot {
            Some(snapshot) => step(snapshot.chosen.get_or_init(make)),
            None => step(&make()),
        }
    }

    /// Runs `step` on each of the other EMA models, and gives the results with their names.
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
        self.reestimated(&self.chosen_name(), self.running_emas().as_ref())
    }

    fn other_models(&self) -> Vec<(String, M)> {
        let emas = self.running_emas();
        let model = |name: &str| {
            let read = self.reestimated(name, emas.as_ref());
            self.or_stop(read, || self.usable(name, emas.as_ref()))
        };
        let config = self.emas.config();
        let others = config.names().enumerate();
        let others = others.filter(|(position, _)| *position != self.chosen);
        others
            .map(|(_, name)| (name.to_string(), model(name)))
            .collect()
    }

    /// `made`. After an error, which stops the run, a step needs something to run on all the same.
    fn or_stop(&self, made: Result<M, EmaError>, otherwise: impl FnOnce() -> M) -> M {
        made.unwrap_or_else(|error| {
            self.fail(&error.to_string());
            otherwise()
        })
    }

    /// The EMAs, which are `None` before training has begun.
    fn running_emas(&self) -> Option<EmaSet<M>> {
        self.emas.peek(|emas| emas.cloned())
    }

    /// The average with the statistics that it is to have.
    fn reestimated(&self, name: &str, emas: Option<&EmaSet<M>>) -> Result<M, EmaError> {
        let Some(emas) = emas else {
            return Ok(self.online.valid());
        };
        let ema = emas.ema(name)?;
        let averaged = self.placed(emas.model(name, &self.online)?, is_pinned(ema));
        match &self.reestimation {
            Some(reestimation) if ema.config().policy.reestimates() => reestimation
                .estimate(&averaged)
                .map_err(|problem| EmaError::Reestimation { problem }),
            _ => Ok(averaged),
        }
    }

    /// The EMA model where the online model can take its place.
    fn usable(&self, name: &str, emas: Option<&EmaSet<M>>) -> M {
        match emas.and_then(|emas| emas.ema(name).ok()) {
            Some(ema) => self.placed(ema.clone().into_model(), is_pinned(ema)),
            None => self.online.valid(),
        }
    }

    /// A model that was read of EMAs, where the online model is.
    fn placed(&self, averaged: M, is_pinned: bool) -> M {
        // The EMA is where it is kept, or where the last step left the online weights: with a
        // sharded optimizer that is on every device.
        match self.online.devices().as_slice() {
            [device] if averaged.devices().iter().any(|other| other != device) => {
                averaged.to_device(&device.clone().without_autodiff())
            }
            [device, _, ..] if is_pinned => averaged.to_device(&device.clone().without_autodiff()),
            _ => averaged,
        }
    }

    /// A snapshot without models yet, if there is one.
    pub(super) fn fresh_snapshot(&self) -> Option<Snapshot<M>> {
        self.snapshot.as_ref().map(|_| Snapshot::new())
    }
}

fn is_pinned<M: Module>(ema: &EmaModel<M>) -> bool {
    ema.device().is_some()
}
