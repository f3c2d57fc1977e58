//! Training with an EMA is training as before, and the EMA is what the formula says.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::{GradientsParams, OptimizerRecord};
use burn::tensor::{Device, Tensor};
use burn::train::metric::LossMetric;
use burn::train::{InferenceStep, Learner, LearnerModel, RegressionOutput, TrainOutput, TrainStep};
use burn_ema::config::NonFinite;
use burn_ema::{Decay, EmaConfig};
use burn_ema_tests::folder::Folder;
use burn_ema_tests::learner::{
    Batch, INPUTS, Net, OUTPUTS, Recursion, Values, adam, assert_same, assert_trained_alike,
    average_values, batch, batches, device, difference, drive, learner, mean_squared_error,
    synced_values, training, values,
};
use burn_ema_tests::random;
use burn_ema_train::{EmaExt, WithEma};

fn constant(decay: f64) -> EmaConfig {
    EmaConfig::new().with_decay(Decay::constant(decay))
}

/// Parameters are drawn when they are first used. The fields are not in the order of their use, and
/// one of them is never used.
#[derive(Module, Debug)]
struct LazyNet {
    unused: Linear,
    head: Linear,
    norm: BatchNorm,
    body: Linear,
    dropout: Dropout,
}

impl LazyNet {
    fn new(device: &Device) -> Self {
        Self {
            unused: LinearConfig::new(2, 2).init(device),
            head: LinearConfig::new(5, OUTPUTS).init(device),
            norm: BatchNormConfig::new(5).init(device),
            body: LinearConfig::new(INPUTS, 5).init(device),
            dropout: DropoutConfig::new(0.3).init(),
        }
    }

    fn loss(&self, batch: Batch) -> RegressionOutput {
        let hidden = self.norm.forward(self.body.forward(batch.inputs));
        let output = self.head.forward(self.dropout.forward(hidden));
        mean_squared_error(output, batch.targets)
    }
}

