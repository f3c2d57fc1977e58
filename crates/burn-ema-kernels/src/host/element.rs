//! One run of numbers, in one thread.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

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
    fn lerp(average: &mut [f32], source: &[bf16], weight: f64) {
        let weight = weight as f32;
        for (average, source) in average.iter_mut().zip(source) {
            // The upper half of an f32: a shift, which the compiler does for many at once.
            let source = f32::from_bits(u32::from(source.to_bits()) << 16);
            *average += (source - *average) * weight;
        }
    }
}

impl Lerp<f32> for f64 {
    fn lerp(average: &mut [f64], source: &[f32], weight: f64) {
        for (average, source) in average.iter_mut().zip(source) {
            *average += (f64::from(*source) - *average) * weight;
        }
    }
}

impl Lerp<bf16> for f64 {
    fn lerp(average: &mut [f64], source: &[bf16], weight: f64) {
        for (average, source) in average.iter_mut().zip(source) {
            let source = f32::from_bits(u32::from(source.to_bits()) << 16);
            *average += (f64::from(source) - *average) * weight;
        }
    }
}

impl Lerp<f16> for f64 {
    fn lerp(average: &mut [f64], source: &[f16], weight: f64) {
        in_blocks(average, source, |average, wide| {
            f64::lerp(average, wide, weight)
        });
    }
}

impl Lerp<f16> for f32 {
    fn lerp(average: &mut [f32], source: &[f16], weight: f64) {
        in_blocks(average, source, |average, wide| {
            f32::lerp(average, wide, weight)
        });
    }
}

/// With `source` as f32. Processors convert many at once, and `half` asks once for each slice whether this one does.
fn in_blocks<E>(average: &mut [E], source: &[f16], lerp: impl Fn(&mut [E], &[f32])) {
    const BLOCK: usize = 256;
    let mut wide = [0.0; BLOCK];
    for (average, source) in average.chunks_mut(BLOCK).zip(source.chunks(BLOCK)) {
        let wide = &mut wide[..source.len()];
        source.convert_to_f32_slice(wide);
        lerp(average, wide);
    }
}
