//! A training that goes on from a checkpoint is the training that never stopped.
//!
//! Left out, because Burn itself does not resume them: the state of a shuffling data loader and of
//! the random number generator (dropout) are not part of a checkpoint. So the data is not shuffled,
//! nothing is random, and the learning rate is constant.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, LinearLayout};
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::tensor::DType;
use burn::train::checkpoint::KeepLastNCheckpoints;
use burn::train::{InferenceStep, LearnerModel, LearningResult, SupervisedTraining, TrainStep};
use burn_ema::config::{EmaPrecision, MissingEma};
use burn_ema::policy::BufferAction;
use burn_ema::{Decay, EmaConfig, Policy};
use burn_ema_tests::backend::has_dtype;
use burn_ema_tests::folder::Folder;
use burn_ema_tests::learner::{
    Batch, Net, Recursion, Trace, assert_same, average_values, batches, device, difference, drive,
    learner, synced_values, training, values,
};
use burn_ema_tests::random;
use burn_ema_train::{EmaExt, WithEma};

fn warmup() -> EmaConfig {
    EmaConfig::new().with_decay(Decay::power_warmup(0.7))
}

/// 5 steps an epoch, with a checkpoint of each.
fn checkpointed<M>(directory: &Path) -> SupervisedTraining<M>
where
    M: LearnerModel + TrainStep<Input = Batch> + InferenceStep<Input = Batch>,
{
    training(directory, 0..18, 18..24)
        .with_default_checkpointers()
        .with_checkpointing_strategy(KeepLastNCheckpoints::new(10))
}

fn record(directory: &Path, epoch: usize) -> ModuleRecord {
    let path = directory.join(format!("checkpoint/model-{epoch}.bpk"));
    ModuleRecord::load(path).unwrap()
}

fn assert_same_state(left: &WithEma<Net>, right: &WithEma<Net>) {
    let online = |model: &WithEma<Net>| synced_values(model.online());
    assert_same(
        &online(left),
        &online(right),
        "online weights and statistics",
    );
    assert_same(&average_values(left), &average_values(right), "average");
    let counters = |model: &WithEma<Net>| {
        let average = model.ema().unwrap();
        (
            average.num_steps(),
            average.num_updates(),
            average.num_skipped(),
            average.current_decay().to_bits(),
        )
    };
    assert_eq!(counters(left), counters(right));
}

/// Trains for 4 epochs in one go, and for 2 and then 2 more from the checkpoint, and compares.
fn resumes(config: &EmaConfig) -> (LearningResult<WithEma<Net>>, Trace) {
    let directory = Folder::temporary();
    let (net, trace) = Net::new(0.0, &device()).traced();
    let whole = checkpointed(&directory.path().join("whole"))
        .num_epochs(4)
        .launch(learner(net.with_ema(config.clone())));

    let parts = directory.path().join("parts");
    let half = checkpointed(&parts)
        .num_epochs(2)
        .launch(learner(Net::new(0.0, &device()).with_ema(config.clone())));
    assert_eq!(half.model.ema().unwrap().num_steps(), 10);
    // Weights, ids and counters of the second part all come from the checkpoint.
    let resumed = checkpointed(&parts)
        .num_epochs(4)
        .checkpoint(2)
        .launch(learner(Net::new(3.0, &device()).with_ema(config.clone())));

    assert_same_state(&resumed.model, &whole.model);
    assert!(
        difference(
            &values(resumed.model.online()),
            &values(half.model.online())
        ) > 1e-2
    );
    assert!(
        difference(
            &average_values(&resumed.model),
            &average_values(&half.model)
        ) > 1e-2
    );

    // The last checkpoints are equal too, and so is a step from each with its optimizer state.
    let from = |directory: &Path| {
        let model = Net::new(4.0, &device()).with_ema(config.clone());
        let mut learner = learner(model.load_record(record(directory, 4)));
        let optim = directory.join("checkpoint/optim-4.bpk");
        learner.load_optim(OptimizerRecord::load(optim).unwrap());
        drive(&mut learner, &batches(30..38, 4, &device()));
        learner.model()
    };
    let (one, other) = (from(&directory.path().join("whole")), from(&parts));
    assert_same_state(&one, &other);
    assert_eq!(one.ema().unwrap().num_steps(), 22);
    (whole, trace)
}

#[test]
fn resumed_training_is_bit_for_bit_the_uninterrupted_one() {
    let (whole, trace) = resumes(&warmup());
    let average = whole.model.ema().unwrap();
    assert_eq!((average.num_steps(), average.num_updates()), (20, 20));
    assert_eq!(average.current_decay(), 1.0 - 21.0_f64.powf(-0.7));
    let recursion = Recursion::of_run(&values(&Net::new(0.0, &device())))
        .steps(&trace.steps(), |n| 1.0 - (1.0 + n as f64).powf(-0.7));
    assert!(recursion.distance(&average_values(&whole.model)) < 1e-6);
}

