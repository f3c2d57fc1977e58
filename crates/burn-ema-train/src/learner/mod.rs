//! A model for Burn's Learner that keeps an EMA of its weights as it trains.

pub(crate) mod checkpoint;
pub(crate) mod emas;
pub(crate) mod handle;
mod module;
pub(crate) mod reestimation;
mod side_by_side;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::tensor::Device;
use burn::train::metric::Metric;
use burn::train::{InferenceStep, Interrupter, LearnerModel, TrainOutput, TrainStep};
use burn_ema::{EmaError, EmaSetConfig};

pub use crate::learner::side_by_side::BothModels;

use crate::learner::emas::Snapshot;
use crate::learner::handle::Handle;
use crate::learner::reestimation::Reestimation;
use crate::metrics::compared::Averaged;
use crate::metrics::monitor::Monitor;

/// Which weights a validation step runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Validation {
    /// The EMA weights.
    #[default]
    Ema,
    /// The online weights, which the optimizer changes.
    Online,
}

/// Validation on one set of weights: the default [`WithEma`].
#[derive(Clone, Copy, Debug)]
pub struct OneModel;

/// A model of type `M` for Burn's [`Learner`](burn::train::Learner), with an EMA of its weights or several. Made by
/// [`EmaExt::with_ema`].
///
/// Training goes exactly as that of `M` alone: gradients, optimizer, sharding and devices concern
/// the online weights only. After each optimizer step (with gradient accumulation: after each real
/// one) the EMA takes the new weights into account. Validation runs on the EMA, and with it
/// go early stopping, the choice of the best checkpoint, and the [result](Self::into_ema).
///
/// `V` says on how many sets of weights a validation step runs; see [`side_by_side`](Self::side_by_side).
///
/// # Several EMAs
///
/// Made with an [`EmaSetConfig`], it keeps any number of EMAs. The first of them, or the one that
/// [`with_chosen`](Self::with_chosen) names, is *the* EMA above; with `side_by_side` all of them are
/// validated, and [metrics of each](Self::metric_of) are shown.
///
/// BEMA, a double EMA and the mean of a window can be in the set ([`EmaSetConfig::with_bema`], for example), also alone: then
/// these validate and are the result. [`ema`](Self::ema) is the EMA without the correction, and the block of the window that is
/// being filled.
///
/// # Write-back and running statistics
///
/// A [`WriteBack`](burn_ema::write_back::WriteBack) in the configuration writes the EMA back into the online weights, right
/// after the optimizer step at which it is due. Where the [`Policy`](burn_ema::Policy) re-estimates running statistics,
/// they are computed before each validation and for the result, from the data given
/// [here](Self::with_reestimation).
///
/// # Checkpoints
///
/// A checkpoint holds the online weights under their own paths, and the EMA and its counters under `burn_ema` (several EMAs
/// under `burn_ema` and their names). Training resumed with `.checkpoint(n)` goes on bit for bit as far as the weights are
/// concerned; Burn's checkpoints do not hold the state of random number generators, so the order of a shuffling data loader
/// and dropout differ from those of a run in one go. A plain `M` can load the online weights with
/// `ModuleRecord::allow_unused(true)`, and an [`EmaModel`](burn_ema::EmaModel) the EMA. A checkpoint of a run without an EMA
/// can be started from with [`MissingEma::StartFromWeights`](burn_ema::config::MissingEma::StartFromWeights), and is an error
/// otherwise. Records other than checkpoints, such as those of `burn::store`, see the online weights only: store
/// [`ema`](Self::ema).
///
/// # Clones and forks
///
/// A clone belongs to the same training run: it shares the EMA, and sees it advance. A fork ([`Module::fork`]) starts its own
/// run, whose EMA is copied when it first changes. Every strategy of Burn's Learner begins with a fork: a clone that is kept
/// outside of `launch` does not see the EMA of the run, but its [`monitor`](Self::monitor) does. What [`Module::valid`]
/// returns is a snapshot of both sets of weights.
///
/// # Several devices
///
/// With a multi-device strategy the EMA is updated once per optimizer step, where the optimizer
/// runs; workers get the online weights only. With distributed data parallelism each worker keeps
/// the EMA of its own replica, and only that of the main device is validated and saved. An EMA is kept where the online weights
/// are, unless [`with_device`](Self::with_device) says otherwise.
///
/// # Example
///
/// See the [crate](crate).
pub struct WithEma<M: Module, V = OneModel> {
    online: M,
    emas: Handle<M>,
    /// Position of the EMA that validates.
    chosen: usize,
    validation: Validation,
    monitor: Monitor,
    interrupter: Option<Interrupter>,
    reestimation: Option<Reestimation<M>>,
    vote: Option<Vote<M>>,
    weight: Option<UpdateWeight>,
    /// The EMA models of a [validation snapshot](Module::valid). A live wrapper keeps none: they would
    /// be old after the next step, and hold on to what that wants to change in place.
    snapshot: Option<Snapshot<M>>,
    mode: PhantomData<fn() -> V>,
}

