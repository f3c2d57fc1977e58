//! One run of numbers, in one thread.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::random::{self, OfHalf};

/// A number that averages are kept in, for sources of numbers `S`.
pub(crate) trait Lerp<S> {
    /// `average + (source - average) * weight`, number by number.
    fn lerp(average: &mut [Self], source: &[S], weight: f64)
    where
        Self: Sized;

    /// The same for one number.
    #[cfg(any(feature = "flex", feature = "ndarray"))]
    fn lerp_one(average: &mut Self, source: &S, weight: f64)
    where
        Self: Sized,
        S: Copy,
    {
        Self::lerp(
            std::slice::from_mut(average),
            std::slice::from_ref(source),
            weight,
        );
    }
}

macro_rules! lerp_alike {
    ($float:ty) => {
        impl Lerp<$float> for $float {
            #[inline(always)]
            fn lerp(average: &mut [$float], source: &[$float], weight: f64) {
                let weight = weight as $float;
                for (average, source) in average.iter_mut().zip(source) {
                    *average += (source - *average) * weight;
                }
            }
        }
    };
}
lerp_alike!(f32);
lerp_alike!(f64);

impl Lerp<bf16> for f32 {
    #[inline(always)]
    fn lerp(average: &mut [f32], source: &[bf16], weight: f64) {
        let weight = weight as f32;
        for (average, source) in average.iter_mut().zip(source) {
            // The upper half of an f32: a shift, which the compiler does for many at once.
            let source = source.widened();
            *average += (source - *average) * weight;
        }
    }
}

impl Lerp<f32> for f64 {
    #[inline(always)]
    fn lerp(average: &mut [f64], source: &[f32], weight: f64) {
        for (average, source) in average.iter_mut().zip(source) {
            *average += (f64::from(*source) - *average) * weight;
        }
    }
}

impl Lerp<bf16> for f64 {
    #[inline(always)]
    fn lerp(average: &mut [f64], source: &[bf16], weight: f64) {
        for (average, source) in average.iter_mut().zip(source) {
            let source = source.widened();
            *average += (f64::from(source) - *average) * weight;
        }
    }
}

impl Lerp<f16> for f64 {
    #[inline(always)]
    fn lerp(average: &mut [f64], source: &[f16], weight: f64) {
        in_blocks(average, source, |average, wide| {
            f64::lerp(average, wide, weight)
        });
    }
}

impl Lerp<f16> for f32 {
    #[inline(always)]
    fn lerp(average: &mut [f32], source: &[f16], weight: f64) {
        in_blocks(average, source, |average, wide| {
            f32::lerp(average, wide, weight)
        });
    }
}

/// The same for averages with a compensation: see [`lerp_compensated`](crate::lerp_compensated).
pub(crate) trait LerpCompensated<S>: Sized {
    fn lerp_compensated(average: &mut [Self], compensation: &mut [Self], source: &[S], weight: f64);
}

macro_rules! compensated {
    ($float:ty, $source:ty, $widened:expr) => {
        impl LerpCompensated<$source> for $float {
            #[inline(always)]
            fn lerp_compensated(
                average: &mut [$float],
                compensation: &mut [$float],
                source: &[$source],
                weight: f64,
            ) {
                let weight = weight as $float;
                let averages = average.iter_mut().zip(compensation);
                for ((average, compensation), source) in averages.zip(source) {
                    let missing = ($widened(*source) - *average) - *compensation;
                    let change = missing * weight + *compensation;
                    let moved = *average + change;
                    *compensation = change - (moved - *average);
                    *average = moved;
                }
            }
        }
    };
}
compensated!(f32, f32, std::convert::identity);
compensated!(f64, f64, std::convert::identity);
compensated!(f32, bf16, OfHalf::widened);

impl LerpCompensated<f16> for f32 {
    #[inline(always)]
    fn lerp_compensated(
        average: &mut [f32],
        compensation: &mut [f32],
        source: &[f16],
        weight: f64,
    ) {
        let mut compensations = compensation.chunks_mut(WIDENED);
        in_blocks(average, source, |average, wide| {
            let compensation = compensations.next().expect("they are of one length");
            f32::lerp_compensated(average, compensation, wide, weight);
        });
    }
}

/// The same for averages that are rounded to bf16: see [`lerp_stochastic`](crate::lerp_stochastic). `first` is the number of
/// the first element in its tensor, and a multiple of [`BLOCK`](random::BLOCK).
pub(crate) trait LerpStochastic<S>: Sized {
    fn lerp_stochastic(average: &mut [Self], source: &[S], weight: f64, key: u64, first: usize);
}

macro_rules! stochastic {
    ($source:ty) => {
        impl<E: OfHalf> LerpStochastic<$source> for E {
            #[inline(always)]
            fn lerp_stochastic(
                average: &mut [E],
                source: &[$source],
                weight: f64,
                key: u64,
                first: usize,
            ) {
                random::lerp(average, source, weight as f32, key, first);
            }
        }
    };
}
stochastic!(f32);
stochastic!(bf16);

impl<E: OfHalf> LerpStochastic<f16> for E {
    #[inline(always)]
    fn lerp_stochastic(average: &mut [E], source: &[f16], weight: f64, key: u64, mut first: usize) {
        in_blocks(average, source, |average, wide| {
            random::lerp(average, wide, weight as f32, key, first);
            first += wide.len();
        });
    }
}

/// Numbers that are widened at a time.
const WIDENED: usize = 256;

/// With `source` as f32. Processors convert many at once, and `half` asks once for each slice whether this one does.
#[inline(always)]
fn in_blocks<E>(average: &mut [E], source: &[f16], mut lerp: impl FnMut(&mut [E], &[f32])) {
    let mut wide = [0.0; WIDENED];
    for (average, source) in average.chunks_mut(WIDENED).zip(source.chunks(WIDENED)) {
        let wide = &mut wide[..source.len()];
        source.convert_to_f32_slice(wide);
        lerp(average, wide);
    }
}