impl TrainStep for LazyNet {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        let output = self.loss(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for LazyNet {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        self.loss(batch)
    }
}

#[test]
fn online_weights_and_running_statistics_are_those_of_a_training_without_an_ema() {
    let directory = Folder::temporary();
    let plain = training(&directory.path().join("plain"), 0..18, 18..26)
        .metrics((LossMetric::new(),))
        .num_epochs(3)
        .launch(learner(Net::new(0.0, &device())));
    let config = constant(0.9)
        .with_interval(2)
        .with_non_finite(NonFinite::Skip);
    let averaged = training(&directory.path().join("ema"), 0..18, 18..26)
        .metrics((LossMetric::new(),))
        .num_epochs(3)
        .launch(learner(Net::new(0.0, &device()).with_ema(config)));

    let trained = synced_values(&plain.model);
    assert!(difference(&trained, &values(&Net::new(0.0, &device()))) > 0.05);
    assert_trained_alike(
        &synced_values(averaged.model.online()),
        &trained,
        "online weights",
    );
    assert!(difference(&average_values(&averaged.model), &trained) > 0.01);
}

/// Driven by hand: Burn's strategies fork the model first, which draws all parameters in the order of
/// the fields. An average that is made before or in the first training step (`Handle::start` in
/// `WithEma::new` or `TrainStep::step`) does the same, and fails this.
#[test]
fn lazy_parameters_draw_the_random_numbers_that_they_draw_without_an_ema() {
    let _alone = random::alone();
    let device = device();
    let batches = batches(0..16, 4, &device);
    let plain = |seed: u64| {
        device.seed(seed);
        let mut learner = learner(LazyNet::new(&device));
        drive(&mut learner, &batches);
        synced_values(&learner.model())
    };
    let (trained, other) = (plain(7), plain(8));
    device.seed(7);
    let mut learner = learner(LazyNet::new(&device).with_ema(constant(0.9)));
    drive(&mut learner, &batches);

    assert!(difference(&other, &trained) > 0.05, "nothing was random");
    let in_order = LazyNet::new(&device);
    device.seed(7);
    let in_order = values(&in_order);
    assert_ne!(
        in_order["unused.weight"], trained["unused.weight"],
        "the order does not matter"
    );
    let online = synced_values(learner.model().online());
    assert_trained_alike(&online, &trained, "online weights");
}

#[test]
fn dropout_draws_the_random_numbers_that_it_draws_without_an_ema() {
    let _alone = random::alone();
    let directory = Folder::temporary();
    let device = device();
    device.seed(7);
    let plain = training(&directory.path().join("plain"), 0..16, 16..24)
        .num_epochs(2)
        .launch(learner(LazyNet::new(&device)));
    device.seed(7);
    let averaged = training(&directory.path().join("ema"), 0..16, 16..24)
        .num_epochs(2)
        .launch(learner(LazyNet::new(&device).with_ema(constant(0.9))));

    let trained = synced_values(&plain.model);
    assert!(difference(&average_values(&averaged.model), &trained) > 0.01);
    let online = synced_values(averaged.model.online());
    assert_trained_alike(&online, &trained, "online weights");
}

#[test]
fn lazy_parameters_start_the_ema_with_the_values_of_the_first_step() {
    let _alone = random::alone();
    let device = device();
    device.seed(11);
    let mut learner = learner(LazyNet::new(&device).with_ema(constant(1.0)));
    let first = batch(&[0, 1, 2, 3], &device);
    let output = learner.train_step(first.clone());
    let initial = values(learner.model().online());
    learner.lr_step();
    learner.optimizer_step(output.grads);
    drive(&mut learner, &[first]);

    let average = average_values(&learner.model());
    for (path, initial) in initial
        .iter()
        .filter(|(path, _)| !path.contains("running_"))
    {
        assert_eq!(&average[path], initial, "{path}");
    }
    assert!(difference(&values(learner.model().online()), &initial) > 0.01);
}

#[test]
fn ema_is_the_recursion_over_the_weights_after_each_step() {
    type Formula = fn(u64) -> f64;
    let rules: [(Decay, Formula); 2] = [
        (Decay::constant(0.8), |_| 0.8),
        (Decay::power_warmup(0.75), |n| {
            1.0 - (1.0 + n as f64).powf(-0.75)
        }),
    ];
    for (decay, formula) in rules {
        let device = device();
        let net = Net::new(0.3, &device);
        let mut recursion = Recursion::of_run(&values(&net));
        let config = EmaConfig::new().with_decay(decay.clone());
        let mut learner = learner(net.with_ema(config));
        for (n, batch) in (0..).zip(batches(0..40, 4, &device)) {
            drive(&mut learner, &[batch]);
            recursion.step(&synced_values(learner.model().online()), formula(n));
        }

        let learner = learner.model();
        let average = average_values(&learner);
        assert!(recursion.distance(&average) < 1e-6, "{decay:?}");
        assert!(recursion.distance(&values(learner.online())) > 1e-2);
        let counters = learner.ema().unwrap();
        assert_eq!((counters.num_steps(), counters.num_updates()), (10, 10));
        assert_eq!(counters.current_decay(), formula(10));
    }
}

#[test]
fn start_and_interval_count_optimizer_steps() {
    let (net, trace) = Net::new(0.3, &device()).traced();
    let config = constant(0.75).with_start(2).with_interval(3);
    let mut learner = learner(net.with_ema(config));
    drive(&mut learner, &batches(0..40, 4, &device()));

    // Copies at steps 1 and 2, averages at 5 and 8.
    let steps = trace.steps();
    let averaged = [steps[4].clone(), steps[7].clone()];
    let recursion = Recursion::new(&steps[1]).steps(&averaged, |_| 0.75);
    assert!(recursion.distance(&average_values(&learner.model())) < 1e-6);
    let average = learner.model().ema().unwrap();
    assert_eq!((average.num_steps(), average.num_updates()), (10, 2));
}

#[test]
fn gradient_accumulation_updates_once_per_optimizer_step() {
    let directory = Folder::temporary();
    let (net, trace) = Net::new(0.1, &device()).traced();
    let initial = values(&net);
    // 7 batches an epoch in groups of 3, 3 and 1.
    let result = training(directory.path(), 0..28, 28..32)
        .num_epochs(2)
        .grads_accumulation(3)
        .launch(learner(net.with_ema(constant(0.7))));

    assert_eq!(trace.steps().len(), 6);
    let average = result.model.ema().unwrap();
    assert_eq!((average.num_steps(), average.num_updates()), (6, 6));
    let recursion = Recursion::of_run(&initial).steps(&trace.steps(), |_| 0.7);
    assert!(recursion.distance(&average_values(&result.model)) < 1e-6);
}

#[derive(Clone)]
struct Clip(f32);

impl ModuleMapper for Clip {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let limit = self.0;
        param.map(|tensor| {
            Tensor::from_inner(tensor.without_autodiff().clamp(-limit, limit)).require_grad()
        })
    }
}

