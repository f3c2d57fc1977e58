//! What decay schedules accept, what they say otherwise, and how they are stored.

use burn_ema_rules::RulesError;
use burn_ema_rules::decay::{
    Annealing, Clock, Constant, CosineWarmup, Decay, DecaySchedule, Ends, EqualWeights,
    ExponentialWarmup, HalfLife, ImageRampUp, LinearWarmup, PowerFunction, PowerLaw, PowerWarmup,
    Progress, RestartedMean, TfRamp, Ticks, Weight,
};
use burn_ema_rules::schedule::Schedule;
use proptest::prelude::*;

use crate::arbitrary;

fn message(result: Result<Decay, RulesError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn constant_takes_the_share_of_the_old_ema() {
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
        "Decay::constant: decay must be in [0.5, 1], found 0.125: decay is the share of the *old* EMA; if 0.125 is \
         the share of the new weights (momentum, tau), write Decay::weight(0.125), which is decay 0.875"
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
fn power_warmup_with_a_power_of_zero_is_an_error() {
    let _ = Decay::power_warmup(0.0);
}

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
    for decay in [
        Decay::Constant(Constant { decay: -0.001 }),
        Decay::Constant(Constant { decay: 1.001 }),
        Decay::Weight(Weight { weight: 7.0 }),
        Decay::HalfLife(HalfLife { steps: 0.0 }),
        warmup(0.0, 0.9999),
        warmup(1.0, 1.1),
    ] {
        let refused = Schedule::default().profile(&decay, 1);
        assert!(
            matches!(refused, Err(RulesError::InvalidDecay { .. })),
            "{decay:?}"
        );
    }
}

/// As presets of frameworks set it; a warning is logged.
#[test]
fn fields_hold_each_share_and_constructors_panic_at_what_is_probably_a_weight() {
    for decay in [0.0, 0.001, 0.3] {
        let constant = Decay::Constant(Constant { decay });
        constant.validate().unwrap();
        assert!(Decay::try_constant(decay).is_err());
        let clock = Clock::default();
        let ramp = TfRamp {
            max: decay,
            ..TfRamp::new(0.9)
        };
        let exponential = ExponentialWarmup {
            max: decay,
            tau: 1.0,
            clock,
        };
        for schedule in [Decay::from(ramp), exponential.into()] {
            schedule.validate().unwrap();
        }
    }
}

#[test]
fn tau_is_the_weight() {
    assert_eq!(Decay::tau(0.005), Decay::weight(0.005));
}

/// Every schedule as files hold it, also without what has a default.
#[test]
fn stored_schedules_load() {
    let json = include_str!("schedules-0.1.json");
    let schedules: Vec<Decay> = serde_json::from_str(json).unwrap();
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
        CosineWarmup {
            ends: Ends::First,
            ..CosineWarmup::new(0.996, 1.0, 100)
        }
        .into(),
        ImageRampUp::from_kimg(10.0, Some(0.05), 32).into(),
        Annealing::new(0.0002, 100.0).into(),
        EqualWeights { prior: 1 }.into(),
        PowerFunction { gamma: 16.97 }.into(),
        RestartedMean {
            window: 500,
            every: 5000,
        }
        .into(),
        PowerLaw {
            rho: 10.0,
            ..PowerLaw::new(0.5)
        }
        .into(),
        Decay::constant(0.999).per_step(),
        Decay::weight(0.1).per_step().debiased(),
        Decay::constant(0.9).copy_first(2),
    ];
    assert_eq!(schedules, expected);
    for schedule in schedules {
        schedule.validate().unwrap();
    }
}

