//! Configurations: what they accept, what they say otherwise, and how they are stored.

use burn::config::{Config, config_to_json};
use burn::module::ParamGroup;
use burn_ema::{
    Action, Annealing, Clock, Constant, Decay, EmaConfig, EmaError, EqualWeights,
    ExponentialWarmup, HalfLife, ImageRampUp, LinearWarmup, Moment, NonFinite, PlainRecord, Policy,
    PowerFunction, PowerWarmup, Rule, ShadowDType, TfRamp, Ticks, Weight,
};
use burn_ema_tests::backend::device;
use burn_ema_tests::models::Weights;

fn message(result: Result<Decay, EmaError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn constant_takes_the_share_of_the_old_average() {
    for decay in [0.5, 0.9, 0.999, 1.0] {
        assert!(Decay::try_constant(decay).is_ok());
    }
    for decay in [-0.1, 1.000001, f64::NAN, f64::INFINITY] {
        let message = message(Decay::try_constant(decay));
        let expected = format!("Decay::constant: decay must be in [0.5, 1], found {decay}");
        assert_eq!(message, expected);
    }
}

#[test]
fn constant_recognizes_a_weight() {
    assert_eq!(
        message(Decay::try_constant(0.125)),
        "Decay::constant: decay must be in [0.5, 1], found 0.125. Decay is the share of the *old* \
         average. If 0.125 is the share of the new value (momentum, tau), write \
         Decay::weight(0.125), which is decay 0.875"
    );
}

#[test]
fn weight_and_half_life_say_their_range() {
    for weight in [-0.001, 1.5, f64::NAN] {
        let expected = format!("Decay::weight: weight must be in [0, 1], found {weight}");
        assert_eq!(message(Decay::try_weight(weight)), expected);
    }
    for steps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let expected = format!("Decay::half_life: steps must be finite and above 0, found {steps}");
        assert_eq!(message(Decay::try_half_life(steps)), expected);
    }
}

#[test]
#[should_panic(expected = "PowerWarmup: min must be in [0, max], found 0.95")]
fn power_warmup_refuses_bounds_that_cross() {
    let _ = PowerWarmup::new(1.0).with_max(0.9).with_min(0.95);
}

#[test]
#[should_panic(expected = "PowerWarmup: power must be finite and above 0, found 0")]
fn power_warmup_refuses_a_power_of_zero() {
    let _ = Decay::power_warmup(0.0);
}

/// A rule whose fields were set, or read from a file, without a constructor.
#[test]
fn rules_are_checked_where_they_are_used() {
    let warmup = |inv_gamma: f64, max: f64| {
        Decay::PowerWarmup(PowerWarmup {
            inv_gamma,
            max,
            ..PowerWarmup::new(1.0)
        })
    };
    for decay in [
        Decay::Constant(Constant { decay: 0.001 }),
        Decay::Weight(Weight { weight: 7.0 }),
        Decay::HalfLife(HalfLife { steps: 0.0 }),
        warmup(0.0, 0.9999),
        warmup(1.0, 1.1),
    ] {
        let config = EmaConfig::new().with_decay(decay.clone());
        let refused = config.try_init(&Weights::new(&[1.0], &device()));
        assert!(
            matches!(refused, Err(EmaError::InvalidDecay { .. })),
            "{decay:?}"
        );
    }
}

#[test]
fn every_field_survives_json() {
    let config = EmaConfig::new()
        .with_decay(PowerWarmup::new(0.75).with_max(0.9995).into())
        .with_start(7)
        .with_interval(3)
        .with_policy(
            Policy::new()
                .with_non_trainable(Action::Average)
                .with_override(ParamGroup::from_regex(r"^head\.").unwrap(), Action::Ignore),
        )
        .with_shadow_dtype(ShadowDType::Source)
        .with_non_finite(NonFinite::Error)
        .with_plain_record(PlainRecord::StartFrom);
    let json = config_to_json(&config);
    let loaded = EmaConfig::load_binary(json.as_bytes()).unwrap();
    assert_eq!(config_to_json(&loaded), json);
    assert_eq!(loaded.decay, config.decay);
    assert_eq!((loaded.start, loaded.interval), (7, 3));
    assert_eq!(loaded.policy.non_trainable, Action::Average);
    assert_eq!(loaded.policy.overrides[0].action, Action::Ignore);
    assert_eq!(loaded.non_finite, NonFinite::Error);
}