/// Fails if `WithEma::optimize` steps the optimizer itself instead of asking its model, or
/// updates the average before the model's `optimize` has returned.
#[test]
fn optimize_of_the_model_runs_and_the_ema_sees_what_it_leaves() {
    const LIMIT: f32 = 0.11;
    let directory = Folder::temporary();
    let net = Net::new(0.2, &device());
    let initial = values(&net);
    let (net, trace) = net
        .with_after(|mut net, _| {
            net.body = net.body.map(&mut Clip(LIMIT));
            net.head = net.head.map(&mut Clip(LIMIT));
            net
        })
        .traced();
    let config = EmaConfig::new().with_decay(Decay::power_warmup(0.5));
    let result = training(directory.path(), 0..20, 20..24)
        .num_epochs(2)
        .launch(learner(net.with_ema(config)));

    let largest = |values: &Values| {
        let weights = values.iter().filter(|(path, _)| path.contains("weight"));
        weights
            .flat_map(|(_, values)| values)
            .fold(0.0_f32, |most, value| most.max(value.abs()))
    };
    assert!(largest(&initial) > 0.5);
    assert_eq!(largest(&values(result.model.online())), LIMIT);
    // The first update of a warm-up is a copy, so no unclipped weight is in the average.
    let average = average_values(&result.model);
    assert!(largest(&average) <= LIMIT + 1e-7, "{}", largest(&average));
    let recursion =
        Recursion::of_run(&initial).steps(&trace.steps(), |n| 1.0 - (1.0 + n as f64).powf(-0.5));
    assert_eq!(trace.steps().len(), 10);
    assert!(recursion.distance(&average) < 1e-6);
}

/// The ids that a module shows, in the order in which it shows them.
#[derive(Default)]
struct Ids(Vec<ParamId>);

impl ModuleVisitor for Ids {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.id);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, burn::tensor::Int>>) {
        self.0.push(param.id);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, burn::tensor::Bool>>) {
        self.0.push(param.id);
    }
}

impl ModuleMapper for Ids {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0.push(param.id);
        param
    }

    fn map_int<const D: usize>(
        &mut self,
        param: Param<Tensor<D, burn::tensor::Int>>,
    ) -> Param<Tensor<D, burn::tensor::Int>> {
        self.0.push(param.id);
        param
    }
}

/// Fails if `WithEma::visit` or `map` goes on to the average, whatever ids that shows.
#[test]
fn module_shows_the_online_parameters_only() {
    let net = Net::new(0.0, &device());
    let mut expected = Ids::default();
    net.visit(&mut expected);
    assert_eq!(expected.0.len(), 8);
    let mut learner = learner(net.with_ema(constant(0.5)));
    drive(&mut learner, &batches(0..8, 4, &device()));

    let model = learner.model();
    let mut visited = Ids::default();
    model.visit(&mut visited);
    assert_eq!(visited.0, expected.0);
    let mut mapped = Ids::default();
    let model = model.map(&mut mapped);
    assert_eq!(mapped.0, expected.0);
    assert_eq!(model.num_params(), model.online().num_params());
    assert_eq!(model.num_params(), 3 * 6 + 6 + 6 * 2 + 2 + 4 * 6);
    assert_eq!(model.devices(), model.online().devices());
    assert_eq!(model.devices().len(), 1);
    let unique: BTreeSet<u64> = visited.0.iter().map(|id| id.val()).collect();
    assert_eq!(unique.len(), visited.0.len());
}

