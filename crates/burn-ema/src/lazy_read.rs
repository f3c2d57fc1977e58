//! Backends that read a tensor's values later than they were asked to.
//!
//! On Burn's CubeCL backends `into_data` returns at once. What it returns fetches the values when they are first looked at
//! (wgpu, CUDA, ROCm, Metal), or is a view of the tensor's own memory (`cpu`). Nothing counts as a holder of the tensor
//! meanwhile, so an operation in place writes over them: a checkpoint that is written while training goes on, as Burn's
//! learner does it, would hold values of a later step. On these backends a value that was handed out is written to new
//! memory by the next update, even if nobody holds it any more.
//!
//! A value may share its memory with the source. The source's optimizer leaves that alone as long as the average holds it;
//! but Fusion, where the step waits to be done, does it in place if it finds the average letting go right after. So such a
//! step is [done first](settle).

use std::sync::{Mutex, PoisonError};

use burn::tensor::{AllocationProperty, Device, Tensor};

/// When the values of a tensor are read that were asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Read {
    AtOnce,
    /// When somebody looks at them.
    Late,
    /// Each time that somebody looks at them, in the memory of the tensor.
    InPlace,
}

/// Whether values on `device` may be read after they have been handed out.
pub(crate) fn happens_on(device: &Device) -> bool {
    read(device) != Read::AtOnce
}

/// Whether values that go from `source` to `target` may be read after that.
pub(crate) fn happens_between(source: &Device, target: &Device) -> bool {
    match read(source) {
        Read::AtOnce => false,
        // Devices that read late do what they are asked to in order.
        Read::Late => !happens_on(target),
        Read::InPlace => true,
    }
}

/// Has everything done that was asked of `device`, if values may be read there after they have been handed out.
pub(crate) fn settle(device: &Device) {
    if happens_on(device) {
        // What fails is told by a read of what it failed to write.
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
