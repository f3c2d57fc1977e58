//! The EMA written back into the online model, and the weights put aside meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::config::{Config, config_to_json};
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::optim::{AdamConfig, GradientsParams, SgdConfig};
use burn::tensor::{DType, Tensor};
use burn_ema::exchange::Stored;
use burn_ema::policy::Action;
use burn_ema::policy::BufferAction;
use burn_ema::presets::{Keras, Lookahead};
use burn_ema::write_back::WriteBack;
use burn_ema::{Decay, EmaConfig, EmaError, EmaModel, Policy};
use burn_ema_tests::backend::{autodiff_device, device, elsewhere, has_dtype};
use burn_ema_tests::compare::{assert_close, assert_near, numbers};
use burn_ema_tests::models::{Mixed, Net, Weights};
use burn_ema_tests::snapshot::{
    Value, assert_same, assert_same_values, assert_trained_alike, numbers_at, values, with_numbers,
};

fn halving<M: Module>(model: &M) -> EmaModel<M> {
    EmaConfig::new().with_decay(Decay::weight(0.5)).init(model)
}

/// `model` after a step of gradient descent on a function of its weights.
fn descended(model: Weights, lr: f64, loss: impl Fn(Tensor<1>) -> Tensor<1>) -> Weights {
    let gradients = loss(model.w.val()).backward();
    let gradients = GradientsParams::from_grads(gradients, &model);
    SgdConfig::new().init().step(lr, model, gradients)
}

/// All that the values of a model are but their numbers: paths, ids, dtypes, devices of autodiff, gradients.
fn without_numbers<M: Module>(model: &M) -> Vec<Value> {
    let mut values = values(model);
    for value in &mut values {
        value.bytes.clear();
    }
    values
}

/// The parameters of [`Net`].
const PARAMETERS: [&str; 6] = [
    "first.weight",
    "first.bias",
    "norm.gamma",
    "norm.beta",
    "last.weight",
    "last.bias",
];

/// Its running statistics, which are averaged by default.
const STATISTICS: [&str; 2] = ["norm.running_mean", "norm.running_var"];

/// One feature, whose running statistics start at mean 0 and variance 1, momentum 0.1.
fn norm() -> BatchNorm {
    BatchNormConfig::new(1).init(&autodiff_device())
}

/// Batch `[20, 24]` of mean 22 and variance 4: running mean 2.2 and variance 1.3 after the first pass, 4.18
/// and 1.57 after the second.
fn observe(norm: &BatchNorm) {
    norm.forward(Tensor::<2>::from_data([[20.0], [24.0]], &autodiff_device()));
}

/// Running mean and variance, brought up to date.
fn statistics(norm: &BatchNorm) -> Vec<f64> {
    [
        numbers(&norm.running_mean.value_sync()),
        numbers(&norm.running_var.value_sync()),
    ]
    .concat()
}

/// `test_ema` of Keras' optimizer_test.py: weights `[[3, 4], [5, 6]]`, gradient 1, learning rate 1.
#[test]
fn overwriting_gives_the_numbers_of_keras() {
    let mut model = Weights::new(&[3.0, 4.0, 5.0, 6.0], &autodiff_device());
    let config = EmaConfig::from_preset(&Keras {
        ema_momentum: 0.9,
        ema_overwrite_frequency: Some(3),
    })
    .unwrap();
    let mut ema = config.init(&model);
    for (step, online, average) in [
        (1, [2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 4.0, 5.0]),
        (2, [1.0, 2.0, 3.0, 4.0], [1.9, 2.9, 3.9, 4.9]),
        (3, [1.71, 2.71, 3.71, 4.71], [1.71, 2.71, 3.71, 4.71]),
    ] {
        model = descended(model, 1.0, |w| w.sum());
        ema.update(&model).unwrap();
        let switched = ema.write_back_if_due(&mut model).unwrap();
        assert_eq!(switched, step == 3);
        assert_near(&numbers(&model.w.val()), &online, 1e-6);
        assert_near(&numbers(&ema.model().w.val()), &average, 1e-6);
    }
    assert_same_values(&model, ema.model());
}