/// Whether the optimizer has taken a step.
type Vote<M> = Arc<dyn Fn(&M) -> bool + Send + Sync>;

/// How many updates an update counts as, by the learning rate and the number of steps before.
type UpdateWeight = Arc<dyn Fn(f64, u64) -> f64 + Send + Sync>;

/// Wraps any model for Burn's Learner.
pub trait EmaExt: Module {
    /// Wraps this model, of which an EMA is kept as `config` says: an [`EmaConfig`](burn_ema::EmaConfig), or an
    /// [`EmaSetConfig`] for several EMAs. They start from the weights that the model has at its first training step,
    /// and from the running statistics that it has after the forward pass of that step.
    ///
    /// # Panics
    ///
    /// Where [`try_with_ema`](Self::try_with_ema) returns an error.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::EmaConfig;
    /// use burn_ema_train::EmaExt;
    ///
    /// let model = LinearConfig::new(2, 2).init(&Default::default());
    /// let model = model.with_ema(EmaConfig::new());
    /// // let learner = Learner::new(model, optimizer, learning_rate);
    /// ```
    fn with_ema(self, config: impl Into<EmaSetConfig>) -> WithEma<Self> {
        self.try_with_ema(config)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`with_ema`](Self::with_ema), fallible.
    ///
    /// # Errors
    ///
    /// If `config` is not [valid](EmaSetConfig::validate), or a name collides with one that metrics use.
    fn try_with_ema(self, config: impl Into<EmaSetConfig>) -> Result<WithEma<Self>, EmaError> {
        WithEma::new(self, config.into())
    }
}

impl<M: Module> EmaExt for M {}

impl<M: Module> WithEma<M> {
    fn new(model: M, config: EmaSetConfig) -> Result<Self, EmaError> {
        config.validate()?;
        check_names(&config)?;
        Ok(Self {
            online: model,
            monitor: Monitor::of_emas(config.names()),
            emas: Handle::planned(config, None),
            chosen: 0,
            validation: Validation::default(),
            interrupter: None,
            reestimation: None,
            vote: None,
            weight: None,
            snapshot: None,
            mode: PhantomData,
        })
    }

    /// Sets which weights validation runs on. Default: the EMA weights.
    #[must_use]
    pub fn with_validation(mut self, validation: Validation) -> Self {
        self.validation = validation;
        self
    }

    /// Validates on all sets of weights in one run.
    ///
    /// Metrics see the EMA weights, and those wrapped in [`Online`](crate::Online) the online
    /// ones: `metrics((LossMetric::new(),))` shows `Loss` of the EMA weights, and
    /// `metric_valid_numeric(Online::new(LossMetric::new()))` adds `Loss (online)`. Of several EMAs, the
    /// [chosen](Self::with_chosen) one is what metrics see, and [`metric_of`](Self::metric_of) shows the others.
    #[must_use]
    pub fn side_by_side(self) -> WithEma<M, BothModels> {
        let Self {
            online,
            emas,
            chosen,
            validation,
            monitor,
            interrupter,
            reestimation,
            vote,
            weight,
            snapshot,
            mode: _,
        } = self;
        WithEma {
            online,
            emas,
            chosen,
            validation,
            monitor,
            interrupter,
            reestimation,
            vote,
            weight,
            snapshot,
            mode: PhantomData,
        }
    }
}

impl<M: Module, V> WithEma<M, V> {
    /// Chooses the EMA that validates and is [the result](Self::into_ema), among several. Default: the first.
    ///
    /// # Panics
    ///
    /// If no EMA is called `name`.
    #[must_use]
    pub fn with_chosen(self, name: &str) -> Self {
        self.try_with_chosen(name)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`with_chosen`](Self::with_chosen), fallible.
    ///
    /// # Errors
    ///
    /// If no EMA is called `name`.
    pub fn try_with_chosen(mut self, name: &str) -> Result<Self, EmaError> {
        self.monitor.find(name)?;
        let config = self.emas.config();
        let position = config.names().position(|known| known == name);
        self.chosen = position.unwrap_or(self.chosen);
        self.snapshot = self.fresh_snapshot();
        Ok(self)
    }

    /// Keeps the EMAs on `device`, for example out of a GPU's memory. Each update then moves the online
    /// weights there; validation moves the EMA back.
    #[must_use]
    pub fn with_device(mut self, device: &Device) -> Self {
        let emas = self.emas.peek(|emas| emas.cloned());
        self.emas = match emas {
            Some(emas) => Handle::running(emas.with_device(device)),
            None => {
                let device = device.clone().without_autodiff();
                Handle::planned(self.emas.config(), Some(device))
            }
        };
        self
    }

