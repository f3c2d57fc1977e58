//! Which values are averaged, which copied, which left alone.

use burn::module::{Module, ParamGroup};
use burn::tensor::DType;
use burn_ema::{Action, Decay, EmaConfig, EmaError, EmaModel, Policy};
use burn_ema_tests::backend::{autodiff_device, device};
use burn_ema_tests::models::{Mixed, Net, Weights, vector};
use burn_ema_tests::snapshot::{numbers_at, values};

fn halving<M: Module>(model: &M, policy: Policy) -> EmaModel<M> {
    EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_policy(policy)
        .init(model)
}

fn at(path: &str) -> ParamGroup {
    ParamGroup::from_path(path)
}

/// The average of [`Mixed`] after one update from its initial state to iteration 3:
/// `a` from `[1, 2]` to `[2.5, 1.25]`, `f` from `[10, -10]` to `[13, -16]`, `b` from `[2, 3]` to `[5, 1.5]`,
/// `n` from 0 to 4, `t` from false to true.
fn updated(policy: Policy) -> Mixed {
    let mut ema = halving(&Mixed::at(None, &device()), policy);
    ema.update(&Mixed::at(Some(3), &device())).unwrap();
    ema.into_model()
}

fn all_numbers(model: &Mixed) -> Vec<(&'static str, Vec<f64>)> {
    let number = |path| (path, numbers_at(model, path));
    ["a", "f", "b", "n", "t"].map(number).to_vec()
}

#[test]
fn default_averages_what_is_trained_and_copies_the_rest() {
    assert_eq!(
        all_numbers(&updated(Policy::new())),
        [
            ("a", vec![1.75, 1.625]),
            ("f", vec![13.0, -16.0]),
            ("b", vec![5.0, 1.5]),
            ("n", vec![4.0]),
            ("t", vec![1.0]),
        ]
    );
}

#[test]
fn every_class_can_be_left_alone() {
    let policy = Policy::new()
        .with_trainable(Action::Ignore)
        .with_non_trainable(Action::Ignore)
        .with_discrete(Action::Ignore);
    let untouched = all_numbers(&Mixed::at(None, &device()));
    assert_eq!(all_numbers(&updated(policy)), untouched);
}

#[test]
fn ignored_values_are_not_copied_before_the_start_either() {
    let policy = Policy::new().with_override(at("a"), Action::Ignore);
    let mut ema = EmaConfig::new()
        .with_start(5)
        .with_policy(policy)
        .init(&Mixed::at(None, &device()));
    ema.update(&Mixed::at(Some(3), &device())).unwrap();
    assert_eq!(numbers_at(ema.model(), "a"), [1.0, 2.0]);
    assert_eq!(numbers_at(ema.model(), "f"), [13.0, -16.0]);
}

#[test]
fn override_beats_the_class() {
    let policy = Policy::new()
        .with_override(at("a"), Action::Copy)
        .with_override(at("b"), Action::Average)
        .with_override(at("n"), Action::Ignore);
    assert_eq!(
        all_numbers(&updated(policy)),
        [
            ("a", vec![2.5, 1.25]),
            ("f", vec![13.0, -16.0]),
            ("b", vec![3.5, 2.25]),
            ("n", vec![0.0]),
            ("t", vec![1.0]),
        ]
    );
}

#[test]
fn later_override_beats_an_earlier_one() {
    let floats = || ParamGroup::from_regex("^[afb]$").unwrap();
    let policy = Policy::new()
        .with_override(floats(), Action::Ignore)
        .with_override(at("f"), Action::Average);
    let model = updated(policy);
    assert_eq!(numbers_at(&model, "a"), [1.0, 2.0]);
    assert_eq!(numbers_at(&model, "f"), [11.5, -13.0]);
    assert_eq!(numbers_at(&model, "b"), [2.0, 3.0]);

    let policy = Policy::new()
        .with_override(at("f"), Action::Average)
        .with_override(floats(), Action::Ignore);
    assert_eq!(numbers_at(&updated(policy), "f"), [10.0, -10.0]);
}

#[test]
fn override_by_id_finds_its_parameter() {
    let start = Mixed::at(None, &device());
    let group = ParamGroup::from_ids(vec![start.a.id]);
    let mut ema = halving(&start, Policy::new().with_override(group, Action::Copy));
    ema.update(&Mixed::at(Some(3), &device())).unwrap();
    assert_eq!(numbers_at(ema.model(), "a"), [2.5, 1.25]);
}

