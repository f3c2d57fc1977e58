//! Several averages in Burn's learner, weights that switch to an average, and statistics from data.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::module::Module;
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::tensor::Device;
use burn::train::checkpoint::KeepLastNCheckpoints;
use burn::train::metric::{LossMetric, Metric};
use burn::train::{InferenceStep, SupervisedTraining, TrainStep};
use burn_ema::config::MissingEma;
use burn_ema::policy::BufferAction;
use burn_ema::record::Content;
use burn_ema::write_back::WriteBack;
use burn_ema::{Decay, EmaConfig, EmaModel, EmaSet, EmaSetConfig, Policy};
use burn_ema_tests::backend::repeats_trainings;
use burn_ema_tests::compare::{TRAINED_ALIKE, assert_near, numbers};
use burn_ema_tests::folder::Folder;
use burn_ema_tests::learner::{
    Batch, LEARNING_RATE, Net, Values, adam, assert_same, assert_trained_alike, average_values,
    batch, batches, device, difference, drive, learner, loader, synced_values, training, values,
};
use burn_ema_tests::snapshot::{self, assert_same_values};
use burn_ema_train::{EmaExt, Online, Validation, WithEma};

fn constant(decay: f64) -> EmaConfig {
    EmaConfig::new().with_decay(Decay::constant(decay))
}

/// Averages at each step.
fn fast() -> EmaConfig {
    constant(0.6)
}

/// Averages at steps 5, 8, 11 and so on.
fn slow() -> EmaConfig {
    EmaConfig::new()
        .with_decay(Decay::power_warmup(0.7))
        .with_start(2)
        .with_interval(3)
}

fn fast_and_slow() -> EmaSetConfig {
    EmaSetConfig::new()
        .with("fast", fast())
        .with("slow", slow())
}

fn average<V>(learner: &WithEma<Net, V>, name: &str) -> EmaModel<Net> {
    learner.emas().unwrap().into_ema(name).unwrap()
}

fn full_values(average: &EmaModel<Net>) -> Values {
    values(&average.full_precision_model())
}

