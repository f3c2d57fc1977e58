//! Merges of models: sums by weight, soups, arcs, and windows out of two means.

use burn::module::{Module, Param, ParamGroup, RunningState};
use burn::tensor::{DType, Device, Tensor};
use burn_ema::config::EmaPrecision;
use burn_ema::decay::{EqualWeights, PowerFunction};
use burn_ema::merge::{Merge, MergeSchedule, range_mean, weights};
use burn_ema::policy::{Action, BufferAction};
use burn_ema::{Decay, EmaConfig, EmaError, EmaModel, Policy};
use burn_ema_tests::backend::{autodiff_device, device, elsewhere, has_dtype};
use burn_ema_tests::models::{Mixed, Weights, vector};
use burn_ema_tests::snapshot::{assert_same_values, numbers_at, values};
use proptest::prelude::*;

/// Checkpoints of steps 1 to 8.
const SEEN: [f32; 8] = [2.0, 4.0, 3.0, 5.0, 8.0, 6.0, 7.0, 9.0];

fn model(numbers: &[f32]) -> Weights {
    Weights::new(numbers, &device())
}

fn number(model: &Weights) -> f64 {
    numbers_at(model, "w")[0]
}

#[track_caller]
fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let scale = expected.abs().max(1.0);
        assert!(
            (found - expected).abs() < 1e-6 * scale,
            "{found} is not {expected}"
        );
    }
}

#[test]
fn weights_are_those_of_each_checkpoint() {
    let merged = |schedule| {
        let weights = weights(8, schedule).unwrap();
        let models = SEEN.map(|x| model(&[x]));
        number(&Merge::new().linear(&weights, models).unwrap())
    };
    assert_near(&[merged(MergeSchedule::MinusSqrt)], &[4.29111273678]);
    assert_near(&[merged(MergeSchedule::Linear)], &[5.5]);
    let uniform = Merge::new().uniform(SEEN.map(|x| model(&[x]))).unwrap();
    assert_near(&[number(&uniform)], &[5.5]);
}

/// `a = [1 + t/2, 2 - t/4]` and the buffer `b = [2 + t, 3 - t/2]` are summed, the rest is that of the last.
#[test]
fn classes_are_those_of_an_update() {
    let models = || [1, 2, 5].map(|t| Mixed::at(Some(t), &device()));
    let last = Mixed::at(Some(5), &device());
    let mean = Merge::new().uniform(models()).unwrap();
    assert_near(&numbers_at(&mean, "a"), &[7.0 / 3.0, 4.0 / 3.0]);
    assert_near(&numbers_at(&mean, "b"), &[14.0 / 3.0, 5.0 / 3.0]);
    for path in ["f", "n", "t"] {
        assert_eq!(numbers_at(&mean, path), numbers_at(&last, path), "{path}");
    }

    let weights = [-0.5, 1.0, 0.5];
    let beyond = Merge::new().linear(&weights, models()).unwrap();
    assert_near(&numbers_at(&beyond, "a"), &[3.0, 1.0]);
    for path in ["b", "f", "n", "t"] {
        assert_eq!(numbers_at(&beyond, path), numbers_at(&last, path), "{path}");
    }

    // Of a policy, what is ignored is that of the first.
    let ignored = ParamGroup::from_path("b");
    let policy = Policy::new().with_frozen(Action::Average);
    let policy = policy.with_override(ignored, Action::Ignore);
    let mean = Merge::new().with_policy(policy).uniform(models()).unwrap();
    assert_near(
        &numbers_at(&mean, "f"),
        &[10.0 + 8.0 / 3.0, -10.0 - 16.0 / 3.0],
    );
    assert_eq!(numbers_at(&mean, "b"), [3.0, 2.5]);
}

#[test]
fn models_that_were_loaded_for_inference_are_merged_all_the_same() {
    let models = [1.0, 4.0].map(|x| model(&[x]).no_grad());
    let mean = Merge::new().uniform(models).unwrap();
    assert_near(&[number(&mean)], &[2.5]);
}

#[test]
fn one_model_alone_stays_as_it_is() {
    let alone = || Mixed::at(Some(2), &device());
    let merged = Merge::new().uniform([alone()]).unwrap();
    assert_same_values(&merged, &alone());
    let merged = Merge::new().linear(&[1.0], [alone()]).unwrap();
    assert_same_values(&merged, &alone());
}

