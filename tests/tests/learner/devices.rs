//! Training on several devices, as Burn's strategies do it.
//!
//! What ran: on `wgpu` two devices, the default one and the first that the system lists, which are
//! two to Burn also where one software driver is behind both. The other backends have one device on a
//! machine without a GPU, so every strategy gets that device twice. Burn starts one worker thread for each
//! entry of the list, each with its share of the data and a fork of the model of its own, so all of the
//! bookkeeping is exercised there too, but no value crosses from one memory to another.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Device;
use burn::tensor::distributed::{DistributedConfig, DistributedContext, ReduceOperation};
use burn::train::metric::{Adaptor, LossInput, LossMetric};
use burn::train::{
    ExecutionStrategy, InferenceStep, Learner, LearnerModel, LearningResult, MultiDeviceOptim,
    RegressionOutput, TrainOutput, TrainStep, TrainingStrategy,
};
use burn_ema::{Decay, EmaConfig};
use burn_ema_tests::backend;
use burn_ema_tests::folder::Folder;
use burn_ema_tests::learner::{
    Batch, Net, Recursion, Values, assert_same, average_values, batches, device, difference, drive,
    learner, synced_values, training, values,
};
use burn_ema_train::{EmaExt, WithEma};

const DECAY: f64 = 0.8;

fn config() -> EmaConfig {
    EmaConfig::new().with_decay(Decay::constant(DECAY))
}

/// The device of the tests and, where the system lists one, another of the same backend.
fn devices() -> Vec<Device> {
    let first = device();
    let listed = match backend::is_cubecl() {
        true => listed_devices(),
        false => Vec::new(),
    };
    let listed = listed.into_iter().map(Device::autodiff);
    let second = listed.into_iter().find(|device| *device != first);
    let second = second.unwrap_or_else(|| first.clone());
    println!("devices: {first:?} and {second:?}");
    vec![first, second]
}

#[cfg(feature = "wgpu")]
fn listed_devices() -> Vec<Device> {
    Device::enumerate(burn::tensor::DeviceType::Wgpu).to_vec()
}

#[cfg(not(feature = "wgpu"))]
fn listed_devices() -> Vec<Device> {
    Vec::new()
}

fn train<M>(model: M, strategy: ExecutionStrategy, accumulation: usize) -> LearningResult<M>
where
    M: LearnerModel + TrainStep<Input = Batch> + InferenceStep<Input = Batch>,
    <M as TrainStep>::Output: Adaptor<LossInput>,
    <M as InferenceStep>::Output: Adaptor<LossInput>,
{
    let directory = Folder::temporary();
    training(directory.path(), 0..40, 40..44)
        .metrics((LossMetric::new(),))
        .num_epochs(2)
        .grads_accumulation(accumulation)
        .with_training_strategy(TrainingStrategy::Default(strategy))
        .launch(learner(model))
}

/// 20 examples for each worker, in 5 batches of 4: 5 steps an epoch, or 3 with groups of 2.
fn averages_once_per_optimizer_step(optim: MultiDeviceOptim, accumulation: usize, steps: usize) {
    let strategy = || ExecutionStrategy::multi(devices(), optim);
    let (net, trace) = Net::new(0.0, &device()).traced();
    let initial = values(&net);
    let result = train(net.with_ema(config()), strategy(), accumulation);
    assert!(result.error.is_none(), "{:?}", result.error);

    assert_eq!(trace.steps().len(), steps);
    let average = result.model.ema().unwrap();
    assert_eq!(
        (average.num_steps(), average.num_updates()),
        (steps as u64, steps as u64)
    );
    let recursion = Recursion::of_run(&initial).steps(&trace.steps(), |_| DECAY);
    assert!(recursion.distance(&average_values(&result.model)) < 1e-6);
    assert!(recursion.distance(&values(result.model.online())) > 1e-2);

    // The online weights, and the running statistics that both workers feed, are those of a training
    // without an average. Where four gradients are added in the order in which workers answer, Burn
    // itself does not repeat a training to the bit; nor does it on some GPUs, where workers race for more: with
    // Fusion, on software Vulkan, two trainings without an average were up to 0.35 apart.
    let online = synced_values(result.model.online());
    let repeatable = accumulation == 1 || matches!(optim, MultiDeviceOptim::OptimSharded);
    let plain = || synced_values(&train(Net::new(0.0, &device()), strategy(), accumulation).model);
    if repeatable {
        let expected = plain();
        if backend::is_cubecl() && (0..2).any(|_| plain() != expected) {
            println!("SKIPPED in part: trainings without an average differ");
        } else {
            assert_same(&online, &expected, "online weights");
        }
    }
    let averaged = average_values(&result.model);
    for statistic in ["norm.running_mean", "norm.running_var"] {
        assert_ne!(averaged[statistic], online[statistic]);
        assert_ne!(averaged[statistic], initial[statistic]);
    }
}

