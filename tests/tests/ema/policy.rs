//! Which tensors are averaged, which copied, which ignored.

use burn::module::{Module, ParamGroup};
use burn::tensor::DType;
use burn_ema::policy::{Action, BufferAction, DiscreteAction};
use burn_ema::{Decay, EmaConfig, EmaModel, Policy};
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
fn default_averages_trained_parameters_and_buffers_and_copies_the_rest() {
    assert_eq!(
        all_numbers(&updated(Policy::new())),
        [
            ("a", vec![1.75, 1.625]),
            ("f", vec![13.0, -16.0]),
            ("b", vec![3.5, 2.25]),
            ("n", vec![4.0]),
            ("t", vec![1.0]),
        ]
    );
}

#[test]
fn every_class_can_be_copied() {
    let policy = Policy::new()
        .with_trainable(Action::Copy)
        .with_buffers(BufferAction::Copy);
    let online = all_numbers(&Mixed::at(Some(3), &device()));
    assert_eq!(all_numbers(&updated(policy)), online);
}

#[test]
fn each_class_has_its_own_action() {
    let untouched = all_numbers(&Mixed::at(None, &device()));
    let by_default = all_numbers(&updated(Policy::new()));
    for (policy, ignored) in [
        (Policy::new().with_trainable(Action::Ignore), &["a"][..]),
        (Policy::new().with_frozen(Action::Ignore), &["f"]),
        (Policy::new().with_buffers(BufferAction::Ignore), &["b"]),
        (
            Policy::new().with_discrete(DiscreteAction::Ignore),
            &["n", "t"],
        ),
    ] {
        let found = all_numbers(&updated(policy));
        for ((found, untouched), by_default) in found.into_iter().zip(&untouched).zip(&by_default) {
            let expected = match ignored.contains(&found.0) {
                true => untouched,
                false => by_default,
            };
            assert_eq!(found, *expected, "with {ignored:?} ignored");
        }
    }
}

#[test]
fn every_class_can_be_ignored() {
    let policy = Policy::new()
        .with_trainable(Action::Ignore)
        .with_frozen(Action::Ignore)
        .with_buffers(BufferAction::Ignore)
        .with_discrete(DiscreteAction::Ignore);
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
        .with_buffers(BufferAction::Copy)
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

/// A parameter that was trained once is averaged while it is frozen, one that is unfrozen from then on.
#[test]
fn parameter_that_was_trained_once_stays_averaged() {
    for device in [device(), autodiff_device()] {
        let at = |x: f32, trainable: bool| {
            let model = Weights::new(&[x], &device);
            Weights {
                w: model.w.set_require_grad(trainable),
            }
        };
        // Trained at the beginning: averaged at every update.
        let mut ema = halving(&at(0.0, true), Policy::new());
        for (x, trainable, expected) in [
            (4.0, true, 2.0),
            (8.0, false, 5.0),
            (16.0, false, 10.5),
            (8.0, true, 9.25),
        ] {
            ema.update(&at(x, trainable)).unwrap();
            assert_eq!(numbers_at(ema.model(), "w"), [expected]);
        }
        // Trained from the third update on: copied before, averaged after.
        let mut ema = halving(&at(0.0, false), Policy::new());
        for (x, trainable, expected) in [
            (4.0, false, 4.0),
            (8.0, false, 8.0),
            (16.0, true, 12.0),
            (8.0, false, 10.0),
            (20.0, true, 15.0),
        ] {
            ema.update(&at(x, trainable)).unwrap();
            assert_eq!(numbers_at(ema.model(), "w"), [expected]);
        }
    }
}

/// The class of a parameter does not depend on the device: a model in training mode is on an autodiff device, a model in
/// inference mode is not.
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
fn copied_tensors_do_not_change_with_the_model_in_place() {
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
        .with_frozen(Action::Ignore)
        .with_buffers(BufferAction::Ignore)
        .with_discrete(DiscreteAction::Ignore);
    let mut ema = halving(&Mixed::at(None, &device()), policy);
    let source = Mixed::at(Some(3), &device());
    ema.copy_from(&source).unwrap();
    assert_eq!(all_numbers(ema.model()), all_numbers(&source));
}
