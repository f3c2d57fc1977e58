//! Averages that are rounded to the nearest number of their dtype.

use burn::backend::Dispatch;
use burn::tensor::DType;
use burn::tensor::kind::BridgeTensor;

use super::{Follower, fields, is_copy, moved};
use crate::batch::Batch;
use crate::ops::LerpOps;
use crate::portable;

/// An average that is to move towards a source.
#[derive(Clone, Debug)]
pub struct Average {
    /// Its value: floats, on the device of the source, without autodiff.
    pub value: BridgeTensor,
    /// Position of its source among the sources.
    pub source: usize,
    /// Share of the source in the new average, in `[0, 1]`: 1 minus the decay.
    pub weight: f64,
}

/// Moves each average towards its source: `average + (source - average) * weight`. Returns them in their order.
///
/// This form leaves `average == source` exactly as it is, where `average * decay + source * weight` drifts. At weight 1
/// it would not be exact (`1e8 + (1.2345 - 1e8)` is 0 in f32, and NaN stays NaN), so that is a copy, which shares the
/// source's memory; at weight 0 nothing is computed.
///
/// An average that nobody else holds changes in place, by a kernel without memory of the size of a tensor (on CubeCL, if
/// average and source lie alike); otherwise it gets new memory, and other holders of the old one keep what it was.
/// Sources may be of any dtype and of any strides; no conversion is needed from f32 or f64 to the same, nor from half
/// precision to f32, nor from either to f64.
///
/// Averages of one source should be next to each other: the source is then read from memory once. Sources may be on
/// several devices.
///
/// # Panics
///
/// If an average and its source differ in shape or device, one of them is no float or has autodiff, or there is no source at
/// the position that an average names.
///
/// # Example
///
/// ```
/// use burn::tensor::Tensor;
/// use burn_ema_kernels::{Average, lerp};
///
/// let device = Default::default();
/// let source = Tensor::<1>::from_floats([1.0, 2.0], &device).into_bridge();
/// let value = Tensor::<1>::from_floats([0.0, 4.0], &device).into_bridge();
/// let average = Average { value, source: 0, weight: 0.25 };
/// let averages = lerp(vec![source], vec![average]);
/// let value = Tensor::<1>::from_bridge(averages.into_iter().next().unwrap());
/// assert_eq!(value.into_data().to_vec::<f32>().unwrap(), [0.25, 3.5]);
/// ```
pub fn lerp(sources: Vec<BridgeTensor>, averages: Vec<Average>) -> Vec<BridgeTensor> {
    moved(sources, averages)
}

impl Follower for Average {
    type Moved = BridgeTensor;

    fields!();

    fn is_known(value: DType, source: DType, _is_on_host: bool) -> bool {
        matches!(
            (value, source),
            (DType::F32, DType::F32 | DType::F16 | DType::BF16)
                | (
                    DType::F64,
                    DType::F64 | DType::F32 | DType::F16 | DType::BF16
                )
        )
    }

    fn move_alone(self, source: &BridgeTensor) -> BridgeTensor {
        // Burn's CubeCL backends panic at arithmetic on nothing.
        if self.weight == 0.0 || self.value.shape().num_elements() == 0 {
            return self.value;
        }
        if is_copy(self.weight, self.value.dtype()) {
            return portable::cast(source.clone(), self.value.dtype());
        }
        portable::lerp(self.value, source.clone(), self.weight)
    }

    fn move_fused(sources: Vec<BridgeTensor>, averages: Vec<Self>) -> Vec<BridgeTensor> {
        let mut batch = Batch::of(sources, averages.len());
        for average in averages {
            batch.add(average.value, average.source, average.weight);
        }
        let moved = <Dispatch as LerpOps>::lerp_batch(batch);
        moved.into_iter().map(BridgeTensor::float).collect()
    }
}
