//! Half-precision sources: averaged in f32, run in half precision.

use burn::module::{Module, Param};
use burn::store::ModuleRecord;
use burn::tensor::{DType, Tensor};
use burn_ema::{Decay, EmaConfig, PlainRecord, ShadowDType};
use burn_ema_tests::backend::{device, has_dtype};
use burn_ema_tests::compare::{assert_near, numbers};
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::{assert_same, values};

fn half(numbers: &[f32], dtype: DType) -> Weights {
    Weights::of_dtype(numbers, dtype, &device())
}

/// Runs `body` for each half-precision dtype that the backend has.
fn for_each_half(test: &str, body: impl Fn(DType)) {
    for dtype in [DType::F16, DType::BF16] {
        if has_dtype(dtype, test) {
            body(dtype);
        }
    }
}

#[test]
fn half_precision_source_moves_its_average_by_a_thousandth() {
    for_each_half(
        "half_precision_source_moves_its_average_by_a_thousandth",
        |dtype| {
            let mut ema = EmaConfig::new()
                .with_decay(Decay::constant(0.999))
                .init(&half(&[1.0], dtype));
            let source = half(&[2.0], dtype);
            for _ in 0..1_000 {
                ema.update(&source).unwrap();
            }
            // 2 - 0.999^1000, to the accuracy of f32 and of 1 - 0.999 in f32.
            let full = ema.full_precision_model().w.val();
            assert_eq!(full.dtype(), DType::F32);
            assert_near(&numbers(&full), &[2.0 - 0.999_f64.powi(1_000)], 1e-5);

            let model = ema.model().w.val();
            assert_eq!(model.dtype(), dtype);
            assert_near(
                &numbers(&model),
                &[2.0 - 0.999_f64.powi(1_000)],
                1.0 / 256.0,
            );
        },
    );
}

#[test]
fn single_update_of_a_half_precision_source_is_not_lost() {
    for_each_half(
        "single_update_of_a_half_precision_source_is_not_lost",
        |dtype| {
            let mut ema = EmaConfig::new()
                .with_decay(Decay::constant(0.999))
                .init(&half(&[1.0], dtype));
            ema.update(&half(&[2.0], dtype)).unwrap();
            assert_near(
                &numbers(&ema.full_precision_model().w.val()),
                &[1.001],
                1e-7,
            );
        },
    );
}

#[test]
fn average_of_a_half_precision_source_stays_f32_through_a_record() {
    for_each_half(
        "average_of_a_half_precision_source_stays_f32_through_a_record",
        |dtype| {
            let start = half(&[1.0, -3.0], dtype);
            let mut ema = EmaConfig::new().init(&start);
            ema.update(&half(&[2.0, 5.0], dtype)).unwrap();

            let bytes = ema.clone().into_record().into_bytes().unwrap();
            let record = ModuleRecord::from_bytes(bytes).unwrap();
            let mut resumed = EmaConfig::new().init(&start).load_record(record);
            assert_eq!(resumed.full_precision_model().w.val().dtype(), DType::F32);
            assert_eq!(resumed.model().w.val().dtype(), dtype);
            for ema in [&mut ema, &mut resumed] {
                ema.update(&half(&[-1.0, 0.5], dtype)).unwrap();
            }
            assert_same(&values(&resumed), &values(&ema));
        },
    );
}

#[test]
fn average_that_starts_from_a_half_precision_record_is_kept_in_f32() {
    for_each_half(
        "average_that_starts_from_a_half_precision_record_is_kept_in_f32",
        |dtype| {
            let config = EmaConfig::new().with_plain_record(PlainRecord::StartFrom);
            let ema = config.init(&half(&[1.0], dtype));
            let mut ema = ema.load_record(half(&[2.0], dtype).into_record());
            assert_eq!(ema.full_precision_model().w.val().dtype(), DType::F32);
            assert_eq!(ema.model().w.val().dtype(), dtype);
            ema.update(&half(&[3.0], dtype)).unwrap();
            assert_near(
                &numbers(&ema.full_precision_model().w.val()),
                &[2.001],
                1e-6,
            );
        },
    );
}

