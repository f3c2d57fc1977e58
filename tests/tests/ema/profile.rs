//! What rules mean in numbers, against averages that were really taken, and against closed forms.

use burn::config::{Config, config_to_json};
use burn_ema::{
    Annealing, Clock, Constant, Decay, EmaConfig, EqualWeights, ExponentialWarmup, ImageRampUp,
    LinearWarmup, Moment, PowerFunction, PowerWarmup, Profile, Rule, TfRamp, Ticks, Weight,
};
use burn_ema_tests::backend::device;
use burn_ema_tests::compare::numbers;
use burn_ema_tests::models::Weights;
use proptest::prelude::*;

fn clock() -> impl Strategy<Value = Clock> {
    (any::<bool>(), any::<bool>(), -8..8_i64).prop_map(|(steps, inclusive, offset)| Clock {
        ticks: if steps { Ticks::Steps } else { Ticks::Updates },
        inclusive,
        offset,
    })
}

fn simple_rule() -> impl Strategy<Value = Decay> {
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
                ..ImageRampUp::new(kimg, ramp_up, batch_size)
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
        (0.5..1.0).prop_map(|low: f64| Decay::custom("waves", move |at: Moment| {
            low + (1.0 - low) * (at.updates as f64).sin().abs()
        })),
    ]
}

/// Any rule, also with one or two modifications.
fn rule() -> impl Strategy<Value = Decay> {
    let modified = (simple_rule(), 0..4_u8, 0..4_u8, 0..4_u64);
    modified.prop_map(|(rule, first, second, copies)| {
        [first, second]
            .into_iter()
            .fold(rule, |rule, modification| match modification {
                1 => rule.per_step(),
                2 => rule.debiased(),
                3 => rule.copy_first(copies),
                _ => rule,
            })
    })
}

