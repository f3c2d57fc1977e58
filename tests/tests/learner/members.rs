//! A run that goes on with another set of EMAs than it was saved with.

use burn::module::Module;
use burn::store::ModuleRecord;
use burn::train::{InferenceStep, LearnerModel, TrainStep};
use burn_ema::config::MissingEma;
use burn_ema::{Decay, EmaConfig, EmaModel, EmaSetConfig};
use burn_ema_tests::learner::{
    Batch, Net, assert_same, batches, device, difference, drive, learner, synced_values, values,
};
use burn_ema_tests::snapshot::assert_same_values;
use burn_ema_train::{EmaExt, WithEma};

fn constant(decay: f64) -> EmaConfig {
    EmaConfig::new().with_decay(Decay::constant(decay))
}

fn starting(decay: f64) -> EmaConfig {
    constant(decay).with_missing_ema(MissingEma::StartFromWeights)
}

fn of_one(name: &str, config: EmaConfig) -> EmaSetConfig {
    EmaSetConfig::new().with(name, config)
}

fn fast() -> EmaSetConfig {
    of_one("fast", constant(0.5))
}

fn fast_and_slow() -> EmaSetConfig {
    fast().with("slow", constant(0.9))
}

/// `model` after some steps, at each of which its weights visibly move.
fn steps<M>(model: M, count: usize) -> M
where
    M: LearnerModel + TrainStep<Input = Batch> + InferenceStep<Input = Batch>,
{
    let mut learner = learner(model);
    drive(&mut learner, &batches(0..4 * count, 4, &device()));
    learner.model()
}

fn run(config: impl Into<EmaSetConfig>) -> WithEma<Net> {
    steps(Net::new(0.0, &device()).with_ema(config), 3)
}

fn fresh(config: impl Into<EmaSetConfig>) -> WithEma<Net> {
    Net::new(3.0, &device()).with_ema(config)
}

#[track_caller]
fn error_of(config: impl Into<EmaSetConfig>, record: &ModuleRecord) -> String {
    fresh(config)
        .try_load_record(record.clone())
        .unwrap_err()
        .to_string()
}

fn ema(model: &WithEma<Net>, name: &str) -> EmaModel<Net> {
    model.emas().unwrap().into_ema(name).unwrap()
}

fn counters(ema: &EmaModel<Net>) -> [u64; 2] {
    [ema.num_steps(), ema.num_updates()]
}

#[test]
fn ema_is_added_to_a_run_that_was_saved_without_it() {
    let saved = run(fast());
    let record = saved.clone().into_record();
    let error = error_of(fast_and_slow(), &record);
    let expected = "the record has no EMA called `slow`, its EMAs are `burn_ema.fast`: use one of these names, or let the \
                    new EMA start from weights with `EmaConfig::with_missing_ema(MissingEma::StartFromWeights)`";
    assert!(error.ends_with(expected), "{error}");

    // The new one starts from the online weights, the other goes on, in whatever order they are.
    let with_slow = fast().with("slow", starting(0.9));
    let slow_first = of_one("slow", starting(0.9)).with("fast", constant(0.5));
    for config in [with_slow, slow_first] {
        let model = fresh(config);
        let monitor = model.monitor();
        let loaded = model.try_load_record(record.clone()).unwrap();
        let online = synced_values(saved.online());
        assert_same(&values(loaded.online()), &online, "online weights");
        assert_same_values(&ema(&loaded, "fast"), &ema(&saved, "fast"));
        let slow = ema(&loaded, "slow");
        assert_same(&values(slow.model()), &online, "the new EMA");
        assert_eq!(counters(&slow), [0, 0]);
        assert_eq!(monitor.of("fast").unwrap().num_updates(), 3);
        assert_eq!(monitor.of("slow").unwrap().num_updates(), 0);

        // Both go on.
        let trained = steps(loaded, 4);
        assert_eq!(counters(&ema(&trained, "fast")), [7, 7]);
        assert_eq!(counters(&ema(&trained, "slow")), [4, 4]);
        assert!(difference(&values(ema(&trained, "slow").model()), &online) > 1e-3);
    }
}

#[test]
fn ema_is_left_out_of_a_run_that_was_saved_with_it() {
    let saved = run(fast_and_slow());
    let record = saved.clone().into_record();
    let error = error_of(fast(), &record);
    let expected = "the record also has the EMAs `burn_ema.slow`: add them to the configuration, or leave them out with \
                    `record.allow_unused(true)`";
    assert!(error.ends_with(expected), "{error}");

    let loaded = fresh(fast())
        .try_load_record(record.allow_unused(true))
        .unwrap();
    assert_same(
        &values(loaded.online()),
        &synced_values(saved.online()),
        "online weights",
    );
    assert_same_values(&ema(&loaded, "fast"), &ema(&saved, "fast"));
    assert_eq!(loaded.emas().unwrap().names().collect::<Vec<_>>(), ["fast"]);
    assert_eq!(counters(&ema(&steps(loaded, 2), "fast")), [5, 5]);
}

/// What is left out has to be allowed, whatever else is new.
#[test]
fn one_ema_is_exchanged_for_another_on_request_only() {
    let saved = run(fast());
    let record = saved.clone().into_record();
    let other = || of_one("other", starting(0.9));
    let error = error_of(other(), &record);
    assert!(
        error.contains("the record also has the EMAs `burn_ema.fast`: "),
        "{error}"
    );
    let loaded = fresh(other())
        .try_load_record(record.allow_unused(true))
        .unwrap();
    let online = synced_values(saved.online());
    assert_same(&values(loaded.online()), &online, "online weights");
    assert_same(
        &values(ema(&loaded, "other").model()),
        &online,
        "the new EMA",
    );
    assert_eq!(counters(&ema(&loaded, "other")), [0, 0]);
}

/// With a name and without one are different EMAs.
#[test]
fn ema_that_gets_a_name_or_loses_it_is_an_error_that_lists_the_names() {
    let unnamed = run(constant(0.5)).into_record();
    let error = error_of(fast(), &unnamed);
    let expected =
        "the record has no EMA called `fast`, its EMAs are `burn_ema`: use one of these names, or";
    assert!(error.contains(expected), "{error}");

    let named = run(fast()).into_record();
    let error = error_of(constant(0.5), &named);
    let expected = "the record has no EMA without a name, its EMAs are `burn_ema.fast`: use one of these names, or";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn checkpoint_loads_into_an_ema_model_and_a_set() {
    let model = Net::new(3.0, &device());
    let saved = run(constant(0.5));
    let loaded = constant(0.5)
        .init(&model)
        .try_load_record(saved.clone().into_record())
        .unwrap();
    assert_same_values(&loaded, &saved.ema().unwrap());
    assert_eq!(counters(&loaded), [3, 3]);

    // Of several it is not clear which.
    let saved = run(fast_and_slow()).into_record();
    let error = constant(0.5)
        .init(&model)
        .try_load_record(saved)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("several EMAs (`burn_ema.fast`, `burn_ema.slow`)"),
        "{error}"
    );
}
