//! Averages with the part that rounding would lose.

use burn::backend::Dispatch;
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Tensor};

use super::{Follower, check, fields, is_copy, moved};
use crate::batch::Batch;
use crate::ops::LerpOps;
use crate::portable;

/// An average that is to move towards a source, and what its last roundings lost.
#[derive(Clone, Debug)]
pub struct CompensatedAverage {
    /// Its value: floats, on the device of the source, without autodiff.
    pub value: BridgeTensor,
    /// What is missing in the value: zeros at first. Of the value's shape, dtype and device.
    pub compensation: BridgeTensor,
    /// Position of its source among the sources.
    pub source: usize,
    /// Share of the source in the new average, in `[0, 1]`: 1 minus the decay.
    pub weight: f64,
}

/// Moves each average towards its source, as [`lerp`](crate::lerp), with Kahan's compensated summation (1965): what an
/// update loses in rounding is kept and counts at the next. Returns the new values and compensations in their order.
///
/// ```text
/// change       = ((source - value) - compensation) * weight + compensation
/// moved        = value + change
/// compensation = change - (moved - value)
/// ```
///
/// With a compensation of the same dtype, value and compensation together have about twice the digits of the value: an
/// average in f32 moves however small its updates are. An update of f32 reads three numbers and writes two: 20 bytes where
/// [`lerp`](crate::lerp) takes 12.
///
/// At weight 1 the average becomes a copy, with a compensation of 0. Averages and compensations that nobody else holds change
/// in place. Tensors that do not lie row by row are brought into that order first: averages once, sources at each call. The
/// result is the same bit for bit on every backend, and with and without a kernel.
///
/// # Panics
///
/// As [`lerp`](crate::lerp), and if a compensation does not have the shape, dtype and device of its value.
///
/// # Example
///
/// ```
/// use burn::tensor::Tensor;
/// use burn_ema_kernels::{CompensatedAverage, lerp_compensated};
///
/// let source = Tensor::<1>::from_floats([1.001], &Default::default());
/// let mut value = source.ones_like().into_bridge();
/// let mut compensation = source.zeros_like().into_bridge();
/// for _ in 0..50_000 {
///     let average = CompensatedAverage { value, compensation, source: 0, weight: 1e-4 };
///     let moved = lerp_compensated(vec![source.clone().into_bridge()], vec![average]);
///     (value, compensation) = moved.into_iter().next().unwrap();
/// }
/// // 1.001 - 0.001 * 0.9999^50000; without compensation it stays at 1.000404.
/// let value: f32 = Tensor::<1>::from_bridge(value).into_scalar();
/// assert!((value - 1.000993).abs() < 1e-6);
/// ```
pub fn lerp_compensated(
    sources: Vec<BridgeTensor>,
    averages: Vec<CompensatedAverage>,
) -> Vec<(BridgeTensor, BridgeTensor)> {
    for average in &averages {
        check(&average.value, &average.compensation, "compensation");
        assert_eq!(
            average.value.dtype(),
            average.compensation.dtype(),
            "an average and its compensation must be of one dtype"
        );
    }
    moved(sources, averages)
}

impl Follower for CompensatedAverage {
    type Moved = (BridgeTensor, BridgeTensor);

    fields!();

    fn is_known(value: DType, source: DType, is_on_host: bool) -> bool {
        match (value, source) {
            (DType::F32, DType::F32 | DType::F16 | DType::BF16) => true,
            (DType::F64, DType::F64) => is_on_host,
            _ => false,
        }
    }

    fn move_alone(self, source: &BridgeTensor) -> Self::Moved {
        if self.weight == 0.0 || self.value.shape().num_elements() == 0 {
            return (self.value, self.compensation);
        }
        if is_copy(self.weight, self.value.dtype()) {
            let nothing = Tensor::<0>::from_bridge(self.compensation).zeros_like();
            let copy = portable::cast(source.clone(), self.value.dtype());
            return (copy, nothing.into_bridge());
        }
        portable::lerp_compensated(self.value, self.compensation, source.clone(), self.weight)
    }

    fn move_fused(sources: Vec<BridgeTensor>, averages: Vec<Self>) -> Vec<Self::Moved> {
        let mut batch = Batch::of(sources, averages.len());
        for average in averages {
            batch.add(average.value, average.source, average.weight);
            batch
                .compensations
                .push(average.compensation.into_parts().1);
        }
        let mut values = <Dispatch as LerpOps>::lerp_compensated(batch);
        let compensations = values.split_off(values.len() / 2);
        let values = values.into_iter().map(BridgeTensor::float);
        let compensations = compensations.into_iter().map(BridgeTensor::float);
        values.zip(compensations).collect()
    }
}
