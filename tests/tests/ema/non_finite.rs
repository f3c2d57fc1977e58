//! What NaN and infinity in the source do to an average.

use burn::module::Module;
use burn::tensor::DType;
use burn_ema::config::NonFinite;
use burn_ema::policy::{Action, BufferAction};
use burn_ema::{Decay, EmaConfig, EmaError, EmaModel, Policy, Update};
use burn_ema_tests::backend::{device, has_dtype};
use burn_ema_tests::models::{Mixed, Weights};
use burn_ema_tests::snapshot::{assert_same, numbers_at, values, with_numbers};

fn halving<M: Module>(model: &M, non_finite: NonFinite) -> EmaModel<M> {
    EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_non_finite(non_finite)
        .init(model)
}

fn weights(numbers: &[f32]) -> Weights {
    Weights::new(numbers, &device())
}

const NON_FINITE: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

#[test]
fn propagated_values_stay_for_good() {
    for x in NON_FINITE {
        let mut ema = halving(&weights(&[0.0, 0.0]), NonFinite::Propagate);
        ema.update(&weights(&[x, 4.0])).unwrap();
        for _ in 0..100 {
            ema.update(&weights(&[1.0, 4.0])).unwrap();
        }
        let numbers = numbers_at(ema.model(), "w");
        assert!(!numbers[0].is_finite());
        assert!((numbers[1] - 4.0).abs() < 1e-6);
        assert_eq!((ema.num_updates(), ema.num_skipped()), (101, 0));
    }
}

#[test]
fn skipped_step_leaves_the_ema_as_it_is_and_is_counted() {
    for x in NON_FINITE {
        let mut ema = halving(&weights(&[0.0, 0.0]), NonFinite::Skip);
        ema.update(&weights(&[4.0, 8.0])).unwrap();
        let before = values(ema.model());
        assert_eq!(ema.update(&weights(&[4.0, x])).unwrap(), Update::Skipped);
        assert_same(&values(ema.model()), &before);
        let counters = (ema.num_steps(), ema.num_updates(), ema.num_skipped());
        assert_eq!(counters, (2, 1, 1));

        ema.update(&weights(&[4.0, 8.0])).unwrap();
        assert_eq!(numbers_at(ema.model(), "w"), [3.0, 6.0]);
    }
}

/// A warm-up counts averages, so a skipped step does not make it older; the schedule counts steps.
#[test]
fn skipped_step_counts_for_the_schedule_and_not_for_the_rule() {
    let config = EmaConfig::new()
        .with_decay(Decay::power_warmup(1.0))
        .with_interval(2)
        .with_non_finite(NonFinite::Skip);
    let mut ema = config.init(&weights(&[9.0]));
    let mut step = |x: f32| ema.update(&weights(&[x])).unwrap();
    assert_eq!(
        step(f32::NAN),
        Update::Waiting,
        "nothing is due, nothing is read"
    );
    assert_eq!(step(f32::NAN), Update::Skipped);
    assert_eq!(step(1.0), Update::Waiting);
    assert_eq!(
        step(1.0),
        Update::Averaged {
            decay: 0.0,
            averaged: 1,
            copied: 0
        }
    );
    assert_eq!((ema.num_steps(), ema.num_skipped()), (4, 1));
}

#[test]
fn error_names_the_parameter_and_leaves_no_trace() {
    for x in NON_FINITE {
        let mut ema = halving(&Mixed::at(None, &device()), NonFinite::Error);
        ema.update(&Mixed::at(Some(1), &device())).unwrap();
        let before = (values(&ema), ema.num_steps(), ema.num_updates());
        let bad = with_numbers(Mixed::at(Some(2), &device()), "a", &[1.0, x]);
        let error = ema.update(&bad).unwrap_err();
        assert!(matches!(&error, EmaError::NonFinite { path } if path == "a"));
        assert_eq!(
            error.to_string(),
            "`a` of the model holds NaN or infinity: lower the learning rate, clip gradients, or choose `NonFinite::Skip`"
        );
        assert_same(&values(&ema), &before.0);
        assert_eq!((ema.num_steps(), ema.num_updates()), (before.1, before.2));

        // `a` is [1 + t/2, 2 - t/4], and the EMA was [1.25, 1.875].
        ema.update(&Mixed::at(Some(2), &device())).unwrap();
        assert_eq!(numbers_at(ema.model(), "a"), [1.625, 1.6875]);
    }
}

