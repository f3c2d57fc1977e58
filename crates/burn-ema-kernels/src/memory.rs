//! Which memory a tensor is in.

use burn::tensor::kind::BridgeTensor;

/// Whether two tensors are views of the same memory, in the same order. As long as both are alive their elements are equal,
/// for Burn never writes to memory that has two holders.
///
/// `false` where the backend does not tell: on CubeCL, Remote, and in another dtype of NdArray than f32 and f64.
///
/// # Example
///
/// ```
/// use burn::tensor::Tensor;
/// use burn_ema_kernels::is_same_memory;
///
/// let tensor = |numbers| Tensor::<1>::from_floats(numbers, &Default::default()).into_bridge();
/// let one = tensor([1.0, 2.0]);
/// assert!(!is_same_memory(&one, &tensor([1.0, 2.0])));
/// ```
#[allow(unreachable_patterns, unused_variables, unused_imports)]
pub fn is_same_memory(a: &BridgeTensor, b: &BridgeTensor) -> bool {
    use burn::backend::DispatchTensorKind;

    match (&a.as_parts().1.kind, &b.as_parts().1.kind) {
        #[cfg(feature = "flex")]
        (DispatchTensorKind::Flex(a), DispatchTensorKind::Flex(b)) => {
            let (Some(a), Some(b)) = (flex(a), flex(b)) else {
                return false;
            };
            std::sync::Arc::ptr_eq(&a.data_arc(), &b.data_arc())
                && a.layout() == b.layout()
                && a.dtype() == b.dtype()
        }
        #[cfg(feature = "ndarray")]
        (DispatchTensorKind::NdArray(a), DispatchTensorKind::NdArray(b)) => {
            crate::backends::ndarray::is_same_memory(a, b)
        }
        #[cfg(feature = "tch")]
        (DispatchTensorKind::LibTorch(a), DispatchTensorKind::LibTorch(b)) => {
            crate::backends::libtorch::is_same_memory(a, b)
        }
        _ => false,
    }
}

#[cfg(feature = "flex")]
fn flex(tensor: &burn::backend::BackendTensor<burn_flex::Flex>) -> Option<&burn_flex::FlexTensor> {
    use burn::backend::BackendTensor::{Bool, Float, Int};

    match tensor {
        Float(tensor) | Int(tensor) | Bool(tensor) => Some(tensor),
        _ => None,
    }
}
