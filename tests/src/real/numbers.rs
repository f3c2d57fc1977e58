//! Numbers for weights and inputs that are the same in every run.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// A number in `[-1, 1)` that depends on both arguments, as a hash does.
fn noise(index: usize, seed: u32) -> f64 {
    let phase = (index as f64).mul_add(12.9898, f64::from(seed) * 78.233);
    2.0 * (phase.sin() * 43_758.545_3).rem_euclid(1.0) - 1.0
}

/// An input in `[-1, 1)` of the given shape.
pub fn wave<const D: usize>(shape: [usize; D], seed: u32, device: &Device) -> Tensor<D> {
    let numbers: Vec<f32> = (0..shape.iter().product())
        .map(|index| noise(index, seed) as f32)
        .collect();
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// Token ids below `vocabulary`.
pub fn tokens<const D: usize>(
    shape: [usize; D],
    vocabulary: usize,
    seed: u32,
    device: &Device,
) -> Tensor<D, Int> {
    let numbers: Vec<i64> = (0..shape.iter().product())
        .map(|index| ((noise(index, seed + 1_000) + 1.0) / 2.0 * vocabulary as f64) as i64)
        .collect();
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// `model` with numbers of its own in every float parameter and buffer: scales and variances about 1, the rest about 0.
/// Quantized parameters stay.
pub fn filled<M: Module>(model: M, seed: u32) -> M {
    model.map(&mut Fill {
        path: Vec::new(),
        seed,
    })
}

struct Fill {
    path: Vec<String>,
    seed: u32,
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let old = param.base();
        if matches!(old.dtype(), DType::QFloat(_)) {
            return param;
        }
        self.seed += 1;
        let (middle, width) = match self.path.last().map(String::as_str) {
            Some("gamma" | "running_var") => (1.0, 0.1),
            Some("beta" | "bias" | "running_mean") => (0.0, 0.1),
            _ => (0.0, 0.5),
        };
        let numbers: Vec<f32> = (0..old.shape().num_elements())
            .map(|index| (middle + width * noise(index, self.seed)) as f32)
            .collect();
        let numbers = TensorData::new(numbers, old.shape());
        param.map(|old| {
            let new = Tensor::from_data(numbers, (&old.device(), old.dtype()));
            new.set_require_grad(old.is_require_grad())
        })
    }
}
