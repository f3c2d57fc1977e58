//! Weights of merges: those of Megatron-LM's tool and of icefall, and what they are to an average that is kept.

use burn_ema_rules::RulesError;
use burn_ema_rules::decay::{Decay, PowerFunction};
use burn_ema_rules::merge::{MergeSchedule, best, range_weights, weights};
use burn_ema_rules::schedule::Schedule;
use proptest::prelude::*;

/// Checkpoints of steps 1 to 8.
const SEEN: [f64; 8] = [2.0, 4.0, 3.0, 5.0, 8.0, 6.0, 7.0, 9.0];

fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-11,
            "{found} is not {expected}"
        );
    }
}

fn merged(weights: &[f64], values: &[f64]) -> f64 {
    weights.iter().zip(values).map(|(w, x)| w * x).sum()
}

/// NVIDIA Megatron-LM `weighted_merge.py`, oldest first.
#[test]
fn weights_are_those_of_megatron() {
    let minus_sqrt = |count| weights(count, MergeSchedule::MinusSqrt).unwrap();
    assert_eq!(minus_sqrt(1), [1.0]);
    assert_near(&minus_sqrt(2), &[0.5_f64.sqrt(), 1.0 - 0.5_f64.sqrt()]);
    let four = [0.5, 0.207106781187, 0.158918622598, 0.133974596216];
    assert_near(&minus_sqrt(4), &four);
    let eight = [
        0.353553390593,
        0.146446609407,
        0.112372435696,
        0.094734345491,
        0.083462633855,
        0.075455988742,
        0.069388942909,
        0.064585653307,
    ];
    assert_near(&minus_sqrt(8), &eight);
    let square = MergeSchedule::OneMinusPower { power: 2.0 };
    assert_near(
        &weights(4, square).unwrap(),
        &[0.0625, 0.1875, 0.3125, 0.4375],
    );
    let cosine = [
        0.146446609407,
        0.353553390593,
        0.353553390593,
        0.146446609407,
    ];
    assert_near(&weights(4, MergeSchedule::Cosine).unwrap(), &cosine);
    assert_eq!(weights(4, MergeSchedule::Linear).unwrap(), [0.25; 4]);

    assert!((merged(&minus_sqrt(8), &SEEN) - 4.29111273678).abs() < 1e-11);
    let mut reversed = minus_sqrt(8);
    reversed.reverse();
    assert!((merged(&reversed, &SEEN) - 6.68962437304).abs() < 1e-11);
}

/// What makes a merge replace the decay of the learning rate.
#[test]
fn merge_is_the_oldest_model_with_later_changes_scaled_down() {
    let found = merged(&weights(8, MergeSchedule::MinusSqrt).unwrap(), &SEEN);
    let changes = SEEN.windows(2).enumerate();
    let scaled = changes.map(|(i, pair)| {
        let decay = 1.0 - ((i + 1) as f64 / 8.0).sqrt();
        decay * (pair[1] - pair[0])
    });
    let expected = SEEN[0] + scaled.sum::<f64>();
    assert!((found - expected).abs() < 1e-14, "{found} and {expected}");
}

#[test]
fn half_life_of_a_merge_is_in_checkpoints() {
    let found = weights(3, MergeSchedule::Ema { half_life: 1.0 }).unwrap();
    assert_eq!(found, [0.25, 0.25, 0.5]);
    let half_life = 2.5;
    let found = weights(6, MergeSchedule::Ema { half_life }).unwrap();
    let decay = Decay::half_life(half_life);
    let kept = Schedule::default().profile(&decay, 5).unwrap();
    assert_near(&found, kept.weights());
}

/// icefall `average_checkpoints_with_averaged_model`, with a period of 1.
#[test]
fn means_of_ranges_are_those_of_icefall() {
    let mean = |n: usize| SEEN[..n].iter().sum::<f64>() / n as f64;
    for (earlier, later, expected) in [(2.0, 6.0, 5.5), (4.0, 8.0, 7.5), (6.0, 8.0, 8.0)] {
        let [first, second] = range_weights(earlier, later, 0.0).unwrap();
        let found = first * mean(earlier as usize) + second * mean(later as usize);
        assert!((found - expected).abs() < 1e-14, "{found} of {expected}");
    }
    // Over the last quarter, rounding may grow sevenfold.
    let [first, second] = range_weights(6.0, 8.0, 0.0).unwrap();
    assert_near(&[first, second], &[-3.0, 4.0]);
}

