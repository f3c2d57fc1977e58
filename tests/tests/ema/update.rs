//! What one update does to a value, and what many do.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Bool, DType, Int, Tensor, TensorData};
use burn_ema::decay::PowerWarmup;
use burn_ema::policy::BufferAction;
use burn_ema::{Decay, EmaConfig, EmaModel, Policy, Update};
use burn_ema_tests::backend::{device, has_dtype};
use burn_ema_tests::compare::{assert_close, assert_near, numbers};
use burn_ema_tests::models::{Mixed, Weights, integers};
use burn_ema_tests::reference::Reference;
use burn_ema_tests::snapshot::{assert_same, assert_same_values, values};

fn ema_of<M: Module>(model: &M, decay: Decay) -> EmaModel<M> {
    EmaConfig::new().with_decay(decay).init(model)
}

/// Five numbers between 1 and 3 that depend on the step in no simple way.
fn source_at(step: u32) -> Vec<f32> {
    (0..5)
        .map(|i| 2.0 + ((step * 7 + i) as f32 * 1.37).sin())
        .collect()
}

/// 200 updates with `decay` agree with the f64 reference after each of them.
#[track_caller]
fn assert_follows(decay: Decay, interval: u64, expected_decay: impl Fn(u64) -> f64) {
    let wide = |values: Vec<f32>| -> Vec<f64> { values.into_iter().map(f64::from).collect() };
    let seen: Vec<Vec<f64>> = (1..=200).map(|step| wide(source_at(step))).collect();
    let reference = Reference {
        interval,
        ..Reference::every_step(expected_decay)
    };
    let expected = reference.averages(&wide(source_at(0)), &seen);

    let mut model = Weights::new(&source_at(0), &device());
    let config = EmaConfig::new().with_decay(decay).with_interval(interval);
    let mut ema = config.init(&model);
    for (step, expected) in (1..=200).zip(expected) {
        model = model.with(&source_at(step));
        ema.update(&model).unwrap();
        assert_near(&numbers(&ema.model().w.val()), &expected, 1e-6);
    }
    assert_eq!(ema.num_updates(), 200 / interval);
    assert_eq!(ema.num_steps(), 200);
}

#[test]
fn constant_decay_follows_the_recursion() {
    assert_follows(Decay::constant(0.999), 1, |_| 0.999);
    assert_follows(Decay::constant(0.9), 3, |_| 0.9);
}

#[test]
fn weight_follows_the_recursion() {
    assert_follows(Decay::weight(0.3), 1, |_| 0.7);
    assert_follows(Decay::weight(0.001), 2, |_| 0.999);
}

#[test]
fn half_life_follows_the_recursion_whatever_the_interval() {
    assert_follows(Decay::half_life(20.0), 1, |_| 0.5_f64.powf(1.0 / 20.0));
    assert_follows(Decay::half_life(20.0), 10, |_| 0.5_f64.powf(10.0 / 20.0));
}

#[test]
fn power_warmup_follows_the_recursion() {
    let curve = |power: f64| move |n: u64| 1.0 - (n as f64 + 1.0).powf(-power);
    assert_follows(Decay::power_warmup(2.0 / 3.0), 1, curve(2.0 / 3.0));
    let bounded = PowerWarmup::new(0.75)
        .with_inv_gamma(4.0)
        .with_min(0.2)
        .with_max(0.9);
    // The first average is a copy whatever the bounds, as in timm, diffusers and ema-pytorch.
    assert_follows(bounded.into(), 2, |n| match n {
        0 => 0.0,
        n => (1.0 - (n as f64 / 4.0 + 1.0).powf(-0.75)).clamp(0.2, 0.9),
    });
}

#[test]
fn power_warmup_starts_with_a_copy_and_slows_down() {
    let mut ema = ema_of(&Weights::new(&[5.0], &device()), Decay::power_warmup(1.0));
    // Decays 0, 1/2, 2/3: the mean of everything seen.
    for (source, mean) in [(2.0, 2.0), (4.0, 3.0)] {
        ema.update(&Weights::new(&[source], &device())).unwrap();
        assert_close(&ema.model().w.val(), &[mean]);
    }
    assert!((ema.current_decay() - 2.0 / 3.0).abs() < 1e-15);
}

#[test]
fn three_updates_give_the_numbers_worked_out_by_hand() {
    let mut ema = ema_of(&Weights::new(&[0.0, 8.0], &device()), Decay::weight(0.25));
    let mut after = |source: [f32; 2], expected: [f64; 2]| {
        let update = ema.update(&Weights::new(&source, &device())).unwrap();
        assert_eq!(
            update,
            Update::Averaged {
                decay: 0.75,
                averaged: 1,
                copied: 0
            }
        );
        assert_close(&ema.model().w.val(), &expected);
    };
    after([4.0, 8.0], [1.0, 8.0]);
    after([5.0, 0.0], [2.0, 6.0]);
    after([-6.0, 10.0], [0.0, 7.0]);
}