    /// Lets the model say whether the optimizer has taken a step: `vote` is asked after each call of the model's own
    /// [`optimize`](TrainStep::optimize). Where it returns `false`, the EMA is not updated and counts no step.
    ///
    /// For models that skip a step, for example after an overflow in mixed precision.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn_ema::EmaConfig;
    /// use burn_ema_train::EmaExt;
    ///
    /// #[derive(Module, Debug)]
    /// struct Net {
    ///     linear: Linear,
    ///     // Set by the `optimize` of its `TrainStep`.
    ///     took_step: bool,
    /// }
    ///
    /// let linear = LinearConfig::new(2, 2).init(&Default::default());
    /// let net = Net { linear, took_step: false };
    /// let net = net.with_ema(EmaConfig::new()).with_step_vote(|net| net.took_step);
    /// ```
    #[must_use]
    pub fn with_step_vote(mut self, vote: impl Fn(&M) -> bool + Send + Sync + 'static) -> Self {
        self.vote = Some(Arc::new(vote));
        self
    }

    /// Makes every EMA a [weighted mean](burn_ema::EmaModel::update_weighted). `weight(learning_rate, steps_before)` returns
    /// the weight of the next update. Every EMA must have [equal weights](burn_ema::Decay::equal_weights), and none may be BEMA, a
    /// double EMA or a window; otherwise the first step fails.
    ///
    /// With one learning rate per parameter group, `weight` receives the base rate.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::{Decay, EmaConfig};
    /// use burn_ema_train::EmaExt;
    ///
    /// let model = LinearConfig::new(2, 2).init(&Default::default());
    /// let mean = EmaConfig::new().with_decay(Decay::equal_weights());
    /// // Steps count by their learning rate.
    /// let model = model.with_ema(mean).with_update_weight(|learning_rate, _steps_before| learning_rate);
    /// ```
    #[must_use]
    pub fn with_update_weight(
        mut self,
        weight: impl Fn(f64, u64) -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.weight = Some(Arc::new(weight));
        self
    }

    /// The data from which running statistics are computed before each validation and for the result, where a
    /// [`Policy`](burn_ema::Policy) says [`Reestimate`](burn_ema::policy::BufferAction::Reestimate): up to `batches` batches
    /// of `loader`, usually that of the training data. If no policy says so, the first training step fails.
    ///
    /// # Panics
    ///
    /// If `batches` is 0.
    #[must_use]
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

    /// Stops the run through `interrupter` when the EMA cannot be updated or its statistics cannot be
    /// re-estimated, with the error as the reason. Without this such an error is a panic.
    ///
    /// Causes are [`NonFinite::Error`](burn_ema::config::NonFinite::Error); an [update weight](Self::with_update_weight) that
    /// is negative or not finite, or for an EMA without equal weights; an EMA in f64 or bf16 on a device without it; a model that
    /// changes its own structure while it trains; a [custom schedule](burn_ema::Decay::custom) whose decay is not in `[0, 1]`;
    /// and [data for statistics](Self::with_reestimation) that is missing, not wanted or fails in a validation.
    #[must_use]
    pub fn with_interrupter(mut self, interrupter: Interrupter) -> Self {
        self.interrupter = Some(interrupter);
        self
    }

    /// What the dashboard can show of the EMA.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// The online model, which is trained.
    pub fn online(&self) -> &M {
        &self.online
    }

    /// The online model, without the EMA.
    pub fn into_online(self) -> M {
        self.online
    }

    /// The metric over the weights of the EMA called `name`, for `metric_valid_numeric`; the wrapper has to validate
    /// [side by side](Self::side_by_side).
    ///
    /// # Errors
    ///
    /// If no EMA is called `name`.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::train::metric::{LossMetric, Metric};
    /// use burn_ema::{Decay, EmaConfig, EmaSetConfig};
    /// use burn_ema_train::EmaExt;
    ///
    /// let model = LinearConfig::new(2, 2).init(&Default::default());
    /// let emas = EmaSetConfig::new()
    ///     .with("fast", EmaConfig::new().with_decay(Decay::half_life(100.0)))
    ///     .with("slow", EmaConfig::new().with_decay(Decay::half_life(2_000.0)));
    /// let model = model.with_ema(emas).with_chosen("slow").side_by_side();
    /// // training.metric_valid_numeric(model.metric_of("fast", LossMetric::new())?)
    /// assert_eq!(*model.metric_of("fast", LossMetric::new())?.name(), "Loss (fast)");
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn metric_of<Me: Metric>(&self, name: &str, metric: Me) -> Result<Averaged<Me>, EmaError> {
        self.monitor.of(name)?;
        Ok(Averaged::new(name, metric))
    }

