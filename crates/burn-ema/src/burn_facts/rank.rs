//! Tensors whose rank is known at run time only.
//!
//! Backends go by the rank that a tensor has. The rank of Burn's types serves checks, which look at that many
//! dimensions; so `Tensor<0>` stands for a tensor of any rank where there is nothing to check.

use burn::backend::TensorMetadata;
use burn::tensor::kind::{Basic, BridgeTensor};
use burn::tensor::{Bool, Bytes, DType, Device, Float, FloatDType, Int, Shape, Tensor, TensorData};
use burn_ema_kernels::Average;

use crate::burn_facts::late_reads;

/// The highest rank that Burn's optimizers and records support.
pub(crate) const MAX_RANK: usize = 8;

/// `ema + (source - ema) * weight`. See [`lerp`](burn_ema_kernels::lerp) for when that is done in place.
///
/// `source` must be on the device of `ema`.
pub(crate) fn lerp(ema: BridgeTensor, source: BridgeTensor, weight: f64) -> BridgeTensor {
    // A second handle keeps the values for late reads.
    let _kept = late_reads::happens_on(&device(&ema)).then(|| ema.clone());
    let average = Average {
        value: ema,
        source: 0,
        weight,
    };
    let mut moved = burn_ema_kernels::lerp(vec![source], vec![average]);
    moved.pop().expect("as many come back as went in")
}

/// `tensor * factor`, of floats.
pub(crate) fn scale(tensor: BridgeTensor, factor: f64) -> BridgeTensor {
    // Burn's CubeCL backends panic at arithmetic on nothing.
    if tensor.shape().num_elements() == 0 {
        return tensor;
    }
    any::<Float>(tensor).mul_scalar(factor).into_bridge()
}

/// `a + b`, of floats of the same shape, dtype and device.
pub(crate) fn add(a: BridgeTensor, b: BridgeTensor) -> BridgeTensor {
    if a.shape().num_elements() == 0 {
        return a;
    }
    any::<Float>(a).add(any(b)).into_bridge()
}

/// A float tensor like `old` with other values, in row-major order.
pub(crate) fn filled(old: &BridgeTensor, values: &[f64]) -> BridgeTensor {
    let data = TensorData::new(values.to_vec(), old.shape());
    from_data::<Float>(data, &device(old), old.dtype())
}

/// A tensor of one element in the place of `tensor`: of the same kind and rank, on the same device.
pub(crate) fn single(tensor: &BridgeTensor) -> BridgeTensor {
    let device = device(tensor);
    let shape = vec![1; tensor.shape().num_dims()];
    match (tensor.is_bool(), tensor.is_int()) {
        (true, _) => {
            let zero = TensorData::new(vec![false], shape);
            let dtype = zero.dtype();
            from_data::<Bool>(zero, &device, dtype)
        }
        (_, true) => from_data::<Int>(TensorData::new(vec![0_i32], shape), &device, DType::I32),
        _ => from_data::<Float>(TensorData::new(vec![0_f32], shape), &device, DType::F32),
    }
}

/// Zeros of the shape, dtype and device of a float tensor.
pub(crate) fn zeros_like(tensor: &BridgeTensor) -> BridgeTensor {
    any::<Float>(tensor.clone()).zeros_like().into_bridge()
}

/// Float zeros.
pub(crate) fn zeros(shape: &Shape, dtype: DType, device: &Device) -> BridgeTensor {
    let zeros = vec![0_f32; shape.num_elements()];
    let data = TensorData::new(zeros, shape.clone());
    from_data::<Float>(data, device, dtype)
}

fn from_data<K: Basic>(data: TensorData, device: &Device, dtype: DType) -> BridgeTensor {
    macro_rules! of_rank {
        ($($rank:literal)*) => {
            match data.rank() {
                $($rank => Tensor::<$rank, K>::from_data(data, (device, dtype)).into_bridge(),)*
                rank => unreachable!("rank {rank} is an error when an EMA is created"),
            }
        };
    }
    of_rank!(1 2 3 4 5 6 7 8)
}

/// A row of numbers as a float tensor of this shape.
pub(crate) fn reshaped(row: BridgeTensor, shape: Shape) -> BridgeTensor {
    macro_rules! of_rank {
        ($($rank:literal)*) => {
            match shape.num_dims() {
                $($rank => Tensor::<1>::from_bridge(row).reshape::<$rank, _>(shape).into_bridge(),)*
                rank => unreachable!("rank {rank} is an error when an EMA is created"),
            }
        };
    }
    of_rank!(1 2 3 4 5 6 7 8)
}

/// The tensor on `device`, and as `dtype` if it is a float.
pub(crate) fn conform(tensor: BridgeTensor, device: &Device, dtype: DType) -> BridgeTensor {
    cast(on_device(tensor, device), dtype)
}

/// Whether [`cast`] to `dtype` leaves the tensor as it is.
pub(crate) fn is_of(tensor: &BridgeTensor, dtype: DType) -> bool {
    tensor.is_int() || tensor.is_bool() || tensor.dtype() == dtype
}