#[test]
fn ema_equal_to_its_source_stays_so_for_10_000_updates() {
    let source: Vec<f32> = (1..17)
        .map(|i| (i as f32).sqrt() * 1e-3 * 10_f32.powi(i % 7))
        .collect();
    let model = Weights::new(&source, &device());
    let mut ema = ema_of(&model, Decay::constant(0.999));
    for _ in 0..10_000 {
        ema.update(&model).unwrap();
    }
    assert_same_values(ema.model(), &model);
    assert_eq!(ema.num_updates(), 10_000);
}

#[test]
fn weight_one_is_an_exact_copy_where_arithmetic_would_lose_it() {
    // In f32, 1e8 + (1.2345 - 1e8) * 1 is 0.
    let mut ema = ema_of(&Weights::new(&[1e8], &device()), Decay::weight(1.0));
    let source = Weights::new(&[1.2345], &device());
    ema.update(&source).unwrap();
    assert_same_values(ema.model(), &source);
}

#[test]
fn weight_one_heals_an_ema_that_is_not_finite() {
    let broken = Weights::new(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY], &device());
    let mut ema = ema_of(&broken, Decay::weight(1.0));
    let source = Weights::new(&[1.0, -2.0, 3.0], &device());
    ema.update(&source).unwrap();
    assert_same_values(ema.model(), &source);
}

#[test]
fn first_update_of_a_warm_up_heals_an_ema_that_is_not_finite() {
    let mut ema = ema_of(
        &Weights::new(&[f32::NAN], &device()),
        Decay::power_warmup(1.0),
    );
    ema.update(&Weights::new(&[4.0], &device())).unwrap();
    assert_close(&ema.model().w.val(), &[4.0]);
}

#[test]
fn decay_one_freezes_the_ema_even_against_nan() {
    let start = Weights::new(&[1.5, -2.5], &device());
    let mut ema = ema_of(&start, Decay::constant(1.0));
    for source in [[7.0, 8.0], [f32::NAN, f32::INFINITY]] {
        let update = ema.update(&Weights::new(&source, &device())).unwrap();
        assert_eq!(
            update,
            Update::Averaged {
                decay: 1.0,
                averaged: 1,
                copied: 0
            }
        );
    }
    assert_same_values(ema.model(), &start);
    assert_eq!(ema.num_updates(), 2);
}

#[derive(Module, Debug)]
struct Whole {
    counts: Param<Tensor<1, Int>>,
    w: Param<Tensor<1>>,
}

#[test]
fn integers_above_2_to_the_53_are_copied_exactly() {
    if !has_dtype(DType::I64, "integers_above_2_to_the_53_are_copied_exactly") {
        return;
    }
    let whole = |counts: &[i64]| Whole {
        counts: Param::initialized(ParamId::new(), integers(counts, DType::I64, &device())),
        w: Param::from_data([1.0_f32], &device()),
    };
    let mut ema = ema_of(&whole(&[0, 1, 2]), Decay::constant(0.999));
    let exact = [9_007_199_254_740_993, i64::MIN + 1, i64::MAX];
    ema.update(&whole(&exact)).unwrap();
    let copied = ema.model().counts.val().into_data();
    assert_eq!(copied.dtype(), DType::I64);
    assert_eq!(copied.iter::<i64>().collect::<Vec<_>>(), exact);
}

#[test]
fn integers_above_2_to_the_24_are_copied_exactly() {
    // 16777217 is the first integer that f32 does not have.
    let whole = |counts: &[i64]| Whole {
        counts: Param::initialized(ParamId::new(), integers(counts, DType::I32, &device())),
        w: Param::from_data([1.0_f32], &device()),
    };
    let mut ema = ema_of(&whole(&[0, 0]), Decay::constant(0.999));
    ema.update(&whole(&[16_777_217, -2_147_483_647])).unwrap();
    let copied: Vec<i64> = ema.model().counts.val().into_data().iter().collect();
    assert_eq!(copied, [16_777_217, -2_147_483_647]);
}