/// A log file of the second epoch.
fn log(directory: &Path, split: &str, name: &str) -> String {
    let path = directory.join(format!("{split}/epoch-2/{name}.log"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn number(line: &str) -> f64 {
    line.split(',').next().unwrap().parse().unwrap()
}

/// The validation losses that were logged, one for each batch.
fn logged(directory: &Path, name: &str) -> Vec<f64> {
    let log = log(directory, "valid", name);
    let batches = log.lines().filter(|line| !line.ends_with(",final"));
    batches.map(number).collect()
}

/// The losses of `model`, which is in validation state, on the examples 20 to 30.
fn losses(model: &Net) -> Vec<f64> {
    let loss = |batch| {
        InferenceStep::step(model, batch)
            .loss
            .into_scalar::<f32>()
            .into()
    };
    let batches = batches(20..30, 4, &device().inner());
    batches.into_iter().map(loss).collect()
}

/// That networks were run on the same weights.
#[track_caller]
fn assert_same_losses(found: &[f64], expected: &[f64]) {
    let bound = if repeats_trainings() {
        0.0
    } else {
        TRAINED_ALIKE
    };
    assert_near(found, expected, bound);
}

#[test]
fn training_and_each_ema_are_what_they_are_alone() {
    let directory = Folder::temporary();
    let path = |name: &str| directory.path().join(name);
    let plain = training(&path("plain"), 0..18, 18..26)
        .num_epochs(2)
        .launch(learner(Net::new(0.0, &device())));
    let averaged = |name: &str, config: EmaSetConfig| {
        training(&path(name), 0..18, 18..26)
            .num_epochs(2)
            .launch(learner(Net::new(0.0, &device()).with_ema(config)))
            .model
    };
    let both = averaged("both", fast_and_slow());

    let online = synced_values(both.online());
    assert_trained_alike(&online, &synced_values(&plain.model), "online weights");
    for (name, config, updates) in [("fast", fast(), 10), ("slow", slow(), 2)] {
        let alone = averaged(name, config.into()).ema().unwrap();
        snapshot::assert_trained_alike(&average(&both, name), &alone);
        assert_eq!((alone.num_steps(), alone.num_updates()), (10, updates));
    }
    let [fast, slow] = ["fast", "slow"].map(|name| full_values(&average(&both, name)));
    assert!(difference(&fast, &slow) > 1e-3);
    assert!(difference(&fast, &online) > 1e-3);
}

#[test]
fn chosen_ema_validates_and_is_the_result() {
    let directory = Folder::temporary();
    let model = Net::new(0.5, &device())
        .with_ema(fast_and_slow())
        .with_chosen("slow");
    let result = training(directory.path(), 0..20, 20..30)
        .metrics((LossMetric::new(),))
        .num_epochs(2)
        .launch(learner(model))
        .model;

    let [fast, slow] = ["fast", "slow"].map(|name| average(&result, name));
    assert_same_values(&result.ema().unwrap(), &slow);
    let (fast, slow) = (fast.into_model(), slow.into_model());
    assert_eq!(logged(directory.path(), "Loss"), losses(&slow));
    assert_ne!(losses(&fast), losses(&slow));
    assert_same(&values(&result.into_ema()), &values(&slow), "the result");
}

#[test]
fn first_ema_validates_unless_another_is_chosen() {
    let mut learner = learner(Net::new(0.0, &device()).with_ema(fast_and_slow()));
    drive(&mut learner, &batches(0..24, 4, &device()));
    let model = learner.model();
    let [fast, slow] = ["fast", "slow"].map(|name| average(&model, name));
    assert_same_values(&model.ema().unwrap(), &fast);
    assert_same(
        &values(&model.clone().into_ema()),
        &values(fast.model()),
        "the result",
    );

    // Of a training that is already under way, and of a snapshot of it.
    for model in [model.clone(), model.valid()] {
        let chosen = model.with_chosen("slow");
        assert_same_values(&chosen.ema().unwrap(), &slow);
        assert_same(
            &values(&chosen.into_ema()),
            &values(slow.model()),
            "the chosen",
        );
    }
}

#[test]
fn name_of_no_ema_is_an_error_that_lists_the_names() {
    let expected = "no EMA is called `medium`: the names are `fast`, `slow`";
    let model = Net::new(0.0, &device()).with_ema(fast_and_slow());
    let error = model.monitor().of("medium").unwrap_err();
    assert_eq!(error.to_string(), expected);
    let metric = model.metric_of("medium", LossMetric::new());
    assert_eq!(metric.err().unwrap().to_string(), expected);
    let error = model.try_with_chosen("medium").unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn set_that_is_not_valid_is_an_error() {
    let refused = |config: EmaSetConfig| {
        let model = Net::new(0.0, &device()).try_with_ema(config);
        model.unwrap_err().to_string()
    };
    let error = refused(EmaSetConfig::new());
    assert!(error.contains("add one with"), "{error}");
    let error = refused(fast_and_slow().with("fast", slow()));
    assert!(
        error.contains("two EMAs are called `fast`: give each its own name"),
        "{error}"
    );
    // Metrics and logs name them: a space is an underscore there.
    let error = refused(EmaSetConfig::new().with("a b", fast()).with("a_b", slow()));
    assert!(
        error.contains("`a_b` and another name are the same in logs"),
        "{error}"
    );
    let error = refused(
        EmaSetConfig::new()
            .with("fast", fast())
            .with("online", slow()),
    );
    let reason = "metrics call the online weights `online`: give the EMA another name";
    assert!(error.contains(reason), "{error}");
}

#[test]
fn all_weights_are_validated_side_by_side() {
    let directory = Folder::temporary();
    let model = Net::new(0.5, &device())
        .with_ema(fast_and_slow())
        .with_chosen("slow")
        .side_by_side();
    let loss_of = |name: &str| model.metric_of(name, LossMetric::new()).unwrap();
    let (fast, slow) = (loss_of("fast"), loss_of("slow"));
    let result = training(directory.path(), 0..20, 20..30)
        .metrics((LossMetric::new(),))
        .metric_valid_numeric(Online::new(LossMetric::new()))
        .metric_valid_numeric(fast)
        .metric_valid_numeric(slow)
        .num_epochs(2)
        .launch(learner(model))
        .model;

    let [fast, slow] = ["fast", "slow"].map(|name| losses(average(&result, name).model()));
    let online = losses(result.online());
    assert!(fast != slow && slow != online && online != fast);
    let logged = |name: &str| logged(directory.path(), name);
    assert_eq!(logged("Loss"), slow);
    assert_eq!(logged("Loss_(slow)"), slow);
    assert_eq!(logged("Loss_(fast)"), fast);
    assert_eq!(logged("Loss_(online)"), online);
    let trained = directory.path().join("train/epoch-2/Loss_(fast).log");
    assert!(!trained.exists());
}

#[test]
fn monitor_shows_each_ema_by_its_name() {
    let directory = Folder::temporary();
    let model = Net::new(0.4, &device()).with_ema(fast_and_slow());
    let monitor = model.monitor();
    let slow = monitor.of("slow").unwrap();
    assert_eq!(*monitor.decay().name(), "EMA decay (fast)");
    assert_eq!(*slow.updates().name(), "EMA updates (slow)");
    let result = training(directory.path(), 0..20, 20..24)
        .metric_train_numeric(monitor.decay())
        .metric_train_numeric(monitor.updates())
        .metric_train_numeric(slow.decay())
        .metric_train_numeric(slow.updates())
        .metric_train_numeric(slow.distance(5))
        .num_epochs(2)
        .launch(learner(model))
        .model;

    // The third average of the slow one is next.
    let decays = [0.6, 1.0 - 3.0_f64.powf(-0.7)];
    assert_eq!([monitor.num_updates(), slow.num_updates()], [10, 2]);
    assert_eq!([monitor.current_decay(), slow.current_decay()], decays);
    // Measured at step 10, the last one.
    let distance = average(&result, "slow").relative_distance(result.online());
    let (measured, distance) = (slow.last_distance().unwrap(), distance.unwrap());
    assert!((measured - distance).abs() < 1e-6 * distance);
    assert!(distance > 1e-3);
    assert_eq!(monitor.last_distance(), None);

    let last = |name: &str| {
        let log = log(directory.path(), "train", name);
        number(log.lines().next_back().unwrap())
    };
    assert_eq!(last("EMA_updates_(fast)"), 10.0);
    assert_eq!(last("EMA_updates_(slow)"), 2.0);
    let logged = [last("EMA_decay_(fast)"), last("EMA_decay_(slow)")];
    assert_eq!(logged, decays);
    assert_eq!(last("EMA_distance_(slow)"), measured);
}

/// 5 steps an epoch, with a checkpoint of each.
fn checkpointed(directory: &Path) -> SupervisedTraining<WithEma<Net>> {
    training(directory, 0..18, 18..24)
        .with_default_checkpointers()
        .with_checkpointing_strategy(KeepLastNCheckpoints::new(10))
}

fn saved(directory: &Path, epoch: usize) -> ModuleRecord {
    let path = directory.join(format!("checkpoint/model-{epoch}.bpk"));
    ModuleRecord::load(path).unwrap()
}

#[track_caller]
fn assert_same_state(left: &WithEma<Net>, right: &WithEma<Net>) {
    let (online, other) = (synced_values(left.online()), synced_values(right.online()));
    assert_same(&online, &other, "online weights and statistics");
    let (left, right) = (left.emas().unwrap(), right.emas().unwrap());
    assert!(left.names().eq(right.names()));
    for ((_, one), (_, other)) in left.iter().zip(right.iter()) {
        assert_same_values(one, other);
    }
}

/// The checkpoint, of step 10, lies between two updates of the slow average and between two switches.
#[test]
fn resumed_training_is_bit_for_bit_the_uninterrupted_one() {
    let config = || {
        fast_and_slow().with(
            "switching",
            constant(0.8)
                .with_start(3)
                .with_write_back(WriteBack::every(4)),
        )
    };
    let model = |phase: f32| Net::new(phase, &device()).with_ema(config());
    let directory = Folder::temporary();
    let (whole, parts) = (
        directory.path().join("whole"),
        directory.path().join("parts"),
    );
    let uninterrupted = checkpointed(&whole)
        .num_epochs(4)
        .launch(learner(model(0.0)));
    let half = checkpointed(&parts)
        .num_epochs(2)
        .launch(learner(model(0.0)));
    // Weights, ids and counters of the second part all come from the checkpoint.
    let resumed = checkpointed(&parts)
        .num_epochs(4)
        .checkpoint(2)
        .launch(learner(model(3.0)));
    assert_same_state(&resumed.model, &uninterrupted.model);
    for (name, updates) in [("fast", 20), ("slow", 6), ("switching", 17)] {
        let (average, before) = (average(&resumed.model, name), average(&half.model, name));
        let counters = (average.num_steps(), average.num_updates());
        assert_eq!(counters, (20, updates), "{name}");
        assert!(difference(&full_values(&average), &full_values(&before)) > 1e-2);
    }

    // The last checkpoints are equal too, and so are steps from each with its optimizer state.
    let from = |directory: &Path| {
        let mut learner = learner(model(4.0).load_record(saved(directory, 4)));
        let optim = directory.join("checkpoint/optim-4.bpk");
        learner.load_optim(OptimizerRecord::load(optim).unwrap());
        drive(&mut learner, &batches(30..46, 4, &device()));
        learner.model()
    };
    assert_same_state(&from(&whole), &from(&parts));
}

#[test]
fn checkpoint_holds_each_ema_under_its_name() {
    let directory = Folder::temporary();
    let model = Net::new(0.0, &device()).with_ema(fast_and_slow());
    let trained = checkpointed(directory.path()).launch(learner(model)).model;
    let checkpoint = saved(directory.path(), 1);
    assert_eq!(
        Content::of(&checkpoint).emas(),
        ["burn_ema.fast", "burn_ema.slow"]
    );

    let fresh = Net::new(3.0, &device()).with_ema(fast_and_slow());
    let monitor = fresh.monitor();
    let loaded = fresh.load_record(checkpoint.clone());
    assert_same_state(&loaded, &trained);
    let updates = monitor.of("slow").unwrap().num_updates();
    assert_eq!((monitor.num_updates(), updates), (5, 1));

    // A plain model finds the online weights.
    let plain = Net::new(3.0, &device()).load_record(checkpoint.allow_unused(true));
    let online = synced_values(trained.online());
    assert_same(&values(&plain), &online, "a plain model");
}

fn some_steps(config: impl Into<EmaSetConfig>) -> WithEma<Net> {
    let mut learner = learner(Net::new(0.0, &device()).with_ema(config));
    drive(&mut learner, &batches(0..24, 4, &device()));
    learner.model()
}

#[test]
fn checkpoint_of_other_emas_is_an_error_and_changes_nothing() {
    let one = some_steps(fast()).into_record();
    let only_fast = some_steps(EmaSetConfig::new().with("fast", fast())).into_record();
    let model = some_steps(fast_and_slow());
    let online = synced_values(model.online());
    let averages = ["fast", "slow"].map(|name| average(&model, name));
    let refused = |checkpoint: &ModuleRecord| {
        let loaded = model.clone().try_load_record(checkpoint.clone());
        let error = loaded.unwrap_err().to_string();
        let now = synced_values(model.online());
        assert_same(&now, &online, "online weights");
        for (name, before) in ["fast", "slow"].iter().zip(&averages) {
            assert_same_values(&average(&model, name), before);
        }
        error
    };
    let error = refused(&one);
    let reason =
        "the record has no EMA called `fast`, its EMAs are `burn_ema`: use one of these names, or";
    assert!(error.contains(reason), "{error}");
    let error = refused(&only_fast);
    let reason = "the record has no EMA called `slow`, its EMAs are `burn_ema.fast`: use one of these names, or";
    assert!(error.contains(reason), "{error}");

    // Nor does it pass for a checkpoint without EMA, nor one of several EMAs for one of a single EMA.
    let start_from = |config: EmaConfig| config.with_missing_ema(MissingEma::StartFromWeights);
    let starting = EmaSetConfig::new()
        .with("fast", start_from(fast()))
        .with("slow", start_from(slow()));
    let fresh = Net::new(3.0, &device()).with_ema(starting);
    let error = fresh.try_load_record(one).unwrap_err().to_string();
    assert!(
        error.contains("the record also has the EMAs `burn_ema`: "),
        "{error}"
    );
    let fresh = Net::new(3.0, &device()).with_ema(start_from(fast()));
    let error = fresh
        .try_load_record(model.into_record())
        .unwrap_err()
        .to_string();
    let reason = "the record also has the EMAs `burn_ema.fast`, `burn_ema.slow`: ";
    assert!(error.contains(reason), "{error}");
}

/// The online weights and the averages after each step of a loop that is written by hand, whose optimizer is a
/// new one after each switch if it `forgets`.
fn by_hand(config: &EmaSetConfig, steps: &[Batch], forgets: bool) -> Vec<(Values, EmaSet<Net>)> {
    let mut net = Net::new(0.2, &device());
    let mut optim = adam();
    let mut averages = None;
    let mut seen = Vec::new();
    for batch in steps {
        let output = TrainStep::step(&net, batch.clone());
        // The Learner's EMAs start right before the first optimizer step: with the statistics of one forward pass.
        let averages = averages.get_or_insert_with(|| config.init(&net));
        net = optim.step(LEARNING_RATE, net, output.grads);
        averages.update(&net).unwrap();
        if averages.write_back_if_due(&mut net).unwrap() && forgets {
            optim = adam();
        }
        seen.push((synced_values(&net), averages.clone()));
    }
    seen
}

#[test]
fn online_weights_become_the_ema_at_each_switch() {
    let config = constant(0.7).with_write_back(WriteBack::every(3));
    let steps = batches(0..32, 4, &device());
    let expected = by_hand(&EmaSetConfig::from(config.clone()), &steps, false);
    let mut learner = learner(Net::new(0.2, &device()).with_ema(config));
    for (step, (batch, (online, averages))) in (1..).zip(steps.iter().zip(expected)) {
        drive(&mut learner, slice::from_ref(batch));
        let model = learner.model();
        let (found, average) = (synced_values(model.online()), average_values(&model));
        assert_same(&found, &online, "online weights");
        assert_same(&average, &full_values(averages.first()), "average");
        // Averaged statistics are written too.
        assert_eq!(found == average, step % 3 == 0, "step {step}");
    }
}

#[test]
fn training_that_switches_is_the_loop_by_hand() {
    let switch = WriteBack {
        start: 1,
        keep: 0.25,
        ..WriteBack::every(3)
    };
    let config = EmaSetConfig::new()
        .with("slow", slow())
        .with("fast", fast().with_write_back(switch));
    let epoch = batches(0..20, 4, &device());
    let steps = [epoch.clone(), epoch].concat();
    let expected = by_hand(&config, &steps, false);
    let (online, averages) = expected.last().unwrap();

    let directory = Folder::temporary();
    let result = training(directory.path(), 0..20, 20..24)
        .num_epochs(2)
        .launch(learner(Net::new(0.2, &device()).with_ema(config.clone())))
        .model;
    let found = synced_values(result.online());
    assert_same(&found, online, "online weights");
    for (name, expected) in averages.iter() {
        assert_same_values(&average(&result, name), expected);
    }

    // The switches, at steps 4, 7 and 10, did something, and the optimizer kept its state over them.
    let never = EmaSetConfig::new().with("slow", slow());
    for (config, forgets) in [(never, false), (config, true)] {
        let other = by_hand(&config, &steps, forgets);
        assert!(difference(&other.last().unwrap().0, &found) > 1e-3);
    }
}

fn reestimating() -> EmaConfig {
    EmaConfig::new()
        .with_decay(Decay::equal_weights())
        .with_policy(Policy::new().with_buffers(BufferAction::Reestimate))
}

/// `net` with the statistics of the first `count` of five batches.
fn reestimated(net: &Net, count: usize) -> Net {
    let batches = batches(0..20, 4, &device()).into_iter().take(count);
    let forward = |net: &Net, batch: &Batch| drop(InferenceStep::step(net, batch.clone()));
    burn_ema::batch_norm::reestimate(net, batches, forward)
        .unwrap()
        .model
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

fn variance(numbers: &[f64]) -> f64 {
    let mean = mean(numbers);
    numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64
}

/// Mean and variance of what `net` feeds to its norm, as means over `batches`, in f64.
fn statistics(net: &Net, batches: &[Batch]) -> [Vec<f64>; 2] {
    let [columns] = net.norm.gamma.val().dims();
    let fed = |batch: &Batch| numbers(&net.body.forward(batch.inputs.clone()));
    let fed: Vec<Vec<f64>> = batches.iter().map(fed).collect();
    [mean, variance].map(|statistic: fn(&[f64]) -> f64| {
        let of_column = |column: usize| {
            let of_batch = |rows: &Vec<f64>| {
                let values = rows.iter().skip(column).step_by(columns);
                statistic(&values.copied().collect::<Vec<_>>())
            };
            mean(&fed.iter().map(of_batch).collect::<Vec<_>>())
        };
        (0..columns).map(of_column).collect()
    })
}

#[test]
fn statistics_of_the_ema_are_those_of_the_given_batches() {
    let averaged = |count: usize| {
        let model = Net::new(0.5, &device())
            .with_ema(reestimating())
            .with_reestimation(loader(0..20, 4), count);
        let mut learner = learner(model);
        drive(&mut learner, &batches(0..20, 4, &device()));
        learner.model()
    };
    let model = averaged(3);
    let average = model.ema().unwrap().into_model();
    let expected = values(&reestimated(&average, 3));
    assert_same(&values(&model.valid().into_ema()), &expected, "validation");
    let result = values(&model.into_ema());
    assert_same(&result, &expected, "the result");
    let all = values(&reestimated(&average, 5));
    for other in [&all, &values(&average)] {
        assert!(difference(&expected, other) > 1e-4);
    }
    // There are not more than five.
    assert_same(&values(&averaged(100).into_ema()), &all, "of all batches");

    let given = &batches(0..20, 4, &device().inner())[..3];
    let [means, variances] = statistics(&average, given);
    let wide = |path: &str| -> Vec<f64> {
        let numbers = expected[path].iter();
        numbers.map(|x| f64::from(*x)).collect()
    };
    assert_near(&wide("norm.running_mean"), &means, 1e-4);
    assert_near(&wide("norm.running_var"), &variances, 1e-4);
}

#[test]
fn validation_runs_with_statistics_of_data_and_training_without() {
    let directory = Folder::temporary();
    let path = |name: &str| directory.path().join(name);
    let plain = training(&path("plain"), 0..20, 20..30)
        .num_epochs(2)
        .launch(learner(Net::new(0.5, &device())));
    let config = EmaSetConfig::new()
        .with("mean", reestimating())
        .with("fast", fast());
    let model = Net::new(0.5, &device())
        .with_ema(config)
        .with_reestimation(loader(0..20, 4), 3)
        .side_by_side();
    let of_fast = model.metric_of("fast", LossMetric::new()).unwrap();
    let result = training(&path("ema"), 0..20, 20..30)
        .metrics((LossMetric::new(),))
        .metric_valid_numeric(of_fast)
        .num_epochs(2)
        .launch(learner(model))
        .model;

    let online = synced_values(result.online());
    assert_trained_alike(&online, &synced_values(&plain.model), "online weights");
    let mean = average(&result, "mean").into_model();
    let expected = reestimated(&mean, 3);
    assert_same_losses(&logged(&path("ema"), "Loss"), &losses(&expected));
    assert_ne!(losses(&expected), losses(&mean));
    // Only what asks for it is re-estimated.
    let fast = average(&result, "fast").into_model();
    assert_same_losses(&logged(&path("ema"), "Loss_(fast)"), &losses(&fast));
    assert_trained_alike(&values(&result.into_ema()), &values(&expected), "result");
}

#[test]
fn statistics_without_data_stop_the_training_at_its_first_step() {
    let directory = Folder::temporary();
    let training = training(directory.path(), 0..20, 20..24).num_epochs(2);
    let config = EmaSetConfig::new()
        .with("fast", fast())
        .with("mean", reestimating());
    let model = Net::new(0.0, &device())
        .with_ema(config)
        .with_interrupter(training.interrupter());
    let result = training.launch(learner(model));
    let interruption = result.interrupted.expect("the training was stopped");
    let reason = interruption.reason.unwrap();
    assert!(reason.contains("WithEma::with_reestimation"), "{reason}");
    assert_eq!(average(&result.model, "fast").num_steps(), 0);
}

#[test]
fn statistics_without_data_panic_without_an_interrupter() {
    let model = Net::new(0.0, &device()).with_ema(reestimating());
    let mut learner = learner(model);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        drive(&mut learner, &batches(0..4, 4, &device()));
    }));
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("WithEma::with_reestimation"), "{message}");
}

/// A loader that gives one batch and then fails, as one over a damaged file does.
struct Failing(Arc<dyn DataLoader<Batch>>);

struct Failed<'a>(Box<dyn DataLoaderIterator<Batch> + 'a>, usize);