/// Copied at each step, they would be gone with the next copy. They are looked at all the same: the
/// average is evaluated in between, and the last copy is what averaging starts from.
#[test]
fn source_is_looked_at_before_the_start_too() {
    let config = |non_finite| {
        EmaConfig::new()
            .with_start(10)
            .with_non_finite(non_finite)
            .init(&weights(&[1.0]))
    };
    let bad = weights(&[f32::NAN]);
    let mut ema = config(NonFinite::Skip);
    assert_eq!(ema.update(&bad).unwrap(), Update::Skipped);
    assert_eq!(numbers_at(ema.model(), "w"), [1.0]);
    assert!(config(NonFinite::Error).update(&bad).is_err());
    assert_eq!(
        config(NonFinite::Propagate).update(&bad).unwrap(),
        Update::Copied { copied: 1 }
    );
}

/// What is copied heals with the next copy, so it does not stop an update. Buffers are averaged by default.
#[test]
fn only_tensors_that_are_averaged_are_looked_at() {
    let bad = |t| {
        let source = Mixed::at(Some(t), &device());
        let source = with_numbers(source, "b", &[f32::NAN, 1.0]);
        with_numbers(source, "f", &[f32::INFINITY, 1.0])
    };
    let ema_with = |policy, non_finite| {
        EmaConfig::new()
            .with_decay(Decay::weight(0.5))
            .with_non_finite(non_finite)
            .with_policy(policy)
            .init(&Mixed::at(None, &device()))
    };
    let copying = Policy::new().with_buffers(BufferAction::Copy);
    let mut ema = ema_with(copying.clone(), NonFinite::Error);
    ema.update(&bad(1)).unwrap();
    assert!(numbers_at(ema.model(), "b")[0].is_nan());
    assert!(numbers_at(ema.model(), "f")[0].is_infinite());
    assert_eq!(numbers_at(ema.model(), "a"), [1.25, 1.875]);

    for (policy, culprit) in [
        (Policy::new(), "b"),
        (copying.with_frozen(Action::Average), "f"),
    ] {
        let error = ema_with(policy.clone(), NonFinite::Error)
            .update(&bad(1))
            .unwrap_err();
        assert!(matches!(error, EmaError::NonFinite { path } if path == culprit));
        let skipped = ema_with(policy, NonFinite::Skip).update(&bad(1)).unwrap();
        assert_eq!(skipped, Update::Skipped);
    }
}

#[test]
fn finite_values_of_any_size_are_no_reason_to_skip() {
    // Their sum would be infinite.
    let large = weights(&[f32::MAX; 8]);
    for non_finite in [NonFinite::Skip, NonFinite::Error] {
        let mut ema = halving(&large, non_finite);
        ema.update(&large).unwrap();
        assert_eq!((ema.num_updates(), ema.num_skipped()), (1, 0));
    }
}

#[test]
fn half_precision_sources_are_looked_at_too() {
    for dtype in [DType::F16, DType::BF16] {
        if !has_dtype(dtype, "half_precision_sources_are_looked_at_too") {
            continue;
        }
        let half = |x: f32| Weights::of_dtype(&[1.0, x], dtype, &device());
        let mut ema = halving(&half(0.0), NonFinite::Skip);
        assert_eq!(ema.update(&half(f32::NAN)).unwrap(), Update::Skipped);
        assert_eq!(
            ema.update(&half(1.0)).unwrap(),
            Update::Averaged {
                decay: 0.5,
                averaged: 1,
                copied: 0
            }
        );
    }
}

/// NaN in the average itself is not the source's fault; weight 1 and `copy_from` heal it.
#[test]
fn ema_that_is_not_finite_heals_with_a_copy() {
    let mut ema = halving(&weights(&[f32::NAN]), NonFinite::Error);
    ema.update(&weights(&[1.0])).unwrap();
    assert!(numbers_at(ema.model(), "w")[0].is_nan());
    ema.copy_from(&weights(&[1.0])).unwrap();
    ema.update(&weights(&[3.0])).unwrap();
    assert_eq!(numbers_at(ema.model(), "w"), [2.0]);
}
