//! EMAs of other frameworks, run once by `tests/golden/peers.py`, against those of the presets on this backend, in f64.

use burn::module::Param;
use burn::tensor::{DType, Tensor, TensorData};
use burn_ema::EmaConfig;
use burn_ema::presets::{
    Diffusers, EmaPytorch, Ignite, KarrasEma, MmengineAnnealing, MmengineEma, MmengineSwa, Optax,
    OptaxIncremental, Preset, PytorchEma, TimmV2, TimmV3, TorchEma, TorchSwa,
};
use burn_ema_tests::backend::{device, has_dtype};
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::numbers_at;
use serde_json::Value;

/// The EMA that a framework had after each step, for a number that every run has passed through.
fn golden(name: &str) -> Vec<f64> {
    let file: Value = serde_json::from_str(include_str!(
        "../../../crates/burn-ema-rules/tests/rules/frameworks.json"
    ))
    .unwrap();
    let averages = file["averages"][name].as_array().unwrap();
    averages.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn value(step: usize) -> f64 {
    match step {
        0 => 0.3,
        step => (1.3 * step as f64).sin() + step as f64 / 10.0,
    }
}

/// The EMA after each step, in f64.
fn averages(preset: &impl Preset, steps: usize) -> Vec<f64> {
    let model = |step| {
        let data = TensorData::new(vec![value(step)], [1]);
        let w = Tensor::<1>::from_data(data, (&device(), DType::F64));
        Weights {
            w: Param::from_tensor(w),
        }
    };
    let mut ema = EmaConfig::from_preset(preset).unwrap().init(&model(0));
    let after = |step| {
        ema.update(&model(step)).unwrap();
        numbers_at(ema.model(), "w")[0]
    };
    (1..=steps).map(after).collect()
}

#[track_caller]
fn assert_same(name: &str, preset: impl Preset) {
    assert_close(name, preset, 1e-13);
}

#[track_caller]
fn assert_close(name: &str, preset: impl Preset, tolerance: f64) {
    if !has_dtype(DType::F64, name) {
        return;
    }
    let theirs = golden(name);
    let ours = averages(&preset, theirs.len());
    let differences = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, f64::max);
    println!("{name}: {largest:.1e} over {} steps", theirs.len());
    assert!(largest < tolerance, "{name}: {largest:e}");
}

#[test]
fn torch_has_our_emas() {
    let ema = TorchEma {
        decay: 0.9,
        use_buffers: false,
    };
    assert_same("torch_ema", ema);
    assert_same("torch_swa", TorchSwa::default());
}

#[test]
fn timm_has_our_emas() {
    assert_same("timm_v2", TimmV2 { decay: 0.9 });
    let v3 = TimmV3 {
        decay: 0.9,
        ..TimmV3::default()
    };
    assert_same("timm_v3", v3);
    let warmup = TimmV3 {
        use_warmup: true,
        warmup_gamma: 2.0,
        warmup_power: 0.75,
        ..v3
    };
    assert_same("timm_v3_warmup", warmup);
    let late = TimmV3 {
        min_decay: 0.3,
        update_after_step: 7,
        use_warmup: true,
        ..v3
    };
    assert_same("timm_v3_late", late);
}

#[test]
fn ema_pytorch_has_our_emas() {
    let ema = EmaPytorch {
        beta: 0.9,
        update_after_step: 20,
        update_every: 10,
        ..EmaPytorch::default()
    };
    // It computes its decay in f32.
    assert_close("ema_pytorch", ema, 1e-6);
    let odd = EmaPytorch {
        update_after_step: 5,
        update_every: 3,
        power: 0.75,
        min_value: 0.2,
        ..ema
    };
    assert_close("ema_pytorch_odd", odd, 1e-6);
}

/// Its formula leaves the interval out, so the EMA stays near the first weights; ours comes close to the last.
#[test]
fn karras_ema_of_ema_pytorch_is_defective_and_ours_is_not() {
    if !has_dtype(DType::F64, "karras_every_10") {
        return;
    }
    let theirs = golden("karras_every_10");
    let preset = KarrasEma {
        update_every: 10,
        ..KarrasEma::default()
    };
    let steps = theirs.len();
    let ours = averages(&preset, steps);
    // The number grows by a tenth a step, from 0.1 to 6; the mean of the profile is at 0.947 of the training.
    let (last, theirs) = (ours[steps - 1], theirs[steps - 1]);
    assert!((last - value(60)).abs() < 0.7, "{last}");
    assert!((theirs - value(60)).abs() > 1.5, "{theirs}");
}

#[test]
fn diffusers_has_our_emas() {
    let ramp = Diffusers {
        decay: 0.8,
        ..Diffusers::default()
    };
    assert_same("diffusers", ramp);
    let warmup = Diffusers {
        use_ema_warmup: true,
        inv_gamma: 2.0,
        power: 0.75,
        ..ramp
    };
    assert_same("diffusers_warmup", warmup);
    let late = Diffusers {
        min_decay: 0.3,
        update_after_step: 7,
        ..ramp
    };
    assert_same("diffusers_late", late);
}

#[test]
fn mmengine_has_our_emas() {
    for interval in [1, 3] {
        let ema = MmengineEma {
            momentum: 0.1,
            interval,
            ..MmengineEma::default()
        };
        assert_same(&format!("mmengine_ema_{interval}"), ema);
        let annealing = MmengineAnnealing {
            momentum: 0.05,
            gamma: 4.0,
            interval,
            ..MmengineAnnealing::default()
        };
        assert_same(&format!("mmengine_annealing_{interval}"), annealing);
        let swa = MmengineSwa {
            interval,
            ..MmengineSwa::default()
        };
        assert_same(&format!("mmengine_swa_{interval}"), swa);
    }
}

#[test]
fn ignite_has_our_emas() {
    let constant = Ignite {
        momentum: 0.1,
        ..Ignite::default()
    };
    assert_same("ignite", constant);
    let warmup = Ignite {
        momentum_warmup: Some(0.4),
        warmup_iters: 12,
        ..constant
    };
    assert_same("ignite_warmup", warmup);
    let every_third = Ignite {
        every: 3,
        ..constant
    };
    assert_same("ignite_every_3", every_third);
}

#[test]
fn pytorch_ema_and_optax_have_our_emas() {
    let ramp = PytorchEma {
        decay: 0.9,
        use_num_updates: true,
    };
    assert_same("pytorch_ema", ramp);
    let constant = PytorchEma {
        use_num_updates: false,
        ..ramp
    };
    assert_same("pytorch_ema_constant", constant);
    assert_same("optax", Optax { decay: 0.9 });
    let incremental = OptaxIncremental {
        step_size: 0.25,
        period: 1,
    };
    assert_same("optax_incremental", incremental);
}
