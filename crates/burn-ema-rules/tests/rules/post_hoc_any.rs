//! Post-hoc averages by any schedule: a run of 8192 steps, against least squares by LAPACK.

use burn_ema_rules::decay::{Decay, PowerFunction, gamma_of_sigma_rel};
use burn_ema_rules::merge::{MergeSchedule, weights, window};
use burn_ema_rules::post_hoc::{
    Fit, Measure, PowerProfile, Reconstruction, reconstruct, reconstruct_profiles,
};
use burn_ema_rules::profile::Profile;
use burn_ema_rules::schedule::Schedule;

const STEPS: u64 = 8192;
const QUARTER: u64 = STEPS / 4;

fn after(decay: &Decay, updates: u64) -> Profile {
    Schedule::default().profile(decay, updates).unwrap()
}

/// An EMA whose first update is a copy.
fn ema(half_life: f64) -> Decay {
    Decay::half_life(half_life * STEPS as f64).copy_first(1)
}

fn power(sigma_rel: f64) -> Decay {
    let gamma = gamma_of_sigma_rel(sigma_rel).unwrap();
    PowerFunction { gamma }.into()
}

/// `number` snapshots of each schedule, at equal distances.
fn kept(schedules: &[Decay], number: u64) -> Vec<Profile> {
    let times = (1..=number).map(|n| n * STEPS / number);
    times
        .flat_map(|time| schedules.iter().map(move |decay| after(decay, time)))
        .collect()
}

fn checkpoints(number: u64) -> Vec<Profile> {
    (1..=number)
        .map(|n| Profile::checkpoint(n * STEPS / number))
        .collect()
}

fn exact(measure: Measure) -> Fit {
    Fit {
        measure,
        precision: 0.0,
    }
}

/// Error in weights of the combination closest in weights; error in changes and growth of rounding of the one closest in
/// changes.
fn found(stored: &[Profile], wanted: &Profile) -> [f64; 3] {
    let by = |measure| reconstruct_profiles(stored, wanted, exact(measure)).unwrap();
    let (of_weights, of_changes) = (by(Measure::Weights), by(Measure::Changes));
    [
        of_weights.relative_error(),
        of_changes.change_error(),
        of_changes.noise_gain(),
    ]
}

#[track_caller]
fn assert_row(stored: &[Profile], wanted: &Profile, expected: [f64; 3], tolerances: [f64; 3]) {
    let found = found(stored, wanted);
    for ((found, expected), tolerance) in found.iter().zip(expected).zip(tolerances) {
        assert!(
            (found - expected).abs() <= tolerance,
            "{found} is not {expected}"
        );
    }
}