#[test]
fn gradients_and_optimizer_state_are_those_of_the_online_parameters() {
    let directory = Folder::temporary();
    let state = |name: &str| {
        let path = directory.path().join(name).join("checkpoint/optim-1.bpk");
        let bytes = std::fs::metadata(&path).unwrap().len();
        (OptimizerRecord::load(path).unwrap().len(), bytes)
    };
    let path = |name: &str| directory.path().join(name);
    training(&path("plain"), 0..8, 8..12)
        .with_default_checkpointers()
        .launch(learner(Net::new(0.0, &device())));
    training(&path("ema"), 0..8, 8..12)
        .with_default_checkpointers()
        .launch(learner(Net::new(0.0, &device()).with_ema(constant(0.5))));

    // Two moments for each of six parameters; the running statistics have none.
    assert_eq!(state("plain").0, 12);
    assert_eq!(state("ema").0, 12);
    let (plain, ema) = (state("plain").1 as f64, state("ema").1 as f64);
    // Ids have up to 20 digits, but not always.
    assert!(
        (ema - plain).abs() < 0.02 * plain,
        "{ema} and {plain} bytes"
    );

    let model = Net::new(0.0, &device()).with_ema(constant(0.5));
    let output = model.step_once(&device());
    assert_eq!(output.len(), 6);
}

trait StepOnce {
    fn step_once(&self, device: &Device) -> GradientsParams;
}

impl<M: TrainStep<Input = Batch>> StepOnce for M {
    fn step_once(&self, device: &Device) -> GradientsParams {
        self.step(batch(&[0, 1, 2], device)).grads
    }
}

/// One optimizer step outside of a learner, as a forked worker of a training would take it.
fn step_alone<M>(model: M, device: &Device) -> M
where
    M: LearnerModel + TrainStep<Input = Batch>,
{
    let grads = model.step_once(device);
    model.optimize(&mut adam(), 0.02.into(), grads)
}

#[test]
fn clones_share_the_ema_of_their_training() {
    let mut learner = learner(Net::new(0.0, &device()).with_ema(constant(0.5)));
    let before_training = learner.model();
    drive(&mut learner, &batches(0..12, 4, &device()));

    let after = learner.model();
    assert_eq!(before_training.ema().unwrap().num_updates(), 3);
    assert_same(
        &average_values(&before_training),
        &average_values(&after),
        "the average of a clone",
    );
    assert!(difference(&average_values(&after), &values(&Net::new(0.0, &device()))) > 0.01);
}

/// Fails if `WithEma::fork` clones the handle (the fork and the training then write into the same
/// average), or if a changed fork is not given an average of its own.
#[test]
fn a_fork_and_the_training_it_came_from_do_not_disturb_each_other() {
    let device = device();
    let net = Net::new(0.0, &device);
    let mut recursion = Recursion::of_run(&values(&net));
    let mut learner = learner(net.with_ema(constant(0.5)));
    for batch in batches(0..8, 4, &device) {
        drive(&mut learner, &[batch]);
        recursion.step(&synced_values(learner.model().online()), 0.5);
    }

    // The fork changes first.
    let before = average_values(&learner.model());
    let fork = step_alone(learner.model().fork(&device), &device);
    assert_same(
        &average_values(&learner.model()),
        &before,
        "the average after a fork's step",
    );
    assert_eq!(learner.model().ema().unwrap().num_updates(), 2);
    assert_eq!(fork.ema().unwrap().num_updates(), 3);
    let mut forked = recursion.clone();
    forked.step(&synced_values(fork.online()), 0.5);
    assert!(forked.distance(&average_values(&fork)) < 1e-6);

    // The training changes first.
    let fork = learner.model().fork(&device);
    drive(&mut learner, &batches(8..12, 4, &device));
    recursion.step(&synced_values(learner.model().online()), 0.5);
    assert_same(&average_values(&fork), &before, "the average of a fork");
    assert_eq!(fork.ema().unwrap().num_updates(), 2);
    assert!(recursion.distance(&average_values(&learner.model())) < 1e-6);
    assert!(recursion.distance(&before) > 1e-3);
}

