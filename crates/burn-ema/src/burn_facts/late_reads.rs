//! When the data of a tensor is read.
//!
//! On Burn's CubeCL backends `into_data` returns at once. What it returns fetches the data when it is first looked at (wgpu,
//! CUDA, ROCm, Metal), or is a view of the tensor's own memory (`cpu`). Neither counts as a holder of the tensor, so an
//! operation in place overwrites the data: a checkpoint that is written while training continues, as Burn's learner does
//! it, would hold the weights of a later step. On these backends the next update writes tensors that were handed out to new
//! memory, even if nobody holds them any more.
//!
//! An EMA may share memory with its model. The optimizer leaves that memory alone as long as the EMA holds it; but with
//! Fusion, where the optimizer step waits in a queue, it is done in place if the EMA lets go of the memory first. So such a
//! step is [executed first](settle).

use std::sync::{Mutex, PoisonError};

use burn::tensor::{AllocationProperty, Device, Tensor};

/// When the data that `into_data` returns is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Read {
    AtOnce,
    /// At the first look at it.
    Late,
    /// At every look at it, in the memory of the tensor.
    InPlace,
}

/// Whether tensors on `device` may be read after `into_data`.
pub(crate) fn happens_on(device: &Device) -> bool {
    read(device) != Read::AtOnce
}

/// Whether tensors that are moved from `source` to `target` may be read after that.
pub(crate) fn happens_between(source: &Device, target: &Device) -> bool {
    match read(source) {
        Read::AtOnce => false,
        // Devices that read late execute in order.
        Read::Late => !happens_on(target),
        Read::InPlace => true,
    }
}

/// Executes everything that waits for `device`, if tensors may be read late there.
pub(crate) fn settle(device: &Device) {
    if happens_on(device) {
        // A failure shows at the next read.
        let _ = device.sync();
    }
}

fn read(device: &Device) -> Read {
    static KNOWN: Mutex<Vec<(Device, Read)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, read)) = known.iter().find(|(other, _)| other == device) {
        return *read;
    }
    let data = Tensor::<1>::zeros([1], device).into_data();
    let before = data.bytes().property();
    std::hint::black_box(data.as_bytes().first());
    let read = match (before, data.bytes().property()) {
        (_, AllocationProperty::Other) => Read::InPlace,
        (AllocationProperty::Device, _) => Read::Late,
        _ => Read::AtOnce,
    };
    known.push((device.clone(), read));
    read
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn flex_reads_at_once() {
        assert!(!happens_on(&Device::flex()));
        assert!(!happens_between(&Device::flex(), &Device::flex()));
    }
}
