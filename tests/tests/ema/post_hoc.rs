//! Post-hoc EMA against the numbers of EDM2's algorithm, computed in f64, and against EMAs that were kept.

use burn::module::Module;
use burn::tensor::DType;
use burn_ema::post_hoc::{
    Fit, PowerProfile, combine, combine_within, precision, reconstruct, reconstruct_profiles,
};
use burn_ema::profile::Profile;
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

/// A walk of independent steps: there the error in changes is what is measured. The last model is the way of 1.
#[test]
fn errors_in_changes_are_those_that_are_measured() {
    const STEPS: u64 = 512;
    const WIDTH: usize = 4_000;
    let mut state = 1_u64;
    let mut step = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.1
    };
    let mut online = vec![0.0_f32; WIDTH];
    let source = Weights::new(&online, &device());
    let half_life = |share: f64| Decay::half_life(share * STEPS as f64);
    let ema = |decay| EmaConfig::new().with_decay(decay).init(&source);
    let (mut narrow, mut mean) = (ema(half_life(0.02)), ema(Decay::equal_weights()));
    let (mut wide, mut merged) = (ema(half_life(0.05)), ema(Decay::minus_sqrt()));
    let mut stored: [(Vec<Profile>, Vec<Weights>); 3] = Default::default();
    for n in 1..=STEPS {
        for x in &mut online {
            *x += step();
        }
        let model = source.with(&online);
        for ema in [&mut narrow, &mut mean, &mut wide, &mut merged] {
            ema.update(&model).unwrap();
        }
        if n % (STEPS / 16) == 0 {
            for ((profiles, models), ema) in stored.iter_mut().zip([&narrow, &mean]) {
                profiles.push(ema.profile().unwrap());
                models.push(ema.full_precision_model());
            }
            stored[2].0.push(Profile::checkpoint(n));
            stored[2].1.push(model);
        }
    }
    let distance = |a: &[f64], b: &[f64]| {
        let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let last: Vec<f64> = online.iter().copied().map(f64::from).collect();
    for (name, (profiles, models)) in ["EMA of 2 %", "mean", "checkpoints"].iter().zip(&stored) {
        for (what, wanted) in [("EMA of 5 %", &wide), ("minus-sqrt merge", &merged)] {
            let profile = wanted.profile().unwrap();
            let found = reconstruct_profiles(profiles, &profile, Fit::default()).unwrap();
            let combined = numbers_at(&combine(&found, models.clone()).unwrap(), "w");
            let expected = numbers_at(&wanted.full_precision_model(), "w");
            let measured = distance(&combined, &expected) / distance(&last, &expected);
            let predicted = found.change_error();
            println!(
                "{name} for {what}: predicted {predicted:.5}, measured {measured:.5}, in weights {:.5}, gain {:.2}",
                found.relative_error(),
                found.noise_gain()
            );
            // Rounding of f32, and the spread of a sample.
            let tolerance = 0.1 * predicted + 4.0 * found.noise(precision(DType::F32));
            assert!(
                (measured - predicted).abs() < tolerance,
                "{name} for {what}"
            );
        }
    }
}

#[test]
fn profile_of_an_ema_is_that_of_its_updates() {
    let config = EmaConfig::new().with_start(2).with_interval(3);
    let config = config.with_decay(Decay::equal_weights());
    let model = Weights::new(&[1.0], &device());
    let mut ema = config.init(&model);
    for _ in 0..8 {
        ema.update(&model).unwrap();
    }
    let profile = ema.profile().unwrap();
    assert_eq!(profile, config.profile(2).unwrap());
    assert_eq!(profile.last_step(), 8);
    ema.update(&model).unwrap();
    assert_eq!(ema.profile().unwrap().last_step(), 8);

    // Weights whose mean is 1 are weights all the same; a weight of 1 is none.
    let mut ema = EmaConfig::new()
        .with_decay(Decay::equal_weights())
        .init(&model);
    ema.update_weighted(&model, 1.0).unwrap();
    assert_eq!(ema.profile().unwrap().weights(), [0.0, 1.0]);
    ema.update_weighted(&model, 0.5).unwrap();
    ema.update_weighted(&model, 1.5).unwrap();
    let error = ema.profile().unwrap_err().to_string();
    assert!(
        error.contains("3 updates of which some have weights"),
        "{error}"
    );
    ema.restart(&model).unwrap();
    assert!(ema.profile().is_ok());
}

#[test]
fn noise_is_allowed_where_the_caller_says_so() {
    let stored: Vec<PowerProfile> = (25..51)
        .map(|i| profile(1000.0, f64::from(i) * 0.002))
        .collect();
    let reconstruction = reconstruct(&stored, profile(1000.0, 0.20)).unwrap();
    let models = || stored.iter().map(|_| Weights::new(&[1.0], &device()));
    let error = combine(&reconstruction, models()).unwrap_err().to_string();
    assert!(error.contains("`combine_within`"), "{error}");
    assert!(combine_within(f64::INFINITY, &reconstruction, models()).is_ok());
    assert!(combine_within(f64::NAN, &reconstruction, models()).is_err());
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
        "the models cannot be merged: there are 1 models for 2 weights: give as many models as weights"
    );
    assert_eq!(
        message(vec![model(), model(), model()]),
        "the models cannot be merged: there are more models than the 2 weights: give as many models as weights"
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