#[test]
fn main_device_optimizer_updates_the_ema_once_per_step() {
    averages_once_per_optimizer_step(MultiDeviceOptim::OptimMainDevice, 1, 10);
}

#[test]
fn sharded_optimizer_updates_the_ema_once_per_step() {
    averages_once_per_optimizer_step(MultiDeviceOptim::OptimSharded, 1, 10);
}

#[test]
fn main_device_optimizer_updates_the_ema_once_per_accumulated_step() {
    averages_once_per_optimizer_step(MultiDeviceOptim::OptimMainDevice, 2, 6);
}

#[test]
fn sharded_optimizer_updates_the_ema_once_per_accumulated_step() {
    averages_once_per_optimizer_step(MultiDeviceOptim::OptimSharded, 2, 6);
}

/// The largest difference of the last weights of two workers, over what they train.
fn apart(one: &[Values], other: &[Values]) -> f64 {
    let trained = |values: &Values| -> Values {
        let trained = values.iter().filter(|(path, _)| !path.contains("running_"));
        trained
            .map(|(path, values)| (path.clone(), values.clone()))
            .collect()
    };
    difference(
        &trained(one.last().unwrap()),
        &trained(other.last().unwrap()),
    )
}

/// The model of a run with distributed data parallelism, on a backend that has none.
///
/// `grad_sharded` is a `map` with Burn's `ModuleSharder`, which marks each float tensor, and panics on
/// `flex`. This counts that mapper instead of following it.
#[derive(Clone, Debug)]
struct Unmarked {
    net: Net,
    sharded: Arc<AtomicUsize>,
}

impl Unmarked {
    fn new(net: Net) -> Self {
        let sharded = Arc::default();
        Self { net, sharded }
    }

    fn change(self, change: impl FnOnce(Net) -> Net) -> Self {
        let net = change(self.net);
        Self { net, ..self }
    }
}

impl Module for Unmarked {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.net.visit(visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        if std::any::type_name::<M>().ends_with("::ModuleSharder") {
            self.sharded.fetch_add(1, Ordering::SeqCst);
            return self;
        }
        self.change(|net| net.map(mapper))
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.net.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.change(|net| net.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.change(|net| net.to_device(device))
    }

    fn train(self) -> Self {
        self.change(Module::train)
    }

    fn valid(&self) -> Self {
        self.clone().change(|net| net.valid())
    }

    fn materialize(self) -> Self {
        self.change(Module::materialize)
    }
}

impl fmt::Display for Unmarked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net.fmt(formatter)
    }
}

impl TrainStep for Unmarked {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        TrainStep::step(&self.net, batch)
    }

    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        self.change(|net| net.optimize(optim, lr, grads))
    }
}

impl InferenceStep for Unmarked {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        InferenceStep::step(&self.net, batch)
    }
}