impl Iterator for Failed<'_> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.1 += 1;
        match self.1 {
            1 => self.0.next(),
            _ => Some(Err(DatasetError::new(io::Error::other("the disk is gone")))),
        }
    }
}

impl DataLoaderIterator<Batch> for Failed<'_> {
    fn progress(&self) -> Progress {
        self.0.progress()
    }
}

impl DataLoader<Batch> for Failing {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(Failed(self.0.iter(), 0))
    }

    fn num_items(&self) -> usize {
        self.0.num_items()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self(self.0.to_device(device)))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self(self.0.slice(start, end)))
    }
}

#[test]
fn data_that_fails_stops_the_training_and_loses_nothing() {
    let directory = Folder::temporary();
    let training = training(directory.path(), 0..20, 20..24).num_epochs(3);
    let model = Net::new(0.0, &device())
        .with_ema(reestimating())
        .with_reestimation(Arc::new(Failing(loader(0..20, 4))), 3)
        .with_interrupter(training.interrupter());
    let result = training.launch(learner(model));
    let reason = result.interrupted.expect("the training was stopped").reason;
    let reason = reason.unwrap();
    assert!(reason.contains("the disk is gone"), "{reason}");
    // One epoch of 5 steps was trained, and the average is there, with the statistics of the online weights.
    assert_eq!(result.model.ema().unwrap().num_steps(), 5);
    let error = result.model.try_into_ema().unwrap_err().to_string();
    assert!(error.contains("the disk is gone"), "{error}");
}

