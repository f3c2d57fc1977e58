//! Decays against formulas that are worked out once more.

use burn_ema_rules::decay::{Decay, DecaySchedule, HalfLife, PowerWarmup, Progress};
use proptest::prelude::*;

use crate::arbitrary;

proptest! {
    #![proptest_config(arbitrary::config(256))]

    #[test]
    fn decays_are_those_of_the_formulas(
        decay in 0.5..=1.0_f64,
        weight in 0.0..=1.0_f64,
        steps in 0.1..100.0_f64,
        power in 0.1..2.0_f64,
        inv_gamma in 0.1..20.0_f64,
        updates in 0..1000_u64,
        interval in 1..10_u64,
    ) {
        let at = Progress { updates, interval };
        prop_assert_eq!(Decay::constant(decay).decay(at), decay);
        prop_assert_eq!(Decay::weight(weight).decay(at), 1.0 - weight);
        let half_life = Decay::half_life(steps).decay(at);
        prop_assert!((half_life - 0.5_f64.powf(interval as f64 / steps)).abs() < 1e-14);
        let warmup = PowerWarmup::new(power).with_inv_gamma(inv_gamma).with_max(decay);
        let expected = 1.0 - 1.0 / (1.0 + updates as f64 / inv_gamma).powf(power);
        prop_assert!((warmup.decay(at) - expected.min(decay)).abs() < 1e-14);
    }
}

fn decay(schedule: PowerWarmup, updates: u64) -> f64 {
    schedule.decay(Progress {
        updates,
        interval: 1,
    })
}

#[test]
fn power_warmup_follows_the_formula_from_a_copy_upwards() {
    let warmup = PowerWarmup::new(2.0 / 3.0);
    assert_eq!(decay(warmup, 0), 0.0);
    // 1 - 2^(-2/3), the second step of diffusers' warm-up.
    assert!((decay(warmup, 1) - 0.3700394750525634).abs() < 1e-15);
    assert_eq!(decay(warmup.with_min(0.5), 1), 0.5);
    assert_eq!(decay(warmup.with_min(0.5), 0), 0.0);
    assert_eq!(decay(warmup, 100_000_000), 0.9999);
}

#[test]
fn start_shifts_the_curve() {
    let warmup = PowerWarmup::new(0.75);
    let late = warmup.with_start(3);
    assert_eq!([0, 1, 2, 3].map(|n| decay(late, n)), [0.0; 4]);
    assert_eq!(decay(late, 5), decay(warmup, 2));
}

#[test]
fn reaches_the_decays_that_timm_documents() {
    let reached = |power: f64, target: f64, at: u64| {
        let warmup = PowerWarmup::new(power).with_max(1.0);
        (decay(warmup, at) - target).abs() / (1.0 - target) < 5e-3
    };
    assert!(reached(2.0 / 3.0, 0.999, 31_600));
    assert!(reached(2.0 / 3.0, 0.9999, 1_000_000));
    assert!(reached(0.75, 0.999, 10_000));
    assert!(reached(0.75, 0.9999, 215_400));
}

#[test]
fn half_life_agrees_with_composer() {
    // smoothing = 2^(-update_interval / half_life), values from Composer's EMA.
    let decay = |steps, interval| {
        HalfLife { steps }.decay(Progress {
            updates: 7,
            interval,
        })
    };
    assert!((decay(1000.0, 1) - 0.9993070929904525).abs() < 1e-15);
    assert!((decay(1000.0, 10) - 0.9930924954370359).abs() < 1e-15);
    assert!((decay(10.0, 1) - 0.9330329915368074).abs() < 1e-15);
}