#[test]
fn file_may_leave_out_what_has_a_default_and_nothing_else() {
    let ramp: Decay = serde_json::from_str(r#"{ "TfRamp": { "max": 0.999 } }"#).unwrap();
    assert_eq!(ramp, TfRamp::new(0.999).into());
    for misspelled in [
        r#"{ "TfRamp": {} }"#,
        r#"{ "TfRamp": { "max": 0.999, "facter": 25.0 } }"#,
        r#"{ "ImageRampUp": { "half_life_images": 1e4, "rampup": 0.05, "batch_size": 32 } }"#,
        r#"{ "ImageRampUp": { "half_life": 1e4, "ramp_up": 0.05, "batch_size": 32 } }"#,
        r#"{ "CopyFirst": { "updates": 1, "rule": { "Constant": { "decay": 0.9 } } } }"#,
    ] {
        assert!(
            serde_json::from_str::<Decay>(misspelled).is_err(),
            "{misspelled}"
        );
    }
}

/// A schedule whose fields were set, or read from a file, without a constructor.
#[test]
fn each_schedule_says_what_is_wrong_with_it() {
    let clock = Clock::default();
    let ramp = |max, min, factor| {
        Decay::from(TfRamp {
            max,
            min,
            factor,
            clock,
        })
    };
    let images = |half_life_images, ramp_up, batch_size| -> Decay {
        ImageRampUp {
            half_life_images,
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
            ends: Ends::First,
            clock,
        })
    };
    let cosine = |from, to| {
        Decay::from(CosineWarmup {
            from,
            to,
            updates: 5,
            ends: Ends::First,
            clock,
        })
    };
    for (schedule, expected) in [
        (
            ramp(1.3, 0.0, 10.0),
            "TfRamp: max must be in [0, 1], found 1.3",
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
            exponential(-0.0001, 10.0),
            "ExponentialWarmup: max must be in [0, 1], found -0.0001",
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
            cosine(-0.1, 0.9),
            "CosineWarmup: from must be in [0, 1], found -0.1",
        ),
        (
            cosine(0.1, 1.4),
            "CosineWarmup: to must be in [0, 1], found 1.4",
        ),
        (
            images(Some(f64::NAN), None, 32),
            "ImageRampUp: half_life_images must be finite and above 0, found NaN",
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
            "PowerFunction: gamma must be finite and above -1, found -1",
        ),
        (
            RestartedMean {
                window: 4,
                every: 3,
            }
            .into(),
            "RestartedMean: window must be in [1, every], found 4",
        ),
        (
            RestartedMean {
                window: 0,
                every: 3,
            }
            .into(),
            "RestartedMean: window must be in [1, every], found 0",
        ),
        (
            PowerLaw {
                rho: 0.0,
                ..PowerLaw::new(0.5)
            }
            .into(),
            "PowerLaw: rho must be finite and above 0, found 0",
        ),
        (
            PowerLaw::new(-0.5).into(),
            "PowerLaw: power must be finite and above 0, found -0.5",
        ),
    ] {
        // Also in what changes a schedule.
        for schedule in [
            schedule.clone(),
            schedule.clone().per_step(),
            schedule.clone().debiased(),
            schedule.copy_first(1),
        ] {
            let message = schedule.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}

#[test]
fn constructors_of_schedules_check_their_numbers() {
    let refused: [fn() -> Decay; 16] = [
        || Decay::half_life_share(0.0),
        || Decay::constant_for_batch(0.01, 32, 64),
        || Decay::constant_for_batch(0.99, 0, 64),
        || Decay::constant_for_batch(0.99, 32, 0),
        || PowerWarmup::new(-1.0).into(),
        || PowerWarmup::new(1.0).with_max(0.3).into(),
        || TfRamp::new(0.1).into(),
        || ExponentialWarmup::new(0.999, -1.0).into(),
        || LinearWarmup::new(0.5, 2.0, 10).into(),
        || CosineWarmup::new(0.5, 2.0, 10).into(),
        || Decay::one_minus_power(0.0),
        || ExponentialWarmup::new(0.1, 10.0).into(),
        || ImageRampUp::from_kimg(0.0, None, 32).into(),
        || ImageRampUp::from_images(0.0, None, 32).into(),
        || Annealing::new(0.0, 10.0).into(),
        || Decay::half_life_images(1000.0, 0),
    ];
    for constructor in refused {
        assert!(std::panic::catch_unwind(constructor).is_err());
    }
}

/// The error of what a constructor refuses says what to write.
#[test]
fn constructors_recognize_a_weight() {
    let constructors: [fn(); 3] = [
        || _ = TfRamp::new(0.125),
        || _ = ExponentialWarmup::new(0.125, 10.0),
        || _ = PowerWarmup::new(1.0).with_max(0.125),
    ];
    for constructor in constructors {
        let panic = std::panic::catch_unwind(constructor).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(
            message.contains("write Decay::weight(0.125), which is decay 0.875"),
            "{message}"
        );
    }
}

#[test]
fn image_ramp_up_says_its_unit() {
    let (kimg, images) = (
        ImageRampUp::from_kimg(10.0, Some(0.05), 32),
        ImageRampUp::from_images(10_000.0, Some(0.05), 32),
    );
    assert_eq!(kimg, images);
    assert_eq!(kimg.half_life_images, Some(10_000.0));
}

/// A schedule that was not checked gives a number, and does not panic.
#[test]
fn schedule_with_bounds_that_cross_gives_the_upper_one() {
    let at = Progress {
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

/// A bound below 0.5, which constructors take for a mistake.
#[test]
fn stored_warm_up_with_a_low_bound_loads() {
    let json = r#"{ "PowerWarmup": { "power": 0.75, "inv_gamma": 1.0, "min": 0.0, "max": 0.4 } }"#;
    let decay: Decay = serde_json::from_str(json).unwrap();
    decay.validate().unwrap();
    let at = Progress {
        updates: 1000,
        interval: 1,
    };
    assert_eq!(decay.decay(at), 0.4);
}

#[test]
fn custom_schedule_from_a_file_asks_for_itself() {
    let decay = Decay::custom("mine", |_: Progress| 0.9);
    let json = serde_json::to_string(&decay).unwrap();
    assert_eq!(json, r#"{"Custom":{"name":"mine"}}"#);
    let loaded: Decay = serde_json::from_str(&json).unwrap();
    let message = loaded.validate().unwrap_err().to_string();
    assert!(
        message.contains("with_decay(Decay::custom(\"mine\", ..))"),
        "{message}"
    );
    let first = Progress {
        updates: 0,
        interval: 1,
    };
    assert!(loaded.try_decay(first).is_err());
}

#[test]
fn progress_and_clock_come_back_from_json() {
    let at = Progress {
        updates: u64::MAX,
        interval: 3,
    };
    let json = serde_json::to_string(&at).unwrap();
    assert_eq!(serde_json::from_str::<Progress>(&json).unwrap(), at);
    let clock: Clock = serde_json::from_str(r#"{ "ticks": "Steps" }"#).unwrap();
    assert_eq!(clock.ticks, Ticks::Steps);
    let mut seen = std::collections::HashSet::from([(at, clock)]);
    assert!(!seen.insert((at, clock)));
}

proptest! {
    #![proptest_config(arbitrary::config(512))]

    #[test]
    fn schedules_survive_json(decay in arbitrary::decay()) {
        let json = serde_json::to_string(&decay).unwrap();
        let loaded: Decay = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(serde_json::to_string(&loaded).unwrap(), json.clone());
        if !json.contains("waves") {
            prop_assert_eq!(loaded, decay);
        }
    }

    /// Any bits, as a parser that rounds would not give them back.
    #[test]
    fn numbers_come_back_from_json_bit_for_bit(bits in any::<u64>()) {
        let steps = f64::from_bits(bits);
        prop_assume!(steps.is_finite());
        let decay = Decay::HalfLife(HalfLife { steps });
        let json = serde_json::to_string(&decay).unwrap();
        let Decay::HalfLife(loaded) = serde_json::from_str(&json).unwrap() else {
            panic!("{json}");
        };
        prop_assert_eq!(loaded.steps.to_bits(), bits);
    }
}
