//! Start and interval, step by step, against the trajectories of mmagic's hook.
//!
//! [`Mixed::at`] is the fixture that these numbers were made with by running mmagic: iteration `t` is
//! the `t + 1`-th step of ours.

use burn_ema::policy::{Action, BufferAction};
use burn_ema::{Decay, EmaConfig, EmaModel, Policy, Update};
use burn_ema_tests::backend::device;
use burn_ema_tests::models::Mixed;
use burn_ema_tests::snapshot::{assert_same_values, numbers_at};

fn config(start: u64, interval: u64, weight: f64) -> EmaConfig {
    EmaConfig::new()
        .with_decay(Decay::weight(weight))
        .with_start(start)
        .with_interval(interval)
}

/// The average after each of `steps` steps.
fn averages(config: &EmaConfig, steps: u16) -> Vec<EmaModel<Mixed>> {
    let mut ema = config.init(&Mixed::at(None, &device()));
    let after = |t| {
        ema.update(&Mixed::at(Some(t), &device())).unwrap();
        ema.clone()
    };
    (0..steps).map(after).collect()
}

/// The first number of the value at `path` in each average.
fn first_numbers(averages: &[EmaModel<Mixed>], path: &str) -> Vec<f64> {
    let first = |ema: &EmaModel<Mixed>| numbers_at(ema.model(), path)[0];
    averages.iter().map(first).collect()
}

/// All numbers of the trajectories are exact in binary.
#[track_caller]
fn assert_trajectory(config: &EmaConfig, path: &str, expected: &[f64]) {
    let averages = averages(config, expected.len() as u16);
    assert_eq!(first_numbers(&averages, path), expected);
}

#[test]
fn each_step_averages() {
    assert_trajectory(
        &config(0, 1, 0.5),
        "a",
        &[
            1.0, 1.25, 1.625, 2.0625, 2.53125, 3.015625, 3.5078125, 4.00390625,
        ],
    );
}

#[test]
fn everything_that_is_copied_follows_the_model_exactly() {
    let copying = Policy::new().with_buffers(BufferAction::Copy);
    let config = config(0, 1, 0.5).with_policy(copying);
    for (t, ema) in (0..8).zip(averages(&config, 8)) {
        let source = Mixed::at(Some(t), &device());
        for path in ["f", "b", "n", "t"] {
            assert_eq!(
                numbers_at(ema.model(), path),
                numbers_at(&source, path),
                "{path} at iteration {t}"
            );
        }
    }
}

#[test]
fn interval_of_two_averages_every_second_step() {
    assert_trajectory(
        &config(0, 2, 0.5),
        "a",
        &[1.0, 1.25, 1.25, 1.875, 1.875, 2.6875, 2.6875, 3.59375],
    );
}

#[test]
fn tensors_that_are_copied_wait_for_the_interval_too() {
    let copying = Policy::new().with_buffers(BufferAction::Copy);
    let config = config(0, 2, 0.5).with_policy(copying);
    assert_trajectory(&config, "n", &[0.0, 2.0, 2.0, 4.0, 4.0, 6.0, 6.0, 8.0]);
    // `f` is [10 + t, ..] and `b` is [2 + t, ..].
    assert_trajectory(&config, "f", &[10.0, 11.0, 11.0, 13.0, 13.0, 15.0]);
    assert_trajectory(&config, "b", &[2.0, 3.0, 3.0, 5.0, 5.0, 7.0]);
}

#[test]
fn interval_of_three_averages_first_at_the_third_step() {
    assert_trajectory(
        &config(0, 3, 0.5),
        "a",
        &[1.0, 1.0, 1.5, 1.5, 1.5, 2.5, 2.5, 2.5],
    );
}

#[test]
fn start_of_three_copies_three_steps_and_averages_the_fourth() {
    assert_trajectory(
        &config(3, 1, 0.5),
        "a",
        &[1.0, 1.5, 2.0, 2.25, 2.625, 3.0625, 3.53125, 4.015625],
    );
}

#[test]
fn interval_is_counted_from_the_start() {
    assert_trajectory(
        &config(3, 2, 0.5),
        "a",
        &[1.0, 1.5, 2.0, 2.0, 2.5, 2.5, 3.25, 3.25],
    );
    assert_trajectory(
        &config(4, 3, 0.25),
        "a",
        &[1.0, 1.5, 2.0, 2.5, 2.5, 2.5, 2.875, 2.875],
    );
}

#[test]
fn every_step_before_the_start_copies_whatever_the_interval() {
    // An interval that no training reaches is mmagic's `interval = -1`.
    assert_trajectory(
        &config(3, u64::MAX, 0.5),
        "a",
        &[1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0],
    );
    assert_trajectory(&config(0, u64::MAX, 0.5), "a", &[1.0; 8]);
    for (t, ema) in (0..3).zip(averages(&config(3, u64::MAX, 0.5), 3)) {
        assert_same_values(ema.model(), &Mixed::at(Some(t), &device()));
    }
}

#[test]
fn start_at_the_end_of_time_copies_for_good() {
    let ema = averages(&config(u64::MAX, 1, 0.5), 8).pop().unwrap();
    assert_same_values(ema.model(), &Mixed::at(Some(7), &device()));
    assert_eq!((ema.num_steps(), ema.num_updates()), (8, 0));
}

/// mmagic with `momentum_nontrainable = 0.5`, but for `n`: it truncates integers to 0, 1, 2 and so on, and
/// we copy them.
#[test]
fn frozen_parameters_can_be_averaged_and_buffers_are() {
    let (default, averaging) = (Policy::new(), Policy::new().with_frozen(Action::Average));
    let config = config(0, 1, 0.5);
    let averaging = config.clone().with_policy(averaging);
    assert_trajectory(&averaging, "f", &[10.0, 10.5, 11.25, 12.125, 13.0625]);
    let default = config.with_policy(default);
    assert_trajectory(&default, "f", &[10.0, 11.0, 12.0, 13.0, 14.0]);
    for config in [default, averaging] {
        assert_trajectory(&config, "b", &[2.0, 2.5, 3.25, 4.125, 5.0625]);
        assert_trajectory(&config, "n", &[1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}

/// As `a`: copied before the start, then at every second step.
#[test]
fn averaged_buffers_follow_start_and_interval() {
    let config = config(3, 2, 0.5);
    // `b` is [2 + t, ..].
    assert_trajectory(&config, "b", &[2.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.5, 6.5]);
}

#[test]
fn update_says_what_it_did_and_counts_it() {
    let model = Mixed::at(None, &device());
    let mut ema = config(2, 3, 0.25).init(&model);
    let done: Vec<Update> = (0..8).map(|_| ema.update(&model).unwrap()).collect();
    let averaged = Update::Averaged {
        decay: 0.75,
        averaged: 2,
        copied: 3,
    };
    let copied = Update::Copied { copied: 5 };
    let waiting = Update::Waiting;
    assert_eq!(
        done,
        [
            copied, copied, waiting, waiting, averaged, waiting, waiting, averaged
        ]
    );
    assert_eq!((ema.num_steps(), ema.num_updates()), (8, 2));
}

#[test]
fn interval_of_zero_is_an_error_with_the_remedy() {
    let config = config(0, 0, 0.5);
    let error = config.try_init(&Mixed::at(None, &device())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "EmaConfig::interval: 0 steps between two updates: write at least 1"
    );
}
