//! A model for Burn's learner that averages its weights as it trains.

mod averages;
mod module;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::tensor::Device;
use burn::train::{InferenceStep, Interrupter, LearnerModel, TrainOutput, TrainStep};
use burn_ema::{EmaError, EmaSetConfig};

use crate::handle::Handle;
use crate::monitor::Monitor;
use crate::reestimation::Reestimation;
use crate::side_by_side::BothModels;
use averages::Snapshot;

/// Which weights a validation step runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// The averaged weights.
    #[default]
    Ema,
    /// The weights that are trained.
    Online,
}

/// Validation on one set of weights: the default [`EmaLearner`].
#[derive(Clone, Copy, Debug)]
pub struct OneModel;

/// A model of type `M` for Burn's [`Learner`](burn::train::Learner), with one or several averages of its
/// weights.
///
/// Training goes exactly as that of `M` alone: gradients, optimizer, sharding and devices concern
/// the online weights only. After each optimizer step (with gradient accumulation: after each real
/// one) the average takes the new weights into account. Validation runs on the average, and with it
/// go early stopping, the choice of the best checkpoint, and the [result](Self::into_ema).
///
/// `V` says on how many sets of weights a validation step runs; see [`side_by_side`](Self::side_by_side).
///
/// # Several averages
///
/// Made with an [`EmaSetConfig`], it keeps any number of averages. The first of them, or the one that
/// [`with_chosen`](Self::with_chosen) names, is *the* average above; with `side_by_side` all of them are
/// validated, and [metrics of each](Self::metric_of) are shown.
///
/// # Switch EMA and running statistics
///
/// A [`Switch`](burn_ema::Switch) in the configuration writes the average back into the online weights, right after
/// the optimizer step that it is due at. Where the [`Policy`](burn_ema::Policy) re-estimates running statistics,
/// that is done before each validation and for the result, from the data given
/// [here](Self::with_reestimation).
///
/// # Checkpoints
///
/// A checkpoint holds the online weights under their own paths, and the average and its counters
/// under `burn_ema` (several averages under `burn_ema` and their names). Training resumed with `.checkpoint(n)`
/// goes on bit for bit. A plain `M` can load the online weights of it with `ModuleRecord::allow_unused(true)`; a
/// checkpoint from a training without an average can be started from with
/// [`PlainRecord::StartFrom`](burn_ema::PlainRecord::StartFrom), and is refused otherwise.
///
/// # Clones and forks
///
/// A clone belongs to the same training run: it shares the average, and sees it advance. A fork
/// ([`Module::fork`]) starts a run of its own, whose average is copied when it first changes. What
/// [`Module::valid`] returns is a snapshot of both sets of weights.
///
/// # Several devices
///
/// With a multi-device strategy the average is updated once per optimizer step, where the optimizer
/// runs; workers get the online weights only. With distributed data parallelism each worker keeps
/// the average of its own replica. An average is kept where the online weights are, unless
/// [`with_device`](Self::with_device) says otherwise.
///
/// # Example
///
/// See the [crate](crate).
pub struct EmaLearner<M: Module, V = OneModel> {
    online: M,
    averages: Handle<M>,
    /// Position of the average that validates.
    chosen: usize,
    validation: Validation,
    monitor: Monitor,
    interrupter: Option<Interrupter>,
    reestimation: Option<Reestimation<M>>,
    /// The averaged models of a [validation snapshot](Module::valid). A live wrapper keeps none: they would
    /// be old after the next step, and hold on to what that wants to change in place.
    snapshot: Option<Snapshot<M>>,
    mode: PhantomData<fn() -> V>,
}

