//! Running statistics: shared by clones, and one forward pass behind until they are read.

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::optim::SgdConfig;
use burn::tensor::Tensor;
use burn_ema::policy::{Action, BufferAction};
use burn_ema::{Decay, EmaConfig, EmaModel, Policy};
use burn_ema_tests::backend::{autodiff_device, device, repeats_trainings};
use burn_ema_tests::compare::{TRAINED_ALIKE, assert_near, numbers};
use burn_ema_tests::models::{Net, batch};
use burn_ema_tests::snapshot::{assert_same, assert_same_values, numbers_at, values};

fn halving<M: Module>(model: &M) -> EmaModel<M> {
    EmaConfig::new().with_decay(Decay::weight(0.5)).init(model)
}

/// The same with running statistics that are copied.
fn copying<M: Module>(model: &M) -> EmaModel<M> {
    EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_policy(Policy::new().with_buffers(BufferAction::Copy))
        .init(model)
}

/// One feature, whose running statistics start at mean 0 and variance 1, momentum 0.1.
fn norm() -> BatchNorm {
    BatchNormConfig::new(1).init(&autodiff_device())
}

/// Batch `[20, 24]` of mean 22 and variance 4: running mean 2.2, running variance 1.3, at first.
fn observe(norm: &BatchNorm) {
    norm.forward(Tensor::<2>::from_data([[20.0], [24.0]], &autodiff_device()));
}

/// Running mean and variance as stored, not brought up to date.
fn statistics(norm: &BatchNorm) -> Vec<f64> {
    [
        numbers(&norm.running_mean.value()),
        numbers(&norm.running_var.value()),
    ]
    .concat()
}

#[test]
fn copied_statistics_are_those_of_the_last_forward_pass() {
    let source = norm();
    let mut ema = copying(&source);
    observe(&source);
    assert_near(&statistics(&source), &[0.0, 1.0], 0.0);

    ema.update(&source).unwrap();
    assert_near(&statistics(ema.model()), &[2.2, 1.3], 1e-6);
    // Second pass: 0.9 * 2.2 + 0.1 * 22 and 0.9 * 1.3 + 0.1 * 4.
    observe(&source);
    ema.update(&source).unwrap();
    assert_near(&statistics(ema.model()), &[4.18, 1.57], 1e-6);
}

#[test]
fn ema_starts_with_the_statistics_of_the_last_forward_pass() {
    let source = norm();
    observe(&source);
    assert_near(&statistics(halving(&source).model()), &[2.2, 1.3], 1e-6);
}

#[test]
fn copied_ema_has_the_statistics_of_the_last_forward_pass() {
    let source = norm();
    let mut ema = halving(&source);
    observe(&source);
    ema.copy_from(&source).unwrap();
    assert_near(&statistics(ema.model()), &[2.2, 1.3], 1e-6);
}

#[test]
fn statistics_of_the_last_forward_pass_are_averaged_by_default() {
    let source = norm();
    // Frozen parameters have an action of their own, which is not that of buffers.
    let frozen_is_ignored = EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_policy(Policy::new().with_frozen(Action::Ignore));
    let mut emas = [halving(&source), frozen_is_ignored.init(&source)];
    observe(&source);
    for ema in &mut emas {
        ema.update(&source).unwrap();
        // Halfway from 0 to 2.2, and from 1 to 1.3.
        assert_near(&statistics(ema.model()), &[1.1, 1.15], 1e-6);
    }
    observe(&source);
    for ema in &mut emas {
        ema.update(&source).unwrap();
        // Halfway from 1.1 to 4.18, and from 1.15 to 1.57.
        assert_near(&statistics(ema.model()), &[2.64, 1.36], 1e-6);
    }
}

#[test]
fn copied_buffers_are_those_of_the_model_in_inference_mode() {
    let device = autodiff_device();
    let mut optim = SgdConfig::new().init();
    let mut net = Net::new(&device);
    let mut ema = copying(&net);
    for step in 0..5 {
        net = net.trained(step, &mut optim, &device);
        ema.update(&net).unwrap();
        assert_same_values(
            &ema.model().norm.running_mean,
            &net.valid().norm.running_mean,
        );
        assert_same_values(&ema.model().norm.running_var, &net.valid().norm.running_var);
    }
}