#[test]
fn record_of_a_half_precision_average_is_widened_when_an_f32_average_loads_it() {
    for_each_half(
        "record_of_a_half_precision_average_is_widened_when_an_f32_average_loads_it",
        |dtype| {
            let narrow = EmaConfig::new().with_shadow_dtype(ShadowDType::Source);
            let record = narrow.init(&half(&[2.0], dtype)).into_record();
            let mut ema = EmaConfig::new()
                .init(&half(&[1.0], dtype))
                .load_record(record);
            assert_eq!(ema.full_precision_model().w.val().dtype(), DType::F32);
            ema.update(&half(&[3.0], dtype)).unwrap();
            assert_near(
                &numbers(&ema.full_precision_model().w.val()),
                &[2.001],
                1e-6,
            );
        },
    );
}

#[test]
fn copy_of_a_half_precision_source_is_kept_in_f32() {
    for_each_half("copy_of_a_half_precision_source_is_kept_in_f32", |dtype| {
        let mut ema = EmaConfig::new().init(&half(&[1.0], dtype));
        ema.copy_from(&half(&[2.0], dtype)).unwrap();
        let full = ema.full_precision_model().w.val();
        assert_eq!(full.dtype(), DType::F32);
        assert_near(&numbers(&full), &[2.0], 0.0);

        let mut ema = EmaConfig::new()
            .with_decay(Decay::weight(1.0))
            .init(&half(&[1.0], dtype));
        ema.update(&half(&[2.0], dtype)).unwrap();
        assert_eq!(ema.full_precision_model().w.val().dtype(), DType::F32);
    });
}

#[test]
fn average_in_the_dtype_of_its_source_never_moves_by_a_thousandth_in_bf16() {
    if !has_dtype(
        DType::BF16,
        "average_in_the_dtype_of_its_source_never_moves",
    ) {
        return;
    }
    let config = EmaConfig::new().with_shadow_dtype(ShadowDType::Source);
    let mut ema = config.init(&half(&[1.0], DType::BF16));
    for _ in 0..100 {
        ema.update(&half(&[2.0], DType::BF16)).unwrap();
    }
    let value = ema.full_precision_model().w.val();
    assert_eq!(value.dtype(), DType::BF16);
    assert_near(&numbers(&value), &[1.0], 0.0);
}

#[test]
fn double_precision_source_is_averaged_in_double_precision() {
    if !has_dtype(
        DType::F64,
        "double_precision_source_is_averaged_in_double_precision",
    ) {
        return;
    }
    let double = |x: f64| Weights {
        w: Param::from_tensor(Tensor::from_data([x], (&device(), DType::F64))),
    };
    let mut ema = EmaConfig::new()
        .with_decay(Decay::constant(0.999))
        .init(&double(1.0));
    // 1e-6 of a thousandth: far below the last place of f32 at 1.
    ema.update(&double(1.0 + 1e-6)).unwrap();
    let value = ema.model().w.val();
    assert_eq!(value.dtype(), DType::F64);
    let moved = numbers(&value)[0] - 1.0;
    assert!((moved - 1e-9).abs() < 1e-14, "moved by {moved:e}");
}

#[test]
fn each_parameter_of_a_mixed_precision_model_keeps_its_dtype() {
    for_each_half(
        "each_parameter_of_a_mixed_precision_model_keeps_its_dtype",
        |dtype| {
            let mixed = |x: f32| (half(&[x], dtype), half(&[10.0 * x], DType::F32));
            let mut ema = EmaConfig::new()
                .with_decay(Decay::weight(0.5))
                .init(&mixed(1.0));
            ema.update(&mixed(3.0)).unwrap();
            let (low, high) = ema.model();
            assert_eq!(
                (low.w.val().dtype(), high.w.val().dtype()),
                (dtype, DType::F32)
            );
            assert_near(&numbers(&low.w.val()), &[2.0], 0.0);
            assert_near(&numbers(&high.w.val()), &[20.0], 1e-7);
        },
    );
}