impl<M: Module> EmaLearner<M> {
    /// Wraps `model`, which is averaged as `config` says: an [`EmaConfig`](burn_ema::EmaConfig), or an
    /// [`EmaSetConfig`] for several averages. They start from the weights that `model` has at its first training
    /// step.
    ///
    /// # Panics
    ///
    /// If `config` is not [valid](EmaSetConfig::validate).
    pub fn new(model: M, config: impl Into<EmaSetConfig>) -> Self {
        Self::try_new(model, config).unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`new`](Self::new), fallible.
    ///
    /// # Errors
    ///
    /// If `config` is not [valid](EmaSetConfig::validate).
    pub fn try_new(model: M, config: impl Into<EmaSetConfig>) -> Result<Self, EmaError> {
        let config = config.into();
        config.validate()?;
        Ok(Self {
            online: model,
            monitor: Monitor::of_averages(config.names()),
            averages: Handle::planned(config, None),
            chosen: 0,
            validation: Validation::default(),
            interrupter: None,
            reestimation: None,
            snapshot: None,
            mode: PhantomData,
        })
    }

    /// Sets which weights validation runs on. Default: the averaged ones.
    pub fn with_validation(mut self, validation: Validation) -> Self {
        self.validation = validation;
        self
    }

    /// Validates on all sets of weights in one run.
    ///
    /// Metrics see the averaged weights, and those wrapped in [`Online`](crate::Online) the online
    /// ones: `metrics((LossMetric::new(),))` shows `Loss` of the averaged weights, and
    /// `metric_valid_numeric(Online::new(LossMetric::new()))` adds `Loss (online)`. Of several averages, the
    /// [chosen](Self::with_chosen) one is what metrics see, and [`metric_of`](Self::metric_of) shows the others.
    pub fn side_by_side(self) -> EmaLearner<M, BothModels> {
        let Self {
            online,
            averages,
            chosen,
            validation,
            monitor,
            interrupter,
            reestimation,
            snapshot,
            mode: _,
        } = self;
        EmaLearner {
            online,
            averages,
            chosen,
            validation,
            monitor,
            interrupter,
            reestimation,
            snapshot,
            mode: PhantomData,
        }
    }
}

impl<M: Module, V> EmaLearner<M, V> {
    /// Chooses the average that validates and is [the result](Self::into_ema), among several. Default: the first.
    ///
    /// # Panics
    ///
    /// If there is none called `name`.
    pub fn with_chosen(self, name: &str) -> Self {
        self.try_with_chosen(name)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`with_chosen`](Self::with_chosen), fallible.
    ///
    /// # Errors
    ///
    /// If there is none called `name`.
    pub fn try_with_chosen(mut self, name: &str) -> Result<Self, EmaError> {
        self.monitor.find(name)?;
        let config = self.averages.config();
        let position = config.names().position(|known| known == name);
        self.chosen = position.unwrap_or(self.chosen);
        self.snapshot = self.snapshot_anew();
        Ok(self)
    }

    /// Keeps the averages on `device`, e.g. out of a GPU's memory. Each update then moves the online
    /// weights there; validation moves the average back.
    pub fn with_device(mut self, device: &Device) -> Self {
        let averages = self.averages.peek(|averages| averages.cloned());
        self.averages = match averages {
            Some(averages) => Handle::running(averages.with_device(device)),
            None => {
                let device = device.clone().without_autodiff();
                Handle::planned(self.averages.config(), Some(device))
            }
        };
        self
    }

    /// The data from which running statistics are computed anew before each validation and for the result, where a
    /// [`Policy`](burn_ema::Policy) says [`Reestimate`](burn_ema::Action::Reestimate): up to `batches` batches of
    /// `loader`, usually that of the training data. If no policy says so, the first training step is refused.
    ///
    /// # Panics
    ///
    /// If `batches` is 0.
    pub fn with_reestimation(
        mut self,
        loader: Arc<dyn DataLoader<<M as InferenceStep>::Input>>,
        batches: usize,
    ) -> Self
    where
        M: LearnerModel,
        <M as InferenceStep>::Input: Clone + 'static,
    {
        assert!(batches > 0, "statistics of 0 batches");
        self.reestimation = Some(Reestimation::from_loader(loader, batches));
        self
    }

    /// Stops the training through `interrupter` when the average cannot be updated or its statistics cannot be
    /// re-estimated, with the error as the reason. Without this such an error is a panic.
    ///
    /// It can only happen with [`NonFinite::Error`](burn_ema::NonFinite::Error), when a model changes its own structure
    /// while it trains, with a [rule of your own](burn_ema::Decay::custom) that gives no decay, or when the
    /// [data for statistics](Self::with_reestimation) is missing, not wanted or fails in a validation.
    pub fn with_interrupter(mut self, interrupter: Interrupter) -> Self {
        self.interrupter = Some(interrupter);
        self
    }