#[test]
fn every_rule_survives_json() {
    for decay in [
        Decay::constant(0.9),
        Decay::weight(0.1),
        Decay::half_life(1000.0),
        Decay::power_warmup(2.0 / 3.0),
    ] {
        let config = EmaConfig::new().with_decay(decay.clone());
        let loaded = EmaConfig::load_binary(config_to_json(&config).as_bytes()).unwrap();
        assert_eq!(loaded.decay, decay);
    }
}

/// What a file of this version looks like. It has to load for good.
#[test]
fn stored_configuration_loads() {
    let json = include_str!("../data/config-0.1.json");
    let config = EmaConfig::load_binary(json.as_bytes()).unwrap();
    assert_eq!(config.decay, Decay::half_life(2000.0));
    assert_eq!((config.start, config.interval), (500, 10));
    assert_eq!(config.policy.trainable, Action::Average);
    assert_eq!(config.policy.overrides.len(), 1);
    assert_eq!(config.shadow_dtype, ShadowDType::Wide);
    assert_eq!(config.non_finite, NonFinite::Skip);
    assert_eq!(config.plain_record, PlainRecord::Refuse);
}

/// Every rule as files hold it, also without what was added later. They have to load for good.
#[test]
fn stored_rules_load() {
    let json = include_str!("../data/rules-0.1.json");
    let rules: Vec<Decay> = serde_json::from_str(json).unwrap();
    let counted_in_steps = Clock {
        ticks: Ticks::Steps,
        inclusive: true,
        offset: -100,
    };
    let counted_from_one = Clock {
        inclusive: true,
        ..Clock::default()
    };
    let warmup = PowerWarmup::new(0.75);
    let expected: Vec<Decay> = vec![
        Decay::constant(0.999),
        Decay::weight(0.001),
        Decay::half_life(1000.0),
        warmup.into(),
        warmup
            .with_inv_gamma(2.0)
            .with_max(0.999)
            .with_min(0.1)
            .with_clock(counted_in_steps)
            .into(),
        TfRamp::new(0.999).into(),
        TfRamp {
            min: 0.1,
            factor: 25.0,
            clock: counted_from_one,
            ..TfRamp::new(0.999)
        }
        .into(),
        ExponentialWarmup::new(0.9999, 2000.0).into(),
        LinearWarmup::new(0.9, 0.999, 100).into(),
        ImageRampUp::new(10.0, Some(0.05), 32).into(),
        Annealing::new(0.0002, 100.0).into(),
        EqualWeights { prior: 1 }.into(),
        PowerFunction { gamma: 16.97 }.into(),
        Decay::constant(0.999).per_step(),
        Decay::weight(0.1).per_step().debiased(),
        Decay::constant(0.9).copy_first(2),
    ];
    assert_eq!(rules, expected);
    for rule in rules {
        rule.validate().unwrap();
    }
}

