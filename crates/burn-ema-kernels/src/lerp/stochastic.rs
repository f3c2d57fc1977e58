//! Averages in bf16 that are rounded up or down at random.

use burn::backend::Dispatch;
use burn::tensor::DType;
use burn::tensor::kind::BridgeTensor;

use super::{Follower, fields, is_copy, moved};
use crate::batch::Batch;
use crate::ops::LerpOps;
use crate::portable;

/// An average that is to move towards a source and is rounded stochastically.
#[derive(Clone, Debug)]
pub struct StochasticAverage {
    /// Its value, on the device of the source, without autodiff: bf16, or f32 that holds numbers of bf16.
    pub value: BridgeTensor,
    /// Position of its source among the sources.
    pub source: usize,
    /// Share of the source in the new average, in `[0, 1]`: 1 minus the decay.
    pub weight: f64,
    /// What the random bits of this average in this update are made of, with the position of each element. Take
    /// [`random_key`](crate::random_key).
    pub key: u64,
}

/// Moves each average towards its source, in f32, and rounds the result to one of the two neighbours in bf16: up with the
/// probability that makes the mean of the rounded numbers the number itself. Returns the new values in their order.
///
/// So an average in bf16 moves by updates that are too small for its 8 digits, where rounding to the nearest leaves it where
/// it is. It has no bias but that of f32, where an update of less than half a unit in the last place is lost; and it is noisy:
/// its deviation is up to `(distance of neighbours) / sqrt(12 * weight)`.
///
/// 16 random bits for each element come from a hash of its key and its position in row-major order, so the same update gives
/// the same bits on every backend, in any number of threads, and after a resume. At weight 1 the average becomes a copy,
/// rounded to the nearest; NaN stays NaN, infinity stays infinity.
///
/// Averages that nobody else holds change in place. Tensors that do not lie row by row are brought into that order first:
/// averages once, sources at each call. Without a kernel, values go through the processor's memory.
///
/// # Panics
///
/// As [`lerp`](crate::lerp), and if an average is neither of bf16 nor of f32.
///
/// # Example
///
/// ```
/// use burn::tensor::{FloatDType, Tensor};
/// use burn_ema_kernels::{StochasticAverage, lerp_stochastic, random_key};
///
/// let device = Default::default();
/// let source = Tensor::<1>::full([4096], 2.0, &device);
/// let mut value = Tensor::<1>::ones([4096], &device).cast(FloatDType::BF16).into_bridge();
/// for update in 0..1_000 {
///     let average = StochasticAverage {
///         value,
///         source: 0,
///         weight: 1e-3,
///         key: random_key(7, update, "weight"),
///     };
///     value = lerp_stochastic(vec![source.clone().into_bridge()], vec![average]).remove(0);
/// }
/// // 2 - 0.999^1000; rounded to the nearest, it would still be 1.
/// let value = Tensor::<1>::from_bridge(value).cast(FloatDType::F32);
/// assert!((value.mean().into_scalar::<f32>() - 1.632).abs() < 0.002);
/// ```
pub fn lerp_stochastic(
    sources: Vec<BridgeTensor>,
    averages: Vec<StochasticAverage>,
) -> Vec<BridgeTensor> {
    for average in &averages {
        let dtype = average.value.dtype();
        assert!(
            matches!(dtype, DType::BF16 | DType::F32),
            "an average that is rounded stochastically must be of bf16 or f32, found {dtype:?}"
        );
    }
    moved(sources, averages)
}

impl Follower for StochasticAverage {
    type Moved = BridgeTensor;

    fields!();

    fn is_known(_value: DType, source: DType, _is_on_host: bool) -> bool {
        matches!(source, DType::F32 | DType::F16 | DType::BF16)
    }

    fn move_alone(self, source: &BridgeTensor) -> BridgeTensor {
        if self.weight == 0.0 || self.value.shape().num_elements() == 0 {
            return self.value;
        }
        if is_copy(self.weight, self.value.dtype()) {
            return portable::nearest(source.clone(), self.value.dtype());
        }
        portable::lerp_stochastic(self.value, source.clone(), self.weight, self.key)
    }

    fn move_fused(sources: Vec<BridgeTensor>, averages: Vec<Self>) -> Vec<BridgeTensor> {
        let mut batch = Batch::of(sources, averages.len());
        for average in averages {
            batch.add(average.value, average.source, average.weight);
            batch.keys.push(average.key);
        }
        let moved = <Dispatch as LerpOps>::lerp_stochastic(batch);
        moved.into_iter().map(BridgeTensor::float).collect()
    }
}
