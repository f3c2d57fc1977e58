//! Post-hoc EMA against the numbers of EDM2's algorithm, computed in f64, and against EMAs that were kept.

use burn::module::Module;
use burn_ema::post_hoc::{PowerProfile, combine, reconstruct};
use burn_ema::{Decay, EmaConfig};
use burn_ema_tests::backend::{device, elsewhere};
use burn_ema_tests::models::{Mixed, Weights};
use burn_ema_tests::snapshot::{assert_same_values, numbers_at};

fn profile(time: f64, sigma_rel: f64) -> PowerProfile {
    PowerProfile::new(time, sigma_rel).unwrap()
}

/// Of two EMAs that were stored at one time.
fn stored(time: f64) -> [PowerProfile; 2] {
    [profile(time, 0.05), profile(time, 0.10)]
}

#[test]
fn reconstructed_model_is_close_to_the_ema_that_was_not_kept() {
    let seen = |step: u32| [(f64::from(step) * 0.01).sin() as f32, step as f32 / 100.0];
    let model = |step| Weights::new(&seen(step), &device());
    let average = |sigma_rel| {
        let config = EmaConfig::new().with_decay(Decay::sigma_rel(sigma_rel));
        config.init(&model(0))
    };
    let (mut narrow, mut wide, mut wanted) = (average(0.05), average(0.10), average(0.15));
    let (mut profiles, mut snapshots) = (Vec::new(), Vec::new());
    for step in 1..=320 {
        for ema in [&mut narrow, &mut wide, &mut wanted] {
            ema.update(&model(step)).unwrap();
        }
        if step % 20 == 0 {
            for (ema, width) in [(&narrow, 0.05), (&wide, 0.10)] {
                profiles.push(profile(f64::from(step), width));
                snapshots.push(ema.model().clone());
            }
        }
    }
    let found = reconstruct(&profiles, profile(320.0, 0.15)).unwrap();
    let found = numbers_at(&combine(&found, snapshots).unwrap(), "w");
    let expected = numbers_at(wanted.model(), "w");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 0.01, "{found} and {expected}");
    }
}

#[test]
fn only_what_is_trained_is_combined() {
    let profiles = stored(10.0);
    let reconstruction = reconstruct(&profiles, profile(10.0, 0.07)).unwrap();
    let models = [1, 3].map(|t| Mixed::at(Some(t), &device()));
    let combined = combine(&reconstruction, models).unwrap();
    let weights = reconstruction.normalized();
    let expected = weights[0] * 1.5 + weights[1] * 2.5;
    let found = numbers_at(&combined, "a")[0];
    assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
    let last = Mixed::at(Some(3), &device());
    for path in ["f", "b", "n", "t"] {
        assert_eq!(
            numbers_at(&combined, path),
            numbers_at(&last, path),
            "{path}"
        );
    }

    // An average of one model alone is that model.
    let narrow = [profile(10.0, 0.07)];
    let alone = reconstruct(&narrow, profile(10.0, 0.07)).unwrap();
    let model = Mixed::at(Some(2), &device());
    let found = combine(&alone, [Mixed::at(Some(2), &device())]).unwrap();
    assert_same_values(&found, &model);
}

#[test]
fn models_that_cannot_be_combined_are_errors() {
    let reconstruction = reconstruct(&stored(40.0), profile(40.0, 0.15)).unwrap();
    let message = |models: Vec<Weights>| {
        let error = combine(&reconstruction, models).unwrap_err();
        error.to_string()
    };
    let model = || Weights::new(&[1.0], &device());
    assert_eq!(
        message(vec![model()]),
        "the models cannot be merged: there are 1 models for 2 weights"
    );
    assert_eq!(
        message(vec![model(), model(), model()]),
        "the models cannot be merged: there are more models than the 2 weights"
    );
    let other = Weights::new(&[1.0, 2.0], &device());
    let message = message(vec![model(), other]);
    assert_eq!(
        message,
        "the models cannot be merged: `w` has shape [1] in the first model and [2] in another: merge models of one structure"
    );
}

/// Some loaded from files onto one device, others still on another.
#[test]
fn models_on_different_devices_are_combined_on_that_of_the_last() {
    let reconstruction = reconstruct(&stored(40.0), profile(40.0, 0.07)).unwrap();
    let model = |device| Weights::new(&[2.0], device);
    let combined = combine(&reconstruction, [model(&elsewhere()), model(&device())]).unwrap();
    assert!((numbers_at(&combined, "w")[0] - 2.0).abs() < 1e-6);
    assert_eq!(combined.w.val().device(), device());
}

/// 26 EMAs of widths that are close to each other: rounding of f32 would be a third of the result.
#[test]
fn snapshots_whose_rounding_would_drown_the_result_are_an_error() {
    let stored: Vec<PowerProfile> = (25..51)
        .map(|i| profile(1000.0, f64::from(i) * 0.002))
        .collect();
    let reconstruction = reconstruct(&stored, profile(1000.0, 0.20)).unwrap();
    let models = stored.iter().map(|_| Weights::new(&[1.0], &device()));
    let error = combine(&reconstruction, models).unwrap_err().to_string();
    assert!(error.contains("amplifies the rounding of F32"), "{error}");
}

/// Loaded for inference, or frozen.
#[test]
fn snapshots_of_frozen_models_are_combined_and_mixed_ones_are_an_error() {
    let reconstruction = reconstruct(&stored(40.0), profile(40.0, 0.07)).unwrap();
    let weights = reconstruction.normalized();
    let model = |x: f32| Weights::new(&[x], &device());
    let frozen = [2.0, 4.0].map(|x| model(x).no_grad());
    let combined = combine(&reconstruction, frozen).unwrap();
    let expected = 2.0 * weights[0] + 4.0 * weights[1];
    let found = numbers_at(&combined, "w")[0];
    assert!((found - expected).abs() < 1e-5, "{found} and {expected}");

    let mixed = [model(2.0).no_grad(), model(4.0)];
    let error = combine(&reconstruction, mixed).unwrap_err().to_string();
    assert!(
        error.contains("`w` is trainable in one model and frozen in another"),
        "{error}"
    );
}
