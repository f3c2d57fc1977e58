//! Half-precision models: averaged in f32, copied and run in half precision.

use burn::config::Config;
use burn::module::{Module, Param, RunningState};
use burn::store::ModuleRecord;
use burn::tensor::{DType, Tensor};
use burn_ema::config::{EmaPrecision, MissingEma};
use burn_ema::policy::BufferAction;
use burn_ema::{Decay, EmaConfig, Policy};
use burn_ema_tests::backend::{device, elsewhere, has_dtype};
use burn_ema_tests::compare::{assert_near, numbers};
use burn_ema_tests::models::{Weights, vector};
use burn_ema_tests::snapshot::{assert_same, numbers_at, values};

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
fn half_precision_source_moves_its_ema_by_a_thousandth() {
    for_each_half(
        "half_precision_source_moves_its_ema_by_a_thousandth",
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
fn ema_of_a_half_precision_source_stays_f32_through_a_record() {
    for_each_half(
        "ema_of_a_half_precision_source_stays_f32_through_a_record",
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
fn ema_that_starts_from_a_half_precision_record_is_kept_in_f32() {
    for_each_half(
        "ema_that_starts_from_a_half_precision_record_is_kept_in_f32",
        |dtype| {
            let config = EmaConfig::new().with_missing_ema(MissingEma::StartFromWeights);
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
fn record_of_a_half_precision_ema_is_widened_when_an_f32_ema_loads_it() {
    for_each_half(
        "record_of_a_half_precision_ema_is_widened_when_an_f32_ema_loads_it",
        |dtype| {
            let narrow = EmaConfig::new().with_precision(EmaPrecision::SameAsModel);
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
fn ema_in_the_dtype_of_its_source_never_moves_by_a_thousandth_in_bf16() {
    if !has_dtype(
        DType::BF16,
        "average_in_the_dtype_of_its_source_never_moves",
    ) {
        return;
    }
    let config = EmaConfig::new().with_precision(EmaPrecision::SameAsModel);
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

/// A parameter and a buffer of half precision.
#[derive(Module, Debug)]
struct Halves {
    w: Param<Tensor<1>>,
    b: RunningState<Tensor<1>>,
}

impl Halves {
    fn new(x: f32, is_trained: bool, dtype: DType) -> Self {
        let tensor = || vector(&[x], dtype, &device());
        Self {
            w: Param::from_tensor(tensor()).set_require_grad(is_trained),
            b: RunningState::new(tensor()),
        }
    }
}

fn dtypes(model: &Halves) -> [DType; 2] {
    [model.w.val().dtype(), model.b.value().dtype()]
}

#[test]
fn what_is_averaged_is_f32_and_what_is_copied_keeps_the_dtype_of_the_model() {
    let test = "what_is_averaged_is_f32_and_what_is_copied_keeps_the_dtype_of_the_model";
    for_each_half(test, |dtype| {
        for (is_trained, buffers, expected) in [
            (true, BufferAction::Average, [DType::F32, DType::F32]),
            (true, BufferAction::Copy, [DType::F32, dtype]),
            (false, BufferAction::Average, [dtype, DType::F32]),
            (false, BufferAction::Copy, [dtype, dtype]),
        ] {
            let mut ema = EmaConfig::new()
                .with_decay(Decay::weight(0.25))
                .with_policy(Policy::new().with_buffers(buffers))
                .init(&Halves::new(1.0, is_trained, dtype));
            assert_eq!(dtypes(&ema.full_precision_model()), expected);
            ema.update(&Halves::new(2.0, is_trained, dtype)).unwrap();
            assert_eq!(dtypes(&ema.full_precision_model()), expected);
            assert_eq!(dtypes(ema.model()), [dtype, dtype]);
            let number = |is_averaged: bool| if is_averaged { 1.25 } else { 2.0 };
            assert_eq!(numbers_at(ema.model(), "w"), [number(is_trained)]);
            let averages_buffers = buffers == BufferAction::Average;
            assert_eq!(numbers_at(ema.model(), "b"), [number(averages_buffers)]);
        }
    });
}

/// From the update that averages it on, the EMA is f32: a thousandth is not lost.
#[test]
fn half_precision_parameter_that_is_unfrozen_is_f32_from_then_on() {
    let test = "half_precision_parameter_that_is_unfrozen_is_f32_from_then_on";
    for_each_half(test, |dtype| {
        let mut ema = EmaConfig::new()
            .with_decay(Decay::constant(0.999))
            .init(&Halves::new(1.0, false, dtype));
        ema.update(&Halves::new(1.0, false, dtype)).unwrap();
        assert_eq!(dtypes(&ema.full_precision_model()), [dtype, DType::F32]);

        ema.update(&Halves::new(2.0, true, dtype)).unwrap();
        let full = ema.full_precision_model();
        assert_eq!(dtypes(&full), [DType::F32, DType::F32]);
        assert_near(&numbers_at(&full, "w"), &[1.001], 1e-7);

        // Frozen again: still averaged, still f32, and so from a record.
        ema.update(&Halves::new(2.0, false, dtype)).unwrap();
        let full = ema.full_precision_model();
        assert_eq!(dtypes(&full), [DType::F32, DType::F32]);
        assert_near(&numbers_at(&full, "w"), &[1.001999], 1e-7);
        assert_eq!(dtypes(ema.model()), [dtype, dtype]);

        let fresh = EmaConfig::new()
            .with_decay(Decay::constant(0.999))
            .init(&Halves::new(1.0, true, dtype));
        let resumed = fresh.load_record(ema.clone().into_record());
        assert_same(&values(&resumed), &values(&ema));
    });
}

#[test]
fn ema_in_f64_goes_on_from_its_record_bit_for_bit() {
    if !has_dtype(DType::F64, "ema_in_f64_goes_on_from_its_record") {
        return;
    }
    let model = |x: f32| Weights::new(&[x], &device());
    let config = EmaConfig::new()
        .with_decay(Decay::constant(0.999))
        .with_precision(EmaPrecision::F64);
    let mut whole = config.init(&model(1.0));
    let mut parts = config.init(&model(1.0));
    for step in 0..20_u16 {
        let source = model((f32::from(step) * 0.7).sin());
        whole.update(&source).unwrap();
        parts.update(&source).unwrap();
        let fresh = config.init(&model(-7.0));
        parts = fresh.try_load_record(parts.into_record()).unwrap();
    }
    let [whole, parts] = [whole, parts].map(|ema| values(&ema.full_precision_model()));
    assert_eq!(whole[0].dtype, DType::F64);
    assert_eq!(whole[0].bytes, parts[0].bytes);
    let json = burn::config::config_to_json(&config);
    let loaded = EmaConfig::load_binary(json.as_bytes()).unwrap();
    assert_eq!(loaded.precision, EmaPrecision::F64);
}

#[test]
fn half_precision_models_can_be_averaged_in_f64() {
    for_each_half("half_precision_models_can_be_averaged_in_f64", |dtype| {
        if !has_dtype(DType::F64, "half_precision_models_can_be_averaged_in_f64") {
            return;
        }
        let config = EmaConfig::new()
            .with_decay(Decay::constant(0.75))
            .with_precision(EmaPrecision::F64);
        let mut ema = config.init(&half(&[1.0], dtype));
        ema.update(&half(&[2.0], dtype)).unwrap();
        ema.update(&half(&[4.0], dtype)).unwrap();
        assert_eq!(numbers_at(&ema.full_precision_model(), "w"), [1.9375]);
        assert_eq!(ema.model().w.val().dtype(), dtype);
    });
}

#[test]
fn device_without_f64_is_an_error_before_training() {
    let config = EmaConfig::new().with_precision(EmaPrecision::F64);
    let made = config.try_init(&Weights::new(&[1.0], &device()));
    if device().supports_dtype(DType::F64) {
        assert!(made.is_ok());
        return;
    }
    let error = made.unwrap_err().to_string();
    assert!(error.contains("`w` is to be kept as F64"), "{error}");
    // It may be kept where there is one.
    if elsewhere().supports_dtype(DType::F64) {
        let ema = config.try_init_on(&Weights::new(&[1.0], &device()), &elsewhere());
        assert!(ema.is_ok());
        // Nor may the model move from there to here.
        let mut ema = config.init(&Weights::new(&[1.0], &elsewhere()));
        let error = ema.update(&Weights::new(&[2.0], &device())).unwrap_err();
        assert!(
            error.to_string().contains("`w` is to be kept as F64"),
            "{error}"
        );
        assert!(ema.update(&Weights::new(&[2.0], &elsewhere())).is_ok());
    }
}
