//! LibTorch: its own `lerp_`, in as many threads as it likes, or on its own GPU. In the processor's memory, what a call for
//! each tensor would cost too much for, or a conversion for all of it, is done by the kernel of the other backends.

// SAFETY: `slice` and `slice_mut` are the only unsafe functions called, and say what they need.
#![allow(unsafe_code)]

use burn::backend::BackendTensor;
use burn_tch::{LibTorch, TchTensor};
use half::{bf16, f16};
use tch::{Device, Kind, Tensor};

use crate::batch::Batch;
use crate::host::{self, CompensatedPiece, Numbers, Piece, StochasticPiece};
use crate::ops::LerpOps;

/// Values up to which a call of `lerp_` takes longer than the work.
const SMALL: usize = 1 << 14;

impl LerpOps for LibTorch {
    fn lerp_batch(batch: Batch<Self>) -> Vec<TchTensor> {
        let Batch {
            sources, averages, ..
        } = batch;
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

    fn lerp_compensated(batch: Batch<Self>) -> Vec<TchTensor> {
        let sources = in_rows(&batch.sources);
        let members = batch.averages.into_iter().zip(batch.compensations);
        let mut averages: Vec<_> = members
            .map(|(average, compensation)| {
                let link = (&sources[average.source], average.weight);
                (own_rows(average.value), own_rows(compensation), link)
            })
            .collect();
        let mut pieces = Vec::new();
        for (value, compensation, (source, weight)) in &mut averages {
            match is_at_hand(value) {
                true => pieces.push(compensated_piece(value, compensation, source, *weight)),
                false => compensate(value, compensation, source, *weight),
            }
        }
        host::run(pieces);
        let averages = averages.into_iter();
        let (mut values, compensations): (Vec<_>, Vec<_>) = averages
            .map(|(value, compensation, _)| (TchTensor::new(value), TchTensor::new(compensation)))
            .unzip();
        values.extend(compensations);
        values
    }

    fn lerp_stochastic(batch: Batch<Self>) -> Vec<TchTensor> {
        // The hash is for processors, and for kernels of CubeCL.
        let at_hand = |tensor: &Tensor| tensor.to_device(Device::Cpu);
        let sources: Vec<_> = in_rows(&batch.sources).iter().map(at_hand).collect();
        let members = batch.averages.into_iter().zip(batch.keys);
        let mut averages: Vec<_> = members
            .map(|(average, key)| {
                let value = own_rows(average.value);
                let device = value.device();
                let link = (&sources[average.source], average.weight, key);
                (at_hand(&value), device, link)
            })
            .collect();
        let pieces = averages.iter_mut();
        let pieces = pieces.map(|(value, _, (source, weight, key))| {
            stochastic_piece(value, source, *weight, *key)
        });
        host::run(pieces.collect());
        let averages = averages.into_iter();
        averages
            .map(|(value, device, _)| TchTensor::new(value.to_device(device)))
            .collect()
    }
}

/// The formula of [`lerp_compensated`](crate::lerp_compensated), operation by operation.
fn compensate(value: &mut Tensor, compensation: &mut Tensor, source: &Tensor, weight: f64) {
    let missing = source.to_kind(value.kind()) - &*value - &*compensation;
    let change = missing * weight + &*compensation;
    let moved = &*value + &change;
    *compensation = change - (&moved - &*value);
    *value = moved;
}

/// Tensors row by row. The given ones must live as long as these are in use: an average that shares memory with one must not
/// seem to be its only holder.
fn in_rows(tensors: &[TchTensor]) -> Vec<Tensor> {
    let tensors = tensors.iter();
    tensors.map(|tensor| tensor.tensor.contiguous()).collect()
}

/// A tensor row by row, in its own memory.
fn own_rows(tensor: TchTensor) -> Tensor {
    match tensor.tensor.is_contiguous() {
        true => owned(tensor).tensor,
        false => tensor.tensor.contiguous(),
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

/// The values of tensors, by their kinds, as pieces of work. The tensors are at hand, and nobody else holds those that change.
macro_rules! piece {
    ($parts:ident of $kinds:expr; $($average:ident: $value:ty, $source:ident: $from:ty);*) => {
        match $kinds {
            $((Kind::$average, Kind::$source) => $parts!($value, $from),)*
            kinds => unreachable!("{kinds:?} were not let through"),
        }
    };
}

/// Work on an average.
fn piece<'a>(value: &'a mut Tensor, source: &'a Tensor, weight: f64) -> Piece<'a> {
    macro_rules! parts {
        ($value:ty, $from:ty) => {
            // SAFETY: both are at hand, and of the types that their kinds say. Nobody else holds the memory of `value`, so
            // that of `source` is elsewhere.
            unsafe { (slice_mut::<$value>(value), slice::<$from>(source), weight).into() }
        };
    }
    piece!(
        parts of (value.kind(), source.kind());
        Float: f32, Float: f32; Float: f32, Half: f16; Float: f32, BFloat16: bf16;
        Double: f64, Double: f64; Double: f64, Float: f32; Double: f64, Half: f16; Double: f64, BFloat16: bf16
    )
}

/// Work on an average with its compensation.
fn compensated_piece<'a>(
    value: &'a mut Tensor,
    compensation: &'a mut Tensor,
    source: &'a Tensor,
    weight: f64,
) -> CompensatedPiece<'a> {
    macro_rules! parts {
        ($value:ty, $from:ty) => {
            // SAFETY: as in `piece`, and the compensation is of the kind of the value, and in memory of its own.
            unsafe {
                let (value, compensation) = (slice_mut::<$value>(value), slice_mut(compensation));
                (value, compensation, slice::<$from>(source), weight).into()
            }
        };
    }
    piece!(
        parts of (value.kind(), source.kind());
        Float: f32, Float: f32; Float: f32, Half: f16; Float: f32, BFloat16: bf16; Double: f64, Double: f64
    )
}

/// Work on an average that is rounded stochastically.
fn stochastic_piece<'a>(
    value: &'a mut Tensor,
    source: &'a Tensor,
    weight: f64,
    key: u64,
) -> StochasticPiece<'a> {
    macro_rules! parts {
        ($value:ty, $from:ty) => {
            // SAFETY: as in `piece`.
            unsafe {
                (
                    slice_mut::<$value>(value),
                    slice::<$from>(source),
                    weight,
                    key,
                )
                    .into()
            }
        };
    }
    piece!(
        parts of (value.kind(), source.kind());
        BFloat16: bf16, Float: f32; BFloat16: bf16, Half: f16; BFloat16: bf16, BFloat16: bf16;
        Float: f32, Float: f32; Float: f32, Half: f16; Float: f32, BFloat16: bf16
    )
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
