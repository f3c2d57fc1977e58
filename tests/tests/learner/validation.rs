//! Which weights validation sees, and with it checkpoints, early stopping and the result.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::{Module, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::store::ModuleRecord;
use burn::tensor::{Device, Tensor};
use burn::train::checkpoint::MetricCheckpointingStrategy;
use burn::train::metric::LossMetric;
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::{
    InferenceStep, LearningResult, MetricEarlyStoppingStrategy, RegressionOutput,
    StoppingCondition, TrainOutput, TrainStep,
};
use burn_ema::{Decay, EmaConfig};
use burn_ema_tests::backend::elsewhere;
use burn_ema_tests::folder::Folder;
use burn_ema_tests::learner::{
    Batch, Net, Recursion, adam, assert_same, average_values, batches, device, difference, learner,
    mean_squared_error, training, values,
};
use burn_ema_train::{EmaExt, Online, Validation, WithEma};

fn constant(decay: f64) -> EmaConfig {
    EmaConfig::new().with_decay(Decay::constant(decay))
}

/// The losses in a log file of the validation split, one for each batch.
fn logged(directory: &Path, epoch: usize, name: &str) -> Vec<f64> {
    let path = directory.join(format!("valid/epoch-{epoch}/{name}.log"));
    let log = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let batches = log.lines().filter(|line| !line.ends_with(",final"));
    batches
        .map(|line| line.split(',').next().unwrap().parse().unwrap())
        .collect()
}

/// The losses of `model`, which is in validation state, on the examples 20 to 30.
fn losses(model: &Net) -> Vec<f64> {
    let batches = batches(20..30, 4, &device().inner());
    let loss = |batch| {
        InferenceStep::step(model, batch)
            .loss
            .into_scalar::<f32>()
            .into()
    };
    batches.into_iter().map(loss).collect()
}

fn train(directory: &Path, model: WithEma<Net>) -> LearningResult<WithEma<Net>> {
    training(directory, 0..20, 20..30)
        .metrics((LossMetric::new(),))
        .num_epochs(2)
        .launch(learner(model))
}

#[test]
fn validation_runs_on_the_ema_by_default() {
    let directory = Folder::temporary();
    let result = train(
        directory.path(),
        Net::new(0.5, &device()).with_ema(constant(0.8)),
    );
    let (ema, online) = (
        losses(&result.model.clone().into_ema()),
        losses(result.model.online()),
    );
    assert_eq!(ema.len(), 3);
    assert_eq!(logged(directory.path(), 2, "Loss"), ema);
    assert_ne!(ema, online);
}

#[test]
fn validation_runs_on_the_online_weights_by_choice() {
    let directory = Folder::temporary();
    let model = Net::new(0.5, &device()).with_ema(constant(0.8));
    let result = train(directory.path(), model.with_validation(Validation::Online));
    let (ema, online) = (
        losses(&result.model.clone().into_ema()),
        losses(result.model.online()),
    );
    assert_eq!(logged(directory.path(), 2, "Loss"), online);
    assert_ne!(ema, online);
}

#[test]
fn validation_runs_on_both_side_by_side() {
    let directory = Folder::temporary();
    let model = Net::new(0.5, &device())
        .with_ema(constant(0.8))
        .side_by_side();
    let result = training(directory.path(), 0..20, 20..30)
        .metrics((LossMetric::new(),))
        .metric_valid_numeric(Online::new(LossMetric::new()))
        .num_epochs(2)
        .launch(learner(model));
    let (ema, online) = (
        losses(&result.model.clone().into_ema()),
        losses(result.model.online()),
    );
    assert_eq!(logged(directory.path(), 2, "Loss"), ema);
    assert_eq!(logged(directory.path(), 2, "Loss_(online)"), online);
    assert_ne!(ema, online);
    // Of the first epoch there is another average, but training saw the same weights.
    assert_ne!(logged(directory.path(), 1, "Loss"), ema);
    assert!(
        !directory
            .path()
            .join("train/epoch-1/Loss_(online).log")
            .exists()
    );
}

#[test]
fn result_gives_the_ema_and_the_online_model() {
    let directory = Folder::temporary();
    let (net, trace) = Net::new(0.5, &device()).traced();
    let recursion = Recursion::of_run(&values(&net));
    let result = train(directory.path(), net.with_ema(constant(0.8)));
    let recursion = recursion.steps(&trace.steps(), |_| 0.8);

    let ema = values(&result.model.clone().into_ema());
    assert!(recursion.distance(&ema) < 1e-6);
    assert_same(&ema, &average_values(&result.model), "the averaged model");
    let online = values(&result.model.clone().into_online());
    assert_same(&online, &values(result.model.online()), "the online model");
    assert_eq!(online["body.weight"], trace.steps()[9]["body.weight"]);
    assert!(difference(&online, &ema) > 1e-2);
    let deployable = result.model.into_ema();
    assert!(
        deployable
            .devices()
            .iter()
            .all(|device| !device.is_autodiff())
    );
}

