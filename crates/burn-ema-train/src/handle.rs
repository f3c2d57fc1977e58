//! The average as the learner shares it.
//!
//! Burn's learner clones its model before each optimizer step and keeps the clone until the step is
//! over, so what is in the model by value can never change in place. And it forks the model to each
//! worker, at every step, without ever training those forks. Hence three layers:
//!
//! - clones of a wrapper share one [`Handle`]: they are the same training run;
//! - a fork starts a run of its own, whose average is shared with the run that it came from until
//!   one of the two changes it;
//! - the average itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::tensor::Device;
use burn_ema::{EmaConfig, EmaError, EmaModel};

/// An average that is made when it is first needed.
///
/// Making it initializes lazy parameters, in the order of the module's fields. A training step does
/// so in the order of the forward pass, and would draw other random numbers than without an average
/// if it came second.
#[derive(Clone, Debug)]
enum Average<M: Module> {
    Planned {
        config: EmaConfig,
        device: Option<Device>,
    },
    Running(EmaModel<M>),
}

impl<M: Module> Average<M> {
    fn start(&mut self, source: &M) -> Result<&mut EmaModel<M>, EmaError> {
        if let Self::Planned { config, device } = self {
            *self = Self::Running(match device {
                Some(device) => config.try_init_on(source, device)?,
                None => config.try_init(source)?,
            });
        }
        match self {
            Self::Running(average) => Ok(average),
            Self::Planned { .. } => unreachable!("it was started just now"),
        }
    }
}

type Shared<M> = Arc<Mutex<Average<M>>>;

/// A share in the average of one training run. Clones belong to the same run.
pub(crate) struct Handle<M: Module> {
    run: Arc<Mutex<Shared<M>>>,
}

impl<M: Module> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self {
            run: self.run.clone(),
        }
    }
}

impl<M: Module> fmt::Debug for Handle<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl<M: Module> Handle<M> {
    pub(crate) fn planned(config: EmaConfig, device: Option<Device>) -> Self {
        Self::of(Average::Planned { config, device })
    }

    pub(crate) fn running(average: EmaModel<M>) -> Self {
        Self::of(Average::Running(average))
    }

    fn of(average: Average<M>) -> Self {
        let shared = Arc::new(Mutex::new(average));
        Self {
            run: Arc::new(Mutex::new(shared)),
        }
    }

    /// A run of its own, that starts with the average of this one.
    pub(crate) fn fork(&self) -> Self {
        let shared = lock(&self.run).clone();
        Self {
            run: Arc::new(Mutex::new(shared)),
        }
    }

    /// Changes the average of this run, and of no other. Made from `source` if there is none yet.
    pub(crate) fn change<T>(
        &self,
        source: &M,
        change: impl FnOnce(&mut EmaModel<M>) -> Result<T, EmaError>,
    ) -> Result<T, EmaError> {
        let mut run = lock(&self.run);
        if Arc::get_mut(&mut run).is_none() {
            let own = lock(&run).clone();
            *run = Arc::new(Mutex::new(own));
        }
        let mut average = lock(&run);
        change(average.start(source)?)
    }

    /// Makes the average from `source` if there is none yet.
    pub(crate) fn start(&self, source: &M) -> Result<(), EmaError> {
        self.change(source, |_| Ok(()))
    }

    /// Looks at the average, which is `None` before training has begun.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(Option<&EmaModel<M>>) -> T) -> T {
        let run = lock(&self.run);
        let average = lock(&run);
        match &*average {
            Average::Running(average) => look(Some(average)),
            Average::Planned { .. } => look(None),
        }
    }

    /// The average as it stands, without a tie to this run.
    pub(crate) fn snapshot(&self, source: &M) -> Result<EmaModel<M>, EmaError> {
        let planned = lock(&lock(&self.run)).clone();
        let mut average = planned;
        average.start(source).cloned()
    }

    pub(crate) fn config(&self) -> EmaConfig {
        let run = lock(&self.run);
        let average = lock(&run);
        match &*average {
            Average::Running(average) => average.config().clone(),
            Average::Planned { config, .. } => config.clone(),
        }
    }

    /// A run with the same plan and no average yet.
    pub(crate) fn restarted(&self) -> Self {
        let run = lock(&self.run);
        let average = lock(&run);
        match &*average {
            Average::Running(average) => Self::planned(average.config().clone(), average.device()),
            Average::Planned { config, device } => Self::planned(config.clone(), device.clone()),
        }
    }
}

/// Locks, also after a panic elsewhere: an average that an update did not finish says so itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