/// Data that no average wants would be forgotten in silence.
#[test]
fn statistics_that_no_policy_wants_stop_the_training_at_its_first_step() {
    let directory = Folder::temporary();
    let training = training(directory.path(), 0..20, 20..24).num_epochs(2);
    let model = Net::new(0.0, &device())
        .with_ema(fast())
        .with_reestimation(loader(0..20, 4), 3)
        .with_interrupter(training.interrupter());
    let result = training.launch(learner(model));
    let reason = result.interrupted.expect("the training was stopped").reason;
    let reason = reason.unwrap();
    assert!(
        reason.contains("with_buffers(BufferAction::Reestimate)"),
        "{reason}"
    );
}

/// Counts the passes over the data.
struct Counting(Arc<dyn DataLoader<Batch>>, Arc<AtomicUsize>);

impl DataLoader<Batch> for Counting {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.iter()
    }

    fn num_items(&self) -> usize {
        self.0.num_items()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self(self.0.to_device(device), self.1.clone()))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self(self.0.slice(start, end), self.1.clone()))
    }
}

/// A result that is evaluated makes its models once, also after another was chosen.
#[test]
fn chosen_model_of_a_result_is_made_once() {
    let counted = Arc::new(AtomicUsize::new(0));
    let config = EmaSetConfig::new()
        .with("fast", fast())
        .with("mean", reestimating());
    let loader: Arc<dyn DataLoader<Batch>> = Arc::new(Counting(loader(0..20, 4), counted.clone()));
    let model = Net::new(0.0, &device())
        .with_ema(config)
        .with_reestimation(loader, 2);
    let mut learner = learner(model);
    drive(&mut learner, &batches(0..4, 4, &device()));
    let result = learner.model().valid().with_chosen("mean");
    for _ in 0..3 {
        InferenceStep::step(&result, batch(&[1, 2], &Device::default()));
    }
    assert_eq!(counted.load(Ordering::Relaxed), 1);
}

