//! The formula, and the guard, in Burn's tensor operations: for every backend without a kernel, and what kernels are tested against.

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Bool, DType, FloatDType, Tensor};

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