/// Fails if `WithEma::valid` does not fix the averaged weights.
#[test]
fn a_validation_snapshot_does_not_change_with_later_steps() {
    let mut learner = learner(Net::new(0.0, &device()).with_ema(constant(0.5)));
    drive(&mut learner, &batches(0..8, 4, &device()));
    let snapshot = learner.model().valid();
    let loss = |model: &WithEma<Net>| {
        let output = InferenceStep::step(model, batch(&[20, 21], &device().inner()));
        output.loss.into_scalar::<f32>()
    };
    let taken = (
        values(&snapshot.clone().into_ema()),
        values(snapshot.online()),
        loss(&snapshot),
    );

    drive(&mut learner, &batches(8..24, 4, &device()));
    assert_same(
        &values(&snapshot.clone().into_ema()),
        &taken.0,
        "averaged weights",
    );
    assert_same(&values(snapshot.online()), &taken.1, "online weights");
    assert_eq!(loss(&snapshot), taken.2);
    assert_ne!(loss(&learner.model().valid()), taken.2);
    assert!(difference(&average_values(&learner.model()), &taken.0) > 1e-2);
}

/// The counters of a snapshot, and a record made of it, belong to the weights in it.
#[test]
fn a_record_of_a_validation_snapshot_holds_the_ema_of_that_moment() {
    let mut learner = learner(Net::new(0.0, &device()).with_ema(constant(0.5)));
    drive(&mut learner, &batches(0..8, 4, &device()));
    let snapshot = learner.model().valid();
    let taken = values(&snapshot.clone().into_ema());

    drive(&mut learner, &batches(8..24, 4, &device()));
    let loaded = Net::new(5.0, &device())
        .with_ema(constant(0.5))
        .load_record(snapshot.into_record());
    assert_same(&average_values(&loaded), &taken, "averaged weights");
    assert_eq!(loaded.ema().unwrap().num_updates(), 2);
}