#[test]
fn errors_are_those_of_least_squares() {
    let widths = [power(0.05), power(0.10)];
    let mean = [Decay::equal_weights()];
    let narrow = [ema(0.02)];
    let both = [ema(0.02), Decay::equal_weights()];
    let quarter = window(STEPS, QUARTER, MergeSchedule::Linear).unwrap();
    let merge = window(STEPS, QUARTER, MergeSchedule::MinusSqrt).unwrap();
    let ema_of = |half_life| after(&ema(half_life), STEPS);
    let wide = after(&power(0.15), STEPS);
    let digits = |weights: f64, changes: f64, gain: f64| [0.6 * weights, 0.6 * changes, 0.6 * gain];

    for (stored, wanted, expected, tolerances) in [
        (
            kept(&widths, 8),
            &quarter,
            [0.0844, 0.0101, 3.2],
            digits(1e-4, 1e-4, 0.1),
        ),
        (
            kept(&widths, 32),
            &quarter,
            [0.0058, 0.00019, 3.7],
            digits(1e-4, 1e-5, 0.1),
        ),
        (
            kept(&widths, 8),
            &ema_of(0.05),
            [0.0056, 0.0013, 1.1],
            digits(1e-4, 1e-4, 0.1),
        ),
        (
            kept(&widths, 32),
            &ema_of(0.01),
            [0.0941, 0.0280, 52.0],
            digits(1e-4, 1e-4, 1.0),
        ),
        (
            kept(&widths, 32),
            &merge,
            [0.6207, 0.0093, 22.0],
            digits(1e-4, 1e-4, 1.0),
        ),
        (
            kept(&mean, 32),
            &ema_of(0.05),
            [0.1239, 0.0099, 22.0],
            digits(1e-4, 1e-4, 1.0),
        ),
        (
            kept(&mean, 32),
            &wide,
            [0.0370, 0.00085, 7.7],
            digits(1e-4, 1e-5, 0.1),
        ),
        (
            kept(&mean, 32),
            &merge,
            [0.6909, 0.0209, 18.0],
            digits(1e-4, 1e-4, 1.0),
        ),
        (
            kept(&narrow, 32),
            &quarter,
            [0.3097, 0.0095, 1.1],
            digits(1e-4, 1e-4, 0.1),
        ),
        (
            kept(&narrow, 32),
            &ema_of(0.05),
            [0.1841, 0.0136, 1.0],
            digits(1e-4, 1e-4, 0.1),
        ),
        (
            kept(&both, 32),
            &ema_of(0.05),
            [0.0102, 0.00066, 13.0],
            digits(1e-4, 1e-5, 1.0),
        ),
        (
            checkpoints(32),
            &quarter,
            [16.0, 0.0625, 1.0],
            digits(1.0, 1e-4, 0.1),
        ),
        (
            checkpoints(32),
            &ema_of(0.05),
            [16.0, 0.124, 1.0],
            digits(1.0, 1e-3, 0.1),
        ),
        (
            checkpoints(32),
            &wide,
            [16.0, 0.0459, 1.0],
            digits(1.0, 1e-4, 0.1),
        ),
        (
            checkpoints(64),
            &merge,
            [7.4, 0.0299, 1.0],
            digits(0.1, 1e-4, 0.1),
        ),
    ] {
        assert_row(&stored, wanted, expected, tolerances);
    }
}

/// A window of the mean is the difference of two.
#[test]
fn running_means_give_a_window_exactly() {
    let quarter = window(STEPS, QUARTER, MergeSchedule::Linear).unwrap();
    let stored = kept(&[Decay::equal_weights()], 8);
    let found = reconstruct_profiles(&stored, &quarter, exact(Measure::Changes)).unwrap();
    for (n, weight) in found.normalized().iter().enumerate() {
        let expected = match n {
            5 => -3.0,
            7 => 4.0,
            _ => 0.0,
        };
        assert!((weight - expected).abs() < 1e-9, "{n}: {weight}");
    }
    assert!(found.relative_error() < 1e-10 && found.change_error() < 1e-10);
    assert!((found.noise_gain() - 7.0).abs() < 1e-9);
}

/// The first step has a checkpoint, too.
#[test]
fn checkpoints_of_all_steps_give_their_mean() {
    for number in [2, 4, 7] {
        let stored: Vec<Profile> = (1..=number).map(Profile::checkpoint).collect();
        let mean = window(number, number, MergeSchedule::Linear).unwrap();
        for measure in [Measure::Weights, Measure::Changes] {
            let found = reconstruct_profiles(&stored, &mean, exact(measure)).unwrap();
            for weight in found.normalized() {
                assert!((weight - 1.0 / number as f64).abs() < 1e-12, "{weight}");
            }
            assert!(found.change_error() < 1e-12 && found.relative_error() < 1e-12);
        }
    }
    // One alone is all that there is.
    let alone = [Profile::checkpoint(1)];
    let mean = window(2, 2, MergeSchedule::Linear).unwrap();
    let found = reconstruct_profiles(&alone, &mean, Fit::default()).unwrap();
    assert_eq!(
        (found.normalized(), found.change_error()),
        (&[1.0][..], 1.0)
    );
}