/// `test_ema_with_model_fit` of the same: weights 1, loss the mean of their squares, learning rate 0.1, two
/// steps. At the end of training Keras overwrites the model.
#[test]
fn overwriting_at_the_end_gives_the_numbers_of_keras() {
    let mut model = Weights::new(&[1.0, 1.0], &autodiff_device());
    let config = EmaConfig::from_preset(&Keras {
        ema_momentum: 0.9,
        ema_overwrite_frequency: None,
    })
    .unwrap();
    let mut ema = config.init(&model);
    for _ in 0..2 {
        model = descended(model, 0.1, |w| w.square().mean());
        ema.update(&model).unwrap();
        assert!(!ema.write_back_if_due(&mut model).unwrap());
    }
    assert_near(&numbers(&model.w.val()), &[0.81, 0.81], 1e-6);
    ema.write_back(&mut model, 0.0).unwrap();
    assert_near(&numbers(&model.w.val()), &[0.891, 0.891], 1e-6);
}

/// Lookahead around gradient descent at 0.1 on half the square of a weight of 1, with `k` 3 and `alpha` 0.5.
#[test]
fn lookahead_gives_the_numbers_of_its_formula() {
    let lookahead = Lookahead { alpha: 0.5, k: 3 };
    let mut model = Weights::new(&[1.0], &autodiff_device());
    let config = EmaConfig::from_preset(&lookahead).unwrap();
    let mut slow = config.init(&model);
    for expected in [
        0.9,
        0.81,
        0.8645,
        0.77805,
        0.700245,
        0.74736025,
        0.672624225,
        0.6053618025,
    ] {
        model = descended(model, 0.1, |w| w.square().mul_scalar(0.5).sum());
        slow.update(&model).unwrap();
        slow.write_back_if_due(&mut model).unwrap();
        let found = numbers_at(&model, "w")[0];
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}

#[test]
fn share_of_the_online_weights_can_be_kept() {
    let switch = WriteBack {
        keep: 0.25,
        ..WriteBack::every(2)
    };
    let config = EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_write_back(switch);
    let mut ema = config.init(&Weights::new(&[0.0], &device()));
    let mut model = Weights::new(&[4.0], &device());
    ema.update(&model).unwrap();
    assert!(!ema.write_back_if_due(&mut model).unwrap());
    assert_close(&model.w.val(), &[4.0]);

    // The average goes from 2 to 5, the model from 8 to 5 + (8 - 5) / 4.
    model = model.with(&[8.0]);
    ema.update(&model).unwrap();
    assert!(ema.write_back_if_due(&mut model).unwrap());
    assert_close(&model.w.val(), &[5.75]);
    assert_close(&ema.model().w.val(), &[5.0]);

    // The next average is between 5 and what the model is now.
    ema.update(&model).unwrap();
    assert_close(&ema.model().w.val(), &[5.375]);
}

#[test]
fn nothing_is_written_without_a_switch_or_before_the_first_step() {
    let mut model = Weights::new(&[4.0], &device());
    let mut without = halving(&Weights::new(&[0.0], &device()));
    assert!(!without.write_back_if_due(&mut model).unwrap());
    let config = EmaConfig::new().with_write_back(WriteBack::every(1));
    let mut fresh = config.init(&Weights::new(&[0.0], &device()));
    assert!(!fresh.write_back_if_due(&mut model).unwrap());
    assert_close(&model.w.val(), &[4.0]);
}

#[test]
fn switch_is_due_every_few_steps_after_the_start() {
    let due = |switch: WriteBack| -> Vec<u64> { (0..=12).filter(|n| switch.is_due(*n)).collect() };
    assert_eq!(due(WriteBack::every(1)), (1..=12).collect::<Vec<_>>());
    assert_eq!(due(WriteBack::every(4)), [4, 8, 12]);
    let late = WriteBack {
        start: 4,
        ..WriteBack::every(3)
    };
    assert_eq!(due(late), [7, 10]);
    assert_eq!(WriteBack::every_epochs(2, 3), WriteBack::every(6));
    assert_eq!(WriteBack::every_epochs(u64::MAX, 2).every, u64::MAX);
}

#[test]
fn write_back_that_makes_no_sense_is_an_error_that_names_it() {
    let refusal = |switch: WriteBack| {
        let config = EmaConfig::new().with_write_back(switch);
        let error = config.validate().unwrap_err();
        assert!(matches!(error, EmaError::InvalidConfig { .. }));
        let error = error.to_string();
        let model = Weights::new(&[0.0], &device());
        assert_eq!(config.try_init(&model).unwrap_err().to_string(), error);
        error
    };
    let error = refusal(WriteBack::every(0));
    assert!(
        error.starts_with("EmaConfig::write_back: every 0 steps: write at least 1"),
        "{error}"
    );
    for keep in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        let error = refusal(WriteBack {
            keep,
            ..WriteBack::every(1)
        });
        assert!(
            error.starts_with(
                "EmaConfig::write_back: keep, the share of the online weights that stays,"
            ),
            "{error}"
        );
        assert!(error.ends_with(&format!("found {keep}")), "{error}");
    }
}