    /// What the dashboard can show of the average.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// The model that is trained.
    pub fn online(&self) -> &M {
        &self.online
    }

    /// The model that is trained, without the average.
    pub fn into_online(self) -> M {
        self.online
    }

    /// Runs an optimizer step and brings the averages up to date.
    fn after(self, optimize: impl FnOnce(M) -> M) -> Self {
        let started = self.start();
        let mut this = self.with_online(optimize);
        let updated = started.and_then(|()| this.update());
        if let Err(error) = updated {
            this.fail(&format!("the average cannot be updated: {error}"));
        }
        this
    }

    /// Stops the training, in which a step and a validation have no way to return an error.
    fn fail(&self, problem: &str) {
        match &self.interrupter {
            Some(interrupter) => interrupter.stop(Some(problem)),
            None => panic!("{problem}"),
        }
    }

    fn start(&self) -> Result<(), EmaError> {
        self.averages.change(&self.online, |averages| {
            let mut averages = averages.iter();
            let reestimates = averages.any(|(_, average)| average.config().policy.reestimates());
            let problem = match (reestimates, self.reestimation.is_some()) {
                (true, false) => {
                    "running statistics are to be re-estimated, and there is no data for it: call \
                     `EmaLearner::with_reestimation`"
                }
                (false, true) => {
                    "there is data to re-estimate running statistics, and no average wants it: write \
                     `Policy::with_buffers(Action::Reestimate)`, or leave out `EmaLearner::with_reestimation`"
                }
                (true, true) | (false, false) => return Ok(()),
            };
            Err(EmaError::InvalidConfig {
                field: "policy.buffers",
                problem: problem.into(),
            })
        })
    }

    fn update(&mut self) -> Result<(), EmaError> {
        self.averages.change(&self.online, |averages| {
            averages.update(&self.online)?;
            self.monitor.observe(averages, &self.online)
        })?;
        let online = &mut self.online;
        self.averages.peek(|averages| match averages {
            Some(averages) => averages.switch_if_due(online).map(drop),
            None => Ok(()),
        })
    }
}

impl<M: Module, V> Clone for EmaLearner<M, V> {
    fn clone(&self) -> Self {
        Self {
            online: self.online.clone(),
            averages: self.averages.clone(),
            chosen: self.chosen,
            validation: self.validation,
            monitor: self.monitor.clone(),
            interrupter: self.interrupter.clone(),
            reestimation: self.reestimation.clone(),
            snapshot: self.snapshot.clone(),
            mode: PhantomData,
        }
    }
}

impl<M: Module, V> fmt::Debug for EmaLearner<M, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EmaLearner")
            .field("online", &self.online)
            .field("averages", &self.averages)
            .field("validation", &self.validation)
            .finish_non_exhaustive()
    }
}

impl<M: Module + fmt::Display, V> fmt::Display for EmaLearner<M, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.online, formatter)
    }
}

impl<M: LearnerModel, V> TrainStep for EmaLearner<M, V> {
    type Input = <M as TrainStep>::Input;
    type Output = <M as TrainStep>::Output;

    fn step(&self, item: Self::Input) -> TrainOutput<Self::Output> {
        TrainStep::step(&self.online, item)
    }

    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        self.after(|online| online.optimize(optim, lr, grads))
    }

    fn optimize_multi(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: MultiGradientsParams,
    ) -> Self {
        self.after(|online| online.optimize_multi(optim, lr, grads))
    }
}

impl<M: LearnerModel> InferenceStep for EmaLearner<M, OneModel> {
    type Input = <M as InferenceStep>::Input;
    type Output = <M as InferenceStep>::Output;

    fn step(&self, item: Self::Input) -> Self::Output {
        match self.validation {
            Validation::Ema => self.on_average(|averaged| InferenceStep::step(averaged, item)),
            Validation::Online => InferenceStep::step(&self.online, item),
        }
    }
}