/// LibTorch loads every integer of a record as i64.
#[test]
fn integers_of_another_width_are_copied_as_they_come() {
    if !has_dtype(
        DType::I64,
        "integers_of_another_width_are_copied_as_they_come",
    ) {
        return;
    }
    let whole = |count: i64, dtype: DType| Whole {
        counts: Param::initialized(ParamId::new(), integers(&[count], dtype, &device())),
        w: Param::from_data([1.0_f32], &device()),
    };
    let mut ema = ema_of(&whole(1, DType::I32), Decay::constant(0.999));
    for (count, dtype) in [(i64::MAX, DType::I64), (7, DType::I32)] {
        let source = whole(count, dtype);
        ema.update(&source).unwrap();
        let copied = ema.model().counts.val();
        assert_eq!(copied.dtype(), source.counts.val().dtype());
        assert_eq!(
            copied.into_data().iter::<i64>().collect::<Vec<_>>(),
            [count]
        );
    }
}

#[derive(Module, Debug)]
struct Masked {
    mask: Param<Tensor<2, Bool>>,
}

#[test]
fn booleans_are_copied() {
    let masked = |mask: [bool; 4]| {
        let data = TensorData::new(mask.to_vec(), [2, 2]);
        Masked {
            mask: Param::initialized(ParamId::new(), Tensor::from_data(data, &device())),
        }
    };
    let mut ema = ema_of(&masked([true, false, false, true]), Decay::constant(0.999));
    for mask in [[false, true, false, true], [true, true, false, false]] {
        ema.update(&masked(mask)).unwrap();
        let copied: Vec<bool> = ema.model().mask.val().into_data().iter().collect();
        assert_eq!(copied, mask);
    }
}

#[derive(Module, Debug)]
struct Ranks {
    scalar: Param<Tensor<1>>,
    empty: Param<Tensor<2>>,
    cube: Param<Tensor<3>>,
    high: Param<Tensor<8>>,
}

#[test]
fn every_rank_is_averaged_and_empty_parameters_stay_empty() {
    let ranks = |x: f32| Ranks {
        scalar: Param::from_tensor(Tensor::full([1], x, &device())),
        empty: Param::from_tensor(Tensor::zeros([0, 3], &device())),
        cube: Param::from_tensor(Tensor::full([2, 1, 2], -x, &device())),
        high: Param::from_tensor(Tensor::full([1, 1, 1, 1, 1, 1, 1, 2], 2.0 * x, &device())),
    };
    let mut ema = ema_of(&ranks(1.0), Decay::weight(0.5));
    ema.update(&ranks(3.0)).unwrap();
    let model = ema.model();
    assert_close(&model.scalar.val(), &[2.0]);
    assert_eq!(model.empty.val().dims(), [0, 3]);
    assert_eq!(ema.relative_distance(&ranks(2.0)).unwrap(), 0.0);
    assert_close(&model.cube.val(), &[-2.0; 4]);
    assert_close(&model.high.val(), &[4.0; 2]);
}

#[derive(Module, Debug)]
struct TooHigh {
    w: Param<Tensor<9>>,
}

#[test]
fn rank_that_burn_does_not_train_is_an_error_by_name() {
    if cfg!(feature = "fusion") {
        println!(
            "SKIPPED rank_that_burn_does_not_train_is_an_error_by_name: Fusion makes no such tensor"
        );
        return;
    }
    let data = TensorData::new(vec![1.0_f32], [1; 9]);
    let model = TooHigh {
        w: Param::from_tensor(Tensor::from_data(data, &device())),
    };
    let error = EmaConfig::new().try_init(&model).unwrap_err().to_string();
    assert_eq!(
        error,
        "`w` has rank 9: Burn trains and stores tensors of rank 1 to 8"
    );
}

#[test]
fn handed_out_model_does_not_change_with_later_updates() {
    let device = device();
    let mut ema = ema_of(&Mixed::at(None, &device), Decay::weight(0.5));
    ema.update(&Mixed::at(Some(3), &device)).unwrap();

    let borrowed = ema.model().clone();
    let taken = ema.clone().into_model();
    let full = ema.full_precision_model();
    let before = values(&borrowed);
    for t in 4..8 {
        ema.update(&Mixed::at(Some(t), &device)).unwrap();
    }

    for handed_out in [&borrowed, &taken, &full] {
        assert_same(&values(handed_out), &before);
    }
    assert_ne!(values(ema.model()), before, "the updates did something");
}

#[test]
fn clone_of_the_ema_does_not_change_with_the_next_update() {
    let device = device();
    let mut ema = ema_of(&Mixed::at(None, &device), Decay::weight(0.5));
    ema.update(&Mixed::at(Some(1), &device)).unwrap();
    let clone = ema.clone();
    let before = values(clone.model());

    ema.update(&Mixed::at(Some(2), &device)).unwrap();
    assert_same(&values(clone.model()), &before);
    assert_eq!((clone.num_updates(), ema.num_updates()), (1, 2));
}

