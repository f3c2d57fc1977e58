//! EMAs of weights by the presets, against those of the frameworks. (What their numbers alone say is tested in
//! `burn-ema-rules`.)

use burn::module::Param;
use burn::tensor::{DType, Tensor, TensorData};
use burn_ema::EmaConfig;
use burn_ema::presets::MmengineEma;
use burn_ema_tests::backend::{device, has_dtype};
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::numbers_at;

use crate::framework_runs::{Run, runs};

/// The EMA after each step.
fn emas(run: &Run, dtype: DType) -> Vec<f64> {
    let model = |value: f64| {
        let data = TensorData::new(vec![value], [1]);
        Weights {
            w: Param::from_tensor(Tensor::<1>::from_data(data, (&device(), dtype))),
        }
    };
    let config = EmaConfig::from_preset(&*run.preset).unwrap();
    let mut ema = config.init(&model(run.initial));
    let after = |value: &f64| {
        ema.update(&model(*value)).unwrap();
        numbers_at(ema.model(), "w")[0]
    };
    run.seen.iter().map(after).collect()
}

#[test]
fn frameworks_have_our_emas_in_f32() {
    for run in runs() {
        run.assert_gives(&emas(&run, DType::F32), 4.0 * f64::from(f32::EPSILON));
    }
}

#[test]
fn frameworks_have_our_emas_in_f64() {
    if !has_dtype(DType::F64, "EMAs of other frameworks") {
        return;
    }
    for run in runs() {
        run.assert_gives(&emas(&run, DType::F64), 4.0 * f64::EPSILON);
    }
}

#[test]
fn mmagic_averaged_models_accept_or_reject_these() {
    let preset = |momentum| MmengineEma {
        momentum,
        ..MmengineEma::default()
    };
    for momentum in [10.0, -2.0, 3.0] {
        let message = EmaConfig::from_preset(&preset(momentum))
            .unwrap_err()
            .to_string();
        assert!(message.contains("above 0 and below 1"), "{message}");
    }
    // A warning there and here.
    assert!(EmaConfig::from_preset(&preset(0.6)).is_ok());
}
