//! Backends that read a tensor's values later than they were asked to.
//!
//! On Burn's CubeCL backends `into_data` returns at once. What it returns fetches the values when they are first looked at
//! (wgpu, CUDA, ROCm, Metal), or is a view of the tensor's own memory (`cpu`). Nothing counts as a holder of the tensor
//! meanwhile, so an operation in place writes over them: a checkpoint that is written while training goes on, as Burn's
//! learner does it, would hold values of a later step. On these backends a value that was handed out is written to new
//! memory by the next update, even if nobody holds it any more.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{AllocationProperty, Device, Tensor};

/// Whether values on `device` may be read after they have been handed out.
pub(crate) fn happens_on(device: &Device) -> bool {
    fetches_late(device) || shows_own_memory(device)
}

/// Whether values on `device` are fetched when they are looked at.
fn fetches_late(device: &Device) -> bool {
    property(device) == AllocationProperty::Device
}

/// Whether values on `device` are looked at where the tensor has them.
pub(crate) fn shows_own_memory(device: &Device) -> bool {
    property(device) == AllocationProperty::Other
}

/// Of what `into_data` returns.
fn property(device: &Device) -> AllocationProperty {
    static KNOWN: Mutex<Vec<(Device, AllocationProperty)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, property)) = known.iter().find(|(other, _)| other == device) {
        return *property;
    }
    let data = Tensor::<1>::zeros([1], device).into_data();
    let property = data.bytes().property();
    known.push((device.clone(), property));
    property
}
