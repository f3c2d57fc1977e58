//! A small model for Burn's learner, its data, and what its EMA must be.
//!
//! Nothing in here draws random numbers: two nets made with [`Net::new`] are equal, data loaders do
//! not shuffle, and a run can be repeated bit for bit.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::tensor::{Device, Tensor, TensorData, activation};
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use burn::train::{
    InferenceStep, Learner, LearnerModel, RegressionOutput, SupervisedTraining, TrainOutput,
    TrainStep,
};
use burn_ema_train::WithEma;

use crate::backend;
use crate::compare::TRAINED_ALIKE;

/// Number of input features of [`Net`].
pub const INPUTS: usize = 3;
/// Number of outputs of [`Net`].
pub const OUTPUTS: usize = 2;
const HIDDEN: usize = 6;

/// A learning rate at which the weights of [`Net`] visibly move at each step.
pub const LEARNING_RATE: f64 = 0.02;

/// A network with running statistics. Its fields are in the reverse order of their use.
#[derive(Module, Debug)]
pub struct Net {
    /// The last layer.
    pub head: Linear,
    /// The layer with running statistics.
    pub norm: BatchNorm,
    /// The first layer.
    pub body: Linear,
    #[module(skip)]
    hooks: Hooks,
}

type After = Arc<dyn Fn(Net, usize) -> Net + Send + Sync>;

/// What a test does after each optimizer step, in the model's own `optimize`.
#[derive(Clone, Default)]
struct Hooks {
    after: Option<After>,
    trace: Option<Trace>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hooks")
    }
}

/// The weights after each optimizer step, with the thread that took the step.
#[derive(Clone, Default, Debug)]
pub struct Trace(Arc<Mutex<Vec<(ThreadId, Values)>>>);

impl Trace {
    fn push(&self, values: Values) -> usize {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push((thread::current().id(), values));
        steps.len()
    }

    /// The weights and running statistics after each step, in the order of the steps.
    pub fn steps(&self) -> Vec<Values> {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.iter().map(|(_, values)| values.clone()).collect()
    }

    /// The weights after each step, apart for each thread.
    pub fn steps_by_thread(&self) -> Vec<Vec<Values>> {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut threads: Vec<(ThreadId, Vec<Values>)> = Vec::new();
        for (thread, values) in steps.iter() {
            match threads.iter_mut().find(|(known, _)| known == thread) {
                Some((_, known)) => known.push(values.clone()),
                None => threads.push((*thread, vec![values.clone()])),
            }
        }
        threads.into_iter().map(|(_, values)| values).collect()
    }
}

impl Net {
    /// A net whose initial weights depend on `phase` only.
    pub fn new(phase: f32, device: &Device) -> Self {
        Self {
            head: linear(HIDDEN, OUTPUTS, phase, device),
            norm: BatchNormConfig::new(HIDDEN).init(device),
            body: linear(INPUTS, HIDDEN, phase + 0.7, device),
            hooks: Hooks::default(),
        }
    }

    /// Runs `after` on the model after each optimizer step, which is counted from 1 when the steps
    /// are [traced](Self::traced) and is 0 otherwise.
    pub fn with_after(
        mut self,
        after: impl Fn(Self, usize) -> Self + Send + Sync + 'static,
    ) -> Self {
        self.hooks.after = Some(Arc::new(after));
        self
    }

    /// Records the weights after each optimizer step.
    pub fn traced(mut self) -> (Self, Trace) {
        let trace = Trace::default();
        self.hooks.trace = Some(trace.clone());
        (self, trace)
    }

    fn forward(&self, inputs: Tensor<2>) -> Tensor<2> {
        let hidden = self.norm.forward(self.body.forward(inputs));
        self.head.forward(activation::tanh(hidden))
    }

    fn after_step(self) -> Self {
        let Hooks { after, trace } = self.hooks.clone();
        let step = trace.as_ref().map_or(0, |trace| trace.steps().len() + 1);
        let this = match after {
            Some(after) => after(self, step),
            None => self,
        };
        if let Some(trace) = trace {
            trace.push(synced_values(&this));
        }
        this
    }
}

/// A linear layer with given weights instead of random ones.
fn linear(inputs: usize, outputs: usize, phase: f32, device: &Device) -> Linear {
    let mut layer = LinearConfig::new(inputs, outputs).init(device);
    let wave = |scale: f32, i: usize| scale * (1.9 * i as f32 + phase).sin();
    let weight = (0..inputs * outputs).map(|i| wave(0.6, i)).collect();
    let bias = (0..outputs).map(|i| wave(0.2, i + 3)).collect();
    let tensor = |data: Vec<f32>, shape: Vec<usize>| TensorData::new(data, shape);
    let weight = Tensor::from_data(tensor(weight, vec![inputs, outputs]), device);
    let bias = Tensor::from_data(tensor(bias, vec![outputs]), device);
    layer.weight = Param::from_tensor(weight);
    layer.bias = Some(Param::from_tensor(bias));
    layer
}

