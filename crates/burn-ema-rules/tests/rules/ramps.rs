//! Ramps over a total, merges of windows, and what replaces the decay of the learning rate, on the numbers 1, 2, 4, 3, 5, 8,
//! 6, 7, 9: the first is the model before training, and each other the model after a step.
//!
//! The expected values follow from the sources of the frameworks that are named, to twelve digits.

use std::f64::consts::PI;

use burn_ema_rules::decay::{
    CosineWarmup, Decay, DecaySchedule, Ends, LinearWarmup, Progress, RestartedMean,
};
use burn_ema_rules::schedule::Schedule;

use crate::simulation::emas;

const INITIAL: f64 = 1.0;
const SEEN: [f64; 8] = [2.0, 4.0, 3.0, 5.0, 8.0, 6.0, 7.0, 9.0];

#[track_caller]
fn assert_emas(schedule: Schedule, decay: impl Into<Decay>, expected: [f64; 8]) {
    let found = emas(schedule, &decay.into(), INITIAL, &SEEN);
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() < 1e-11,
            "step {step}: {found}, and not {expected}"
        );
    }
}

/// OLMo-core's `ModelMergeCallback` with a window of 3 at steps 4 and 8: 4 and 22/3.
#[test]
fn restarted_mean_is_the_merge_of_olmo() {
    let mean = RestartedMean {
        window: 3,
        every: 4,
    };
    let expected = [1.0, 4.0, 3.5, 4.0, 4.0, 6.0, 6.5, 22.0 / 3.0];
    assert_emas(Schedule::default(), mean, expected);
}

/// Against the formulas over long runs, the end and all after it included.
#[test]
fn ramps_follow_their_formulas_and_stay_at_the_end() {
    let total = 1_000;
    for ends in [Ends::Both, Ends::First, Ends::Last] {
        let way = |k: f64, total: f64| match ends {
            Ends::Both => k / (total - 1.0),
            Ends::First => k / total,
            Ends::Last => (k + 1.0) / total,
        };
        let line = LinearWarmup {
            ends,
            ..LinearWarmup::new(0.996, 1.0, total)
        };
        let cosine = CosineWarmup {
            ends,
            ..CosineWarmup::new(0.996, 1.0, total)
        };
        for k in 0..total + 10 {
            let at = Progress {
                updates: k,
                interval: 1,
            };
            let way = way(k as f64, total as f64).min(1.0);
            let on_cosine = 1.0 - 0.004 * ((PI * way).cos() + 1.0) / 2.0;
            assert!(
                (line.decay(at) - (0.996 + 0.004 * way)).abs() < 1e-15,
                "{ends:?}, {k}"
            );
            assert!(
                (cosine.decay(at) - on_cosine).abs() < 1e-15,
                "{ends:?}, {k}"
            );
            if way == 1.0 {
                assert_eq!((line.decay(at), cosine.decay(at)), (1.0, 1.0));
            }
        }
    }
}

/// Merges of the first n of the numbers after a step, by the weights of Megatron-LM's `tools/checkpoint/weighted_merge.py`
/// with `minus-sqrt`.
#[test]
fn minus_sqrt_is_the_merge_of_everything_so_far() {
    let expected = [
        2.0,
        2.58578643763,
        2.66179604255,
        2.97505597362,
        3.50555342955,
        3.72289224146,
        3.96598776802,
        4.29111273678,
    ];
    assert_emas(Schedule::default(), Decay::minus_sqrt(), expected);
}

/// EDM2's `TraditionalEMA` without a cap.
#[test]
fn half_life_that_is_a_quarter_of_the_run() {
    let expected = [
        1.9375,
        3.484375,
        3.19222434614,
        4.09611217307,
        5.75780523756,
        5.84742686031,
        6.22437579463,
        7.03733730236,
    ];
    assert_emas(Schedule::default(), Decay::half_life_share(0.25), expected);
}

/// Late in a run, half of the weight is on that share of the steps before, at any interval.
#[test]
fn half_life_share_is_that_share_at_any_interval() {
    for interval in [1, 10, 100] {
        let decay = Decay::half_life_share(0.1);
        let at = Progress {
            updates: 10_000 / interval - 1,
            interval,
        };
        let expected = 0.5_f64.powf(interval as f64 / 1_000.0);
        assert!((decay.decay(at) - expected).abs() < 1e-15, "{interval}");
    }
}

/// Table of arXiv:2307.13813's rule: batch * 8 and batch / 4.
#[test]
fn constant_for_another_batch_size() {
    let decay = |decay: Decay| {
        decay.decay(Progress {
            updates: 7,
            interval: 1,
        })
    };
    let larger = decay(Decay::constant_for_batch(0.99, 32, 256));
    assert!((larger - 0.922744694428).abs() < 1e-12, "{larger}");
    let smaller = decay(Decay::constant_for_batch(0.999, 256, 64));
    assert!((smaller - 0.999749906195).abs() < 1e-12, "{smaller}");
    // The same images are forgotten as by a half-life in images.
    let half_life = 32.0 * 0.5_f64.ln() / 0.99_f64.ln();
    let by_images = decay(Decay::half_life_images(half_life, 256));
    assert!((larger - by_images).abs() < 1e-15);
}

/// Its share of a run is the same at any interval.
#[test]
fn minus_sqrt_has_its_mean_age_at_any_interval() {
    for interval in [1, 10, 100] {
        let schedule = Schedule { start: 0, interval };
        let profile = schedule
            .profile(&Decay::minus_sqrt(), 10_000 / interval)
            .unwrap();
        // The mean time of tau^-1/2 is at a third of the run.
        let age = profile.mean_age() / 10_000.0;
        assert!(
            (age - 2.0 / 3.0).abs() < 0.6 * interval as f64 / 10_000.0 + 1e-3,
            "{interval}: {age}"
        );
    }
}
