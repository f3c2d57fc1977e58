//! Models with LoRA adapters: the stored base and each factor are values of their own.

use burn::module::{Lora, Module, Param, ParamGroup, QLora, Quantizer};
use burn::tensor::quantization::{Calibration, QuantValue};
use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_ema::exchange::Stored;
use burn_ema::policy::Action;
use burn_ema::{Decay, EmaConfig, EmaModel, EmaSetConfig, Policy};
use burn_ema_tests::backend::{autodiff_device, device, is_flex};
use burn_ema_tests::compare::{assert_close, assert_near, numbers};
use burn_ema_tests::snapshot::{Value, assert_same, numbers_at, values, with_numbers};

#[derive(Module, Debug)]
struct Layer {
    weight: Param<Tensor<2>>,
}

fn layer(side: usize, numbers: &[f32], device: &Device) -> Layer {
    let data = TensorData::new(numbers.to_vec(), [side, side]);
    Layer {
        weight: Param::from_tensor(Tensor::from_data(data, device)),
    }
}

/// Base `[[1, 2], [3, 4]]`, factors of rank 1, scale 2.
fn adapted(a: [f32; 2], b: [f32; 2], device: &Device) -> Layer {
    let layer = layer(2, &[1.0, 2.0, 3.0, 4.0], device).apply_lora(Lora::new(1, 2.0));
    let layer = with_numbers(layer, "weight.lora.a", &a);
    with_numbers(layer, "weight.lora.b", &b)
}

fn halving<M: Module>(model: &M) -> EmaModel<M> {
    EmaConfig::new().with_decay(Decay::weight(0.5)).init(model)
}

#[test]
fn factors_are_averaged_one_by_one_and_the_base_is_copied() {
    for device in [device(), autodiff_device()] {
        let mut ema = halving(&adapted([1.0, 0.0], [0.0, 2.0], &device));
        let source = adapted([3.0, 4.0], [2.0, 0.0], &device);
        let source = with_numbers(source, "weight", &[5.0, 6.0, 7.0, 8.0]);
        ema.update(&source).unwrap();

        let weight = &ema.model().weight;
        assert_close(&weight.base(), &[5.0, 6.0, 7.0, 8.0]);
        let adapter = weight.adapter().expect("the adapter survives");
        assert_close(&adapter.a.val(), &[2.0, 2.0]);
        assert_close(&adapter.b.val(), &[1.0, 1.0]);
        assert_eq!(adapter.scale, 2.0);
        // Base + 2 * [2, 2]^T [1, 1]; averaging the effective weights would give something else.
        assert_close(&weight.val(), &[9.0, 10.0, 11.0, 12.0]);
    }
}