/// A validation on the average moved to the device of the online weights must not move the average.
#[test]
fn ema_on_a_device_of_its_own_is_validated_too() {
    let directory = Folder::temporary();
    let model = Net::new(0.5, &device()).with_ema(constant(0.8));
    let result = train(directory.path(), model.with_device(&elsewhere()));
    assert_eq!(
        logged(directory.path(), 2, "Loss"),
        losses(&result.model.clone().into_ema())
    );
    assert_eq!(result.model.ema().unwrap().device(), Some(elsewhere()));
    assert_eq!(result.model.ema().unwrap().num_updates(), 10);
}

/// A model of one weight, whose optimizer sets it to the next number of a script. Its loss is the
/// square of the weight.
#[derive(Module, Debug)]
struct Scripted {
    weight: Param<Tensor<1>>,
    #[module(skip)]
    script: Vec<f32>,
    #[module(skip)]
    steps: Arc<AtomicUsize>,
}

impl Scripted {
    fn new(initial: f32, script: &[f32], device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::from_floats([initial], device)),
            script: script.to_vec(),
            steps: Arc::default(),
        }
    }

    fn output(&self, batch: &Batch) -> RegressionOutput {
        let targets = batch.targets.clone().slice([0..1, 0..1]).zeros_like();
        mean_squared_error(self.weight.val().unsqueeze(), targets)
    }
}

impl TrainStep for Scripted {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        let output = self.output(&batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }

    fn optimize(
        mut self,
        _: &mut ModuleOptimizer,
        _: ModuleLearningRate,
        _: GradientsParams,
    ) -> Self {
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        let next = self.script[step];
        self.weight = self.weight.map(|weight| {
            let device = weight.device();
            Tensor::from_floats([next], &device).require_grad()
        });
        self
    }
}

impl InferenceStep for Scripted {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        self.output(&batch)
    }
}

/// One step an epoch. At a decay of 0.5 the average goes from 4 to 0, 0.25, 1.625, 2.3125, ... and is
/// best after epoch 1, where the online weight is at its worst; that is best after epoch 2.
fn scripted() -> Scripted {
    Scripted::new(4.0, &[-4.0, 0.5, 3.0, 3.0, 3.0, 3.0], &device())
}

/// Trains for at most six epochs and returns the number of epochs that it took, with the names of
/// the checkpoints that are left.
fn train_scripted(directory: &Path, validation: Validation) -> (u64, Vec<String>) {
    let loss = LossMetric::new();
    let (mean, lowest) = (Aggregate::Mean, Direction::Lowest);
    let patience = StoppingCondition::NoImprovementSince { n_epochs: 2 };
    let model = scripted()
        .with_ema(constant(0.5))
        .with_validation(validation);
    let result = training(directory, 0..4, 4..8)
        .metrics((LossMetric::new(),))
        .with_default_checkpointers()
        .with_checkpointing_strategy(MetricCheckpointingStrategy::new(
            &loss,
            mean,
            lowest,
            Split::Valid,
        ))
        .early_stopping(MetricEarlyStoppingStrategy::new(
            &loss,
            mean,
            lowest,
            Split::Valid,
            patience,
        ))
        .num_epochs(6)
        .launch(burn::train::Learner::new(model, adam(), 0.1));

    let files = std::fs::read_dir(directory.join("checkpoint")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("model")).collect();
    names.sort();
    (result.model.ema().unwrap().num_steps(), names)
}

#[test]
fn best_checkpoint_and_early_stopping_go_by_the_ema() {
    let directory = Folder::temporary();
    let (epochs, checkpoints) = train_scripted(directory.path(), Validation::Ema);
    assert_eq!(checkpoints, ["model-1.bpk"]);
    assert_eq!(epochs, 3);
    assert_eq!(logged(directory.path(), 1, "Loss"), [0.0]);
    assert_eq!(logged(directory.path(), 2, "Loss"), [0.0625]);
    assert_eq!(logged(directory.path(), 3, "Loss"), [1.625 * 1.625]);

    // What it keeps is the best average.
    let record = ModuleRecord::load(directory.path().join("checkpoint/model-1.bpk")).unwrap();
    let best = scripted().with_ema(constant(0.5)).load_record(record);
    assert_eq!(average_values(&best)["weight"], [0.0]);
    assert_eq!(values(best.online())["weight"], [-4.0]);
}

#[test]
fn best_checkpoint_and_early_stopping_go_by_the_online_weights_by_choice() {
    let directory = Folder::temporary();
    let (epochs, checkpoints) = train_scripted(directory.path(), Validation::Online);
    assert_eq!(checkpoints, ["model-2.bpk"]);
    assert_eq!(epochs, 4);
    assert_eq!(logged(directory.path(), 2, "Loss"), [0.25]);
}
