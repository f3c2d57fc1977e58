//! Configurations: what they accept, what they say otherwise, and how they are stored.
//!
//! What decay schedules accept and say is tested in burn-ema-rules.

use burn::config::{Config, config_to_json};
use burn::module::ParamGroup;
use burn_ema::RulesError;
use burn_ema::config::{EmaPrecision, MissingEma, NonFinite};
use burn_ema::decay::{
    Clock, Constant, DecaySchedule, HalfLife, PowerWarmup, Progress, TfRamp, Weight,
};
use burn_ema::policy::{Action, BufferAction, DiscreteAction};
use burn_ema::write_back::WriteBack;
use burn_ema::{Decay, EmaConfig, EmaError, Policy};
use burn_ema_tests::backend::device;
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::numbers_at;

/// A schedule whose fields were set, or read from a file, without a constructor.
#[test]
fn schedules_are_checked_where_they_are_used() {
    let warmup = |inv_gamma: f64, max: f64| {
        Decay::PowerWarmup(PowerWarmup {
            inv_gamma,
            max,
            ..PowerWarmup::new(1.0)
        })
    };
    let ramp = TfRamp {
        max: 1.3,
        min: 0.0,
        factor: 10.0,
        clock: Clock::default(),
    };
    for (decay, expected) in [
        (
            Decay::Constant(Constant { decay: -0.001 }),
            "Constant: decay must be in [0, 1], found -0.001",
        ),
        (
            Decay::Constant(Constant { decay: 1.001 }),
            "Constant: decay must be in [0, 1], found 1.001",
        ),
        (
            Decay::Weight(Weight { weight: 7.0 }),
            "Decay::weight: weight must be in [0, 1], found 7",
        ),
        (
            Decay::HalfLife(HalfLife { steps: 0.0 }),
            "Decay::half_life: steps must be finite and above 0, found 0",
        ),
        (
            warmup(0.0, 0.9999),
            "PowerWarmup: inv_gamma must be finite and above 0, found 0",
        ),
        (
            warmup(1.0, 1.1),
            "PowerWarmup: max must be in [0, 1], found 1.1",
        ),
        (ramp.into(), "TfRamp: max must be in [0, 1], found 1.3"),
    ] {
        // Also in what changes a schedule.
        for decay in [
            decay.clone(),
            decay.clone().per_step(),
            decay.clone().debiased(),
            decay.copy_first(1),
        ] {
            let config = EmaConfig::new().with_decay(decay);
            let model = Weights::new(&[1.0], &device());
            for error in [
                config.validate().unwrap_err(),
                config.profile(1).unwrap_err(),
                config.plan(&model).unwrap_err(),
                config.try_init(&model).unwrap_err(),
                config.try_init_on(&model, &device()).unwrap_err(),
            ] {
                let is_decay = matches!(error, EmaError::Rules(RulesError::InvalidDecay { .. }));
                assert!(is_decay, "{error:?}");
                assert!(error.to_string().contains(expected), "{error}");
            }
        }
    }
}