#[test]
fn start_and_interval_are_resumed_between_two_updates() {
    // Updates at steps 6, 9, 12, 15, 18: the checkpoint of step 10 lies between two of them.
    let (whole, _) = resumes(&warmup().with_start(3).with_interval(3));
    let average = whole.model.ema().unwrap();
    assert_eq!((average.num_steps(), average.num_updates()), (20, 5));
}

/// What rounding has lost, and what random bits are made of, is in the checkpoint.
#[test]
fn emas_that_do_not_stall_are_resumed() {
    resumes(&warmup().with_precision(EmaPrecision::Compensated));
    let stochastic = EmaPrecision::StochasticBf16 { seed: 3 };
    if has_dtype(DType::BF16, "emas_that_do_not_stall_are_resumed") {
        resumes(&warmup().with_precision(stochastic));
    }
}

#[test]
fn running_statistics_are_resumed_whether_averaged_or_copied() {
    for (buffers, is_copied) in [(BufferAction::Average, false), (BufferAction::Copy, true)] {
        let config = EmaConfig::new()
            .with_decay(Decay::constant(0.9))
            .with_policy(Policy::new().with_buffers(buffers));
        let (whole, _) = resumes(&config);
        let online = synced_values(whole.model.online());
        let ema = average_values(&whole.model);
        for statistic in ["norm.running_mean", "norm.running_var"] {
            assert_eq!(
                online[statistic] == ema[statistic],
                is_copied,
                "{buffers:?}"
            );
        }
    }
}

#[test]
fn checkpoint_without_an_ema_is_an_error_with_the_remedy() {
    let directory = Folder::temporary();
    checkpointed(directory.path()).launch(learner(Net::new(0.0, &device())));

    let model = Net::new(3.0, &device()).with_ema(warmup());
    let error = model
        .clone()
        .try_load_record(record(directory.path(), 1))
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("the record has weights but no EMA"),
        "{message}"
    );
    assert!(
        message.contains("with_missing_ema(MissingEma::StartFromWeights)"),
        "{message}"
    );

    // Burn's learner panics on an error, and shows it.
    let launched = catch_unwind(AssertUnwindSafe(|| {
        checkpointed(directory.path())
            .num_epochs(2)
            .checkpoint(1)
            .launch(learner(model.clone()))
            .model
            .num_params()
    }));
    let message = *launched.unwrap_err().downcast::<String>().unwrap();
    assert!(
        message.contains("with_missing_ema(MissingEma::StartFromWeights)"),
        "{message}"
    );
    assert_same(
        &values(model.online()),
        &values(&Net::new(3.0, &device())),
        "the model that returned an error",
    );
}

#[test]
fn checkpoint_without_ema_starts_an_ema_on_request() {
    let directory = Folder::temporary();
    let plain = checkpointed(directory.path()).launch(learner(Net::new(0.0, &device())));

    let config = EmaConfig::new()
        .with_decay(Decay::constant(0.6))
        .with_missing_ema(MissingEma::StartFromWeights);
    let model = Net::new(3.0, &device()).with_ema(config.clone());
    let loaded = model.clone().load_record(record(directory.path(), 1));
    let trained = synced_values(&plain.model);
    assert_same(&values(loaded.online()), &trained, "online weights");
    assert_same(&average_values(&loaded), &trained, "average");
    let average = loaded.ema().unwrap();
    assert_eq!((average.num_steps(), average.num_updates()), (0, 0));

    // The same through the learner, where training goes on.
    let (net, trace) = Net::new(3.0, &device()).traced();
    let resumed = checkpointed(directory.path())
        .num_epochs(2)
        .checkpoint(1)
        .launch(learner(net.with_ema(config)));
    assert_eq!(trace.steps().len(), 5);
    assert_eq!(resumed.model.ema().unwrap().num_updates(), 5);
    let recursion = Recursion::of_run(&trained).steps(&trace.steps(), |_| 0.6);
    assert!(recursion.distance(&average_values(&resumed.model)) < 1e-6);
}

#[test]
fn ema_that_is_loaded_needs_its_checkpoint_no_more() {
    let directory = Folder::temporary();
    let model = Net::new(0.0, &device()).with_ema(warmup());
    let trained = checkpointed(directory.path()).launch(learner(model)).model;
    let model = Net::new(3.0, &device()).with_ema(warmup());
    let loaded = model.load_record(record(directory.path(), 1));
    fs::remove_dir_all(directory.path().join("checkpoint")).unwrap();
    let expected = average_values(&trained);
    assert_same(&average_values(&loaded), &expected, "average");
}

