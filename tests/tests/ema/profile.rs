//! What schedules amount to in numbers, against EMAs that were really updated.
//!
//! Closed forms of profiles are tested in burn-ema-rules.

use burn::config::{Config, config_to_json};
use burn_ema::decay::Progress;
use burn_ema::{Decay, EmaConfig, EmaError, RulesError};
use burn_ema_tests::backend::device;
use burn_ema_tests::compare::numbers;
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::{assert_same, numbers_at, values};
use proptest::prelude::*;

use crate::arbitrary::{self, Staircase};

/// A configuration, and the number of updates.
fn run() -> impl Strategy<Value = (EmaConfig, u64)> {
    arbitrary::run().prop_map(|(decay, schedule, updates)| {
        let config = EmaConfig::new()
            .with_decay(decay)
            .with_start(schedule.start)
            .with_interval(schedule.interval);
        (config, updates)
    })
}

proptest! {
    #![proptest_config(arbitrary::config(512))]

    #[test]
    fn ema_is_the_sum_of_what_was_seen_by_weight(
        (config, updates) in run(),
        phase in 0.0..100.0_f32,
    ) {
        let profile = config.profile(updates).unwrap();
        let seen = |step: u64| 3.0 + (step as f32 * 1.7 + phase).sin();
        let model = |step| Weights::new(&[seen(step)], &device());
        let mut ema = config.init(&model(0));
        let steps = config.start + updates * config.interval;
        for step in 1..=steps {
            ema.update(&model(step)).unwrap();
        }
        prop_assert_eq!(ema.num_updates(), updates);
        prop_assert_eq!(profile.steps().last(), Some(steps));

        let expected: f64 = profile
            .steps()
            .zip(profile.weights())
            .map(|(step, weight)| weight * f64::from(seen(step)))
            .sum();
        let found = numbers(&ema.model().w.val())[0];
        // Each update rounds to f32 a few times; numbers are up to 4.
        let tolerance = 4.0 * f64::from(f32::EPSILON) * (updates + 1) as f64;
        prop_assert!((found - expected).abs() <= tolerance, "{found} and {expected}");
    }

    #[test]
    fn profile_of_a_configuration_is_that_of_its_schedules((config, updates) in run()) {
        let profile = config.schedule().profile(&config.decay, updates).unwrap();
        prop_assert_eq!(config.profile(updates).unwrap(), profile);
    }

    #[test]
    fn schedules_of_configurations_survive_json(decay in arbitrary::decay()) {
        let config = EmaConfig::new().with_decay(decay.clone());
        let json = config_to_json(&config);
        let loaded = EmaConfig::load_binary(json.as_bytes()).unwrap();
        prop_assert_eq!(config_to_json(&loaded), json.clone());
        if !json.contains("waves") {
            prop_assert_eq!(loaded.decay, decay);
        }
    }
}

#[test]
fn profile_that_is_too_long_is_an_error() {
    let error = EmaConfig::new().profile(u64::MAX).unwrap_err();
    assert_eq!(
        error.to_string(),
        "updates: a profile holds one weight per update, up to 100,000,000 (100 million) updates, found \
         18446744073709551615: ask for fewer updates"
    );
}

/// The profile says so before the run, and the update leaves everything as it is.
#[test]
fn decay_of_a_custom_schedule_outside_its_range_is_an_error() {
    for wrong in [1.5, -0.1, f64::NAN] {
        let decay = Decay::custom("mine", move |at: Progress| match at.updates {
            2 => wrong,
            _ => 0.5,
        });
        let config = EmaConfig::new().with_decay(decay);
        let expected = format!(
            "Decay::custom(\"mine\"): decay must be in [0, 1], found {wrong} at update 2 (counted from 0) with an \
             interval of 1: correct the schedule there"
        );
        assert!(config.profile(2).is_ok());
        assert_eq!(config.profile(3).unwrap_err().to_string(), expected);

        let mut ema = config.init(&Weights::new(&[0.0], &device()));
        let model = Weights::new(&[8.0], &device());
        for _ in 0..2 {
            ema.update(&model).unwrap();
        }
        let before = values(&ema);
        for _ in 0..2 {
            let error = ema.update(&model).unwrap_err();
            assert!(matches!(
                error,
                EmaError::Rules(RulesError::InvalidDecay { .. })
            ));
            assert_eq!(error.to_string(), expected);
        }
        assert_same(&values(&ema), &before);
        assert_eq!((ema.num_steps(), ema.num_updates()), (2, 2));
        // Halfway from 0 to 8, twice.
        assert_eq!(numbers_at(ema.model(), "w"), [6.0]);
    }
}

#[test]
fn custom_schedule_from_a_file_asks_for_itself() {
    let config = EmaConfig::new().with_decay(Decay::custom("mine", |_: Progress| 0.9));
    let loaded = EmaConfig::load_binary(config_to_json(&config).as_bytes()).unwrap();
    let model = Weights::new(&[1.0], &device());
    let message = loaded.try_init(&model).unwrap_err().to_string();
    assert!(
        message.contains("with_decay(Decay::custom(\"mine\", ..))"),
        "{message}"
    );
}

#[test]
fn schedule_of_the_users_own_is_checked_and_used() {
    let config =
        |steps| EmaConfig::new().with_decay(Decay::custom("staircase", Staircase { steps }));
    assert_eq!(
        config(1).profile(2).unwrap().weights(),
        [0.375, 0.375, 0.25]
    );
    let mut ema = config(1).init(&Weights::new(&[4.0], &device()));
    for x in [8.0, 16.0] {
        ema.update(&Weights::new(&[x], &device())).unwrap();
    }
    // 0.375 * 4 + 0.375 * 8 + 0.25 * 16.
    assert_eq!(numbers_at(ema.model(), "w"), [8.5]);

    let model = Weights::new(&[1.0], &device());
    let message = config(0).try_init(&model).unwrap_err().to_string();
    assert_eq!(message, "decay: a staircase with steps of 0");
}