#[test]
fn ranges_of_power_functions_are_parts_of_their_profiles() {
    let mean = |n: usize| merged(&weights(n, MergeSchedule::MinusSqrt).unwrap(), &SEEN[..n]);
    let [first, second] = range_weights(4.0, 8.0, -0.5).unwrap();
    let found = first * mean(4) + second * mean(8);
    assert!((found - 7.46835482324).abs() < 1e-11, "{found}");
    assert_eq!(range_weights(0.0, 8.0, 3.0).unwrap(), [0.0, 1.0]);
    // Powers of such counts overflow.
    let [first, second] = range_weights(1e300, 1e301, 500.0).unwrap();
    assert!(first.abs() < 1e-100 && (second - 1.0).abs() < 1e-15);
}

#[test]
fn best_are_sorted_and_nan_is_none_of_them() {
    let scores = [0.5, f64::NAN, 2.0, -1.0, 2.0, f64::INFINITY];
    assert_eq!(best(3, &scores), [5, 2, 4]);
    assert_eq!(best(9, &scores), [5, 2, 4, 0, 3]);
    assert!(best(2, &[f64::NAN]).is_empty());
    assert!(best(0, &scores).is_empty());
}

#[test]
fn what_cannot_be_merged_says_why() {
    let message = |found: Result<Vec<f64>, RulesError>| found.unwrap_err().to_string();
    assert_eq!(
        message(weights(0, MergeSchedule::Linear)),
        "count: a merge has at least one model and at most 100000000, found 0"
    );
    assert!(weights(usize::MAX, MergeSchedule::Linear).is_err());
    for power in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let schedule = MergeSchedule::OneMinusPower { power };
        let found = message(weights(3, schedule));
        assert_eq!(
            found,
            format!("power: must be finite and above 0, found {power}")
        );
        let schedule = MergeSchedule::Ema { half_life: power };
        assert!(message(weights(3, schedule)).starts_with("half_life: "));
    }
    for (earlier, later) in [
        (3.0, 3.0),
        (4.0, 3.0),
        (-1.0, 3.0),
        (1.0, f64::INFINITY),
        (f64::NAN, 3.0),
    ] {
        let error = range_weights(earlier, later, 0.0).unwrap_err().to_string();
        assert!(error.contains("give the older mean first"), "{error}");
    }
    for gamma in [-1.0, f64::NAN] {
        assert!(range_weights(1.0, 2.0, gamma).is_err());
    }
}

#[test]
fn schedules_survive_json() {
    for schedule in [
        MergeSchedule::MinusSqrt,
        MergeSchedule::OneMinusPower { power: 1.5 },
        MergeSchedule::Ema { half_life: 3.0 },
    ] {
        let json = serde_json::to_string(&schedule).unwrap();
        let back: MergeSchedule = serde_json::from_str(&json).unwrap();
        assert_eq!(back, schedule);
    }
}

proptest! {
    /// The merge of all that was seen needs no files.
    #[test]
    fn merge_of_everything_is_the_power_function_that_is_kept(count in 1_usize..200, power in 0.05..6.0_f64) {
        let merge = weights(count, MergeSchedule::OneMinusPower { power }).unwrap();
        prop_assert!((merge.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let decay = Decay::from(PowerFunction { gamma: power - 1.0 });
        let kept = Schedule::default().profile(&decay, count as u64).unwrap();
        prop_assert_eq!(kept.weights()[0], 0.0);
        for (merge, kept) in merge.iter().zip(&kept.weights()[1..]) {
            prop_assert!((merge - kept).abs() < 1e-12, "{} and {}", merge, kept);
        }
    }

    /// What the range leaves out is what the earlier mean has.
    #[test]
    fn range_takes_out_the_earlier_mean(earlier in 1_u64..50, more in 1_u64..50, gamma in -0.9..4.0_f64) {
        let later = earlier + more;
        let [first, second] = range_weights(earlier as f64, later as f64, gamma).unwrap();
        let profile = |updates| {
            let decay = Decay::from(PowerFunction { gamma });
            let profile = Schedule::default().profile(&decay, updates).unwrap();
            profile.weights()[1..].to_vec()
        };
        let mut of_earlier = profile(earlier);
        of_earlier.resize(later as usize, 0.0);
        let combined: Vec<f64> = of_earlier.iter().zip(profile(later)).map(|(a, b)| first * a + second * b).collect();
        let scale = second.abs();
        prop_assert!((combined.iter().sum::<f64>() - 1.0).abs() < 1e-12 * scale);
        for (n, weight) in combined.iter().enumerate() {
            prop_assert!(n >= earlier as usize || weight.abs() < 1e-13 * scale, "{}: {}", n, weight);
        }
    }
}