impl TrainStep for Net {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        let output = mean_squared_error(self.forward(batch.inputs), batch.targets);
        TrainOutput::new(self, output.loss.backward(), output)
    }

    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        optim.step(lr, self, grads).after_step()
    }

    fn optimize_multi(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: MultiGradientsParams,
    ) -> Self {
        optim.step_multi(lr, self, grads).after_step()
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        mean_squared_error(self.forward(batch.inputs), batch.targets)
    }
}

/// The output of a step whose loss is the mean of `(output - targets)^2`.
pub fn mean_squared_error(output: Tensor<2>, targets: Tensor<2>) -> RegressionOutput {
    let loss = output.clone().sub(targets.clone()).square().mean();
    RegressionOutput::new(loss, output, targets)
}

/// Some examples.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[examples, INPUTS]`
    pub inputs: Tensor<2>,
    /// `[examples, OUTPUTS]`
    pub targets: Tensor<2>,
}

/// The number of an example, which says all about it.
type Example = usize;

#[derive(Clone, Debug)]
struct Examples;

impl Batcher<Example, Batch> for Examples {
    fn batch(&self, items: Vec<Example>, device: &Device) -> Batch {
        batch(&items, device)
    }
}

/// The batch of the examples with the given numbers.
pub fn batch(examples: &[usize], device: &Device) -> Batch {
    let table = |width: usize, value: fn(f32, f32) -> f32| {
        let rows = examples.iter().flat_map(|example| {
            (0..width).map(move |column| value(*example as f32, column as f32))
        });
        let data = TensorData::new(rows.collect::<Vec<f32>>(), [examples.len(), width]);
        Tensor::from_data(data, device)
    };
    Batch {
        inputs: table(INPUTS, |row, column| (1.3 * row + 0.8 * column).sin()),
        targets: table(OUTPUTS, |row, column| (0.6 * row - 1.1 * column).cos()),
    }
}

/// The batches that a [`loader`] gives in one epoch.
pub fn batches(examples: Range<usize>, batch_size: usize, device: &Device) -> Vec<Batch> {
    let examples: Vec<usize> = examples.collect();
    let chunks = examples.chunks(batch_size);
    chunks.map(|examples| batch(examples, device)).collect()
}

/// Gives the examples in their order, in each epoch the same.
pub fn loader(examples: Range<usize>, batch_size: usize) -> Arc<dyn DataLoader<Batch>> {
    let dataset = InMemDataset::new(examples.collect());
    DataLoaderBuilder::new(Examples)
        .batch_size(batch_size)
        .build(dataset)
}

/// The device that training runs on.
pub fn device() -> Device {
    Device::default().autodiff()
}

/// An optimizer with state.
pub fn adam() -> ModuleOptimizer {
    AdamConfig::new().init()
}

/// A learner of `model` with [`adam`].
pub fn learner<M: LearnerModel>(model: M) -> Learner<M> {
    Learner::new(model, adam(), LEARNING_RATE)
}

/// A run that shows nothing: `train` and `valid` are its examples, in batches of 4.
pub fn training<M>(
    directory: &Path,
    train: Range<usize>,
    valid: Range<usize>,
) -> SupervisedTraining<M>
where
    M: LearnerModel + TrainStep<Input = Batch> + InferenceStep<Input = Batch>,
{
    SupervisedTraining::new(directory, loader(train, 4), loader(valid, 4))
        .renderer(Box::new(Silent))
        .with_application_logger(None)
}

/// Takes a training step on each batch, as Burn's single-device strategy does.
pub fn drive<M>(learner: &mut Learner<M>, batches: &[Batch])
where
    M: LearnerModel + TrainStep<Input = Batch>,
{
    for batch in batches {
        let output = learner.train_step(batch.clone());
        learner.lr_step();
        learner.optimizer_step(output.grads);
    }
}

/// A renderer that shows nothing.
pub struct Silent;

impl MetricsRendererTraining for Silent {
    fn update_train(&mut self, _state: MetricState) {}
    fn update_valid(&mut self, _state: MetricState) {}
}

impl MetricsRendererEvaluation for Silent {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl TrainingProgressLogger for Silent {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _epoch: usize) {}
    fn start_split(&mut self, _split: &str, _total_items: usize) {}
    fn update_split(&mut self, _items_processed: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _event: String) {}
}

impl EvaluationProgressLogger for Silent {
    fn start_global_progress(&mut self, _total_tests: usize) {}
    fn start_test(&mut self, _name: &str, _total_items: usize) {}
    fn update_test_progress(&mut self, _items_processed: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _event: String) {}
}

impl MetricsRenderer for Silent {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _definition: MetricDefinition) {}
}

impl fmt::Debug for Silent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Silent")
    }
}

/// Float parameters and buffers by module path.
pub type Values = BTreeMap<String, Vec<f32>>;

/// The float parameters and buffers that `module` shows.
pub fn values<M: Module>(module: &M) -> Values {
    let mut collect = Collect::default();
    module.visit(&mut collect);
    collect.values
}

/// As [`values`], with running statistics brought up to date.
pub fn synced_values<M: Module>(module: &M) -> Values {
    values(&module.valid())
}

#[derive(Default)]
struct Collect {
    path: Vec<String>,
    values: Values,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.val().into_data().iter::<f32>().collect();
        self.values.insert(self.path.join("."), values);
    }
}