/// A rule with a schedule, and the number of averages.
fn run() -> impl Strategy<Value = (EmaConfig, u64)> {
    (rule(), 0..10_u64, 1..6_u64, 0..25_u64).prop_map(|(rule, start, interval, updates)| {
        let config = EmaConfig::new()
            .with_decay(rule)
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
    fn average_is_the_sum_of_what_was_seen_by_weight(
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
    fn weights_are_shares((config, updates) in run()) {
        let profile = config.profile(updates).unwrap();
        let weights = profile.weights();
        prop_assert_eq!(weights.len() as u64, updates + 1);
        prop_assert!(weights.iter().all(|weight| (0.0..=1.0).contains(weight)));
        let sum: f64 = weights.iter().sum();
        prop_assert!((sum - 1.0).abs() < 1e-14 * (updates + 1) as f64, "{sum}");

        let oldest = (updates * config.interval) as f64;
        prop_assert!((0.0..=oldest + 1e-9).contains(&profile.mean_age()));
        prop_assert!((0.0..=oldest + 1e-9).contains(&profile.half_life()));
        let window = profile.effective_window() / config.interval as f64;
        prop_assert!((1.0 - 1e-9..=(updates + 1) as f64 + 1e-9).contains(&window), "{window}");
    }

    /// The closed forms of rules agree with their decays, one by one.
    #[test]
    fn retained_is_the_product_of_decays(
        rule in rule(),
        interval in 1..6_u64,
        first in 0..20_u64,
        updates in 0..20_u64,
    ) {
        let at = |updates| Moment { updates, interval };
        let product: f64 = (first..first + updates).map(|n| rule.decay(at(n))).product();
        let retained = rule.retained(at(first), updates);
        prop_assert!((retained - product).abs() <= 1e-11, "{retained} and {product}");
    }

    /// With an average every few steps, a rule per step keeps what averages at each step would.
    #[test]
    fn window_of_a_rule_per_step_does_not_change_with_the_interval(
        rule in rule(),
        interval in 1..8_u64,
        updates in 0..10_u64,
    ) {
        let per_step = rule.clone().per_step();
        let at = Moment { updates, interval };
        let steps = updates * interval..(updates + 1) * interval;
        let each: f64 = steps
            .map(|updates| rule.decay(Moment { updates, interval: 1 }))
            .product();
        let found = per_step.decay(at);
        prop_assert!((found - each).abs() <= 1e-11, "{found} and {each}");
    }

    /// Zero-debias leaves out what was there before, and keeps the proportions of everything else.
    #[test]
    fn debiased_weights_are_those_of_the_rule_without_the_first((config, updates) in run()) {
        let plain = config.profile(updates).unwrap();
        let first = plain.weights()[0];
        prop_assume!(first < 0.999);
        let debiased = config.clone().with_decay(config.decay.clone().debiased());
        let debiased = debiased.profile(updates).unwrap();
        prop_assert!(debiased.weights()[0].abs() < 1e-12);
        for (debiased, plain) in debiased.weights().iter().zip(plain.weights()).skip(1) {
            let expected = plain / (1.0 - first);
            prop_assert!((debiased - expected).abs() < 1e-9, "{debiased} and {expected}");
        }
    }

    #[test]
    fn rules_survive_json(rule in rule()) {
        let config = EmaConfig::new().with_decay(rule.clone());
        let json = config_to_json(&config);
        let loaded = EmaConfig::load_binary(json.as_bytes()).unwrap();
        prop_assert_eq!(config_to_json(&loaded), json.clone());
        if !json.contains("waves") {
            prop_assert_eq!(loaded.decay, rule);
        }
    }
}

fn profile(decay: Decay, updates: u64) -> Profile {
    let config = EmaConfig::new().with_decay(decay);
    config.profile(updates).unwrap()
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    let close = (found - expected).abs() <= 1e-9 * expected.abs();
    assert!(close, "{found}, and not {expected}");
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
        let config = EmaConfig::new()
            .with_decay(Decay::half_life(1000.0))
            .with_interval(interval);
        let found = config.profile(100_000 / interval).unwrap().half_life();
        assert_near(found, 1000.0);
    }
}

#[test]
fn half_lives_of_epochs_and_images_are_in_steps() {
    let steps = |decay: Decay| match decay {
        Decay::HalfLife(rule) => rule.steps,
        other => panic!("{other:?}"),
    };
    assert_eq!(steps(Decay::half_life_epochs(2.5, 400)), 1000.0);
    assert_eq!(steps(Decay::half_life_images(64_000.0, 64)), 1000.0);
    assert_eq!(steps(Decay::half_life_kimg(10.0, 32)), 312.5);
}

#[test]
fn per_step_makes_the_window_the_same_where_per_update_stretches_it() {
    let half_life = |decay: Decay, interval| {
        let config = EmaConfig::new().with_decay(decay).with_interval(interval);
        config.profile(100_000 / interval).unwrap().half_life()
    };
    let constant = || Decay::constant(0.999);
    let each_step = half_life(constant(), 1);
    assert_near(half_life(constant().per_step(), 10), each_step);
    assert_near(half_life(constant(), 10), 10.0 * each_step);
    assert_eq!(
        constant().per_step().decay(Moment {
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
        let gamma = burn_ema::gamma_of_sigma_rel(sigma_rel).unwrap();
        for interval in [1, 10] {
            let config = EmaConfig::new()
                .with_decay(Decay::sigma_rel(sigma_rel))
                .with_interval(interval);
            let profile = config.profile(updates).unwrap();
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

/// An interval that no training reaches must not be counted out step by step.
#[test]
fn rules_per_step_come_to_an_end_at_any_interval() {
    let at = Moment {
        updates: 1,
        interval: u64::MAX,
    };
    let never = Decay::custom("never", |_: Moment| 1.0).per_step();
    assert_eq!(never.decay(at), 1.0);
    let warmup = Decay::power_warmup(0.75).per_step();
    assert_eq!(warmup.decay(at), 0.0);

    // Sampled products are close to counted ones.
    let rule = PowerWarmup::new(0.75);
    let from = Moment {
        updates: 1_000,
        interval: 1,
    };
    let counted: f64 = (0..100_000)
        .map(|n| {
            rule.decay(Moment {
                updates: 1_000 + n,
                interval: 1,
            })
            .ln()
        })
        .sum();
    let sampled = rule.retained(from, 100_000).ln();
    assert!(
        (sampled / counted - 1.0).abs() < 1e-4,
        "{sampled} and {counted}"
    );
}

#[test]
fn decay_of_a_custom_rule_that_is_none_is_an_error() {
    for wrong in [1.5, -0.1, f64::NAN] {
        let rule = Decay::custom("mine", move |at: Moment| match at.updates {
            2 => wrong,
            _ => 0.9,
        });
        let config = EmaConfig::new().with_decay(rule);
        assert!(config.profile(2).is_ok());
        let message = config.profile(3).unwrap_err().to_string();
        assert!(message.contains("decay must be in [0, 1]"), "{message}");
        assert!(message.contains("mine"), "{message}");
    }
}

#[test]
fn custom_rule_from_a_file_asks_for_itself() {
    let config = EmaConfig::new().with_decay(Decay::custom("mine", |_: Moment| 0.9));
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
fn rule_of_the_users_own_is_checked_and_used() {
    #[derive(Debug)]
    struct Staircase {
        steps: u64,
    }
    impl Rule for Staircase {
        fn decay(&self, at: Moment) -> f64 {
            1.0 - 0.5_f64.powi(1 + (at.updates / self.steps) as i32)
        }
        fn validate(&self) -> Result<(), burn_ema::EmaError> {
            match self.steps {
                0 => Err(burn_ema::EmaError::InvalidConfig {
                    field: "decay",
                    problem: "a staircase with steps of 0".into(),
                }),
                _ => Ok(()),
            }
        }
    }
    let config =
        |steps| EmaConfig::new().with_decay(Decay::custom("staircase", Staircase { steps }));
    let weights = config(1).profile(2).unwrap();
    assert_eq!(weights.weights(), [0.375, 0.375, 0.25]);
    assert!(config(0).validate().is_err());
}

#[test]
fn what_is_no_decay_is_not_hidden_by_what_changes_a_rule() {
    // Two of its decays are below 0, so that their product is not.
    let rule = Decay::custom("early", |at: Moment| 1.0 - 3.0 / (at.updates as f64 + 1.0));
    let config = EmaConfig::new()
        .with_decay(rule.per_step())
        .with_interval(2);
    let message = config.profile(1).unwrap_err().to_string();
    assert!(message.contains("decay must be in [0, 1]"), "{message}");
}