/// Also where a learner already has an average, which is then given up.
#[test]
fn ema_restarts_with_the_weights_of_a_record_without_ema() {
    let config = warmup().with_missing_ema(MissingEma::StartFromWeights);
    let mut learner = learner(Net::new(0.0, &device()).with_ema(config));
    drive(&mut learner, &batches(0..12, 4, &device()));
    let other = Net::new(2.0, &device());
    let expected = values(&other);
    let loaded = learner.model().load_record(other.into_record());
    assert_same(&average_values(&loaded), &expected, "average");
    assert_eq!(loaded.ema().unwrap().num_steps(), 0);
    // The run that it was loaded into is another one.
    assert_eq!(learner.model().ema().unwrap().num_steps(), 3);
}

#[test]
fn plain_model_loads_the_online_weights_of_a_checkpoint() {
    let directory = Folder::temporary();
    let config = EmaConfig::new().with_decay(Decay::constant(0.9));
    let result = checkpointed(directory.path())
        .num_epochs(2)
        .launch(learner(Net::new(0.0, &device()).with_ema(config)));

    let loaded =
        Net::new(3.0, &device()).load_record(record(directory.path(), 2).allow_unused(true));
    let online = synced_values(result.model.online());
    assert_same(&values(&loaded), &online, "loaded weights and statistics");
    assert!(difference(&online, &average_values(&result.model)) > 1e-2);

    // Burn refuses what it does not know, unless it is told to.
    let strict = Net::new(3.0, &device()).try_load_record(record(directory.path(), 2));
    assert!(strict.is_err());
}

/// A checkpoint is taken of the state at the end of its epoch, however long writing takes.
#[test]
fn checkpoints_hold_the_state_of_their_epoch() {
    let directory = Folder::temporary();
    let (net, trace) = Net::new(0.0, &device()).traced();
    checkpointed(directory.path())
        .num_epochs(3)
        .launch(learner(net.with_ema(warmup())));
    for epoch in 1..=3 {
        let model = Net::new(3.0, &device()).with_ema(warmup());
        let model = model.load_record(record(directory.path(), epoch));
        let steps = &trace.steps()[..5 * epoch];
        let recursion = Recursion::of_run(&values(&Net::new(0.0, &device())))
            .steps(steps, |n| 1.0 - (1.0 + n as f64).powf(-0.7));
        assert!(
            recursion.distance(&average_values(&model)) < 1e-6,
            "epoch {epoch}"
        );
        assert_eq!(model.ema().unwrap().num_steps(), 5 * epoch as u64);
        let online = &steps[5 * epoch - 1]["body.weight"];
        assert_eq!(&values(model.online())["body.weight"], online);
    }
}

#[test]
fn monitor_shows_the_ema_of_a_checkpoint_before_the_first_step() {
    let mut trained = learner(Net::new(0.0, &device()).with_ema(warmup()));
    drive(&mut trained, &batches(0..12, 4, &device()));
    let trained = trained.model();

    let resumed = Net::new(3.0, &device()).with_ema(warmup());
    let monitor = resumed.monitor();
    let resumed = resumed.load_record(trained.clone().into_record());
    assert_eq!(monitor.num_updates(), 3);
    assert_eq!(monitor.current_decay(), trained.monitor().current_decay());
    assert_eq!(resumed.ema().unwrap().num_updates(), 3);
}

/// A record holds a `Col` weight transposed, and Burn loads it only where nothing is initialized yet.
#[test]
fn column_major_layers_resume() {
    let _alone = random::alone();
    let fresh = || {
        let layer = LinearConfig::new(2, 3).with_layout(LinearLayout::Col);
        layer.init(&device())
    };
    let numbers = |layer: &Linear| {
        layer
            .weight
            .val()
            .into_data()
            .iter::<f32>()
            .collect::<Vec<_>>()
    };
    let start_from = || warmup().with_missing_ema(MissingEma::StartFromWeights);
    let model = fresh().with_ema(start_from());
    let expected = numbers(model.online());
    let plain = model.online().clone().into_record();
    for record in [model.into_record(), plain] {
        let resumed = fresh().with_ema(start_from());
        let resumed = resumed.try_load_record(record.clone()).unwrap();
        assert_eq!(numbers(resumed.online()), expected);
        assert_eq!(numbers(&resumed.into_ema()), expected);
        // Into one that is in use, too.
        let used = fresh().with_ema(start_from());
        let _ = used.ema().unwrap();
        assert_eq!(
            numbers(used.try_load_record(record).unwrap().online()),
            expected
        );
    }
}