#[test]
fn averaged_buffers_follow_those_of_the_model_in_inference_mode() {
    let device = autodiff_device();
    let mut optim = SgdConfig::new().init();
    let mut net = Net::new(&device);
    let mut ema = halving(&net);
    let statistics = |net: &Net| {
        let paths = ["norm.running_mean", "norm.running_var"];
        paths.map(|path| numbers_at(net, path)).concat()
    };
    let mut expected = statistics(&net);
    for step in 0..5 {
        net = net.trained(step, &mut optim, &device);
        ema.update(&net).unwrap();
        for (expected, online) in expected.iter_mut().zip(statistics(&net.valid())) {
            *expected = (*expected + online) / 2.0;
        }
        assert_near(&statistics(ema.model()), &expected, 1e-6);
    }
}

/// What training shows: loss, running statistics and weights after each of some steps.
fn training(mut average: impl FnMut(&Net)) -> Vec<Vec<f64>> {
    let device = autodiff_device();
    let mut optim = SgdConfig::new().init();
    let mut net = Net::new(&device);
    average(&net);
    let mut seen = Vec::new();
    for step in 0..8 {
        seen.push(numbers(&net.loss(step, &device)));
        net = net.trained(step, &mut optim, &device);
        average(&net);
        seen.push(numbers_at(&net, "first.weight"));
        if step % 3 == 2 {
            // Not after each step: this brings them up to date, which the average must do itself.
            seen.push(numbers(&net.norm.running_mean.value_sync()));
            seen.push(numbers(&net.norm.running_var.value_sync()));
        }
    }
    seen
}

#[test]
fn training_is_the_same_with_and_without_an_ema_beside() {
    let without = training(|_| {});
    let mut ema = None;
    let with = training(|net| {
        let ema = ema.get_or_insert_with(|| halving(net));
        ema.update(net).unwrap();
        // What is done with the average is no business of the source either.
        ema.model().forward(batch(7, &device()));
        ema.clone()
            .into_model()
            .train()
            .forward(batch(3, &autodiff_device()));
    });
    if repeats_trainings() {
        assert_eq!(with, without);
    } else {
        assert_near(&with.concat(), &without.concat(), TRAINED_ALIKE);
    }
}

#[test]
fn making_and_reading_an_ema_leaves_the_source_as_it_is() {
    let source = norm();
    observe(&source);
    let before = values(&source.valid());
    let mut ema = halving(&source);
    ema.update(&source).unwrap();
    ema.copy_from(&source).unwrap();
    let _ = (
        ema.model(),
        ema.full_precision_model(),
        ema.clone().into_model(),
    );
    assert_same(&values(&source.valid()), &before);
}

#[test]
fn source_trained_on_after_init_does_not_reach_the_ema() {
    let source = norm();
    let ema = halving(&source);
    let early = ema.model().clone();
    observe(&source);
    observe(&source);
    let _ = source.valid();
    for model in [ema.model(), &early, &ema.full_precision_model()] {
        assert_near(&statistics(model), &[0.0, 1.0], 0.0);
    }
}

#[test]
fn statistics_of_a_handed_out_model_do_not_change_with_later_updates() {
    let source = norm();
    let mut ema = halving(&source);
    observe(&source);
    ema.update(&source).unwrap();
    let (borrowed, full) = (ema.model().clone(), ema.full_precision_model());
    let taken = ema.clone().into_model();
    for _ in 0..3 {
        observe(&source);
        ema.update(&source).unwrap();
    }
    for model in [&borrowed, &full, &taken] {
        assert_near(&statistics(model), &[1.1, 1.15], 1e-6);
    }
    // Online means 4.18, 5.962 and 7.5658; variances 1.57, 1.813 and 2.0317.
    let mean = 1.1 / 8.0 + 4.18 / 8.0 + 5.962 / 4.0 + 7.5658 / 2.0;
    let variance = 1.15 / 8.0 + 1.57 / 8.0 + 1.813 / 4.0 + 2.0317 / 2.0;
    assert_near(&statistics(ema.model()), &[mean, variance], 1e-6);
}

