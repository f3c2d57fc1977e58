//! A model for Burn's learner that averages its weights as it trains.

use std::fmt;
use std::marker::PhantomData;

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, ParamGroup};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Device;
use burn::train::{InferenceStep, Interrupter, LearnerModel, TrainOutput, TrainStep};
use burn_ema::record::{Plain, Recorded};
use burn_ema::{EmaConfig, EmaError, EmaModel, PlainRecord};

use crate::handle::Handle;
use crate::monitor::Monitor;
use crate::record::{self, Checkpoint};
use crate::side_by_side::BothModels;

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

/// A model of type `M` for Burn's [`Learner`](burn::train::Learner), with an average of its weights.
///
/// Training goes exactly as that of `M` alone: gradients, optimizer, sharding and devices concern
/// the online weights only. After each optimizer step (with gradient accumulation: after each real
/// one) the average takes the new weights into account. Validation runs on the average, and with it
/// go early stopping, the choice of the best checkpoint, and the [result](Self::into_ema).
///
/// `V` says on how many sets of weights a validation step runs; see [`side_by_side`](Self::side_by_side).
///
/// # Checkpoints
///
/// A checkpoint holds the online weights under their own paths, and the average and its counters
/// under `burn_ema`. Training resumed with `.checkpoint(n)` goes on bit for bit. A plain `M` can load
/// the online weights of it with `ModuleRecord::allow_unused(true)`; a checkpoint from a training
/// without an average can be started from with [`PlainRecord::StartFrom`], and is refused otherwise.
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
    average: Handle<M>,
    validation: Validation,
    monitor: Monitor,
    interrupter: Option<Interrupter>,
    /// The averaged model of a [validation snapshot](Module::valid). A live wrapper keeps none: it would
    /// be old after the next step, and hold on to what that wants to change in place.
    averaged: Option<M>,
    mode: PhantomData<fn() -> V>,
}

impl<M: Module> EmaLearner<M> {
    /// Wraps `model`, which is averaged as `config` says. The average starts from the weights that
    /// `model` has at its first training step.
    ///
    /// # Panics
    ///
    /// If `config` is not [valid](EmaConfig::validate).
    pub fn new(model: M, config: EmaConfig) -> Self {
        Self::try_new(model, config).unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`new`](Self::new), fallible.
    ///
    /// # Errors
    ///
    /// If `config` is not [valid](EmaConfig::validate).
    pub fn try_new(model: M, config: EmaConfig) -> Result<Self, EmaError> {
        config.validate()?;
        Ok(Self {
            online: model,
            average: Handle::planned(config, None),
            validation: Validation::default(),
            monitor: Monitor::default(),
            interrupter: None,
            averaged: None,
            mode: PhantomData,
        })
    }

    /// Sets which weights validation runs on. Default: the averaged ones.
    pub fn with_validation(mut self, validation: Validation) -> Self {
        self.validation = validation;
        self
    }

    /// Validates on both sets of weights in one run.
    ///
    /// Metrics see the averaged weights, and those wrapped in [`Online`](crate::Online) the online
    /// ones: `metrics((LossMetric::new(),))` shows `Loss` of the averaged weights, and
    /// `metric_valid_numeric(Online::new(LossMetric::new()))` adds `Loss (online)`.
    pub fn side_by_side(self) -> EmaLearner<M, BothModels> {
        let Self {
            online,
            average,
            validation,
            monitor,
            interrupter,
            averaged,
            mode: _,
        } = self;
        EmaLearner {
            online,
            average,
            validation,
            monitor,
            interrupter,
            averaged,
            mode: PhantomData,
        }
    }
}

impl<M: Module, V> EmaLearner<M, V> {
    /// Keeps the average on `device`, e.g. out of a GPU's memory. Each update then moves the online
    /// weights there; validation moves the average back.
    pub fn with_device(mut self, device: &Device) -> Self {
        let average = self.average.peek(|average| average.cloned());
        self.average = match average {
            Some(average) => Handle::running(average.with_device(device)),
            None => {
                let device = device.clone().without_autodiff();
                Handle::planned(self.average.config(), Some(device))
            }
        };
        self
    }

    /// Stops the training through `interrupter` when the average cannot be updated, with the error
    /// as the reason. Without this such an error is a panic.
    ///
    /// It can only happen with [`NonFinite::Error`](burn_ema::NonFinite::Error), or when a model
    /// changes its own structure while it trains.
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

    /// The averaged model, in validation state: the one to deploy.
    ///
    /// Of a training's result (`result.model`), this is the average at the end of the training.
    pub fn into_ema(self) -> M {
        match self.averaged {
            Some(averaged) => averaged,
            None => self.current_average(&self.average),
        }
    }

    /// A snapshot of the average and its counters.
    ///
    /// # Errors
    ///
    /// If training has not begun and no average can be made of the model.
    pub fn average(&self) -> Result<EmaModel<M>, EmaError> {
        self.average.snapshot(&self.online)
    }

