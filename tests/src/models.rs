//! Small models.

use burn::module::{Module, Param, ParamId, RunningState};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

/// One trainable vector `w`.
#[derive(Module, Debug)]
pub struct Weights {
    /// The vector.
    pub w: Param<Tensor<1>>,
}

impl Weights {
    /// A model with the given numbers, as f32.
    pub fn new(numbers: &[f32], device: &Device) -> Self {
        Self::of_dtype(numbers, DType::F32, device)
    }

    /// A model with the given numbers.
    pub fn of_dtype(numbers: &[f32], dtype: DType, device: &Device) -> Self {
        Self {
            w: Param::from_tensor(vector(numbers, dtype, device)),
        }
    }

    /// The same parameter with other numbers, as after an optimizer step.
    pub fn with(&self, numbers: &[f32]) -> Self {
        let map = |old: Tensor<1>| {
            let new = vector(numbers, old.dtype(), &old.device());
            new.set_require_grad(old.is_require_grad())
        };
        Self {
            w: self.w.clone().map(map),
        }
    }
}

/// A tensor of rank 1.
pub fn vector(numbers: &[f32], dtype: DType, device: &Device) -> Tensor<1> {
    let data = TensorData::new(numbers.to_vec(), [numbers.len()]);
    Tensor::from_data(data, (device, dtype))
}

/// An integer tensor of rank 1.
pub fn integers(numbers: &[i64], dtype: DType, device: &Device) -> Tensor<1, Int> {
    let data = TensorData::new(numbers.to_vec(), [numbers.len()]);
    Tensor::from_data(data, (device, dtype))
}

/// One value of each class.
#[derive(Module, Debug)]
pub struct Mixed {
    /// Trainable.
    pub a: Param<Tensor<1>>,
    /// Frozen.
    pub f: Param<Tensor<1>>,
    /// Float buffer.
    pub b: RunningState<Tensor<1>>,
    /// Integer.
    pub n: Param<Tensor<1, Int>>,
    /// Boolean.
    pub t: Param<Tensor<1, Bool>>,
}

impl Mixed {
    /// mmagic's fixture at iteration `t`, or before the first at `None`: `a = [1 + t/2, 2 - t/4]`,
    /// `f = [10 + t, -10 - 2t]`, `b = [2 + t, 3 - t/2]`, `n = t + 1`, and `t` whether `t` is odd.
    pub fn at(t: Option<u16>, device: &Device) -> Self {
        let x = f32::from(t.unwrap_or(0));
        let floats = |numbers: [f32; 2]| vector(&numbers, DType::F32, device);
        let n = t.map_or(0, |t| i32::from(t) + 1);
        let n = TensorData::new(vec![n], [1]);
        let odd = TensorData::new(vec![t.is_some_and(|t| t % 2 == 1)], [1]);
        Self {
            a: Param::from_tensor(floats([1.0 + 0.5 * x, 2.0 - 0.25 * x])),
            f: Param::from_tensor(floats([10.0 + x, -10.0 - 2.0 * x])).set_require_grad(false),
            b: RunningState::new(floats([2.0 + x, 3.0 - 0.5 * x])),
            n: Param::initialized(ParamId::new(), Tensor::from_data(n, (device, DType::I32))),
            t: Param::initialized(ParamId::new(), Tensor::from_data(odd, device)),
        }
    }
}

/// `Linear`, `BatchNorm`, `Linear`: what a small network has.
#[derive(Module, Debug)]
pub struct Net {
    /// `[2, 3]`.
    pub first: Linear,
    /// 3 features.
    pub norm: BatchNorm,
    /// `[3, 1]`.
    pub last: Linear,
}

impl Net {
    /// Weights made of a few fixed numbers.
    pub fn new(device: &Device) -> Self {
        let linear = |rows: usize, columns: usize, shift: f32| {
            let linear = LinearConfig::new(rows, columns).init(device);
            let numbers: Vec<f32> = (0..rows * columns)
                .map(|i| (i as f32 * 0.7 + shift).sin())
                .collect();
            let bias: Vec<f32> = (0..columns).map(|i| (i as f32 + shift).cos()).collect();
            let linear = crate::snapshot::with_numbers(linear, "weight", &numbers);
            crate::snapshot::with_numbers(linear, "bias", &bias)
        };
        Self {
            first: linear(2, 3, 0.3),
            norm: BatchNormConfig::new(3).init(device),
            last: linear(3, 1, 1.1),
        }
    }

    /// `[batch, 2]` to `[batch, 1]`.
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let hidden = self.norm.forward(self.first.forward(input));
        self.last.forward(hidden.tanh())
    }

    /// The loss on the `step`-th batch.
    pub fn loss(&self, step: u32, device: &Device) -> Tensor<1> {
        (self.forward(batch(step, device)) - 1.0).square().mean()
    }

    /// The network after one optimizer step on the `step`-th batch.
    pub fn trained(self, step: u32, optim: &mut ModuleOptimizer, device: &Device) -> Self {
        let gradients = self.loss(step, device).backward();
        let gradients = GradientsParams::from_grads(gradients, &self);
        optim.step(0.05, self, gradients)
    }
}

/// Four inputs `[4, 2]` that differ from step to step.
pub fn batch(step: u32, device: &Device) -> Tensor<2> {
    let numbers: Vec<f32> = (0..8)
        .map(|i| ((i + 3 * step) as f32 * 1.3).sin() * 2.0)
        .collect();
    Tensor::from_data(TensorData::new(numbers, [4, 2]), device)
}
