//! LibTorch: its own `lerp_`, in as many threads as it likes, or on its own GPU. In the processor's memory, what a call for
//! each tensor would cost too much for, or a conversion for all of it, is done by the kernel of the other backends.

// SAFETY: `slice` and `slice_mut` are the only unsafe functions called, and say what they need.
#![allow(unsafe_code)]

use burn::backend::BackendTensor;
use burn_tch::{LibTorch, TchTensor};
use half::{bf16, f16};
use tch::{Device, Kind, Tensor};

use crate::batch::Batch;
use crate::host::{self, Numbers, Piece};
use crate::ops::LerpOps;

/// Values up to which a call of `lerp_` takes longer than the work.
const SMALL: usize = 1 << 14;

impl LerpOps for LibTorch {
    fn lerp_batch(batch: Batch<Self>) -> Vec<TchTensor> {
        let Batch { sources, averages } = batch;
        let mut values = Vec::with_capacity(averages.len());
        let mut links = Vec::with_capacity(averages.len());
        for average in averages {
            values.push(owned(average.value));
            links.push((&sources[average.source].tensor, average.weight));
        }
        let mut pieces = Vec::new();
        for (value, (source, weight)) in values.iter_mut().zip(links) {
            let value = &mut value.tensor;
            let is_alike = value.kind() == source.kind();
            if is_at_hand(value) && is_at_hand(source) && (!is_alike || value.numel() <= SMALL) {
                pieces.push(piece(value, source, weight));
            } else if is_alike {
                let _same = value.lerp_(source, weight);
            } else {
                let _same = value.lerp_(&source.to_kind(value.kind()), weight);
            }
        }
        host::run(pieces);
        values
    }
}

/// The values, if they are in the processor's memory, one after the other.
pub(crate) fn numbers(tensor: &TchTensor) -> Option<Numbers<'_>> {
    let tensor = &tensor.tensor;
    if !is_at_hand(tensor) {
        return None;
    }
    // SAFETY: the values are at hand, and of the type that their kind says.
    unsafe {
        match tensor.kind() {
            Kind::Float => Some(slice::<f32>(tensor).into()),
            Kind::Double => Some(slice::<f64>(tensor).into()),
            Kind::Half => Some(slice::<f16>(tensor).into()),
            Kind::BFloat16 => Some(slice::<bf16>(tensor).into()),
            _ => None,
        }
    }
}

/// The tensor, in its own memory: other holders keep what it is.
fn owned(value: TchTensor) -> TchTensor {
    match value.can_mut() {
        true => value,
        false => TchTensor::new(value.tensor.copy()),
    }
}

fn is_at_hand(tensor: &Tensor) -> bool {
    tensor.device() == Device::Cpu && tensor.is_contiguous()
}

/// Work on tensors that are at hand. Nobody else holds `value`.
fn piece<'a>(value: &'a mut Tensor, source: &'a Tensor, weight: f64) -> Piece<'a> {
    let kinds = (value.kind(), source.kind());
    // SAFETY: both are at hand, and of the types that their kinds say. Nobody else holds the memory of `value`, so that of
    // `source` is elsewhere.
    unsafe {
        match kinds {
            (Kind::Float, Kind::Float) => {
                (slice_mut::<f32>(value), slice::<f32>(source), weight).into()
            }
            (Kind::Double, Kind::Double) => {
                (slice_mut::<f64>(value), slice::<f64>(source), weight).into()
            }
            (Kind::Float, Kind::Half) => {
                (slice_mut::<f32>(value), slice::<f16>(source), weight).into()
            }
            (Kind::Float, Kind::BFloat16) => {
                (slice_mut::<f32>(value), slice::<bf16>(source), weight).into()
            }
            (Kind::Double, Kind::Float) => {
                (slice_mut::<f64>(value), slice::<f32>(source), weight).into()
            }
            (Kind::Double, Kind::Half) => {
                (slice_mut::<f64>(value), slice::<f16>(source), weight).into()
            }
            (Kind::Double, Kind::BFloat16) => {
                (slice_mut::<f64>(value), slice::<bf16>(source), weight).into()
            }
            kinds => unreachable!("{kinds:?} were not let through"),
        }
    }
}

/// The values of a tensor.
///
/// # Safety
///
/// They must be in the processor's memory, one after the other, and of type `E`; and nobody may change them while the
/// tensor is borrowed.
unsafe fn slice<E>(tensor: &Tensor) -> &[E] {
    match tensor.numel() {
        // LibTorch has no memory for nothing.
        0 => &[],
        // SAFETY: LibTorch has allocated that many values there, aligned, and keeps them as long as the tensor.
        length => unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), length) },
    }
}

/// The values of a tensor, to change.
///
/// # Safety
///
/// As for [`slice`]; and nobody else may hold the memory of the tensor.
unsafe fn slice_mut<E>(tensor: &mut Tensor) -> &mut [E] {
    match tensor.numel() {
        0 => &mut [],
        // SAFETY: as in `slice`, and nobody else looks at them.
        length => unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), length) },
    }
}

/// Whether both are views of the same memory.
pub(crate) fn is_same_memory(a: &BackendTensor<LibTorch>, b: &BackendTensor<LibTorch>) -> bool {
    use BackendTensor::{Bool, Float, Int};

    let (Float(a) | Int(a) | Bool(a), Float(b) | Int(b) | Bool(b)) = (a, b) else {
        return false;
    };
    let (a, b) = (&a.tensor, &b.tensor);
    std::ptr::eq(a.data_ptr(), b.data_ptr())
        && a.device() == b.device()
        && a.kind() == b.kind()
        && a.size() == b.size()
        && a.stride() == b.stride()
}