    /// Runs `step` on the averaged model.
    pub(crate) fn on_average<T>(&self, step: impl FnOnce(&M) -> T) -> T {
        match &self.averaged {
            Some(averaged) => step(averaged),
            None => step(&self.current_average(&self.average)),
        }
    }

    /// The averaged model as it is in `average`, where the online model can take its place.
    fn current_average(&self, average: &Handle<M>) -> M {
        let Some(average) = average.peek(|average| average.cloned()) else {
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

    /// The same run with other online weights.
    fn with_online(self, change: impl FnOnce(M) -> M) -> Self {
        Self {
            online: change(self.online),
            averaged: None,
            ..self
        }
    }

    /// Another run, which starts with what this one has.
    fn forked(self, change: impl FnOnce(M) -> M) -> Self {
        let average = self.average.fork();
        Self {
            average,
            ..self.with_online(change)
        }
    }

    /// Runs an optimizer step and brings the average up to date.
    fn after(self, optimize: impl FnOnce(M) -> M) -> Self {
        let started = self.average.start(&self.online);
        let this = self.with_online(optimize);
        let updated = started.and_then(|()| {
            this.average.change(&this.online, |average| {
                average.update(&this.online)?;
                this.monitor.observe(average, &this.online)
            })
        });
        match (updated, &this.interrupter) {
            (Ok(()), _) => {}
            (Err(error), Some(interrupter)) => interrupter.stop(Some(&error.to_string())),
            (Err(error), None) => panic!("the average cannot be updated: {error}"),
        }
        this
    }
}

impl<M: Module, V> Clone for EmaLearner<M, V> {
    fn clone(&self) -> Self {
        Self {
            online: self.online.clone(),
            average: self.average.clone(),
            validation: self.validation,
            monitor: self.monitor.clone(),
            interrupter: self.interrupter.clone(),
            averaged: self.averaged.clone(),
            mode: PhantomData,
        }
    }
}

impl<M: Module, V> fmt::Debug for EmaLearner<M, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EmaLearner")
            .field("online", &self.online)
            .field("average", &self.average)
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

/// The parameters of the module are the online ones. An optimizer, a gradient walk or a sharder that
/// could see the average would treat it as trainable.
impl<M: Module, V> Module for EmaLearner<M, V> {
    fn visit<Visitor: ModuleVisitor>(&self, visitor: &mut Visitor) {
        self.online.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        self.with_online(|online| online.map(mapper))
    }

    fn num_params(&self) -> usize {
        self.online.num_params()
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.online.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.forked(|online| online.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.with_online(|online| online.to_device(device))
    }

    fn train(self) -> Self {
        self.with_online(Module::train)
    }

    fn valid(&self) -> Self {
        // Taken from a fork, which no step changes: what is averaged and what is counted belong together.
        let average = self.average.fork();
        let averaged = match &self.averaged {
            Some(averaged) => averaged.clone(),
            None => self.current_average(&average),
        };
        Self {
            averaged: Some(averaged),
            average,
            ..self.clone().with_online(|online| online.valid())
        }
    }

    fn materialize(self) -> Self {
        let average = self.average.peek(|average| average.cloned());
        let average = average.map(|average| Handle::running(average.materialize()));
        let materialized = self.with_online(Module::materialize);
        match average {
            Some(average) => Self {
                average,
                ..materialized
            },
            None => materialized,
        }
    }

    fn into_record(self) -> ModuleRecord {
        self.checkpoint().into_record()
    }

    fn into_record_group(self, group: ParamGroup) -> ModuleRecord {
        self.checkpoint().into_record_group(group)
    }

    fn try_load_record(self, record: ModuleRecord) -> Result<Self, RecordError> {
        if record::holds_average(&record) {
            let loaded = self.clone().checkpoint().try_load(record)?;
            self.monitor.show(&loaded.average);
            return Ok(Self {
                average: Handle::running(loaded.average),
                ..self.with_online(|_| loaded.online)
            });
        }
        match self.average.config().plain_record {
            PlainRecord::Refuse => Err(EmaError::PlainRecord.into()),
            PlainRecord::StartFrom => {
                let online = Recorded(Plain(self.online.clone()));
                let Recorded(Plain(online)) = online.try_load_record(record)?;
                Ok(Self {
                    average: self.average.restarted(),
                    ..self.with_online(|_| online)
                })
            }
        }
    }
}

impl<M: Module, V> EmaLearner<M, V> {
    /// Everything that a checkpoint holds.
    ///
    /// # Panics
    ///
    /// If no average can be made of the model, which [`EmaModel`] would have said before.
    fn checkpoint(self) -> Checkpoint<M> {
        // Running statistics that are still pending are not part of a record.
        drop(self.online.valid());
        let average = self
            .average()
            .unwrap_or_else(|error| panic!("no checkpoint of the average: {error}"));
        Checkpoint {
            online: self.online,
            average,
        }
    }
}