/// In bf16, 256 + 1 would be 256.
#[test]
fn half_precision_is_summed_in_f32_and_comes_back_as_it_was() {
    if !has_dtype(DType::BF16, "half_precision_is_summed_in_f32") {
        return;
    }
    let half = |x: f32| Weights::of_dtype(&[x], DType::BF16, &device());
    let ones = std::iter::repeat_n(1.0, 7).map(half);
    let mean = Merge::new().uniform(std::iter::once(half(249.0)).chain(ones));
    let mean = mean.unwrap();
    assert_eq!(number(&mean), 32.0);
    assert_eq!(mean.w.val().dtype(), DType::BF16);
}

/// 2^24 + 1 is 2^24 in f32.
#[test]
fn f64_sums_keep_what_f32_sums_lose() {
    let models = || [16_777_216.0, 1.0, -16_777_216.0].map(|x| model(&[x]));
    let weights = [1.0; 3];
    let sum = Merge::new().linear(&weights, models()).unwrap();
    assert_eq!(number(&sum), 0.0);
    let precise = Merge::new().with_precision(EmaPrecision::F64);
    let sum = precise.linear(&weights, models());
    match device().supports_dtype(DType::F64) {
        true => {
            let sum = sum.unwrap();
            assert_eq!(number(&sum), 1.0);
            assert_eq!(sum.w.val().dtype(), DType::F32);
        }
        false => {
            let error = sum.unwrap_err().to_string();
            assert!(error.contains("which has no F64"), "{error}");
        }
    }
}

#[test]
fn sums_have_a_dtype_and_no_second_part() {
    for precision in [
        EmaPrecision::Compensated,
        EmaPrecision::StochasticBf16 { seed: 0 },
    ] {
        let merge = Merge::new().with_precision(precision);
        let error = merge.uniform([model(&[1.0])]).unwrap_err().to_string();
        assert!(
            error.contains("`AtLeastF32`, `SameAsModel` or `F64`"),
            "{error}"
        );
    }
}

#[test]
fn models_on_different_devices_are_merged_on_that_of_the_last() {
    let on = |device: &Device, x| Weights::new(&[x], device);
    let models = [on(&elsewhere(), 1.0), on(&device(), 2.0)];
    let mean = Merge::new().uniform(models).unwrap();
    assert_eq!(number(&mean), 1.5);
    assert_eq!(mean.w.val().device(), device());
}

#[test]
fn greedy_soup_keeps_what_makes_it_better() {
    let numbers = [3.0, 8.0, 6.0, 0.0];
    let load = |position: usize| Ok::<_, EmaError>(model(&[numbers[position]]));
    let score = |model: &Weights| -(number(model) - 5.0).powi(2);
    let soup = Merge::new().greedy(4, load, score).unwrap();
    assert_eq!(soup.members, [2, 0]);
    assert_eq!((number(&soup.model), soup.score), (4.5, -0.25));
    let uniform = Merge::new().uniform(numbers.map(|x| model(&[x]))).unwrap();
    assert_eq!(number(&uniform), 4.25);
}

/// Also a soup of one model, and what is scored.
#[test]
fn greedy_soup_is_for_inference() {
    let trained = |_| Ok::<_, EmaError>(Weights::new(&[1.0], &autodiff_device()));
    let mut scored = 0;
    let soup = Merge::new().greedy(2, trained, |model: &Weights| {
        assert!(!values(model)[0].is_autodiff);
        scored += 1;
        0.0
    });
    let soup = soup.unwrap();
    assert_eq!(soup.members, [0]);
    assert!(!values(&soup.model)[0].is_autodiff);
    assert_eq!(scored, 3);
}

/// The square of 300 is no f16.
#[test]
fn slerp_of_half_precision_has_the_angle_of_f32() {
    if !has_dtype(DType::F16, "slerp_of_half_precision") {
        return;
    }
    let half = |numbers: &[f32]| Weights::of_dtype(numbers, DType::F16, &device());
    let merge = Merge::new().with_precision(EmaPrecision::SameAsModel);
    let between = merge.slerp(half(&[300.0, 0.0]), half(&[300.0, 300.0]), 0.5);
    let between = numbers_at(&between.unwrap(), "w");
    // sin 22.5 degrees / sin 45 degrees, of both.
    let share = 0.541196100146;
    for (found, expected) in between.iter().zip([600.0 * share, 300.0 * share]) {
        assert!((found - expected).abs() < 0.5, "{found} and {expected}");
    }
}

/// What is ignored is that of the first model, on the device of the last.
#[test]
fn merge_is_on_one_device() {
    let policy = Policy::new().with_buffers(BufferAction::Ignore);
    let models = [elsewhere(), device()].map(|device| Mixed::at(Some(1), &device));
    let merged = Merge::new().with_policy(policy).uniform(models).unwrap();
    assert_eq!(merged.devices(), [device()]);
}