#[test]
fn override_by_path_reaches_into_nested_modules() {
    let device = autodiff_device();
    let start = Net::new(&device);
    let policy =
        Policy::new().with_override(ParamGroup::from_regex(r"^last\.").unwrap(), Action::Ignore);
    let mut ema = halving(&start, policy);
    let numbers = |net: Net, path: &str, x: f32| {
        let count = numbers_at(&net, path).len();
        burn_ema_tests::snapshot::with_numbers(net, path, &vec![x; count])
    };
    let source = numbers(start.clone(), "first.bias", 8.0);
    let source = numbers(source, "last.bias", 8.0);
    ema.update(&source).unwrap();
    assert_eq!(
        numbers_at(ema.model(), "last.bias"),
        numbers_at(&start, "last.bias")
    );
    let halfway = numbers_at(&start, "first.bias")
        .into_iter()
        .map(|x| f64::from((x as f32 + 8.0) / 2.0));
    for (actual, expected) in numbers_at(ema.model(), "first.bias")
        .into_iter()
        .zip(halfway)
    {
        assert!((actual - expected).abs() < 1e-6);
    }
}

#[test]
fn discrete_values_are_copied_where_an_override_averages() {
    let policy = Policy::new()
        .with_override(at("n"), Action::Average)
        .with_override(at("t"), Action::Average);
    let model = updated(policy);
    assert_eq!(numbers_at(&model, "n"), [4.0]);
    assert_eq!(numbers_at(&model, "t"), [1.0]);
}

#[test]
fn averaging_every_discrete_value_is_refused_with_the_remedy() {
    let policy = Policy::new().with_discrete(Action::Average);
    let config = EmaConfig::new().with_policy(policy);
    let error = config.try_init(&Mixed::at(None, &device())).unwrap_err();
    assert!(matches!(error, EmaError::InvalidConfig { .. }));
    assert_eq!(
        error.to_string(),
        "EmaConfig::policy.discrete: integer and boolean values cannot be averaged: write Copy or \
         Ignore"
    );
}

/// A parameter that is frozen in the middle of training is copied from then on, one that thaws averaged.
#[test]
fn class_is_looked_up_at_each_update() {
    for device in [device(), autodiff_device()] {
        let at = |x: f32, trainable: bool| {
            let model = Weights::new(&[x], &device);
            Weights {
                w: model.w.set_require_grad(trainable),
            }
        };
        let mut ema = halving(&at(0.0, true), Policy::new());
        for (x, trainable, expected) in [
            (4.0, true, 2.0),
            (8.0, false, 8.0),
            (16.0, false, 16.0),
            (8.0, true, 12.0),
        ] {
            ema.update(&at(x, trainable)).unwrap();
            assert_eq!(numbers_at(ema.model(), "w"), [expected]);
        }
    }
}

/// What a class is must not depend on where the source lives: autodiff is what Burn's training has, and
/// a source in validation state has none.
#[test]
fn frozen_and_trainable_are_told_apart_with_and_without_autodiff() {
    for source_device in [device(), autodiff_device()] {
        let mut ema = halving(&Mixed::at(None, &source_device), Policy::new());
        ema.update(&Mixed::at(Some(3), &source_device)).unwrap();
        assert_eq!(numbers_at(ema.model(), "a"), [1.75, 1.625]);
        assert_eq!(numbers_at(ema.model(), "f"), [13.0, -16.0]);
    }
}

#[test]
fn averaged_model_trains_what_its_source_trains() {
    let ema = halving(&Mixed::at(None, &autodiff_device()), Policy::new());
    let model = ema.into_model().train();
    let requires: Vec<_> = values(&model)
        .into_iter()
        .map(|value| (value.path, value.requires_grad))
        .filter(|(path, _)| path == "a" || path == "f")
        .collect();
    assert_eq!(
        requires,
        [("a".to_string(), true), ("f".to_string(), false)]
    );
}

#[test]
fn copied_values_share_their_memory_with_nobody_who_changes_it() {
    let mut ema = halving(&Mixed::at(None, &device()), Policy::new());
    let mut source = Mixed::at(Some(3), &device());
    ema.update(&source).unwrap();
    // Both let go of their own handle in turn and change in place.
    source.f = source.f.map(|f| f.mul_scalar(2.0));
    assert_eq!(numbers_at(ema.model(), "f"), [13.0, -16.0]);
    source.f = source.f.map(|_| vector(&[0.0, 0.0], DType::F32, &device()));
    ema.update(&source).unwrap();
    assert_eq!(numbers_at(ema.model(), "f"), [0.0, 0.0]);
}

#[test]
fn copy_from_copies_everything_whatever_the_policy() {
    let policy = Policy::new()
        .with_trainable(Action::Ignore)
        .with_non_trainable(Action::Ignore)
        .with_discrete(Action::Ignore);
    let mut ema = halving(&Mixed::at(None, &device()), policy);
    let source = Mixed::at(Some(3), &device());
    ema.copy_from(&source).unwrap();
    assert_eq!(all_numbers(ema.model()), all_numbers(&source));
}