/// The values of the EMA of `learner`, in full precision.
pub fn average_values<M: Module, V>(learner: &WithEma<M, V>) -> Values {
    values(&learner.ema().unwrap().full_precision_model())
}

/// `ema = decay * ema + (1 - decay) * online` in f64 for weights and running statistics, from what they are after each
/// step. Running statistics must be [up to date](synced_values).
#[derive(Clone, Debug)]
pub struct Recursion {
    ema: BTreeMap<String, Vec<f64>>,
    /// Whether running statistics start as they are at the first step.
    awaits_statistics: bool,
}

impl Recursion {
    /// Starts with these values.
    pub fn new(initial: &Values) -> Self {
        let wide = |values: &Vec<f32>| values.iter().map(|value| f64::from(*value)).collect();
        let values = initial.iter();
        Self {
            ema: values
                .map(|(path, values)| (path.clone(), wide(values)))
                .collect(),
            awaits_statistics: false,
        }
    }

    /// Starts as [`WithEma`] does in a run whose weights are `initial` at the beginning: right before the first optimizer
    /// step. Running statistics are then what the forward passes of that step left.
    pub fn of_run(initial: &Values) -> Self {
        Self {
            awaits_statistics: true,
            ..Self::new(initial)
        }
    }

    /// Starts with the weights of `initial`, without running statistics: for replicas on one device, which share them.
    pub fn of_weights(initial: &Values) -> Self {
        let mut weights = Self::new(initial);
        weights.ema.retain(|path, _| !path.contains("running_"));
        weights
    }

    /// Takes one step with the given decay.
    pub fn step(&mut self, online: &Values, decay: f64) {
        if self.awaits_statistics {
            let statistics = Self::new(online).ema.into_iter();
            self.ema
                .extend(statistics.filter(|(path, _)| path.contains("running_")));
            self.awaits_statistics = false;
        }
        for (path, ema) in &mut self.ema {
            for (ema, online) in ema.iter_mut().zip(&online[path]) {
                *ema = decay * *ema + (1.0 - decay) * f64::from(*online);
            }
        }
    }

    /// Takes all steps, step number `n` (counted from 0) with `decay(n)`.
    pub fn steps(mut self, steps: &[Values], decay: impl Fn(u64) -> f64) -> Self {
        for (n, online) in (0..).zip(steps) {
            self.step(online, decay(n));
        }
        self
    }

    /// `|online - ema| / |online|` over everything that is averaged.
    pub fn relative_distance(&self, online: &Values) -> f64 {
        let (mut difference, mut norm) = (0.0, 0.0);
        for (path, ema) in &self.ema {
            for (ema, online) in ema.iter().zip(&online[path]) {
                difference += (f64::from(*online) - ema).powi(2);
                norm += f64::from(*online).powi(2);
            }
        }
        (difference / norm).sqrt()
    }

    /// The largest difference to `values` over everything that it started with.
    pub fn distance(&self, values: &Values) -> f64 {
        let has_statistics = self.ema.keys().any(|path| path.contains("running_"));
        let expected = values
            .keys()
            .filter(|path| has_statistics || !path.contains("running_"));
        assert!(expected.eq(self.ema.keys()), "other parameters");
        let pairs = self.ema.iter().flat_map(|(path, ema)| {
            assert_eq!(ema.len(), values[path].len(), "{path}");
            ema.iter().zip(&values[path])
        });
        pairs
            .map(|(ema, value)| (ema - f64::from(*value)).abs())
            .fold(0.0, f64::max)
    }
}

/// Asserts that two sets of values are equal bit for bit.
#[track_caller]
pub fn assert_same(left: &Values, right: &Values, what: &str) {
    let paths = |values: &Values| values.keys().cloned().collect::<Vec<_>>();
    assert!(!left.is_empty());
    assert_eq!(paths(left), paths(right), "{what}");
    for (path, left) in left {
        let bits = |values: &Vec<f32>| values.iter().map(|value| value.to_bits()).collect();
        let (these, those): (Vec<u32>, Vec<u32>) = (bits(left), bits(&right[path]));
        assert!(
            these == those,
            "{what}: {path} is {left:?} and {:?}",
            right[path]
        );
    }
}

/// Asserts that two runs came to the same values: bit for bit where [runs repeat
/// themselves](backend::repeats_trainings).
#[track_caller]
pub fn assert_trained_alike(left: &Values, right: &Values, what: &str) {
    if backend::repeats_trainings() {
        return assert_same(left, right, what);
    }
    let distance = difference(left, right);
    assert!(distance < TRAINED_ALIKE, "{what}: {distance} apart");
}

/// The largest difference of two sets of values.
pub fn difference(left: &Values, right: &Values) -> f64 {
    assert_eq!(
        left.keys().collect::<Vec<_>>(),
        right.keys().collect::<Vec<_>>()
    );
    let pairs = left
        .iter()
        .flat_map(|(path, values)| values.iter().zip(&right[path]));
    pairs
        .map(|(left, right)| (f64::from(*left) - f64::from(*right)).abs())
        .fold(0.0, f64::max)
}
