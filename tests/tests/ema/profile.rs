//! What schedules amount to in numbers, against EMAs that were really updated.
//!
//! Closed forms of profiles are tested in burn-ema-rules.

use burn::config::{Config, config_to_json};
use burn_ema::decay::{
    Annealing, Clock, Constant, DecaySchedule, EqualWeights, ExponentialWarmup, ImageRampUp,
    LinearWarmup, PowerFunction, PowerWarmup, Progress, TfRamp, Ticks, Weight,
};
use burn_ema::{Decay, EmaConfig, EmaError, RulesError};
use burn_ema_tests::backend::device;
use burn_ema_tests::compare::numbers;
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::{assert_same, numbers_at, values};
use proptest::prelude::*;

fn clock() -> impl Strategy<Value = Clock> {
    (any::<bool>(), any::<bool>(), -8..8_i64).prop_map(|(steps, inclusive, offset)| Clock {
        ticks: if steps { Ticks::Steps } else { Ticks::Updates },
        inclusive,
        offset,
    })
}

fn simple_decay() -> impl Strategy<Value = Decay> {
    prop_oneof![
        (0.5..=1.0).prop_map(|decay| Decay::Constant(Constant { decay })),
        (0.0..0.5).prop_map(|weight| Decay::Weight(Weight { weight })),
        (0.1..100.0).prop_map(Decay::half_life),
        (0.1..2.0, 0.1..20.0, 0.0..0.5, 0.5..=1.0, clock()).prop_map(
            |(power, inv_gamma, min, max, clock)| PowerWarmup {
                power,
                inv_gamma,
                min,
                max,
                clock
            }
            .into()
        ),
        (0.5..=1.0, 1.0..30.0, clock()).prop_map(|(max, factor, clock)| TfRamp {
            max,
            min: 0.0,
            factor,
            clock
        }
        .into()),
        (0.5..=1.0, 0.1..50.0, clock()).prop_map(|(max, tau, clock)| ExponentialWarmup {
            max,
            tau,
            clock
        }
        .into()),
        (0.0..=1.0, 0.5..=1.0, 0..30_u64, clock()).prop_map(|(from, to, updates, clock)| {
            LinearWarmup {
                from,
                to,
                updates,
                clock,
            }
            .into()
        }),
        (
            0.01..5.0,
            proptest::option::of(0.01..1.0),
            1..200_u64,
            clock()
        )
            .prop_map(|(kimg, ramp_up, batch_size, clock)| ImageRampUp {
                clock,
                ..ImageRampUp::from_kimg(kimg, ramp_up, batch_size)
            }
            .into()),
        (0.001..0.5, 0.1..50.0, clock()).prop_map(|(weight, gamma, clock)| Annealing {
            weight,
            gamma,
            clock
        }
        .into()),
        (0..5_u64).prop_map(|prior| EqualWeights { prior }.into()),
        (0.0..30.0).prop_map(|gamma| PowerFunction { gamma }.into()),
        (0.5..1.0).prop_map(|low: f64| Decay::custom("waves", move |at: Progress| {
            low + (1.0 - low) * (at.updates as f64).sin().abs()
        })),
    ]
}

/// Any decay schedule, also with one or two modifications.
fn decay() -> impl Strategy<Value = Decay> {
    let modified = (simple_decay(), 0..4_u8, 0..4_u8, 0..4_u64);
    modified.prop_map(|(decay, first, second, copies)| {
        [first, second]
            .into_iter()
            .fold(decay, |decay, modification| match modification {
                1 => decay.per_step(),
                2 => decay.debiased(),
                3 => decay.copy_first(copies),
                _ => decay,
            })
    })
}

/// A configuration, and the number of updates.
fn run() -> impl Strategy<Value = (EmaConfig, u64)> {
    (decay(), 0..10_u64, 1..6_u64, 0..25_u64).prop_map(|(decay, start, interval, updates)| {
        let config = EmaConfig::new()
            .with_decay(decay)
            .with_start(start)
            .with_interval(interval);
        (config, updates)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

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
    fn schedules_of_configurations_survive_json(decay in decay()) {
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

/// A type of the user's that implements the trait, with a check of its own.
#[test]
fn schedule_of_the_users_own_is_checked_and_used() {
    #[derive(Debug)]
    struct Staircase {
        steps: u64,
    }
    impl DecaySchedule for Staircase {
        fn decay(&self, at: Progress) -> f64 {
            1.0 - 0.5_f64.powi(1 + (at.updates / self.steps) as i32)
        }
        fn validate(&self) -> Result<(), RulesError> {
            match self.steps {
                0 => Err(RulesError::InvalidConfig {
                    field: "decay",
                    problem: "a staircase with steps of 0".into(),
                }),
                _ => Ok(()),
            }
        }
    }
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