#[test]
fn write_back_is_stored_in_a_configuration() {
    let switch = WriteBack {
        start: 10,
        keep: 0.5,
        ..WriteBack::every(3)
    };
    let json = config_to_json(&EmaConfig::new().with_write_back(switch));
    let loaded = EmaConfig::load_binary(json.as_bytes()).unwrap();
    assert_eq!(loaded.write_back, Some(switch));
    let short = EmaConfig::load_binary(br#"{"write_back": {"every": 3}}"#).unwrap();
    assert_eq!(short.write_back, Some(WriteBack::every(3)));
    let none = EmaConfig::load_binary(b"{}").unwrap();
    assert_eq!(none.write_back, None);
}

/// Iteration 3 of [`Mixed`] has `a = [2.5, 1.25]`, and the EMA halfway from the initial `[1, 2]` is
/// `[1.75, 1.625]`. At iteration 5 `a` is `[3.5, 0.75]`. The buffer `b` goes from `[2, 3]` to `[5, 1.5]`, halfway
/// `[3.5, 2.25]`, and is `[7, 0.5]` at iteration 5.
#[test]
fn only_what_is_averaged_is_written() {
    for device in [device(), autodiff_device()] {
        let mut ema = halving(&Mixed::at(None, &device));
        ema.update(&Mixed::at(Some(3), &device)).unwrap();
        for (keep, a, b) in [
            (0.0, [1.75, 1.625], [3.5, 2.25]),
            (0.5, [2.625, 1.1875], [5.25, 1.375]),
        ] {
            let mut model = Mixed::at(Some(5), &device);
            let before = without_numbers(&model);
            ema.write_back(&mut model, keep).unwrap();
            let expected = with_numbers(Mixed::at(Some(5), &device), "a", &a);
            let expected = with_numbers(expected, "b", &b);
            assert_same_values(&model, &expected);
            assert_eq!(without_numbers(&model), before);
        }
    }
}

#[test]
fn model_that_keeps_all_of_itself_stays_as_it_is() {
    let ema = halving(&Mixed::at(None, &autodiff_device()));
    let mut model = Mixed::at(Some(5), &autodiff_device());
    let before = values(&model);
    ema.write_back(&mut model, 1.0).unwrap();
    assert_eq!(values(&model), before);
}

#[test]
fn buffers_and_frozen_parameters_are_written_where_they_are_averaged() {
    let policy = Policy::new().with_frozen(Action::Average);
    let config = EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_policy(policy);
    let mut ema = config.init(&Mixed::at(None, &autodiff_device()));
    ema.update(&Mixed::at(Some(3), &autodiff_device())).unwrap();
    let mut model = Mixed::at(Some(5), &autodiff_device());
    let before = without_numbers(&model);
    ema.write_back(&mut model, 0.0).unwrap();
    // `f` from [10, -10] to [13, -16] and `b` from [2, 3] to [5, 1.5], halfway.
    assert_eq!(numbers_at(&model, "f"), [11.5, -13.0]);
    assert_eq!(numbers_at(&model, "b"), [3.5, 2.25]);
    assert_eq!(numbers_at(&model, "n"), [6.0]);
    assert_eq!(without_numbers(&model), before);
}

#[test]
fn running_statistics_are_written_where_they_are_averaged() {
    for (buffers, expected) in [
        // Halfway from 0 to 2.2 and from 1 to 1.3.
        (BufferAction::Average, [1.1, 1.15]),
        (BufferAction::Copy, [4.18, 1.57]),
        (BufferAction::Ignore, [4.18, 1.57]),
    ] {
        let mut source = norm();
        let config = EmaConfig::new()
            .with_decay(Decay::weight(0.5))
            .with_policy(Policy::new().with_buffers(buffers));
        let mut ema = config.init(&source);
        observe(&source);
        ema.update(&source).unwrap();
        // This pass is pending in the model.
        observe(&source);
        ema.write_back(&mut source, 0.0).unwrap();
        assert_near(&statistics(&source), &expected, 1e-6);
        assert!(source.training.is_enabled());
    }
}

/// Two networks are trained alike. Then one gets the average by a switch and the other by hand.
#[test]
fn training_goes_on_as_if_the_numbers_had_been_written_by_hand() {
    let device = autodiff_device();
    let (mut optim, mut control_optim) = (AdamConfig::new().init(), AdamConfig::new().init());
    let (mut net, mut control) = (Net::new(&device), Net::new(&device));
    let mut ema = halving(&net);
    for step in 0..4 {
        net = net.trained(step, &mut optim, &device);
        control = control.trained(step, &mut control_optim, &device);
        ema.update(&net).unwrap();
    }
    let before = without_numbers(&net);
    ema.write_back(&mut net, 0.0).unwrap();
    assert_eq!(without_numbers(&net), before);
    // What is pending would come over numbers that are written by hand.
    drop(control.valid());
    for path in PARAMETERS.into_iter().chain(STATISTICS) {
        let numbers = numbers_at(ema.model(), path).into_iter();
        let numbers: Vec<f32> = numbers.map(|number| number as f32).collect();
        control = with_numbers(control, path, &numbers);
    }
    for step in 4..8 {
        net = net.trained(step, &mut optim, &device);
        control = control.trained(step, &mut control_optim, &device);
        assert_trained_alike(&net.valid(), &control.valid());
    }
}

#[test]
fn optimizer_step_after_a_switch_moves_every_parameter_but_not_the_ema() {
    let device = autodiff_device();
    let mut optim = AdamConfig::new().init();
    let mut net = Net::new(&device);
    let mut ema = halving(&net);
    for step in 0..4 {
        net = net.trained(step, &mut optim, &device);
        ema.update(&net).unwrap();
    }
    let average = values(&ema);
    ema.write_back(&mut net, 0.0).unwrap();
    let switched = net.clone();
    net = net.trained(4, &mut optim, &device);
    for path in PARAMETERS {
        // The loss does not depend on a bias before BatchNorm.
        if path != "first.bias" {
            assert_ne!(
                numbers_at(&net, path),
                numbers_at(&switched, path),
                "{path}"
            );
        }
    }
    assert_same(&values(&ema), &average);
}

#[test]
fn model_and_ema_share_no_fate_after_a_switch() {
    let mut model = Weights::new(&[4.0], &autodiff_device());
    let mut ema = halving(&model.with(&[0.0]));
    ema.update(&model).unwrap();
    ema.write_back(&mut model, 0.0).unwrap();
    assert_close(&model.w.val(), &[2.0]);

    // An update in place.
    ema.update(&model.with(&[10.0])).unwrap();
    assert_close(&ema.model().w.val(), &[6.0]);
    assert_close(&model.w.val(), &[2.0]);

    // A step that the optimizer may take in place.
    ema.write_back(&mut model, 0.0).unwrap();
    model = descended(model, 0.5, |w| w.sum());
    assert_close(&model.w.val(), &[5.5]);
    assert_close(&ema.model().w.val(), &[6.0]);
}

#[test]
fn model_on_a_device_with_gradient_checkpointing_trains_on() {
    let device = autodiff_device().gradient_checkpointing();
    let mut net = Net::new(&device);
    let ema = halving(&net);
    ema.write_back(&mut net, 0.0).unwrap();
    let gradients = net.loss(0, &device).backward();
    assert!(net.first.weight.grad(&gradients).is_some());
    ema.copy_to(&mut net).unwrap();
    let gradients = net.loss(1, &device).backward();
    assert!(net.first.weight.grad(&gradients).is_some());
}

#[test]
fn ema_on_another_device_is_written_to_that_of_the_model() {
    let mut model = Weights::new(&[4.0], &autodiff_device());
    let config = EmaConfig::new().with_decay(Decay::weight(0.5));
    let start = model.with(&[0.0]);
    let mut ema = config.try_init_on(&start, &elsewhere()).unwrap();
    ema.update(&model).unwrap();
    ema.write_back(&mut model, 0.5).unwrap();
    assert_close(&model.w.val(), &[3.0]);
    assert_eq!(model.w.device(), autodiff_device());
    ema.copy_to(&mut model).unwrap();
    assert_close(&model.w.val(), &[2.0]);
    assert_eq!(model.w.device(), autodiff_device());
    assert!(model.w.is_require_grad());
}

#[test]
fn model_of_another_structure_is_an_error_and_stays_as_it_is() {
    let config = EmaConfig::new().with_write_back(WriteBack::every(1));
    let own = Weights::new(&[1.0, 2.0], &device());
    let mut ema = config.init(&own);
    ema.update(&own).unwrap();
    let stored = Stored::of(&own);

    let mut other = Weights::new(&[7.0, 8.0, 9.0], &device());
    let before = values(&other);
    let results = [
        ema.write_back(&mut other, 0.0),
        ema.write_back_if_due(&mut other).map(|_| ()),
        ema.copy_to(&mut other),
        stored.restore(&mut other),
    ];
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(error, EmaError::ShapeMismatch { .. }), "{error}");
        assert!(error.to_string().starts_with("`w` has shape"), "{error}");
    }
    assert_eq!(values(&other), before);
}

