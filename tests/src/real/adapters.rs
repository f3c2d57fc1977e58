//! LoRA adapters on a base in f32, in bf16, and on one that is packed.

use burn::module::{Lora, Module, ModuleMapper, Param, QLora, Quantizer};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::quantization::{Calibration, QuantValue};
use burn::tensor::{DType, Device, Tensor};

use super::{Case, filled, wave};

const WIDTH: usize = 8;

/// A network that is adapted.
#[derive(Module, Debug)]
pub struct Adapted {
    first: Linear,
    norm: LayerNorm,
    last: Linear,
}

impl Adapted {
    fn base(device: &Device) -> Self {
        let linear = || LinearConfig::new(WIDTH, WIDTH).init(device);
        let model = Self {
            first: linear(),
            norm: LayerNormConfig::new(WIDTH).init(device),
            last: linear(),
        };
        filled(model, 51)
    }

    fn run(&self, seed: u32, device: &Device) -> Tensor<2> {
        let dtype = self.norm.gamma.base().dtype();
        let input = wave([5, WIDTH], seed, device).cast(dtype);
        let hidden = self.norm.forward(self.first.forward(input));
        self.last.forward(hidden.tanh()).cast(DType::F32)
    }
}

fn case(name: &'static str, make: fn(&Device) -> Adapted) -> Case<Adapted> {
    Case::new(
        name,
        make,
        |model, device| model.run(0, device),
        |model, step, device| {
            (model.run(step, device) - wave([5, WIDTH], step + 90, device))
                .square()
                .mean()
        },
    )
}

/// Adapters on a base in f32.
pub fn lora() -> Case<Adapted> {
    case("LoRA, f32", |device| {
        filled(Adapted::base(device).apply_lora(Lora::new(2, 4.0)), 52)
    })
}

struct ToBf16;

impl ModuleMapper for ToBf16 {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|old| {
            let requires_grad = old.is_require_grad();
            let new = old.cast(DType::BF16).detach();
            new.set_require_grad(requires_grad)
        })
    }
}

/// Adapters on a model that was cast to bf16.
pub fn lora_bf16() -> Case<Adapted> {
    Case {
        dtype: DType::BF16,
        learning_rate: 0.1,
        tolerance: 2e-2,
        ..case("LoRA, bf16", |device| {
            let base = Adapted::base(device).map(&mut ToBf16);
            filled(base.apply_lora(Lora::new(2, 4.0)), 53)
        })
    }
}

/// A whole model in bf16.
pub fn bf16() -> Case<Adapted> {
    Case {
        dtype: DType::BF16,
        learning_rate: 0.1,
        tolerance: 2e-2,
        ..case("bf16", |device| Adapted::base(device).map(&mut ToBf16))
    }
}

/// Adapters on a base that is packed in 8 bits.
pub fn qlora() -> Case<Adapted> {
    Case {
        is_portable: false,
        ..case("QLoRA", |device| {
            let scheme = device.settings().quantization.scheme;
            let quantizer = Quantizer::new(Calibration::MinMax, scheme.with_value(QuantValue::Q8S));
            let qlora = QLora::new(Lora::new(2, 4.0), quantizer);
            let base = Adapted::base(device);
            let model = Adapted {
                first: base.first.apply_qlora(qlora),
                ..base
            };
            // The rest is adapted without being packed.
            let model = Adapted {
                last: model.last.apply_lora(Lora::new(2, 4.0)),
                ..model
            };
            filled(model, 54)
        })
    }
}