#[test]
fn source_does_not_change_with_an_update_in_place() {
    // The average starts out sharing the source's memory.
    let source = Weights::new(&[1.0, 2.0], &device());
    let mut ema = ema_of(&source, Decay::weight(0.5));
    ema.update(&Weights::new(&[3.0, 6.0], &device())).unwrap();
    assert_close(&ema.model().w.val(), &[2.0, 4.0]);
    assert_close(&source.w.val(), &[1.0, 2.0]);
}

#[test]
fn source_of_a_copy_does_not_change_with_the_next_update() {
    let mut ema = ema_of(&Weights::new(&[0.0], &device()), Decay::weight(0.5));
    let source = Weights::new(&[8.0], &device());
    ema.copy_from(&source).unwrap();
    ema.update(&Weights::new(&[4.0], &device())).unwrap();
    assert_close(&ema.model().w.val(), &[6.0]);
    assert_close(&source.w.val(), &[8.0]);
}

#[test]
fn copy_from_makes_everything_equal_and_leaves_the_counters() {
    let device = device();
    let mut ema = ema_of(&Mixed::at(None, &device), Decay::constant(0.999));
    ema.update(&Mixed::at(Some(1), &device)).unwrap();
    let source = Mixed::at(Some(9), &device);
    ema.copy_from(&source).unwrap();
    assert_same_values(ema.model(), &source);
    assert_eq!((ema.num_steps(), ema.num_updates()), (1, 1));
}

#[test]
fn relative_distance_is_that_of_the_averaged_tensors() {
    let device = device();
    // Model [3, 4], EMA [0, 0]: distance 5 over norm 5. Then EMA [1.5, 2]: half of it.
    let mut ema = ema_of(&Weights::new(&[0.0, 0.0], &device), Decay::weight(0.5));
    let source = Weights::new(&[3.0, 4.0], &device);
    assert!((ema.relative_distance(&source).unwrap() - 1.0).abs() < 1e-6);
    ema.update(&source).unwrap();
    assert!((ema.relative_distance(&source).unwrap() - 0.5).abs() < 1e-6);

    // Copied tensors do not count: `a` is [1, 2] against [1.5, 1.75], `f`, `b`, `n` are far off.
    let model = Mixed::at(Some(1), &device);
    let copying = Policy::new().with_buffers(BufferAction::Copy);
    let ema = EmaConfig::new()
        .with_policy(copying)
        .init(&Mixed::at(None, &device));
    let expected = 0.5_f64.hypot(0.25) / 1.5_f64.hypot(1.75);
    let found = ema.relative_distance(&model).unwrap();
    assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");

    // Averaged buffers do: `b` is [2, 3] against [3, 2.5].
    let ema = ema_of(&Mixed::at(None, &device), Decay::weight(0.5));
    let expected =
        0.5_f64.hypot(0.25).hypot(1.0).hypot(0.5) / 1.5_f64.hypot(1.75).hypot(3.0).hypot(2.5);
    let found = ema.relative_distance(&model).unwrap();
    assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");

    let equal = ema_of(&source, Decay::weight(0.5));
    assert_eq!(equal.relative_distance(&source).unwrap(), 0.0);
}

#[test]
fn swapped_model_runs_on_the_ema_and_gets_its_own_weights_back() {
    let mut ema = ema_of(&Weights::new(&[0.0], &device()), Decay::weight(0.5));
    let mut model = Weights::new(&[4.0], &device());
    ema.update(&model).unwrap();
    {
        let swapped = ema.swap_into(&mut model);
        assert_close(&swapped.w.val(), &[2.0]);
    }
    assert_close(&model.w.val(), &[4.0]);
}

#[test]
fn swapped_model_gets_its_own_weights_back_after_a_panic() {
    let ema = ema_of(&Weights::new(&[0.0], &device()), Decay::weight(0.5));
    let mut model = Weights::new(&[4.0], &device());
    let id = model.w.id;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let swapped = ema.swap_into(&mut model);
        assert_close(&swapped.w.val(), &[0.0]);
        panic!("validation fails");
    }));
    assert!(panicked.is_err());
    assert_close(&model.w.val(), &[4.0]);
    assert_eq!(model.w.id, id);
}

#[test]
fn change_to_a_swapped_model_is_lost() {
    let ema = ema_of(&Weights::new(&[1.0], &device()), Decay::weight(0.5));
    let mut model = Weights::new(&[4.0], &device());
    {
        let mut swapped = ema.swap_into(&mut model);
        *swapped = Weights::new(&[9.0], &device());
    }
    assert_close(&model.w.val(), &[4.0]);
    assert_close(&ema.model().w.val(), &[1.0]);
}