#[test]
fn model_with_one_value_more_or_less_is_an_error() {
    let models = |n: usize| -> Vec<Weights> {
        let model = |_| Weights::new(&[1.0], &device());
        (0..n).map(model).collect()
    };
    let (ema, stored) = (halving(&models(2)), Stored::of(&models(2)));
    for (n, path) in [(1, "`1.w`"), (3, "`2.w`")] {
        let mut other = models(n);
        let before = values(&other);
        for result in [
            ema.write_back(&mut other, 0.0),
            ema.copy_to(&mut other),
            stored.restore(&mut other),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.starts_with(path), "{error}");
        }
        assert_eq!(values(&other), before);
    }
}

#[test]
fn share_that_is_none_is_an_error() {
    let ema = halving(&Weights::new(&[0.0], &device()));
    let mut model = Weights::new(&[4.0], &device());
    for keep in [-0.1, 1.1, f64::NAN, f64::NEG_INFINITY] {
        let error = ema.write_back(&mut model, keep).unwrap_err();
        assert!(matches!(&error, EmaError::Keep { found } if found.to_bits() == keep.to_bits()));
        let expected =
            format!("keep must be in [0, 1], found {keep}: it is the share of the online weights");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_close(&model.w.val(), &[4.0]);
    }
}

/// Between 1 and 2 the numbers of bf16 are 1/128 apart.
#[test]
fn model_of_half_precision_gets_the_ema_rounded() {
    if !has_dtype(DType::BF16, "model_of_half_precision_gets_the_ema_rounded") {
        return;
    }
    let half = |x: f32| Weights::of_dtype(&[x], DType::BF16, &device());
    let config = EmaConfig::new().with_decay(Decay::weight(0.01));
    let mut ema = config.init(&half(1.0));
    ema.update(&half(2.0)).unwrap();

    // 1.01, and 1.01 + (2 - 1.01) / 2 = 1.505.
    for (keep, rounded) in [(0.0, 1.0 + 1.0 / 128.0), (0.5, 1.0 + 65.0 / 128.0)] {
        let mut model = half(2.0);
        ema.write_back(&mut model, keep).unwrap();
        assert_eq!(model.w.val().dtype(), DType::BF16);
        assert_eq!(numbers(&model.w.val()), [rounded]);
    }
    let mut model = half(2.0);
    ema.copy_to(&mut model).unwrap();
    assert_eq!(model.w.val().dtype(), DType::BF16);
    assert_eq!(numbers(&model.w.val()), [1.0 + 1.0 / 128.0]);
    let full = numbers(&ema.full_precision_model().w.val());
    assert_near(&full, &[1.01], 1e-6);
}

