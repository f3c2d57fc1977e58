//! What schedules amount to in numbers, against closed forms.

use burn_ema_rules::RulesError;
use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
use burn_ema_rules::profile::Profile;
use burn_ema_rules::schedule::Schedule;
use proptest::prelude::*;

use crate::allocations::bytes_allocated;
use crate::arbitrary::{self, Staircase};
use crate::simulation::emas;

proptest! {
    #![proptest_config(arbitrary::config(512))]

    #[test]
    fn ema_is_the_sum_of_what_was_seen_by_weight(
        (decay, schedule, updates) in arbitrary::run(),
        phase in 0.0..100.0_f64,
    ) {
        let profile = schedule.profile(&decay, updates).unwrap();
        let seen = |step: u64| 3.0 + (step as f64 * 1.7 + phase).sin();
        let steps = schedule.start + updates * schedule.interval;
        prop_assert_eq!(profile.steps().last(), Some(steps));

        let all: Vec<f64> = (1..=steps).map(seen).collect();
        let found = emas(schedule, &decay, seen(0), &all).last().copied();
        let expected: f64 = profile
            .steps()
            .zip(profile.weights())
            .map(|(step, weight)| weight * seen(step))
            .sum();
        let found = found.unwrap_or(seen(0));
        let tolerance = 4.0 * 4.0 * f64::EPSILON * (updates + 1) as f64;
        prop_assert!((found - expected).abs() <= tolerance, "{found} and {expected}");
    }

    #[test]
    fn weights_are_shares((decay, schedule, updates) in arbitrary::run()) {
        let profile = schedule.profile(&decay, updates).unwrap();
        let weights = profile.weights();
        prop_assert_eq!(weights.len() as u64, updates + 1);
        prop_assert!(weights.iter().all(|weight| (0.0..=1.0).contains(weight)));
        let sum: f64 = weights.iter().sum();
        prop_assert!((sum - 1.0).abs() < 1e-14 * (updates + 1) as f64, "{sum}");

        let oldest = (updates * schedule.interval) as f64;
        prop_assert!((0.0..=oldest + 1e-9).contains(&profile.mean_age()));
        prop_assert!((0.0..=oldest + 1e-9).contains(&profile.half_life()));
        let window = profile.effective_window() / schedule.interval as f64;
        prop_assert!((1.0 - 1e-9..=(updates + 1) as f64 + 1e-9).contains(&window), "{window}");
    }

    /// Zero-debias leaves out what was there before, and keeps the proportions of everything else.
    #[test]
    fn debiased_weights_are_those_of_the_schedule_without_the_first(
        (decay, schedule, updates) in arbitrary::run(),
    ) {
        let plain = schedule.profile(&decay, updates).unwrap();
        let first = plain.weights()[0];
        prop_assume!(first < 0.999);
        let debiased = schedule.profile(&decay.debiased(), updates).unwrap();
        prop_assert!(debiased.weights()[0].abs() < 1e-12);
        for (debiased, plain) in debiased.weights().iter().zip(plain.weights()).skip(1) {
            let expected = plain / (1.0 - first);
            prop_assert!((debiased - expected).abs() < 1e-9, "{debiased} and {expected}");
        }
    }

    /// Half of the weight is younger, as a search over all ages finds once more.
    #[test]
    fn half_life_splits_the_weights((decay, schedule, updates) in arbitrary::run()) {
        let profile = schedule.profile(&decay, updates).unwrap();
        let age = profile.half_life() / schedule.interval as f64;
        let last = profile.weights().len() - 1;
        let older_than = |age: f64| -> f64 {
            let weights = profile.weights().iter().enumerate();
            weights.filter(|(n, _)| (last - n) as f64 > age).map(|(_, weight)| weight).sum()
        };
        prop_assert!(older_than(age + 1e-9) <= 0.5 + 1e-9);
        prop_assert!(older_than(age - 1.0 - 1e-9) >= 0.5 - 1e-9);
    }

    #[test]
    fn profiles_come_back_from_json_bit_for_bit((decay, schedule, updates) in arbitrary::run()) {
        let profile = schedule.profile(&decay, updates).unwrap();
        let json = serde_json::to_string(&profile).unwrap();
        let loaded: Profile = serde_json::from_str(&json).unwrap();
        for (loaded, weight) in loaded.weights().iter().zip(profile.weights()) {
            prop_assert_eq!(loaded.to_bits(), weight.to_bits());
        }
        prop_assert_eq!(loaded, profile);
    }
}

fn profile(decay: Decay, updates: u64) -> Profile {
    Schedule::default().profile(&decay, updates).unwrap()
}

