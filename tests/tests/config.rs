//! Configurations: what they accept, what they say otherwise, and how they are stored.

use burn::config::{Config, config_to_json};
use burn::module::ParamGroup;
use burn_ema::{
    Action, Constant, Decay, EmaConfig, EmaError, HalfLife, NonFinite, PlainRecord, Policy,
    PowerWarmup, ShadowDType, Weight,
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
    let json = include_str!("data/config-0.1.json");
    let config = EmaConfig::load_binary(json.as_bytes()).unwrap();
    assert_eq!(config.decay, Decay::half_life(2000.0));
    assert_eq!((config.start, config.interval), (500, 10));
    assert_eq!(config.policy.trainable, Action::Average);
    assert_eq!(config.policy.overrides.len(), 1);
    assert_eq!(config.shadow_dtype, ShadowDType::Wide);
    assert_eq!(config.non_finite, NonFinite::Skip);
    assert_eq!(config.plain_record, PlainRecord::Refuse);
}