#[test]
fn every_value_is_copied_and_the_model_goes_on_being_what_it_was() {
    for device in [device(), autodiff_device()] {
        let mut ema = halving(&Mixed::at(None, &device));
        ema.update(&Mixed::at(Some(3), &device)).unwrap();
        let mut model = Mixed::at(Some(5), &device);
        let before = without_numbers(&model);
        ema.copy_to(&mut model).unwrap();
        assert_same_values(&model, ema.model());
        assert_eq!(without_numbers(&model), before);
    }
}

#[test]
fn running_statistics_are_copied_over_those_that_are_pending() {
    let mut source = norm();
    let config = EmaConfig::new().with_policy(Policy::new().with_buffers(BufferAction::Copy));
    let mut ema = config.init(&source);
    observe(&source);
    ema.update(&source).unwrap();
    observe(&source);
    ema.copy_to(&mut source).unwrap();
    assert_near(&statistics(&source), &[2.2, 1.3], 1e-6);
    // The model runs on from there, and the average stays.
    observe(&source);
    assert_near(&statistics(&source), &[4.18, 1.57], 1e-6);
    assert_near(&statistics(ema.model()), &[2.2, 1.3], 1e-6);
}

#[test]
fn statistics_of_target_passes_are_copied_too() {
    let mut source = norm();
    let policy = Policy::new().with_buffers(BufferAction::Ignore);
    let ema = EmaConfig::new().with_policy(policy).init(&source);
    observe(ema.training_model());
    ema.copy_to(&mut source).unwrap();
    assert_near(&statistics(&source), &[2.2, 1.3], 1e-6);
}