    /// Runs an optimizer step and brings the EMAs up to date.
    fn after(self, learning_rate: f64, optimize: impl FnOnce(M) -> M) -> Self {
        let started = self.start();
        let mut this = self.with_online(optimize);
        let took_step = this.vote.as_ref().is_none_or(|vote| vote(&this.online));
        let updated = started.and_then(|()| match took_step {
            true => this.update(learning_rate),
            false => Ok(()),
        });
        if let Err(error) = updated {
            this.fail(&format!("the EMA cannot be updated: {error}"));
        }
        this
    }

    /// The same run with other online weights.
    fn with_online(self, change: impl FnOnce(M) -> M) -> Self {
        Self {
            online: change(self.online),
            snapshot: None,
            ..self
        }
    }

    /// Stops the run, in which a step and a validation have no way to return an error.
    fn fail(&self, problem: &str) {
        match &self.interrupter {
            Some(interrupter) => interrupter.stop(Some(problem)),
            None => panic!("{problem}"),
        }
    }

    fn start(&self) -> Result<(), EmaError> {
        self.emas.change(&self.online, |emas| {
            let mut emas = emas.iter();
            let reestimates = emas.any(|(_, ema)| ema.config().policy.reestimates());
            let problem = match (reestimates, self.reestimation.is_some()) {
                (true, false) => {
                    "running statistics are to be re-estimated, but there is no data for it: call \
                     `WithEma::with_reestimation`"
                }
                (false, true) => {
                    "there is data to re-estimate running statistics, but no EMA wants it: write \
                     `Policy::with_buffers(BufferAction::Reestimate)`, or leave out `WithEma::with_reestimation`"
                }
                (true, true) | (false, false) => return Ok(()),
            };
            Err(EmaError::InvalidConfig {
                field: "policy.buffers",
                problem: problem.into(),
            })
        })
    }

    fn update(&mut self, learning_rate: f64) -> Result<(), EmaError> {
        self.emas.change(&self.online, |emas| {
            match &self.weight {
                Some(weight) => {
                    let weight = weight(learning_rate, emas.first().num_steps());
                    emas.update_weighted(&self.online, weight)?
                }
                None => emas.update(&self.online)?,
            };
            self.monitor.observe(emas, &self.online)
        })?;
        let Self { emas, online, .. } = self;
        emas.change_running(|emas| emas.write_back_if_due(online))?;
        Ok(())
    }
}

/// Checks that names can be told apart in metrics.
fn check_names(config: &EmaSetConfig) -> Result<(), EmaError> {
    // Burn's logs write an underscore for a space.
    let in_logs = |name: &str| name.replace(' ', "_");
    for (index, name) in config.names().enumerate() {
        if name == "online" {
            return Err(EmaError::InvalidSet {
                problem: "metrics call the online weights `online`: give the EMA another name"
                    .into(),
            });
        }
        let mut before = config.names().take(index);
        if before.any(|other| in_logs(other) == in_logs(name)) {
            return Err(EmaError::InvalidSet {
                problem: format!(
                    "`{name}` and another name are the same in logs, where a space is an underscore: choose another"
                ),
            });
        }
    }
    Ok(())
}

impl<M: Module, V> Clone for WithEma<M, V> {
    fn clone(&self) -> Self {
        Self {
            online: self.online.clone(),
            emas: self.emas.clone(),
            chosen: self.chosen,
            validation: self.validation,
            monitor: self.monitor.clone(),
            interrupter: self.interrupter.clone(),
            reestimation: self.reestimation.clone(),
            vote: self.vote.clone(),
            weight: self.weight.clone(),
            snapshot: self.snapshot.clone(),
            mode: PhantomData,
        }
    }
}

impl<M: Module, V> fmt::Debug for WithEma<M, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WithEma")
            .field("online", &self.online)
            .field("emas", &self.emas)
            .field("validation", &self.validation)
            .finish_non_exhaustive()
    }
}

impl<M: Module + fmt::Display, V> fmt::Display for WithEma<M, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.online, formatter)
    }
}

impl<M: LearnerModel, V> TrainStep for WithEma<M, V> {
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
        self.after(lr.base(), |online| online.optimize(optim, lr, grads))
    }

    fn optimize_multi(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: MultiGradientsParams,
    ) -> Self {
        self.after(lr.base(), |online| online.optimize_multi(optim, lr, grads))
    }
}

impl<M: LearnerModel> InferenceStep for WithEma<M, OneModel> {
    type Input = <M as InferenceStep>::Input;
    type Output = <M as InferenceStep>::Output;

    fn step(&self, item: Self::Input) -> Self::Output {
        match self.validation {
            Validation::Ema => self.on_ema(|averaged| InferenceStep::step(averaged, item)),
            Validation::Online => InferenceStep::step(&self.online, item),
        }
    }
}