/// The last value in a metric's log file of the training split.
fn last_logged(directory: &Path, epoch: usize, name: &str) -> f64 {
    let path = directory.join(format!("train/epoch-{epoch}/{name}.log"));
    let log = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let last = log.lines().last().unwrap();
    last.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn monitor_shows_decay_updates_and_distance() {
    let directory = Folder::temporary();
    let (net, trace) = Net::new(0.4, &device()).traced();
    let config = EmaConfig::new().with_decay(Decay::power_warmup(0.6));
    let model = net.with_ema(config);
    let monitor = model.monitor();
    let result = training(directory.path(), 0..20, 20..24)
        .metric_train_numeric(monitor.decay())
        .metric_train_numeric(monitor.updates())
        .metric_train_numeric(monitor.skipped())
        .metric_train_numeric(monitor.distance(4))
        .num_epochs(2)
        .launch(learner(model));

    let average = result.model.ema().unwrap();
    assert_eq!(average.num_updates(), 10);
    assert_eq!(monitor.num_updates(), 10);
    assert_eq!(monitor.current_decay(), average.current_decay());
    assert_eq!(monitor.current_decay(), 1.0 - 11.0_f64.powf(-0.6));

    // Measured at steps 4 and 8, over everything that is averaged, before anything else changed.
    let steps = trace.steps();
    let mut recursion = Recursion::of_run(&values(&Net::new(0.4, &device())));
    for (n, online) in (0..8).zip(&steps) {
        recursion.step(online, 1.0 - (1.0 + n as f64).powf(-0.6));
    }
    let distance = recursion.relative_distance(&steps[7]);
    assert!(distance > 1e-2);
    let measured = monitor.last_distance().unwrap();
    assert!(
        (measured - distance).abs() < 1e-5 * distance,
        "{measured} and {distance}"
    );

    for epoch in [1, 2] {
        for name in ["EMA_decay", "EMA_updates", "EMA_skipped", "EMA_distance"] {
            last_logged(directory.path(), epoch, name);
        }
    }
    assert_eq!(
        last_logged(directory.path(), 2, "EMA_decay"),
        monitor.current_decay()
    );
    assert_eq!(last_logged(directory.path(), 2, "EMA_updates"), 10.0);
    assert_eq!(last_logged(directory.path(), 2, "EMA_skipped"), 0.0);
    assert_eq!(last_logged(directory.path(), 2, "EMA_distance"), measured);
}

/// A net whose first layer turns to NaN at an optimizer step.
fn poisoned(step: usize) -> Net {
    let net = Net::new(0.0, &device()).with_after(move |mut net, now| {
        if now == step {
            net.body.weight = net.body.weight.map(|weight| {
                Tensor::from_inner(weight.without_autodiff().mul_scalar(f32::NAN)).require_grad()
            });
        }
        net
    });
    net.traced().0
}

#[test]
fn weights_that_are_not_finite_stop_the_training_and_say_where() {
    let directory = Folder::temporary();
    let config = constant(0.5).with_non_finite(NonFinite::Error);
    let training = training(directory.path(), 0..40, 40..44).num_epochs(3);
    let model = poisoned(4)
        .with_ema(config)
        .with_interrupter(training.interrupter());
    let result = training.launch(learner(model));

    let reason = result
        .interrupted
        .expect("the training was stopped")
        .reason
        .unwrap();
    assert!(reason.contains("`body.weight`"), "{reason}");
    let average = result.model.ema().unwrap();
    // The fourth of 30 steps was the last, and left no trace in the average.
    assert_eq!((average.num_steps(), average.num_updates()), (3, 3));
    let finite = |values: &Values| values.values().flatten().all(|value| value.is_finite());
    assert!(finite(&average_values(&result.model)));
    assert!(!finite(&values(result.model.online())));
}

#[test]
fn weights_that_are_not_finite_panic_without_an_interrupter() {
    let config = constant(0.5).with_non_finite(NonFinite::Error);
    let mut learner = learner(poisoned(2).with_ema(config));
    drive(&mut learner, &batches(0..4, 4, &device()));
    let panic = catch_unwind(AssertUnwindSafe(|| {
        drive(&mut learner, &batches(4..8, 4, &device()));
    }));
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("`body.weight`"), "{message}");
    assert_eq!(learner.model().ema().unwrap().num_updates(), 1);
}

#[test]
fn weights_that_are_not_finite_are_skipped_and_counted() {
    let config = constant(0.5).with_non_finite(NonFinite::Skip);
    let model = poisoned(3).with_ema(config);
    let monitor = model.monitor();
    let mut learner: Learner<WithEma<Net>> = learner(model);
    drive(&mut learner, &batches(0..20, 4, &device()));
    let average = learner.model().ema().unwrap();
    // NaN stays in the online weights from the third step on.
    assert_eq!((average.num_updates(), average.num_skipped()), (2, 3));
    assert_eq!(monitor.num_updates(), 2);
}

/// An average that came with a record is kept, wherever it is then put.
#[test]
fn ema_of_a_record_is_kept_when_it_is_given_a_device() {
    let mut learner = learner(Net::new(0.0, &device()).with_ema(constant(0.5)));
    drive(&mut learner, &batches(0..12, 4, &device()));
    let trained = average_values(&learner.model());
    let loaded = Net::new(3.0, &device())
        .with_ema(constant(0.5))
        .load_record(learner.model().into_record())
        .with_device(&device().inner());

    let average = loaded.ema().unwrap();
    assert_eq!(average.device(), Some(device().inner()));
    assert_eq!(average.num_updates(), 3);
    assert_same(&average_values(&loaded), &trained, "the average");
}