/// The tensor as `dtype`, if it is a float.
pub(crate) fn cast(tensor: BridgeTensor, dtype: DType) -> BridgeTensor {
    let is_cast = !is_of(&tensor, dtype);
    match float_dtype(dtype).filter(|_| is_cast) {
        Some(dtype) => any::<Float>(tensor).cast(dtype).into_bridge(),
        None => tensor,
    }
}

/// A dtype of at least f32 that has every float of both.
pub(crate) fn wider(a: DType, b: DType) -> DType {
    match a == DType::F64 || b == DType::F64 {
        true => DType::F64,
        false => DType::F32,
    }
}

/// Whether every float of one dtype is one of the other, too.
pub(crate) fn is_lossless(from: DType, to: DType) -> bool {
    match (from, to) {
        (from, to) if from == to => true,
        (DType::F16 | DType::BF16, DType::F32 | DType::F64) => true,
        (DType::F32, DType::F64) => true,
        _ => false,
    }
}

/// The tensor on `target`.
pub(crate) fn on_device(tensor: BridgeTensor, target: &Device) -> BridgeTensor {
    if is_on(&tensor, target) {
        return tensor;
    }
    let is_read_late = late_reads::happens_between(&device(&tensor), target);
    match (is_read_late, tensor.is_bool(), tensor.is_int()) {
        (false, true, _) => sent::<Bool>(tensor, target),
        (false, _, true) => sent::<Int>(tensor, target),
        (false, ..) => sent::<Float>(tensor, target),
        (true, true, _) => sent_bool_now(tensor, target),
        (true, _, true) => sent_now::<Int>(tensor, target),
        (true, ..) => sent_now::<Float>(tensor, target),
    }
}

/// Has the values of a tensor read that is in the processor's memory, or as yet in a file.
pub(crate) fn read(tensor: &BridgeTensor) {
    fn read<K: Basic>(tensor: BridgeTensor) {
        std::hint::black_box(any::<K>(tensor).into_data().as_bytes().first());
    }
    let tensor = tensor.clone();
    match (tensor.is_bool(), tensor.is_int()) {
        _ if late_reads::happens_on(&device(&tensor)) => {}
        (true, _) => read::<Bool>(tensor),
        (_, true) => read::<Int>(tensor),
        _ => read::<Float>(tensor),
    }
}

fn sent<K: Basic>(tensor: BridgeTensor, target: &Device) -> BridgeTensor {
    any::<K>(tensor).to_device(target).into_bridge()
}

/// As [`sent`], but the data has arrived before its origin can be overwritten.
fn sent_now<K: Basic>(tensor: BridgeTensor, target: &Device) -> BridgeTensor {
    let (shape, dtype) = (tensor.shape(), tensor.dtype());
    let data = any::<K>(tensor).into_data();
    let bytes = Bytes::from_bytes_vec(data.as_bytes().to_vec());
    from_data::<K>(TensorData::from_bytes(bytes, shape, dtype), target, dtype)
}

/// The same for booleans. Backends store them in several ways: `to_device` keeps that of the source, and Burn could not
/// send the tensor back if it were the target's own.
fn sent_bool_now(tensor: BridgeTensor, target: &Device) -> BridgeTensor {
    // In memory that nobody writes over.
    let copy = any::<Bool>(tensor).bool_not().bool_not();
    let sent = copy.to_device(target);
    std::hint::black_box(sent.to_data().as_bytes().first());
    sent.into_bridge()
}

/// The device of a tensor.
pub(crate) fn device(tensor: &BridgeTensor) -> Device {
    Device::from(tensor.as_parts().1.device())
}

/// Whether two tensors are on one device.
pub(crate) fn are_together(a: &BridgeTensor, b: &BridgeTensor) -> bool {
    a.as_parts().1.device() == b.as_parts().1.device()
}

/// Whether a tensor is on `device`.
pub(crate) fn is_on(tensor: &BridgeTensor, device: &Device) -> bool {
    tensor.as_parts().1.device() == *device.as_dispatch()
}

/// A tensor of a rank that the type does not say.
pub(crate) fn any<K: Basic>(tensor: BridgeTensor) -> Tensor<0, K> {
    Tensor::from_bridge(tensor)
}

/// A float dtype to cast to; `None` for a quantized one, which is never cast.
fn float_dtype(dtype: DType) -> Option<FloatDType> {
    dtype.is_float().then(|| dtype.into())
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    /// A check of the rank in `from_bridge`, or in an operation, would end this.
    #[test]
    fn operations_of_tensors_of_rank_0_work_on_any_rank() {
        let device = Device::flex();
        for tensor in [
            Tensor::<1>::ones([4], &device).into_bridge(),
            Tensor::<3>::ones([2, 1, 2], &device).into_bridge(),
        ] {
            let doubled = any::<Float>(add(tensor.clone(), tensor.clone()));
            let data = doubled
                .clone()
                .to_device(&device)
                .cast(FloatDType::F64)
                .into_data();
            assert_eq!(data.iter::<f64>().collect::<Vec<_>>(), [2.0; 4]);
            assert_eq!(doubled.into_bridge().shape(), tensor.shape());
        }
    }
}