/// The whole of Burn's strategy for distributed data parallelism (`DdpTrainingStrategy` and its
/// workers: fork, `grad_sharded`, training, validation) with two workers on the one device, but
/// without the exchange of gradients, for no collective operation runs on `flex`: the server for them
/// is not started, and [`Unmarked`] keeps the mark off the tensors. So the replicas drift apart,
/// which shows that each is averaged by itself. The result is that of the first worker. Running statistics are left out:
/// forks on one device share them, so that they change whenever the other worker runs.
#[test]
fn each_distributed_worker_averages_its_own_replica() {
    // A context of no devices starts no server.
    let all_reduce_op = ReduceOperation::Mean;
    let context = DistributedContext::init(vec![], DistributedConfig { all_reduce_op });
    let strategy = ExecutionStrategy::DistributedDataParallel {
        devices: devices(),
        context,
    };
    let (net, trace) = Net::new(0.0, &device()).traced();
    let initial = values(&net);
    let model = Unmarked::new(net);
    let sharded = model.sharded.clone();
    let result = train(model.with_ema(config()), strategy, 1);
    // Once for each worker, and never through the average.
    assert_eq!(sharded.load(Ordering::SeqCst), 2);

    let workers = trace.steps_by_thread();
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|steps| steps.len() == 10));
    assert!(apart(&workers[0], &workers[1]) > 1e-2);
    let online = values(result.model.online());
    let main = workers
        .iter()
        .find(|steps| steps[9]["body.weight"] == online["body.weight"]);
    let recursion = Recursion::of_weights(&initial).steps(main.unwrap(), |_| DECAY);
    assert!(recursion.distance(&average_values(&result.model)) < 1e-6);
    assert_eq!(result.model.ema().unwrap().num_updates(), 10);
}

/// What a worker of distributed data parallelism does with its clone of the learner, in two threads.
fn replicas(
    learner: &Learner<WithEma<Unmarked>>,
    data: [Vec<Batch>; 2],
) -> Vec<(Vec<Values>, WithEma<Unmarked>)> {
    let barrier = Arc::new(Barrier::new(2));
    let start = |data: Vec<Batch>| {
        let (mut learner, barrier) = (learner.clone(), barrier.clone());
        thread::spawn(move || {
            learner.fork(&device());
            learner.grad_sharded();
            let mut steps = Vec::new();
            for batch in data {
                // Both step at the same time.
                barrier.wait();
                drive(&mut learner, &[batch]);
                steps.push(synced_values(learner.model().online()));
            }
            (steps, learner.model())
        })
    };
    let workers = data.map(start);
    workers.map(|worker| worker.join().unwrap()).into()
}

/// Identical data stands for the exchange of gradients: all replicas then stay equal, and so must
/// their averages. Ran by hand: two clones of a learner in two threads, each forked and
/// `grad_sharded` (see [`Unmarked`]) as by `DdpWorker`.
#[test]
fn replicas_with_equal_gradients_have_equal_emas() {
    let net = Unmarked::new(Net::new(0.0, &device()));
    let initial = values(&net);
    let learner = learner(net.with_ema(config()));
    let data = || batches(0..48, 4, &device());
    let workers = replicas(&learner, [data(), data()]);

    assert_eq!(apart(&workers[0].0, &workers[1].0), 0.0);
    for (steps, model) in &workers {
        let average = model.ema().unwrap();
        assert_eq!((average.num_steps(), average.num_updates()), (12, 12));
        let recursion = Recursion::of_weights(&initial).steps(steps, |_| DECAY);
        assert!(recursion.distance(&average_values(model)) < 1e-6);
        assert!(recursion.distance(&values(model.online())) > 1e-2);
    }
}

/// As above, with other data for each, and from a learner that has an average already.
#[test]
fn replicas_share_the_ema_that_they_start_with_and_no_other() {
    let net = Unmarked::new(Net::new(0.0, &device()));
    let mut recursion = Recursion::of_weights(&values(&net));
    let mut learner = learner(net.with_ema(config()));
    for batch in batches(100..112, 4, &device()) {
        drive(&mut learner, &[batch]);
        recursion.step(&synced_values(learner.model().online()), DECAY);
    }
    let before = average_values(&learner.model());
    let data = [batches(0..32, 4, &device()), batches(50..82, 4, &device())];
    let workers = replicas(&learner, data);

    assert!(apart(&workers[0].0, &workers[1].0) > 1e-2);
    for (steps, model) in &workers {
        let recursion = recursion.clone().steps(steps, |_| DECAY);
        assert!(recursion.distance(&average_values(model)) < 1e-6);
        assert_eq!(model.ema().unwrap().num_updates(), 3 + 8);
    }
    // The learner that they were cloned from took no part.
    let kept = average_values(&learner.model());
    let weights = |values: &Values| values["body.weight"].clone();
    assert_eq!(weights(&kept), weights(&before));
    assert_eq!(learner.model().ema().unwrap().num_updates(), 3);
}