fn every(interval: u64) -> Schedule {
    Schedule { start: 0, interval }
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    let close = (found - expected).abs() <= 1e-9 * expected.abs();
    assert!(close, "{found}, and not {expected}");
}

#[test]
fn absurd_numbers_of_updates_are_errors() {
    for updates in [100_000_001, 10_000_000_000, u64::MAX - 1, u64::MAX] {
        let refused = Schedule::default().profile(&Decay::constant(0.9), updates);
        let error = refused.unwrap_err();
        let is_updates = matches!(
            error,
            RulesError::InvalidConfig {
                field: "updates",
                ..
            }
        );
        assert!(is_updates, "{error:?}");
        let message = error.to_string();
        assert!(message.contains("100 million"), "{message}");
        assert!(message.contains(&updates.to_string()), "{message}");
    }
}

#[test]
fn numbers_of_a_profile_allocate_nothing() {
    let (profile, made) = bytes_allocated(|| profile(Decay::constant(0.999), 100_000));
    assert!((800_008..810_000).contains(&made), "{made} bytes");
    let (_, used) =
        bytes_allocated(|| profile.half_life() + profile.mean_age() + profile.effective_window());
    assert_eq!(used, 0);
}

#[test]
fn profile_with_negative_weights_has_a_half_life() {
    let half_life = |weights: &[f64]| {
        let profile = Profile::new(Schedule::default(), weights.to_vec()).unwrap();
        profile.half_life()
    };
    assert_eq!(half_life(&[-0.5, 1.5]), 0.0);
    assert_eq!(half_life(&[1.5, -0.5]), 1.0);
    assert!(half_life(&[-0.2, 0.3, 0.2, 0.7]) > 0.0);
}

