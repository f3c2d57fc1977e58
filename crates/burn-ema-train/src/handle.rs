//! The averages as the learner shares them.
//!
//! Burn's learner clones its model before each optimizer step and keeps the clone until the step is
//! over, so what is in the model by value can never change in place. And it forks the model to each
//! worker, at every step, without ever training those forks. Hence three layers:
//!
//! - clones of a wrapper share one [`Handle`]: they are the same training run;
//! - a fork starts a run of its own, whose averages are shared with the run that it came from until
//!   one of the two changes them;
//! - the averages themselves.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::tensor::Device;
use burn_ema::{EmaError, EmaSet, EmaSetConfig};

/// Averages that are made when they are first needed.
///
/// Making them initializes lazy parameters, in the order of the module's fields. A training step does
/// so in the order of the forward pass, and would draw other random numbers than without an average
/// if it came second.
#[derive(Clone, Debug)]
enum Averages<M: Module> {
    Planned {
        config: EmaSetConfig,
        device: Option<Device>,
    },
    Running(EmaSet<M>),
}

impl<M: Module> Averages<M> {
    fn start(&mut self, source: &M) -> Result<&mut EmaSet<M>, EmaError> {
        if let Self::Planned { config, device } = self {
            *self = Self::Running(match device {
                Some(device) => config.try_init_on(source, device)?,
                None => config.try_init(source)?,
            });
        }
        match self {
            Self::Running(averages) => Ok(averages),
            Self::Planned { .. } => unreachable!("it was started just now"),
        }
    }
}

type Shared<M> = Arc<Mutex<Averages<M>>>;

/// A share in the averages of one training run. Clones belong to the same run.
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
    pub(crate) fn planned(config: EmaSetConfig, device: Option<Device>) -> Self {
        Self::of(Averages::Planned { config, device })
    }

    pub(crate) fn running(averages: EmaSet<M>) -> Self {
        Self::of(Averages::Running(averages))
    }

    fn of(averages: Averages<M>) -> Self {
        let shared = Arc::new(Mutex::new(averages));
        Self {
            run: Arc::new(Mutex::new(shared)),
        }
    }

    /// A run of its own, that starts with the averages of this one.
    pub(crate) fn fork(&self) -> Self {
        let shared = lock(&self.run).clone();
        Self {
            run: Arc::new(Mutex::new(shared)),
        }
    }

    /// Changes the averages of this run, and of no other. Made from `source` if there are none yet.
    pub(crate) fn change<T>(
        &self,
        source: &M,
        change: impl FnOnce(&mut EmaSet<M>) -> Result<T, EmaError>,
    ) -> Result<T, EmaError> {
        let mut run = lock(&self.run);
        if Arc::get_mut(&mut run).is_none() {
            let own = lock(&run).clone();
            *run = Arc::new(Mutex::new(own));
        }
        let mut averages = lock(&run);
        change(averages.start(source)?)
    }

    /// Looks at the averages, which are `None` before training has begun.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(Option<&EmaSet<M>>) -> T) -> T {
        let run = lock(&self.run);
        let averages = lock(&run);
        match &*averages {
            Averages::Running(averages) => look(Some(averages)),
            Averages::Planned { .. } => look(None),
        }
    }

    /// The averages as they stand, without a tie to this run.
    pub(crate) fn snapshot(&self, source: &M) -> Result<EmaSet<M>, EmaError> {
        let planned = lock(&lock(&self.run)).clone();
        let mut averages = planned;
        averages.start(source).cloned()
    }

    pub(crate) fn config(&self) -> EmaSetConfig {
        let run = lock(&self.run);
        let averages = lock(&run);
        match &*averages {
            Averages::Running(averages) => averages.config(),
            Averages::Planned { config, .. } => config.clone(),
        }
    }

    /// A run with the same plan and no averages yet.
    pub(crate) fn restarted(&self) -> Self {
        let run = lock(&self.run);
        let averages = lock(&run);
        match &*averages {
            Averages::Running(averages) => Self::planned(averages.config(), averages.device()),
            Averages::Planned { config, device } => Self::planned(config.clone(), device.clone()),
        }
    }
}

/// Locks, also after a panic elsewhere: an average that an update did not finish says so itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
