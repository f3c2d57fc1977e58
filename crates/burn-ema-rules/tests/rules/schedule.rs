//! Start and interval, step by step, against the trajectories of mmagic's hook.
//!
//! mmagic was run on a weight that is 1 at the start and `1 + t / 2` at its iteration `t`, which is step `t + 1` here. All
//! numbers are exact in binary.

use burn_ema_rules::decay::Decay;
use burn_ema_rules::schedule::{Phase, Schedule};

use crate::simulation::emas;

#[track_caller]
fn assert_trajectory(start: u64, interval: u64, weight: f64, expected: &[f64]) {
    let seen: Vec<f64> = (0..expected.len()).map(|t| 1.0 + t as f64 / 2.0).collect();
    let schedule = Schedule { start, interval };
    let found = emas(schedule, &Decay::weight(weight), 1.0, &seen);
    assert_eq!(found, expected);
}

#[test]
fn each_step_updates() {
    let expected = [
        1.0, 1.25, 1.625, 2.0625, 2.53125, 3.015625, 3.5078125, 4.00390625,
    ];
    assert_trajectory(0, 1, 0.5, &expected);
}

#[test]
fn interval_of_two_updates_every_second_step() {
    let expected = [1.0, 1.25, 1.25, 1.875, 1.875, 2.6875, 2.6875, 3.59375];
    assert_trajectory(0, 2, 0.5, &expected);
}

#[test]
fn interval_of_three_updates_first_at_the_third_step() {
    assert_trajectory(0, 3, 0.5, &[1.0, 1.0, 1.5, 1.5, 1.5, 2.5, 2.5, 2.5]);
}

#[test]
fn start_of_three_copies_three_steps_and_updates_at_the_fourth() {
    let expected = [1.0, 1.5, 2.0, 2.25, 2.625, 3.0625, 3.53125, 4.015625];
    assert_trajectory(3, 1, 0.5, &expected);
}

#[test]
fn interval_is_counted_from_the_start() {
    assert_trajectory(3, 2, 0.5, &[1.0, 1.5, 2.0, 2.0, 2.5, 2.5, 3.25, 3.25]);
    assert_trajectory(4, 3, 0.25, &[1.0, 1.5, 2.0, 2.5, 2.5, 2.5, 2.875, 2.875]);
}

#[test]
fn every_step_before_the_start_copies_for_any_interval() {
    // An interval that no run reaches is mmagic's `interval = -1`.
    let expected = [1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0];
    assert_trajectory(3, u64::MAX, 0.5, &expected);
    assert_trajectory(0, u64::MAX, 0.5, &[1.0; 8]);
    let always = Schedule {
        start: u64::MAX,
        interval: 1,
    };
    for step in [1, 8, u64::MAX] {
        assert_eq!(always.phase(step), Phase::Copy);
    }
}

#[test]
fn interval_of_zero_is_an_error_with_the_remedy() {
    let schedule = Schedule {
        start: 0,
        interval: 0,
    };
    let message = schedule.validate().unwrap_err().to_string();
    let expected = "interval: 0 steps between two updates: write at least 1";
    assert_eq!(message, expected);
    let refused = schedule.profile(&Decay::constant(0.9), 3).unwrap_err();
    assert_eq!(refused.to_string(), expected);
    assert_eq!(schedule.phase(1), Phase::Wait, "no panic");
}

#[test]
fn schedule_has_defaults_in_files_and_no_other_fields() {
    let schedule: Schedule = serde_json::from_str("{}").unwrap();
    assert_eq!(schedule, Schedule::default());
    assert!(serde_json::from_str::<Schedule>(r#"{ "intervall": 7 }"#).is_err());
    for phase in [Phase::Copy, Phase::Update, Phase::Wait] {
        let json = serde_json::to_string(&phase).unwrap();
        assert_eq!(serde_json::from_str::<Phase>(&json).unwrap(), phase);
    }
}
