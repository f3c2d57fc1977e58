//! Whether values are finite.

use burn::backend::DispatchTensorKind;
use burn::tensor::kind::BridgeTensor;

/// Whether all floats of `tensor` are finite, where that can be seen at once: by the processor, without a temporary.
/// `None` on other backends, and for tensors whose values do not lie one after the other.
///
/// # Example
///
/// ```
/// use burn::tensor::Tensor;
/// use burn_ema_kernels::all_finite;
///
/// let device = Default::default();
/// let finite = Tensor::<1>::from_floats([1.0, 2.0], &device);
/// assert_eq!(all_finite(&finite.into_bridge()), Some(true));
/// let infinite = Tensor::<1>::from_floats([1.0, f32::INFINITY], &device);
/// assert_eq!(all_finite(&infinite.into_bridge()), Some(false));
/// ```
pub fn all_finite(tensor: &BridgeTensor) -> Option<bool> {
    let (_, tensor) = tensor.as_parts();
    #[allow(unreachable_patterns)]
    match &tensor.kind {
        #[cfg(feature = "flex")]
        DispatchTensorKind::Flex(burn::backend::BackendTensor::Float(tensor)) => {
            crate::backends::flex::all_finite(tensor)
        }
        #[cfg(feature = "ndarray")]
        DispatchTensorKind::NdArray(burn::backend::BackendTensor::Float(tensor)) => {
            crate::backends::ndarray::all_finite(tensor)
        }
        #[cfg(feature = "tch")]
        DispatchTensorKind::LibTorch(burn::backend::BackendTensor::Float(tensor)) => {
            crate::backends::libtorch::all_finite(tensor)
        }
        _ => None,
    }
}