/// Strictly better: a model that changes nothing is left out. One without a score is not tried.
#[test]
fn greedy_soup_leaves_out_equals_and_nan() {
    let numbers = [5.0, f32::NAN, 5.0];
    let load = |position: usize| Ok::<_, EmaError>(model(&[numbers[position]]));
    let soup = Merge::new()
        .greedy(3, load, |model| -number(model))
        .unwrap();
    assert_eq!(soup.members, [0]);

    let none = Merge::new().greedy(3, load, |_| f64::NAN);
    let error = none.unwrap_err().to_string();
    assert!(
        error.contains("none of the 3 models has a score"),
        "{error}"
    );
}

#[test]
fn what_loading_says_ends_a_soup() {
    #[derive(Debug, PartialEq)]
    enum Failure {
        Disk(usize),
        Merge,
    }
    impl From<EmaError> for Failure {
        fn from(_: EmaError) -> Self {
            Self::Merge
        }
    }
    let load = |position: usize| match position {
        0 => Ok(model(&[1.0])),
        position => Err(Failure::Disk(position)),
    };
    let soup = Merge::new().greedy(2, load, number);
    assert_eq!(soup.unwrap_err(), Failure::Disk(1));
    let unlike = |position: usize| Ok::<_, Failure>(model(&vec![1.0; position + 1]));
    let soup = Merge::new().greedy(2, unlike, number);
    assert_eq!(soup.unwrap_err(), Failure::Merge);
}

/// mergekit's formula: the angle between the vectors, the sines on the vectors as they are.
#[test]
fn slerp_is_on_the_arc() {
    let between = |a: &[f32], b: &[f32], t| {
        numbers_at(&Merge::new().slerp(model(a), model(b), t).unwrap(), "w")
    };
    let (a, b) = ([1.0, 2.0, 2.0], [2.0, -1.0, 2.0]);
    let expected = [1.43754205094, 1.34567769576, 2.26332153944];
    assert_near(&between(&a, &b, 0.25), &expected);
    assert_near(&between(&a, &b, 0.0), &[1.0, 2.0, 2.0]);
    assert_near(&between(&a, &b, 1.0), &[2.0, -1.0, 2.0]);
    // Nearly one direction, opposite ones, and none: the straight line.
    assert_near(&between(&[1.0, 0.0], &[3.0, 0.01], 0.5), &[2.0, 0.005]);
    assert_near(&between(&[1.0, 0.0], &[-2.0, 0.0], 0.5), &[-0.5, 0.0]);
    assert_near(&between(&[0.0, 0.0], &[2.0, 4.0], 0.25), &[0.5, 1.0]);
}

#[test]
fn slerp_takes_the_straight_line_for_buffers() {
    #[derive(Module, Debug)]
    struct Both {
        w: Param<Tensor<1>>,
        b: RunningState<Tensor<1>>,
    }
    let both = |numbers: [f32; 2]| {
        let vector = || vector(&numbers, DType::F32, &device());
        Both {
            w: Param::from_tensor(vector()),
            b: RunningState::new(vector()),
        }
    };
    let half = Merge::new().slerp(both([1.0, 0.0]), both([0.0, 1.0]), 0.5);
    let half = half.unwrap();
    assert_near(&numbers_at(&half, "w"), &[0.5_f64.sqrt(); 2]);
    assert_near(&numbers_at(&half, "b"), &[0.5, 0.5]);
}

fn mean(decay: Decay, seen: &[f32]) -> EmaModel<Weights> {
    let mut ema = EmaConfig::new().with_decay(decay).init(&model(&[1.0]));
    for x in seen {
        ema.update(&model(&[*x])).unwrap();
    }
    ema
}

#[test]
fn range_of_two_means_is_the_mean_of_the_range() {
    let of = |decay: &Decay, earlier: usize, later: usize| {
        let means = [earlier, later].map(|end| mean(decay.clone(), &SEEN[..end]));
        number(&range_mean(&means[0], &means[1]).unwrap())
    };
    let equal = Decay::equal_weights();
    for (earlier, later, expected) in [(2, 6, 5.5), (4, 8, 7.5), (6, 8, 8.0), (0, 8, 5.5)] {
        assert_near(&[of(&equal, earlier, later)], &[expected]);
    }
    // The weights that averaging started from are in both, and cancel out.
    let with_prior = EqualWeights { prior: 1 }.into();
    assert_near(&[of(&with_prior, 4, 8)], &[7.5]);
    assert_near(&[of(&Decay::minus_sqrt(), 4, 8)], &[7.46835482324]);
    let square = PowerFunction { gamma: 1.0 }.into();
    let expected = (13.0 * 7.0 + 15.0 * 9.0) / 28.0;
    assert_near(&[of(&square, 6, 8)], &[expected]);
}