#[test]
fn stored_weights_come_back_to_the_byte() {
    let device = autodiff_device();
    let mut optim = AdamConfig::new().init();
    let mut net = Net::new(&device);
    let mut ema = halving(&net);
    for step in 0..3 {
        net = net.trained(step, &mut optim, &device);
        ema.update(&net).unwrap();
    }
    let stored = Stored::of(&net);
    let before = values(&net);

    ema.copy_to(&mut net).unwrap();
    assert_ne!(values(&net), before);
    stored.restore(&mut net).unwrap();
    assert_eq!(values(&net), before);
    assert!(net.norm.training.is_enabled());

    // After training too, and as often as wanted.
    for _ in 0..2 {
        for step in 3..6 {
            net = net.trained(step, &mut optim, &device);
        }
        assert_ne!(values(&net), before);
        stored.clone().restore(&mut net).unwrap();
        assert_eq!(values(&net), before);
    }
}

#[test]
fn every_class_of_value_comes_back() {
    let mut model = Mixed::at(Some(5), &autodiff_device());
    let before = values(&model);
    let stored = Stored::of(&model);
    halving(&Mixed::at(None, &autodiff_device()))
        .copy_to(&mut model)
        .unwrap();
    assert_same_values(&model, &Mixed::at(None, &device()));
    stored.restore(&mut model).unwrap();
    assert_eq!(values(&model), before);
}

#[test]
fn statistics_that_were_pending_are_stored_and_those_pending_later_are_dropped() {
    let mut source = norm();
    observe(&source);
    let stored = Stored::of(&source);
    observe(&source);
    observe(&source);
    stored.restore(&mut source).unwrap();
    assert_near(&statistics(&source), &[2.2, 1.3], 1e-6);
    // The next pass starts from there.
    observe(&source);
    assert_near(&statistics(&source), &[4.18, 1.57], 1e-6);
    stored.restore(&mut source).unwrap();
    assert_near(&statistics(&source), &[2.2, 1.3], 1e-6);
}

#[test]
fn half_precision_weights_come_back_to_the_bit() {
    if !has_dtype(DType::BF16, "half_precision_weights_come_back_to_the_bit") {
        return;
    }
    let mut model = Weights::of_dtype(&[1.0078125, -3.0], DType::BF16, &device());
    let before = values(&model);
    let stored = Stored::of(&model);
    model = model.with(&[5.0, 6.0]);
    stored.restore(&mut model).unwrap();
    assert_eq!(values(&model), before);
}

/// An average of 2 and a model of 4 that trains.
fn average_and_model() -> (EmaModel<Weights>, Weights) {
    let model = Weights::new(&[4.0], &autodiff_device());
    let mut ema = halving(&model.with(&[0.0]));
    ema.update(&model).unwrap();
    (ema, model)
}

#[test]
fn evaluation_sees_the_ema_and_returns_its_value() {
    let (ema, mut model) = average_and_model();
    let before = values(&model);
    let seen = ema.evaluate_in(&mut model, |averaged| {
        assert!(!averaged.w.is_require_grad() && !averaged.w.val().is_autodiff());
        numbers(&averaged.w.val())
    });
    assert_eq!(seen, [2.0]);
    assert_eq!(values(&model), before);
}

#[test]
fn model_has_its_own_weights_after_an_evaluation_that_fails() {
    let (ema, mut model) = average_and_model();
    let before = values(&model);
    let result: Result<f64, String> = ema.evaluate_in(&mut model, |_| Err("no data".to_string()));
    assert_eq!(result, Err("no data".to_string()));
    assert_eq!(values(&model), before);
}

#[test]
fn model_has_its_own_weights_after_an_evaluation_that_panics() {
    let (ema, mut model) = average_and_model();
    let before = values(&model);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        ema.evaluate_in(&mut model, |_| -> f64 { panic!("evaluation fails") })
    }));
    assert!(panicked.is_err());
    assert_eq!(values(&model), before);
    model = descended(model, 1.0, |w| w.sum());
    assert_close(&model.w.val(), &[3.0]);
}
