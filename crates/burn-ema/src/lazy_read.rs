//! Backends that read a tensor's values later than they were asked to.
//!
//! On Burn's CubeCL backends (wgpu, CUDA, ROCm, Metal) `into_data` returns at once, and what it returns
//! fetches the values when they are first looked at. Nothing counts as a holder of the tensor meanwhile,
//! so an operation in place writes over them: a checkpoint that is written while training goes on,
//! as Burn's learner does it, would hold values of a later step. On these backends a value that was
//! handed out is written to new memory by the next update, even if nobody holds it any more.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{AllocationProperty, Device, Tensor};

/// Whether values on `device` may be read after they have been handed out.
pub(crate) fn happens_on(device: &Device) -> bool {
    static KNOWN: Mutex<Vec<(Device, bool)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, happens)) = known.iter().find(|(other, _)| other == device) {
        return *happens;
    }
    let data = Tensor::<1>::zeros([1], device).into_data();
    let happens = data.bytes().property() == AllocationProperty::Device;
    known.push((device.clone(), happens));
    happens
}