#[test]
fn profile_from_a_file_is_checked() {
    for wrong in [
        r#"{ "schedule": {}, "weights": [] }"#,
        r#"{ "schedule": {}, "weights": [1.5] }"#,
        r#"{ "schedule": { "interval": 0 }, "weights": [1.0] }"#,
    ] {
        assert!(serde_json::from_str::<Profile>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn constant_decay_has_the_numbers_of_the_textbook() {
    for decay in [0.9, 0.99, 0.999] {
        let profile = profile(Decay::constant(decay), 100_000);
        assert_near(profile.mean_age(), decay / (1.0 - decay));
        assert_near(profile.half_life(), 0.5_f64.ln() / decay.ln());
        assert_near(profile.effective_window(), (1.0 + decay) / (1.0 - decay));
    }
}

#[test]
fn half_life_is_what_was_asked_for_at_any_interval() {
    for interval in [1, 7, 100] {
        let profile = every(interval).profile(&Decay::half_life(1000.0), 100_000 / interval);
        assert_near(profile.unwrap().half_life(), 1000.0);
    }
}

#[test]
fn half_lives_of_epochs_and_images_are_in_steps() {
    let steps = |decay: Decay| match decay {
        Decay::HalfLife(schedule) => schedule.steps,
        other => panic!("{other:?}"),
    };
    assert_eq!(steps(Decay::half_life_epochs(2.5, 400)), 1000.0);
    assert_eq!(steps(Decay::half_life_images(64_000.0, 64)), 1000.0);
    assert_eq!(steps(Decay::half_life_kimg(10.0, 32)), 312.5);
}

#[test]
fn per_step_makes_the_window_the_same_where_per_update_stretches_it() {
    let half_life = |decay: Decay, interval| {
        let profile = every(interval).profile(&decay, 100_000 / interval);
        profile.unwrap().half_life()
    };
    let constant = || Decay::constant(0.999);
    let each_step = half_life(constant(), 1);
    assert_near(half_life(constant().per_step(), 10), each_step);
    assert_near(half_life(constant(), 10), 10.0 * each_step);
    assert_eq!(
        constant().per_step().decay(Progress {
            updates: 4,
            interval: 10
        }),
        0.999_f64.powf(10.0)
    );
}

#[test]
fn mean_of_all_has_equal_weights() {
    let profile = profile(Decay::equal_weights(), 8);
    assert_eq!(profile.weights()[0], 0.0);
    for weight in &profile.weights()[1..] {
        assert_near(*weight, 1.0 / 8.0);
    }
    assert_near(profile.mean_age(), 3.5);
    assert_near(profile.effective_window(), 8.0);
}

/// Karras et al.: with updates at `1..=N` the weight of the `k`-th is `(k/N)^(gamma+1) - ((k-1)/N)^(gamma+1)`.
#[test]
fn power_function_has_the_weights_of_the_closed_form() {
    for (sigma_rel, updates) in [(0.05, 100), (0.10, 1000), (0.25, 17)] {
        let gamma = burn_ema_rules::decay::gamma_of_sigma_rel(sigma_rel).unwrap();
        for interval in [1, 10] {
            let decay = Decay::sigma_rel(sigma_rel);
            let profile = every(interval).profile(&decay, updates).unwrap();
            let share = |k: usize| (k as f64 / updates as f64).powf(gamma + 1.0);
            assert_eq!(profile.weights()[0], 0.0);
            for (k, weight) in profile.weights().iter().enumerate().skip(1) {
                let expected = share(k) - share(k - 1);
                assert!((weight - expected).abs() < 1e-14, "{k}");
            }
        }
    }
}

#[test]
fn width_of_the_power_function_is_sigma_rel() {
    let updates = 20_000;
    for sigma_rel in [0.05, 0.10, 0.20] {
        let profile = profile(Decay::sigma_rel(sigma_rel), updates);
        let mean = updates as f64 - profile.mean_age();
        let variance: f64 = profile
            .steps()
            .zip(profile.weights())
            .map(|(step, weight)| weight * (step as f64 - mean).powi(2))
            .sum();
        let found = variance.sqrt() / updates as f64;
        assert!((found - sigma_rel).abs() < 1e-4, "{found}");
    }
}

#[test]
fn copies_leave_nothing_of_what_was_before() {
    let profile = profile(Decay::constant(0.9).copy_first(2), 4);
    let expected = [0.0, 0.0, 0.81, 0.09, 0.1];
    for (weight, expected) in profile.weights().iter().zip(expected) {
        assert!((weight - expected).abs() < 1e-15, "{profile:?}");
    }
}

#[test]
fn profile_of_no_update_is_what_was_there() {
    let profile = profile(Decay::constant(0.9), 0);
    assert_eq!(profile.weights(), [1.0]);
    assert_eq!((profile.mean_age(), profile.half_life()), (0.0, 0.0));
}

#[test]
fn custom_decay_outside_its_range_is_an_error_that_names_the_schedule() {
    for wrong in [1.5, -0.1, f64::NAN] {
        let decay = Decay::custom("mine", move |at: Progress| match at.updates {
            2 => wrong,
            _ => 0.9,
        });
        assert!(Schedule::default().profile(&decay, 2).is_ok());
        let error = Schedule::default().profile(&decay, 3).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("decay must be in [0, 1]"), "{message}");
        assert!(message.contains("mine"), "{message}");
        assert!(message.contains("update 2"), "{message}");
    }
}

#[test]
fn error_of_a_decay_names_the_schedule_that_gave_it() {
    use burn_ema_rules::decay::{Constant, TfRamp};
    let first = Progress {
        updates: 0,
        interval: 1,
    };
    let named = |decay: Decay| match decay.try_decay(first).unwrap_err() {
        RulesError::InvalidDecay { schedule, .. } => schedule,
        other => panic!("{other:?}"),
    };
    let mine = || Decay::custom("mine", |_: Progress| 2.0);
    assert_eq!(named(mine()), r#"Decay::custom("mine")"#);
    assert_eq!(
        named(mine().per_step()),
        r#"Decay::custom("mine").per_step()"#
    );
    let ramp = TfRamp {
        factor: 0.1,
        max: 7.0,
        ..TfRamp::new(0.9)
    };
    assert!(named(ramp.into()).starts_with("Decay::TfRamp"));
    let constant = named(Decay::Constant(Constant { decay: 1.5 }));
    assert!(constant.starts_with("Decay::Constant"), "{constant}");
    assert!(!constant.contains("custom"), "{constant}");
    let copied = Decay::custom("yours", |_: Progress| 2.0).copy_first(0);
    assert_eq!(named(copied), r#"Decay::custom("yours").copy_first(0)"#);
}

/// A type of the user's that implements the trait, with a check of its own.
#[test]
fn schedule_of_the_users_own_is_checked_and_used() {
    let decay = |steps| Decay::custom("staircase", Staircase { steps });
    assert_eq!(profile(decay(1), 2).weights(), [0.375, 0.375, 0.25]);
    assert!(decay(0).validate().is_err());
    assert!(Schedule::default().profile(&decay(0), 2).is_err());
}

#[test]
fn decay_outside_its_range_is_not_hidden_by_modifications() {
    // Two of its decays are below 0, so that their product is not.
    let decay = Decay::custom("early", |at: Progress| {
        1.0 - 3.0 / (at.updates as f64 + 1.0)
    });
    let error = every(2).profile(&decay.per_step(), 1).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("decay must be in [0, 1]"), "{message}");
}