/// By weight: 3 and 5 with weights of 1 and 3 after a first value of weight 2.
#[test]
fn range_of_weighted_means_is_the_weighted_mean_of_the_range() {
    let mut later = mean(Decay::equal_weights(), &[]);
    later.update_weighted(&model(&[9.0]), 2.0).unwrap();
    let earlier = later.clone();
    later.update_weighted(&model(&[3.0]), 1.0).unwrap();
    later.update_weighted(&model(&[5.0]), 3.0).unwrap();
    let range = range_mean(&earlier, &later).unwrap();
    assert_near(&[number(&range)], &[4.5]);
}

/// Of `later`, whose decays of the frozen and of integers are no mean.
#[test]
fn range_takes_all_but_parameters_from_the_later_mean() {
    let config = EmaConfig::new().with_decay(Decay::equal_weights());
    let mut later = config.init(&Mixed::at(None, &device()));
    let mut earlier = later.clone();
    for t in 1..=4 {
        later.update(&Mixed::at(Some(t), &device())).unwrap();
        if t == 2 {
            earlier = later.clone();
        }
    }
    let range = range_mean(&earlier, &later).unwrap();
    assert_near(&numbers_at(&range, "a"), &[2.75, 1.125]);
    for path in ["b", "f", "n", "t"] {
        assert_eq!(
            numbers_at(&range, path),
            numbers_at(later.model(), path),
            "{path}"
        );
    }
}

#[test]
fn ranges_that_are_none_say_why() {
    let message = |earlier: &EmaModel<Weights>, later: &EmaModel<Weights>| {
        range_mean(earlier, later).unwrap_err().to_string()
    };
    let equal = |seen: &[f32]| mean(Decay::equal_weights(), seen);
    let found = message(&equal(&SEEN), &equal(&SEEN[..3]));
    assert!(found.contains("give the older mean first"), "{found}");
    let found = message(&mean(Decay::minus_sqrt(), &SEEN[..3]), &equal(&SEEN));
    assert!(found.contains("different schedules"), "{found}");
    let constant = |seen: &[f32]| mean(Decay::constant(0.9), seen);
    let found = message(&constant(&SEEN[..3]), &constant(&SEEN));
    assert!(found.contains("`Decay::equal_weights`"), "{found}");
}

#[test]
fn what_cannot_be_merged_says_why() {
    let merge = |weights: &[f64], models: Vec<Weights>| {
        let error = Merge::new().linear(weights, models).unwrap_err();
        error.to_string()
    };
    let one = || model(&[1.0]);
    for (weights, models, expected) in [
        (
            &[0.5, 0.5][..],
            vec![one()],
            "there are 1 models for 2 weights",
        ),
        (
            &[1.0],
            vec![one(), one()],
            "there are more models than the 1 weights",
        ),
        (&[], vec![one()], "give as many models as weights"),
        (&[1.0], vec![], "give as many models as weights"),
        (
            &[f64::NAN],
            vec![one()],
            "weights must be finite, found NaN",
        ),
        (
            &[0.5, 0.5],
            vec![one(), model(&[1.0, 2.0])],
            "`w` has shape [1] in the first model and [2] in another",
        ),
        (
            &[0.5, 0.5],
            vec![one(), one().no_grad()],
            "`w` is trainable in one model and frozen in another",
        ),
    ] {
        let found = merge(weights, models);
        assert!(found.contains(expected), "{found}");
    }
    let none: [Weights; 0] = [];
    assert!(Merge::new().uniform(none).is_err());
    for t in [-0.1, 1.1, f64::NAN] {
        let error = Merge::new().slerp(one(), one(), t).unwrap_err().to_string();
        assert!(error.contains("t must be in [0, 1]"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn merge_is_the_weighted_sum(terms in prop::collection::vec((-2.0..2.0_f64, -9.0..9.0_f32, -9.0..9.0_f32), 1..12)) {
        let weights: Vec<f64> = terms.iter().map(|term| term.0).collect();
        let models = terms.iter().map(|(_, x, y)| model(&[*x, *y]));
        let found = numbers_at(&Merge::new().linear(&weights, models).unwrap(), "w");
        let sum = |of: fn(&(f64, f32, f32)) -> f32| terms.iter().map(|term| term.0 * f64::from(of(term))).sum::<f64>();
        let expected = [sum(|term| term.1), sum(|term| term.2)];
        for (found, expected) in found.iter().zip(expected) {
            prop_assert!((found - expected).abs() < 1e-4, "{} and {}", found, expected);
        }
    }
}
