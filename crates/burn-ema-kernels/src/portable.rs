//! The formulas, and the guard, in Burn's tensor operations: for every backend without a kernel, and what kernels are tested against.

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Bool, DType, FloatDType, Tensor, TensorData};

use crate::random;

/// `average + (source - average) * weight`.
///
/// This form leaves `average == source` exactly as it is, where `average * decay + source * weight` drifts.
///
/// Changes `average` in place if nobody else holds it, and makes a new tensor otherwise; works in tensors of the size of
/// `average` besides.
///
/// # Panics
///
/// If devices differ, or one of them is no float. Shapes must be the same; that is not looked at.
pub fn lerp(average: BridgeTensor, source: BridgeTensor, weight: f64) -> BridgeTensor {
    // Backends go by the rank that a tensor has; that of the type is for checks, and no dimension needs one here.
    let average = Tensor::<0>::from_bridge(average);
    let source = Tensor::<0>::from_bridge(cast(source, average.dtype()));
    let change = source.sub(average.clone()).mul_scalar(weight);
    average.add(change).into_bridge()
}

/// One average of [`lerp_compensated`](crate::lerp_compensated), and its compensation, by the same operations in the same order.
///
/// Changes both in place if nobody else holds them; works in tensors of the size of `average` besides. Waits for the device
/// twice: a compiler that sees `(average + change) - average` as a whole may take it for `change`.
///
/// # Panics
///
/// If devices differ, or one of them is no float. Shapes must be the same; that is not looked at.
pub fn lerp_compensated(
    average: BridgeTensor,
    compensation: BridgeTensor,
    source: BridgeTensor,
    weight: f64,
) -> (BridgeTensor, BridgeTensor) {
    let average = Tensor::<0>::from_bridge(average);
    let compensation = Tensor::<0>::from_bridge(compensation);
    let source = Tensor::<0>::from_bridge(cast(source, average.dtype()));
    let device = average.device();
    let settle = || {
        // A failure shows when values are read.
        let _ = device.sync();
    };
    let missing = source.sub(average.clone()).sub(compensation.clone());
    let product = missing.mul_scalar(weight);
    settle();
    let change = product.add(compensation);
    let moved = average.clone().add(change.clone());
    settle();
    let compensation = change.sub(moved.clone().sub(average));
    (moved.into_bridge(), compensation.into_bridge())
}

/// One average of [`lerp_stochastic`](crate::lerp_stochastic), by way of the processor's memory.
///
/// # Panics
///
/// If one of them is no float, or `average` is neither of bf16 nor of f32. Shapes must be the same; that is not looked at.
pub fn lerp_stochastic(
    average: BridgeTensor,
    source: BridgeTensor,
    weight: f64,
    key: u64,
) -> BridgeTensor {
    let average = Tensor::<0>::from_bridge(average);
    let source = Tensor::<0>::from_bridge(cast(source, DType::F32));
    let source: Vec<f32> = source.into_data().iter().collect();
    let mut numbers: Vec<f32> = average.to_data().iter().collect();
    random::lerp(&mut numbers, &source, weight as f32, key, 0);
    with_numbers(&average, average.dtype(), numbers)
}

/// The nearest numbers of bf16, as `dtype`: bf16, or f32, which is for devices that have no bf16.
pub(crate) fn nearest(tensor: BridgeTensor, dtype: DType) -> BridgeTensor {
    if dtype == DType::BF16 {
        return cast(tensor, dtype);
    }
    let tensor = Tensor::<0>::from_bridge(tensor);
    let nearest = tensor.to_data().convert_dtype(DType::BF16);
    with_numbers(&tensor, dtype, nearest.iter().collect())
}

/// A tensor like `old`, as `dtype` and with other numbers.
fn with_numbers(old: &Tensor<0>, dtype: DType, numbers: Vec<f32>) -> BridgeTensor {
    let numbers = TensorData::from(numbers.as_slice());
    let row = Tensor::<1>::from_data(numbers, (&old.device(), dtype));
    row.reshape::<0, _>(old.shape()).into_bridge()
}

/// `tensor` as floats of type `dtype`.
///
/// # Panics
///
/// If `tensor` is no float, or `dtype` is none.
pub fn cast(tensor: BridgeTensor, dtype: DType) -> BridgeTensor {
    if tensor.dtype() == dtype {
        return tensor;
    }
    let tensor = Tensor::<0>::from_bridge(tensor);
    tensor.cast(FloatDType::from(dtype)).into_bridge()
}

/// Whether one of the values is NaN or infinite.
///
/// # Panics
///
/// If `tensor` is no float, or is empty on one of Burn's CubeCL backends.
pub fn has_non_finite(tensor: BridgeTensor) -> Tensor<1, Bool> {
    let tensor = Tensor::<0>::from_bridge(tensor);
    tensor.is_finite().bool_not().any()
}