#[test]
fn file_may_leave_out_what_has_a_default_and_nothing_else() {
    let config = EmaConfig::load_binary(b"{}").unwrap();
    assert_eq!(config_to_json(&config), config_to_json(&EmaConfig::new()));
    let config = EmaConfig::load_binary(br#"{ "interval": 7, "policy": {} }"#).unwrap();
    assert_eq!((config.start, config.interval), (0, 7));
    for misspelled in [
        r#"{ "intervall": 7 }"#,
        r#"{ "policy": { "buffer": "Average" } }"#,
        r#"{ "decay": { "TfRamp": {} } }"#,
        r#"{ "decay": { "TfRamp": { "max": 0.999, "facter": 25.0 } } }"#,
        r#"{ "decay": { "ImageRampUp": { "half_life": 1e4, "rampup": 0.05, "batch_size": 32 } } }"#,
        r#"{ "switch": { "every": 500, "kep": 0.5 } }"#,
    ] {
        assert!(
            EmaConfig::load_binary(misspelled.as_bytes()).is_err(),
            "{misspelled}"
        );
    }
}

/// A rule whose fields were set, or read from a file, without a constructor.
#[test]
fn each_rule_says_what_is_wrong_with_it() {
    let clock = Clock::default();
    let ramp = |max, min, factor| {
        Decay::from(TfRamp {
            max,
            min,
            factor,
            clock,
        })
    };
    let images = |half_life, ramp_up, batch_size| -> Decay {
        ImageRampUp {
            half_life,
            ramp_up,
            batch_size,
            clock,
        }
        .into()
    };
    let exponential = |max, tau| Decay::from(ExponentialWarmup { max, tau, clock });
    let annealing = |weight, gamma| {
        Decay::from(Annealing {
            weight,
            gamma,
            clock,
        })
    };
    let line = |from, to| {
        Decay::from(LinearWarmup {
            from,
            to,
            updates: 5,
            clock,
        })
    };
    for (rule, expected) in [
        (
            ramp(0.3, 0.0, 10.0),
            "TfRamp: max must be in [0.5, 1], found 0.3. Decay is the share",
        ),
        (
            ramp(0.9, 0.95, 10.0),
            "TfRamp: min must be in [0, max], found 0.95",
        ),
        (
            ramp(0.9, 0.0, 0.5),
            "TfRamp: factor must be finite and at least 1, found 0.5",
        ),
        (
            exponential(0.0001, 10.0),
            "write Decay::weight(0.0001), which is decay 0.9999",
        ),
        (
            exponential(0.999, 0.0),
            "ExponentialWarmup: tau must be finite and above 0, found 0",
        ),
        (
            line(-0.1, 0.9),
            "LinearWarmup: from must be in [0, 1], found -0.1",
        ),
        (
            line(0.1, 1.4),
            "LinearWarmup: to must be in [0, 1], found 1.4",
        ),
        (
            images(Some(f64::NAN), None, 32),
            "ImageRampUp: half_life must be finite and above 0, found NaN",
        ),
        (
            images(Some(1.0), Some(0.0), 32),
            "ImageRampUp: ramp_up must be finite and above 0, found 0",
        ),
        (
            images(Some(1.0), None, 0),
            "ImageRampUp: batch_size must be finite and above 0, found 0",
        ),
        (
            annealing(1.0, 10.0),
            "Annealing: weight must be above 0 and below 1, found 1",
        ),
        (
            annealing(0.1, -1.0),
            "Annealing: gamma must be finite and above 0, found -1",
        ),
        (
            PowerFunction { gamma: -1.0 }.into(),
            "PowerFunction: gamma must be finite and at least 0, found -1",
        ),
    ] {
        // Also in what changes a rule.
        for rule in [
            rule.clone(),
            rule.clone().per_step(),
            rule.clone().debiased(),
            rule.copy_first(1),
        ] {
            let config = EmaConfig::new().with_decay(rule);
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}

/// What `new` of a rule refuses is what a configuration refuses.
#[test]
fn constructors_of_rules_check_their_numbers() {
    let refused: [fn() -> Decay; 8] = [
        || PowerWarmup::new(-1.0).into(),
        || PowerWarmup::new(1.0).with_max(0.3).into(),
        || TfRamp::new(0.1).into(),
        || ExponentialWarmup::new(0.999, -1.0).into(),
        || LinearWarmup::new(0.5, 2.0, 10).into(),
        || ImageRampUp::new(0.0, None, 32).into(),
        || Annealing::new(0.0, 10.0).into(),
        || Decay::half_life_images(1000.0, 0),
    ];
    for constructor in refused {
        assert!(std::panic::catch_unwind(constructor).is_err());
    }
}

/// A rule that nobody has checked gives a number, and does not panic.
#[test]
fn rule_with_bounds_that_cross_gives_the_upper_one() {
    let at = Moment {
        updates: 100,
        interval: 1,
    };
    let (min, max, clock) = (0.9, 0.5, Clock::default());
    let ramp = TfRamp {
        min,
        max,
        factor: 10.0,
        clock,
    };
    let warmup = PowerWarmup {
        power: 1.0,
        inv_gamma: 1.0,
        min,
        max,
        clock,
    };
    assert_eq!([ramp.decay(at), warmup.decay(at)], [0.5, 0.5]);
}

/// What was valid once: a bound below 0.5, which constructors take for a mistake.
#[test]
fn stored_warm_up_with_a_low_bound_loads() {
    let json = r#"{ "decay": { "PowerWarmup": { "power": 0.75, "inv_gamma": 1.0, "min": 0.0, "max": 0.4 } } }"#;
    let config = EmaConfig::load_binary(json.as_bytes()).unwrap();
    config.validate().unwrap();
    let at = Moment {
        updates: 1000,
        interval: 1,
    };
    assert_eq!(config.decay.decay(at), 0.4);
}
