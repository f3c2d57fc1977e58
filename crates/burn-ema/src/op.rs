//! The one operation, on tensors whose rank is known at run time only.
//!
//! Written with Burn's tensor API, so that it runs on every backend.

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Bool, DType, Device, FloatDType, Int, Tensor, TensorData};

use crate::lazy_read;

/// The highest rank that Burn's optimizers and records handle, and so do we.
pub(crate) const MAX_RANK: usize = 8;

/// Runs `$body` with `$D` standing for the rank of a tensor.
macro_rules! with_rank {
    ($rank:expr, $D:ident => $body:expr) => {
        with_rank!(@ $rank, $D, $body, 0 1 2 3 4 5 6 7 8)
    };
    (@ $rank:expr, $D:ident, $body:expr, $($n:literal)*) => {
        match $rank {
            $($n => {
                const $D: usize = $n;
                $body
            })*
            rank => unreachable!("rank {rank} is refused when an average is made"),
        }
    };
}
pub(crate) use with_rank;

/// `ema + (source - ema) * weight`.
///
/// This form leaves `ema == source` exactly as it is, where `ema * decay + source * weight` drifts.
/// At weight 1 it would not be exact (`1e8 + (1.2345 - 1e8)` is 0 in f32, and NaN stays NaN), so
/// that is a copy; at weight 0 nothing is computed.
///
/// Updates `ema` in place if nobody else holds it, and gives a new tensor otherwise. `source` must
/// be on the device of `ema` and of its dtype.
pub(crate) fn lerp(ema: BridgeTensor, source: BridgeTensor, weight: f64) -> BridgeTensor {
    // Burn's CubeCL backends panic at arithmetic on nothing.
    if weight == 0.0 || ema.shape().num_elements() == 0 {
        return ema;
    }
    if weight == 1.0 {
        return source;
    }
    // A second handle keeps the values that somebody may still read.
    let _kept = lazy_read::happens_on(&device(&ema)).then(|| ema.clone());
    with_rank!(ema.rank(), D => {
        let ema = Tensor::<D>::from_bridge(ema);
        let change = Tensor::<D>::from_bridge(source).sub(ema.clone()).mul_scalar(weight);
        ema.add(change).into_bridge()
    })
}

/// `tensor * factor`, of floats.
pub(crate) fn scale(tensor: BridgeTensor, factor: f64) -> BridgeTensor {
    if tensor.shape().num_elements() == 0 {
        return tensor;
    }
    with_rank!(tensor.rank(), D => Tensor::<D>::from_bridge(tensor).mul_scalar(factor).into_bridge())
}

/// `a + b`, of floats of the same shape, dtype and device.
pub(crate) fn add(a: BridgeTensor, b: BridgeTensor) -> BridgeTensor {
    if a.shape().num_elements() == 0 {
        return a;
    }
    with_rank!(a.rank(), D => Tensor::<D>::from_bridge(a).add(Tensor::from_bridge(b)).into_bridge())
}

/// A float tensor like `old` with other values, in row-major order.
pub(crate) fn filled(old: &BridgeTensor, values: &[f64]) -> BridgeTensor {
    let data = TensorData::new(values.to_vec(), old.shape());
    let options = (&device(old), old.dtype());
    with_rank!(old.rank(), D => Tensor::<D>::from_data(data, options).into_bridge())
}

/// The tensor on `device`, and as `dtype` if it is a float.
pub(crate) fn conform(tensor: BridgeTensor, device: &Device, dtype: DType) -> BridgeTensor {
    with_rank!(tensor.rank(), D => {
        if tensor.is_int() {
            Tensor::<D, Int>::from_bridge(tensor).to_device(device).into_bridge()
        } else if tensor.is_bool() {
            Tensor::<D, Bool>::from_bridge(tensor).to_device(device).into_bridge()
        } else {
            let tensor = Tensor::<D>::from_bridge(tensor).to_device(device);
            let wanted = float_dtype(dtype).filter(|_| tensor.dtype() != dtype);
            match wanted {
                Some(dtype) => tensor.cast(dtype).into_bridge(),
                None => tensor.into_bridge(),
            }
        }
    })
}

/// The device of a tensor.
pub(crate) fn device(tensor: &BridgeTensor) -> Device {
    let tensor = tensor.clone();
    with_rank!(tensor.rank(), D => {
        if tensor.is_int() {
            Tensor::<D, Int>::from_bridge(tensor).device()
        } else if tensor.is_bool() {
            Tensor::<D, Bool>::from_bridge(tensor).device()
        } else {
            Tensor::<D>::from_bridge(tensor).device()
        }
    })
}

/// A float dtype to cast to; `None` for a quantized one, which is never cast.
fn float_dtype(dtype: DType) -> Option<FloatDType> {
    dtype.is_float().then(|| dtype.into())
}