#[test]
fn statistics_of_a_clone_of_the_ema_do_not_change_with_later_updates() {
    let source = norm();
    let mut ema = halving(&source);
    let clone = ema.clone();
    observe(&source);
    ema.update(&source).unwrap();
    let _ = ema.model();
    assert_near(&statistics(clone.model()), &[0.0, 1.0], 0.0);
}

#[test]
fn training_a_taken_model_does_not_reach_the_ema() {
    let source = norm();
    let mut ema = halving(&source);
    observe(&source);
    ema.update(&source).unwrap();
    let taken = ema.clone().into_model().train();
    observe(&taken);
    let _ = taken.valid();
    // Those of the EMA: halfway to 2.2 and 1.3.
    assert_near(&statistics(ema.model()), &[1.1, 1.15], 1e-6);
    assert_near(&statistics(&ema.full_precision_model()), &[1.1, 1.15], 1e-6);
}

#[test]
fn loading_into_a_taken_model_does_not_reach_the_ema() {
    let source = norm();
    let other = norm();
    observe(&other);
    let ema = halving(&source);
    let _ = ema.model();
    let taken = ema.clone().into_model();
    let loaded = taken.load_record(other.valid().into_record());
    assert_near(&statistics(&loaded), &[2.2, 1.3], 1e-6);
    assert_near(&statistics(ema.model()), &[0.0, 1.0], 0.0);
}

#[test]
fn loading_into_a_clone_of_the_ema_does_not_reach_the_ema() {
    let source = norm();
    let ema = halving(&source);
    let _ = ema.model();
    observe(&source);
    let loaded = ema.clone().load_record(halving(&source).into_record());
    assert_near(&statistics(loaded.model()), &[2.2, 1.3], 1e-6);
    assert_near(&statistics(ema.model()), &[0.0, 1.0], 0.0);
}

#[test]
fn loading_into_the_model_of_a_clone_does_not_reach_the_ema() {
    let source = norm();
    let other = norm();
    observe(&other);
    let ema = halving(&source);
    let _ = ema.model();
    let model = ema.clone().model().clone();
    let loaded = model.load_record(other.valid().into_record());
    assert_near(&statistics(&loaded), &[2.2, 1.3], 1e-6);
    assert_near(&statistics(ema.model()), &[0.0, 1.0], 0.0);
}

#[test]
fn loading_into_a_swapped_model_does_not_reach_the_ema() {
    let mut source = norm();
    let other = norm();
    observe(&other);
    let ema = halving(&source);
    {
        let mut swapped = ema.swap_into(&mut source);
        *swapped = swapped.clone().load_record(other.valid().into_record());
    }
    assert_near(&statistics(ema.model()), &[0.0, 1.0], 0.0);
    assert_near(&statistics(&source), &[0.0, 1.0], 0.0);
}

#[test]
fn ema_model_normalizes_with_its_own_statistics() {
    let source = norm();
    let mut ema = halving(&source);
    observe(&source);
    ema.update(&source).unwrap();
    assert!(!ema.model().training.is_enabled());
    // (x - 1.1) / sqrt(1.15 + 1e-5) at x = 4.
    let output = ema
        .model()
        .forward(Tensor::<2>::from_data([[4.0]], &device()));
    assert_near(&numbers(&output), &[2.9 / 1.15001_f64.sqrt()], 1e-6);
    assert_near(&statistics(ema.model()), &[1.1, 1.15], 1e-6);
}

#[test]
fn flags_and_trainability_return_when_the_averaged_model_is_trained_on() {
    let source = norm();
    let model = halving(&source).into_model().train();
    assert!(model.training.is_enabled());
    assert!(model.gamma.is_require_grad());
}