#[test]
fn data_that_fails_panics_without_an_interrupter() {
    let model = Net::new(0.0, &device())
        .with_ema(reestimating())
        .with_reestimation(Arc::new(Failing(loader(0..20, 4))), 3);
    let mut learner = learner(model);
    drive(&mut learner, &batches(0..4, 4, &device()));
    let panic = catch_unwind(AssertUnwindSafe(|| learner.model().into_ema()));
    let message = *panic.map(drop).unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("the disk is gone"), "{message}");
}

#[test]
#[should_panic(expected = "statistics of 0 batches")]
fn statistics_of_no_batches_are_an_error_at_once() {
    let model = Net::new(0.0, &device()).with_ema(reestimating());
    let _ = model.with_reestimation(loader(0..20, 4), 0);
}

/// A pass over the data for weights that nobody looks at is none.
#[test]
fn statistics_are_computed_for_what_is_validated_only() {
    let model = Net::new(0.0, &device())
        .with_ema(reestimating())
        .with_reestimation(Arc::new(Failing(loader(0..20, 4))), 3)
        .with_validation(Validation::Online);
    let mut learner = learner(model);
    drive(&mut learner, &batches(0..4, 4, &device()));
    // Would fail if it asked for data.
    let valid = learner.model().valid();
    InferenceStep::step(&valid, batch(&[1, 2], &Device::default()));
}
