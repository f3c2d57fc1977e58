//! The EMAs as the Learner shares them.
//!
//! Burn's learner clones its model before each optimizer step and keeps the clone until the step is
//! over, so what is in the model by value can never change in place. And it forks the model to each
//! worker, at every step, without ever training those forks. Hence three layers:
//!
//! - clones of a wrapper share one [`Handle`]: they are the same training run;
//! - a fork starts a run of its own, whose EMAs are shared with the run that it came from until
//!   one of the two changes them;
//! - the EMAs themselves.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::tensor::Device;
use burn_ema::{EmaError, EmaSet, EmaSetConfig};

/// EMAs that are created when they are first needed.
///
/// Creating them initializes lazy parameters, in the order of the module's fields. A training step does
/// so in the order of the forward pass, and would draw other random numbers than without an EMA
/// if it came second.
#[derive(Clone, Debug)]
enum Emas<M: Module> {
    Planned {
        config: EmaSetConfig,
        device: Option<Device>,
    },
    Running(EmaSet<M>),
}

impl<M: Module> Emas<M> {
    fn start(&mut self, model: &M) -> Result<&mut EmaSet<M>, EmaError> {
        if let Self::Planned { config, device } = self {
            *self = Self::Running(match device {
                Some(device) => config.try_init_on(model, device)?,
                None => config.try_init(model)?,
            });
        }
        match self {
            Self::Running(emas) => Ok(emas),
            Self::Planned { .. } => unreachable!("it was started just now"),
        }
    }
}

type Shared<M> = Arc<Mutex<Emas<M>>>;

/// A share in the EMAs of one training run. Clones belong to the same run.
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
        Self::of(Emas::Planned { config, device })
    }

    pub(crate) fn running(emas: EmaSet<M>) -> Self {
        Self::of(Emas::Running(emas))
    }

    fn of(emas: Emas<M>) -> Self {
        let shared = Arc::new(Mutex::new(emas));
        Self {
            run: Arc::new(Mutex::new(shared)),
        }
    }

    /// A run of its own, that starts with the EMAs of this one.
    pub(crate) fn fork(&self) -> Self {
        let shared = lock(&self.run).clone();
        Self {
            run: Arc::new(Mutex::new(shared)),
        }
    }

    /// Changes the EMAs of this run, and of no other. Created from `model` if there are none yet.
    pub(crate) fn change<T>(
        &self,
        model: &M,
        change: impl FnOnce(&mut EmaSet<M>) -> Result<T, EmaError>,
    ) -> Result<T, EmaError> {
        self.change_shared(|emas| change(emas.start(model)?))
    }

    /// The same of EMAs that have been created.
    pub(crate) fn change_running<T>(
        &self,
        change: impl FnOnce(&mut EmaSet<M>) -> Result<T, EmaError>,
    ) -> Result<Option<T>, EmaError> {
        self.change_shared(|emas| match emas {
            Emas::Running(emas) => change(emas).map(Some),
            Emas::Planned { .. } => Ok(None),
        })
    }

    fn change_shared<T>(
        &self,
        change: impl FnOnce(&mut Emas<M>) -> Result<T, EmaError>,
    ) -> Result<T, EmaError> {
        let mut run = lock(&self.run);
        if Arc::get_mut(&mut run).is_none() {
            let own = lock(&run).clone();
            *run = Arc::new(Mutex::new(own));
        }
        let mut emas = lock(&run);
        change(&mut emas)
    }

    /// Looks at the EMAs, which are `None` before training has begun.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(Option<&EmaSet<M>>) -> T) -> T {
        let run = lock(&self.run);
        let emas = lock(&run);
        match &*emas {
            Emas::Running(emas) => look(Some(emas)),
            Emas::Planned { .. } => look(None),
        }
    }

    /// The EMAs as they stand, without a tie to this run.
    pub(crate) fn snapshot(&self, model: &M) -> Result<EmaSet<M>, EmaError> {
        let planned = lock(&lock(&self.run)).clone();
        let mut emas = planned;
        emas.start(model).cloned()
    }

    pub(crate) fn config(&self) -> EmaSetConfig {
        let run = lock(&self.run);
        let emas = lock(&run);
        match &*emas {
            Emas::Running(emas) => emas.config(),
            Emas::Planned { config, .. } => config.clone(),
        }
    }

    /// A run with the same plan and no EMAs yet.
    pub(crate) fn restarted(&self) -> Self {
        let run = lock(&self.run);
        let emas = lock(&run);
        match &*emas {
            Emas::Running(emas) => Self::planned(emas.config(), emas.device()),
            Emas::Planned { config, device } => Self::planned(config.clone(), device.clone()),
        }
    }
}

/// Locks, also after a panic elsewhere: an EMA whose update panicked says so itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
