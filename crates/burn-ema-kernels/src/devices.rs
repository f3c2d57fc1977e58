//! Which tensors are on one device.

use burn::backend::TensorMetadata;
use burn::tensor::kind::BridgeTensor;

/// Whether all tensors are on one device.
pub(crate) fn are_together<'a>(tensors: impl IntoIterator<Item = &'a BridgeTensor>) -> bool {
    let tensors = tensors.into_iter();
    let mut devices = tensors.map(|tensor| tensor.as_parts().1.device());
    let first = devices.next();
    devices.all(|device| Some(device) == first)
}