#[test]
fn base_is_the_stored_one_and_not_the_effective_weight() {
    let ema = halving(&adapted([1.0, 1.0], [1.0, 1.0], &autodiff_device()));
    assert_close(&ema.model().weight.base(), &[1.0, 2.0, 3.0, 4.0]);
    assert_close(&ema.model().weight.val(), &[3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn ema_with_adapters_survives_a_record() {
    let device = autodiff_device();
    let mut ema = halving(&adapted([1.0, 0.0], [0.0, 2.0], &device));
    ema.update(&adapted([3.0, 4.0], [2.0, 0.0], &device))
        .unwrap();
    let fresh = halving(&adapted([0.0; 2], [0.0; 2], &device));
    let resumed = fresh.load_record(ema.clone().into_record());
    assert_same(&values(&resumed), &values(&ema));
    assert_close(&resumed.model().weight.val(), &[5.0, 6.0, 7.0, 8.0]);
}

#[test]
fn adapter_that_appears_or_disappears_is_an_error() {
    let plain = layer(2, &[1.0; 4], &device());
    let adapted = adapted([1.0; 2], [1.0; 2], &device());
    let message = halving(&plain).update(&adapted).unwrap_err().to_string();
    assert_eq!(
        message,
        "`weight.lora.a` is in the model but not in the EMA: carry the EMA over to the changed model with \
         `EmaModel::adopt`, or create a new EMA"
    );
    let message = halving(&adapted).update(&plain).unwrap_err().to_string();
    assert_eq!(
        message,
        "`weight.lora.a` is in the EMA but not in the model: carry the EMA over to the changed model with \
         `EmaModel::adopt`, or create a new EMA"
    );
}

#[test]
fn merged_model_is_the_effective_ema() {
    let mut ema = halving(&adapted([1.0, 0.0], [0.0, 2.0], &device()));
    ema.update(&adapted([3.0, 4.0], [2.0, 0.0], &device()))
        .unwrap();
    let merged = ema.into_model().materialize();
    assert!(merged.weight.adapter().is_none());
    assert_close(&merged.weight.base(), &[5.0, 6.0, 7.0, 8.0]);
}

/// A layer `[8, 8]` with a packed base of 8 bits.
fn quantized(factor: f32, device: &Device) -> Layer {
    let numbers: Vec<f32> = (0..64).map(|i| factor * (i as f32 * 0.37).sin()).collect();
    let scheme = device
        .settings()
        .quantization
        .scheme
        .with_value(QuantValue::Q8S);
    let quantizer = Quantizer::new(Calibration::MinMax, scheme);
    let qlora = QLora::new(Lora::new(1, 1.0), quantizer);
    let layer = layer(8, &numbers, device).apply_qlora(qlora);
    let layer = with_numbers(layer, "weight.lora.a", &[factor; 8]);
    with_numbers(layer, "weight.lora.b", &[2.0 * factor; 8])
}

fn base(layer: &Layer) -> Value {
    let base = values(layer)
        .into_iter()
        .find(|value| value.path == "weight");
    base.expect("a layer has a weight")
}

/// Whether the backend quantizes at all.
fn quantizes(test: &str) -> bool {
    let quantizes = is_flex();
    if !quantizes {
        println!("SKIPPED {test}: quantization is tried on flex only");
    }
    quantizes
}

#[test]
fn quantized_base_is_copied_bit_for_bit_and_its_factors_are_averaged() {
    if !quantizes("quantized_base_is_copied_bit_for_bit_and_its_factors_are_averaged") {
        return;
    }
    let mut ema = halving(&quantized(1.0, &autodiff_device()));
    let source = quantized(3.0, &autodiff_device());
    ema.update(&source).unwrap();

    assert!(matches!(base(ema.model()).dtype, DType::QFloat(_)));
    assert_eq!(base(ema.model()).stored(), base(&source).stored());
    assert_near(&numbers_at(ema.model(), "weight.lora.a"), &[2.0; 8], 0.0);
    assert_near(&numbers_at(ema.model(), "weight.lora.b"), &[4.0; 8], 0.0);
    // Dequantized base + 1 * (2 * 4).
    let dequantized = source.weight.base().dequantize() + 8.0;
    assert_near(
        &numbers(&ema.model().weight.val()),
        &numbers(&dequantized),
        1e-6,
    );
}

#[test]
fn quantized_base_is_copied_where_the_policy_averages() {
    if !quantizes("quantized_base_is_copied_where_the_policy_averages") {
        return;
    }
    let policies = [
        Policy::new().with_frozen(Action::Average),
        Policy::new().with_override(ParamGroup::from_path("weight"), Action::Average),
    ];
    for policy in policies {
        let config = EmaConfig::new()
            .with_decay(Decay::weight(0.5))
            .with_policy(policy);
        let mut ema = config.init(&quantized(1.0, &device()));
        let source = quantized(3.0, &device());
        ema.update(&source).unwrap();
        assert_eq!(base(ema.model()).stored(), base(&source).stored());
    }
}

#[test]
fn ema_with_a_quantized_base_survives_a_record() {
    if !quantizes("ema_with_a_quantized_base_survives_a_record") {
        return;
    }
    let mut ema = halving(&quantized(1.0, &device()));
    ema.update(&quantized(3.0, &device())).unwrap();
    let fresh = halving(&quantized(7.0, &device()));
    let mut resumed = fresh.try_load_record(ema.clone().into_record()).unwrap();
    assert_same(&values(&resumed), &values(&ema));
    for ema in [&mut ema, &mut resumed] {
        ema.update(&quantized(5.0, &device())).unwrap();
    }
    assert_same(&values(&resumed), &values(&ema));
}

#[test]
fn model_that_is_quantized_after_init_is_an_error() {
    if !quantizes("model_that_is_quantized_after_init_is_an_error") {
        return;
    }
    let plain = layer(8, &[1.0; 64], &device());
    let scheme = device()
        .settings()
        .quantization
        .scheme
        .with_value(QuantValue::Q8S);
    let mut quantizer = Quantizer::new(Calibration::MinMax, scheme);
    let packed = plain.clone().quantize_weights(&mut quantizer);
    let mut ema = halving(&plain);
    let before = values(&ema);
    let message = ema.update(&packed).unwrap_err().to_string();
    let quantized = base(&packed).dtype;
    assert!(matches!(quantized, DType::QFloat(_)));
    assert_eq!(
        message,
        format!(
            "`weight` was F32 when the EMA was created and is {quantized:?} now: create a new EMA after casting or \
             quantizing a model"
        )
    );
    assert_same(&values(&ema), &before);
}

#[test]
fn factors_are_written_back_and_everything_is_put_back() {
    let device = autodiff_device();
    let mut model = adapted([1.0, 0.0], [0.0, 2.0], &device);
    let mut ema = halving(&model);
    ema.update(&adapted([3.0, 4.0], [2.0, 0.0], &device))
        .unwrap();
    let stored = Stored::of(&model);
    let before = values(&model);

    ema.write_back(&mut model, 0.5).unwrap();
    // The EMA has factors [2, 2] and [1, 1]; the base is not averaged.
    assert_close(&model.weight.base(), &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(numbers_at(&model, "weight.lora.a"), [1.5, 1.0]);
    assert_eq!(numbers_at(&model, "weight.lora.b"), [0.5, 1.5]);
    let trains = |model: &Layer| -> Vec<_> {
        let values = values(model).into_iter();
        values
            .map(|value| (value.id, value.requires_grad))
            .collect()
    };
    let still: Vec<_> = before
        .iter()
        .map(|value| (value.id, value.requires_grad))
        .collect();
    assert_eq!(trains(&model), still);

    ema.copy_to(&mut model).unwrap();
    assert_eq!(numbers_at(&model, "weight.lora.a"), [2.0, 2.0]);
    stored.restore(&mut model).unwrap();
    assert_eq!(values(&model), before);
}

#[test]
fn training_model_has_the_effective_ema_and_trains_nothing() {
    let device = autodiff_device();
    let mut ema = halving(&adapted([1.0, 0.0], [0.0, 2.0], &device));
    ema.update(&adapted([3.0, 4.0], [2.0, 0.0], &device))
        .unwrap();
    let teacher = ema.training_model();
    assert_close(&teacher.weight.val(), &[5.0, 6.0, 7.0, 8.0]);
    assert!(values(teacher).iter().all(|value| !value.requires_grad));
}

#[test]
fn quantized_base_is_left_alone_and_put_back_bit_for_bit() {
    if !quantizes("quantized_base_is_left_alone_and_put_back_bit_for_bit") {
        return;
    }
    let mut model = quantized(1.0, &autodiff_device());
    let mut ema = halving(&model);
    let source = quantized(3.0, &autodiff_device());
    ema.update(&source).unwrap();
    let stored = Stored::of(&model);
    let before = values(&model);
    ema.write_back(&mut model, 0.0).unwrap();
    assert_eq!(base(&model).bytes, before[0].bytes);
    assert_eq!(numbers_at(&model, "weight.lora.a"), [2.0; 8]);
    ema.copy_to(&mut model).unwrap();
    assert_eq!(base(&model).bytes, base(&source).bytes);
    stored.restore(&mut model).unwrap();
    assert_eq!(values(&model), before);
}

#[test]
fn emas_of_a_set_have_the_adapters_that_they_have_alone() {
    let device = autodiff_device();
    let model = adapted([1.0, 0.0], [0.0, 2.0], &device);
    let config = EmaConfig::new().with_decay(Decay::weight(0.5));
    let mut set = EmaSetConfig::new()
        .with("one", config.clone())
        .with("two", config)
        .init(&model);
    let mut alone = halving(&model);
    let source = adapted([3.0, 4.0], [2.0, 0.0], &device);
    set.update(&source).unwrap();
    alone.update(&source).unwrap();
    for (_, average) in set.iter() {
        assert_same(&values(average), &values(&alone));
    }
}