/// `Decay::constant` takes it for a weight. In a file, or from a preset, it is what it says.
#[test]
fn small_decay_that_is_no_mistake_is_used() {
    let config = EmaConfig::load_binary(br#"{ "decay": { "Constant": { "decay": 0.25 } } }"#);
    let mut ema = config.unwrap().init(&Weights::new(&[4.0], &device()));
    ema.update(&Weights::new(&[8.0], &device())).unwrap();
    // 0.25 * 4 + 0.75 * 8.
    assert_eq!(numbers_at(ema.model(), "w"), [7.0]);
}

/// No field has its default.
fn everything() -> EmaConfig {
    let group = |regex: &str| ParamGroup::from_regex(regex).unwrap();
    EmaConfig::new()
        .with_decay(Decay::half_life(2000.0))
        .with_start(500)
        .with_interval(10)
        .with_policy(
            Policy::new()
                .with_trainable(Action::Copy)
                .with_frozen(Action::Average)
                .with_buffers(BufferAction::Reestimate)
                .with_discrete(DiscreteAction::Ignore)
                .with_override(group(r"^body\."), Action::Average)
                .with_override(group(r"^head\."), Action::Ignore),
        )
        .with_precision(EmaPrecision::SameAsModel)
        .with_non_finite(NonFinite::Skip)
        .with_missing_ema(MissingEma::StartFromWeights)
        .with_write_back(WriteBack {
            every: 1000,
            start: 1500,
            keep: 0.25,
        })
}

#[track_caller]
fn assert_is_everything(config: &EmaConfig) {
    assert_eq!(config.decay, Decay::half_life(2000.0));
    assert_eq!((config.start, config.interval), (500, 10));
    let policy = &config.policy;
    assert_eq!(policy.trainable, Action::Copy);
    assert_eq!(policy.frozen, Action::Average);
    assert_eq!(policy.buffers, BufferAction::Reestimate);
    assert_eq!(policy.discrete, DiscreteAction::Ignore);
    let actions = policy.overrides.iter().map(|exception| exception.action);
    assert_eq!(
        actions.collect::<Vec<_>>(),
        [Action::Average, Action::Ignore]
    );
    assert_eq!(config.precision, EmaPrecision::SameAsModel);
    assert_eq!(config.non_finite, NonFinite::Skip);
    assert_eq!(config.missing_ema, MissingEma::StartFromWeights);
    let write_back = config.write_back.unwrap();
    assert_eq!((write_back.every, write_back.start), (1000, 1500));
    assert_eq!(write_back.keep, 0.25);
    config.validate().unwrap();

    // An update every 10 steps halves what is 2000 steps old.
    let at = Progress {
        updates: 3,
        interval: 10,
    };
    assert!((config.decay.decay(at) - 0.5_f64.powf(10.0 / 2000.0)).abs() < 1e-15);
    assert!((config.profile(20_000).unwrap().half_life() - 2000.0).abs() < 1e-6);
}

#[test]
fn every_field_survives_json() {
    let config = everything();
    assert_is_everything(&config);
    let json = config_to_json(&config);
    let loaded = EmaConfig::load_binary(json.as_bytes()).unwrap();
    assert_eq!(config_to_json(&loaded), json);
    assert_is_everything(&loaded);
}

/// What a file of version 0.1 looks like. Later versions must load it.
#[test]
fn stored_configuration_loads() {
    let json = include_str!("../data/config-0.1.json");
    let config = EmaConfig::load_binary(json.as_bytes()).unwrap();
    assert_is_everything(&config);
    assert_eq!(config_to_json(&config), config_to_json(&everything()));
}

#[test]
fn file_may_leave_out_what_has_a_default_and_nothing_else() {
    let config = EmaConfig::load_binary(b"{}").unwrap();
    assert_eq!(config_to_json(&config), config_to_json(&EmaConfig::new()));
    let config = EmaConfig::load_binary(br#"{ "interval": 7, "policy": {} }"#).unwrap();
    assert_eq!((config.start, config.interval), (0, 7));
    assert_eq!(config.policy.buffers, BufferAction::Average);
    let config = EmaConfig::load_binary(br#"{ "write_back": { "every": 500 } }"#).unwrap();
    assert_eq!(config.write_back, Some(WriteBack::every(500)));
    for (misspelled, unknown) in [
        (r#"{ "intervall": 7 }"#, "intervall"),
        (r#"{ "policy": { "buffer": "Average" } }"#, "buffer"),
        (
            r#"{ "decay": { "TfRamp": { "max": 0.999, "facter": 25.0 } } }"#,
            "facter",
        ),
        (
            r#"{ "decay": { "ImageRampUp": { "half_life_images": 1e4, "rampup": 0.05, "batch_size": 32 } } }"#,
            "rampup",
        ),
        (r#"{ "write_back": { "every": 500, "kep": 0.5 } }"#, "kep"),
        // Names of before version 0.1.
        (
            r#"{ "policy": { "non_trainable": "Copy" } }"#,
            "non_trainable",
        ),
        (r#"{ "shadow_dtype": "Wide" }"#, "shadow_dtype"),
        (r#"{ "plain_record": "Refuse" }"#, "plain_record"),
        (r#"{ "switch": { "every": 500 } }"#, "switch"),
    ] {
        let error = EmaConfig::load_binary(misspelled.as_bytes()).unwrap_err();
        let message = error.to_string();
        let expected = format!("unknown field `{unknown}`, expected ");
        assert!(message.contains(&expected), "{message}");
    }
    assert!(EmaConfig::load_binary(br#"{ "decay": { "TfRamp": {} } }"#).is_err());
    assert!(EmaConfig::load_binary(br#"{ "write_back": { "keep": 0.5 } }"#).is_err());
}

/// A bound below 0.5, which constructors take for a mistake.
#[test]
fn stored_warm_up_with_a_low_bound_loads() {
    let json = r#"{ "decay": { "PowerWarmup": { "power": 0.75, "inv_gamma": 1.0, "min": 0.0, "max": 0.4 } } }"#;
    let config = EmaConfig::load_binary(json.as_bytes()).unwrap();
    config.validate().unwrap();
    let at = Progress {
        updates: 1000,
        interval: 1,
    };
    assert_eq!(config.decay.decay(at), 0.4);
}
