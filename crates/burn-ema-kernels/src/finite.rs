//! Whether values are finite.

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Int, Tensor};

#[cfg(feature = "cube")]
use crate::batch::Batch;
use crate::devices::are_together;
use crate::portable;

/// Whether all values of all tensors are finite. Reads each of them once.
///
/// On CubeCL, one kernel looks at as many tensors as the device binds at once, up to 32, and the answer is waited for once
/// per device. Values that lie in the processor's memory without gaps are looked at where they are. Other backends, and
/// other tensors, take temporaries of the size of a tensor.
///
/// # Panics
///
/// If a tensor is no float, or has autodiff.
///
/// # Example
///
/// ```
/// use burn::tensor::Tensor;
/// use burn_ema_kernels::all_finite;
///
/// let device = Default::default();
/// let tensor = |numbers| Tensor::<1>::from_floats(numbers, &device).into_bridge();
/// assert!(all_finite(&[tensor([1.0, 2.0]), tensor([f32::MAX, 0.0])]));
/// assert!(!all_finite(&[tensor([1.0, 2.0]), tensor([f32::INFINITY, 0.0])]));
/// ```
pub fn all_finite<'a>(tensors: impl IntoIterator<Item = &'a BridgeTensor>) -> bool {
    #[cfg(feature = "host")]
    let mut at_hand = Vec::new();
    let mut elsewhere: Vec<Vec<&BridgeTensor>> = Vec::new();
    for tensor in tensors {
        #[cfg(feature = "host")]
        if let Some(numbers) = numbers(tensor) {
            at_hand.push(numbers);
            continue;
        }
        if tensor.shape().num_elements() == 0 {
            continue;
        }
        match elsewhere
            .iter_mut()
            .find(|known| are_together([known[0], tensor]))
        {
            Some(known) => known.push(tensor),
            None => elsewhere.push(vec![tensor]),
        }
    }
    // Every device is asked before the first answer is waited for.
    let found: Vec<Tensor<1, Int>> = elsewhere.into_iter().map(non_finite).collect();
    #[cfg(feature = "host")]
    if !crate::host::all_finite(&at_hand) {
        return false;
    }
    let mut found = found.into_iter();
    found.all(|found| found.into_data().iter::<i64>().all(|found| found == 0))
}

/// The values, where the processor sees them one after the other.
#[cfg(feature = "host")]
fn numbers(tensor: &BridgeTensor) -> Option<crate::host::Numbers<'_>> {
    use crate::backends;
    use burn::backend::BackendTensor::Float;
    use burn::backend::DispatchTensorKind;

    #[allow(unreachable_patterns)]
    match &tensor.as_parts().1.kind {
        #[cfg(feature = "flex")]
        DispatchTensorKind::Flex(Float(tensor)) => backends::flex::numbers(tensor),
        #[cfg(feature = "ndarray")]
        DispatchTensorKind::NdArray(Float(tensor)) => backends::ndarray::numbers(tensor),
        #[cfg(feature = "tch")]
        DispatchTensorKind::LibTorch(Float(tensor)) => backends::libtorch::numbers(tensor),
        _ => None,
    }
}

/// Not 0 if a value of one of these tensors, which are on one device, is not finite.
#[allow(irrefutable_let_patterns)]
fn non_finite(tensors: Vec<&BridgeTensor>) -> Tensor<1, Int> {
    #[cfg(feature = "cube")]
    if let burn::backend::DispatchTensorKind::Cube(_) = tensors[0].as_parts().1.kind {
        let batch = Batch::of(tensors.into_iter().cloned().collect(), 0);
        let found = <burn::backend::Dispatch as crate::ops::GuardOps>::non_finite(batch);
        return Tensor::from_bridge(BridgeTensor::int(found));
    }
    let tensors = tensors.into_iter().cloned();
    let found = tensors.map(portable::has_non_finite);
    let found = found.reduce(Tensor::bool_or);
    found.expect("there is a tensor").int()
}