/// Of combinations that sum to 1, none is closer: a few others are tried.
#[test]
fn combination_is_the_closest_that_sums_to_1() {
    let stored: Vec<Profile> = (1..=4).map(|n| Profile::checkpoint(100 * n)).collect();
    let mean = window(400, 400, MergeSchedule::Linear).unwrap();
    let best = reconstruct_profiles(&stored, &mean, exact(Measure::Changes)).unwrap();
    assert!(
        (best.change_error() - 0.165).abs() < 5e-4,
        "{}",
        best.change_error()
    );
    assert!((best.normalized().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    for (one, other) in [(0, 1), (0, 3), (1, 2), (2, 3)] {
        for shift in [-0.01, 0.01] {
            let mut weights = best.normalized().to_vec();
            weights[one] += shift;
            weights[other] -= shift;
            let mut merged = vec![0.0; 400];
            for (n, weight) in weights.iter().enumerate() {
                merged[100 * (n + 1) - 1] = *weight;
            }
            let schedule = Schedule {
                start: 1,
                interval: 1,
            };
            let moved = [Profile::new(schedule, merged).unwrap()];
            let found = reconstruct_profiles(&moved, &mean, Fit::default()).unwrap();
            assert!(found.change_error() > best.change_error());
        }
    }
}

/// What the merge of checkpoints leaves of the way to the average of every step.
#[test]
fn merges_miss_what_the_reference_says() {
    for (schedule, number, expected) in [
        (MergeSchedule::Linear, 8, 0.125),
        (MergeSchedule::MinusSqrt, 8, 0.146),
        (MergeSchedule::Linear, 32, 0.031),
        (MergeSchedule::MinusSqrt, 32, 0.039),
    ] {
        // As one stored average, whose weight is then 1.
        let mut merged = vec![0.0; QUARTER as usize];
        let distance = QUARTER as usize / number;
        for (n, weight) in weights(number, schedule).unwrap().into_iter().enumerate() {
            merged[(n + 1) * distance - 1] = weight;
        }
        let start = STEPS - QUARTER + 1;
        let merged = Profile::new(Schedule { start, interval: 1 }, merged).unwrap();
        let wanted = window(STEPS, QUARTER, schedule).unwrap();
        let found = reconstruct_profiles(&[merged], &wanted, Fit::default()).unwrap();
        assert_eq!(found.normalized(), [1.0]);
        let missed = found.change_error();
        assert!((missed - expected).abs() < 6e-4, "{number}: {missed}");
    }
}

/// By formula and by least squares over steps.
#[test]
fn power_functions_have_the_same_errors_in_closed_form() {
    let profile = |time: u64, sigma_rel| PowerProfile::new(time as f64, sigma_rel).unwrap();
    let number = 4;
    let times = (1..=number).map(|n| n * STEPS / number);
    let stored: Vec<PowerProfile> = times
        .flat_map(|time| [profile(time, 0.05), profile(time, 0.10)])
        .collect();
    let closed = reconstruct(&stored, profile(STEPS, 0.15)).unwrap();
    let steps = kept(&[power(0.05), power(0.10)], number);
    let wanted = after(&power(0.15), STEPS);
    let found = reconstruct_profiles(&steps, &wanted, exact(Measure::Weights)).unwrap();
    let near = |found: f64, expected: f64| (found - expected).abs() < 2e-3 * expected.abs();
    assert!(near(found.relative_error(), closed.relative_error()));
    assert!(near(found.change_error(), closed.change_error()));
    for (found, expected) in found.normalized().iter().zip(closed.normalized()) {
        assert!((found - expected).abs() < 1e-3, "{found} and {expected}");
    }
}

/// Runs that are longer are compared at fewer points.
#[test]
fn long_runs_have_nearly_the_errors_of_short_ones() {
    let errors = |scale: u64| {
        let (steps, schedule) = (STEPS * scale, Schedule::default());
        let half_life = |share: f64| Decay::half_life(share * steps as f64).copy_first(1);
        let of = |share, updates| schedule.profile(&half_life(share), updates).unwrap();
        let stored: Vec<Profile> = (1..=16).map(|n| of(0.02, n * steps / 16)).collect();
        let found = reconstruct_profiles(&stored, &of(0.05, steps), Fit::default()).unwrap();
        [found.relative_error(), found.change_error()]
    };
    let (short, long) = (errors(1), errors(7));
    for (short, long) in short.iter().zip(long) {
        assert!((short - long).abs() < 2e-3 * short, "{short} and {long}");
    }
}

/// Of bf16 snapshots, whose rounding is a thousandth, weights of both signs are worth less.
#[test]
fn precision_bounds_the_growth_of_rounding() {
    let widths: Vec<Decay> = [0.05, 0.06, 0.07, 0.08, 0.09, 0.10].map(power).to_vec();
    let stored = kept(&widths, 8);
    let wanted = after(&power(0.15), STEPS);
    let of = |precision| {
        let fit = Fit {
            precision,
            ..Fit::default()
        };
        reconstruct_profiles(&stored, &wanted, fit).unwrap()
    };
    let (exact, single, half) = (of(0.0), of(2.0_f64.powi(-24)), of(2.0_f64.powi(-8)));
    println!(
        "gain and error: exact {} {:e}, f32 {} {:e}, bf16 {} {:e}",
        exact.noise_gain(),
        exact.change_error(),
        single.noise_gain(),
        single.change_error(),
        half.noise_gain(),
        half.change_error()
    );
    assert!(exact.noise_gain() > 3.0 * single.noise_gain());
    assert!(single.noise_gain() > 10.0 * half.noise_gain());
    assert!(half.noise_gain() < 5.0 && half.change_error() < 0.05);
    assert!(single.noise(2.0_f64.powi(-24)) < 0.01);
    assert!(exact.change_error() <= single.change_error());
}

/// What was stored is found again, negative weights included.
#[test]
fn combination_of_what_is_stored_is_found() {
    let stored = kept(&[ema(0.02), Decay::equal_weights()], 2);
    let weights = [-0.5, 0.25, 0.5, 0.75];
    let mut wanted = vec![0.0; STEPS as usize + 1];
    for (profile, weight) in stored.iter().zip(weights) {
        for (step, share) in profile.steps().zip(profile.weights()) {
            wanted[step as usize] += weight * share;
        }
    }
    let wanted = Profile::new(Schedule::default(), wanted).unwrap();
    for measure in [Measure::Weights, Measure::Changes] {
        let found = reconstruct_profiles(&stored, &wanted, exact(measure)).unwrap();
        for (found, expected) in found.normalized().iter().zip(weights) {
            assert!((found - expected).abs() < 1e-9, "{found} and {expected}");
        }
    }
}

#[test]
fn profiles_that_cannot_be_combined_say_why() {
    let wanted = after(&ema(0.05), 100);
    let message = |stored: &[Profile], wanted: &Profile, precision| {
        let fit = Fit {
            precision,
            ..Fit::default()
        };
        let error = reconstruct_profiles(stored, wanted, fit).unwrap_err();
        error.to_string()
    };
    let one = || vec![Profile::checkpoint(100)];
    for (found, expected) in [
        (message(&[], &wanted, 0.0), "there are no stored averages"),
        (
            message(&[Profile::checkpoint(101)], &wanted, 0.0),
            "the average of step 101 has seen weights from after 100",
        ),
        (
            message(&one(), &Profile::checkpoint(100), 0.0),
            "use the checkpoint of that step",
        ),
        (
            message(&one(), &wanted, -1.0),
            "finite and at least 0, found -1",
        ),
        (
            message(&one(), &wanted, f64::NAN),
            "finite and at least 0, found NaN",
        ),
    ] {
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn profiles_with_negative_weights_and_fits_survive_json() {
    let profile = Profile::new(Schedule::default(), vec![-0.5, 1.5]).unwrap();
    let fit = exact(Measure::Weights);
    let stored = [Profile::checkpoint(3), Profile::checkpoint(9)];
    let found = reconstruct_profiles(&stored, &after(&ema(0.05), 9), fit).unwrap();
    let json = serde_json::to_string(&(&profile, fit, &found)).unwrap();
    let back: (Profile, Fit, Reconstruction) = serde_json::from_str(&json).unwrap();
    assert_eq!(back, (profile, fit, found));
    assert!(Profile::new(Schedule::default(), vec![f64::NAN]).is_err());
    assert!(Profile::new(Schedule::default(), vec![]).is_err());
}
