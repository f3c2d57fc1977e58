//! Random bits from a hash, and what rounding makes of them.
//!
//! No state, so that they are the same on every backend, in any number of threads, and after a resume.

use half::bf16;

/// What the random bits of one tensor in one update are made of: `seed` for the run, the number of the update, and what
/// tells the tensor from others, such as its path.
///
/// # Example
///
/// ```
/// use burn_ema_kernels::random_key;
///
/// assert_eq!(random_key(1, 2, "weight"), random_key(1, 2, "weight"));
/// assert_ne!(random_key(1, 2, "weight"), random_key(1, 3, "weight"));
/// assert_ne!(random_key(1, 2, "weight"), random_key(1, 2, "bias"));
/// ```
pub fn random_key(seed: u64, update: u64, name: &str) -> u64 {
    let name = name
        .bytes()
        .fold(0, |hash, byte| mixed(hash ^ u64::from(byte)));
    mixed(mixed(mixed(seed) ^ update) ^ name)
}

/// A step of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Elements that share words of random bits: the first half of them has the lower halves of the words, the second half the
/// upper. So two vectors of 16 need one of words.
pub(crate) const BLOCK: usize = 32;

/// Word `index` of the random bits of a key: `lowbias32` of Wellons' hash-prospector, with a half of the key before each of its
/// multiplications.
#[inline(always)]
pub(crate) fn word(key: u64, index: u32) -> u32 {
    let mut bits = index ^ key as u32;
    bits ^= bits >> 16;
    bits = bits.wrapping_mul(0x7feb_352d);
    bits ^= bits >> 15;
    bits ^= (key >> 32) as u32;
    bits = bits.wrapping_mul(0x846c_a68b);
    bits ^ (bits >> 16)
}

/// A neighbour of `number` in bf16: the one away from zero if its lower half and `bits` (16 of them) carry. A NaN must be quiet,
/// as those of arithmetic are: its upper half says that it is one.
#[inline(always)]
pub(crate) fn rounded(number: f32, bits: u32) -> bf16 {
    let found = number.to_bits();
    let kept = match number.is_nan() {
        true => found,
        // Infinity has nothing to carry.
        false => found.wrapping_add(bits),
    };
    bf16::from_bits((kept >> 16) as u16)
}

/// A dtype that has all numbers of bf16.
pub(crate) trait OfHalf: Copy {
    fn widened(self) -> f32;
    fn of(number: bf16) -> Self;
}

impl OfHalf for bf16 {
    #[inline(always)]
    fn widened(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn of(number: bf16) -> Self {
        number
    }
}

impl OfHalf for f32 {
    #[inline(always)]
    fn widened(self) -> f32 {
        self
    }

    #[inline(always)]
    fn of(number: bf16) -> Self {
        number.widened()
    }
}

/// `average + (source - average) * weight` for one number after the other, rounded. `first` is the number of the first one
/// in its tensor, and a multiple of [`BLOCK`]. After 2^33 elements the bits repeat.
#[inline(always)]
pub(crate) fn lerp<E: OfHalf, S: OfHalf>(
    average: &mut [E],
    source: &[S],
    weight: f32,
    key: u64,
    first: usize,
) {
    const HALF: usize = BLOCK / 2;
    let mut index = (first / 2) as u32;
    let mut averages = average.chunks_exact_mut(BLOCK);
    let mut sources = source.chunks_exact(BLOCK);
    for (average, source) in (&mut averages).zip(&mut sources) {
        let (low, high) = average.split_at_mut(HALF);
        let (of_low, of_high) = source.split_at(HALF);
        let low = low.iter_mut().zip(of_low);
        let both = low.zip(high.iter_mut().zip(of_high)).enumerate();
        for (offset, ((low, of_low), (high, of_high))) in both {
            let word = word(key, index.wrapping_add(offset as u32));
            lerp_one(low, of_low.widened(), weight, word & 0xffff);
            lerp_one(high, of_high.widened(), weight, word >> 16);
        }
        index = index.wrapping_add(HALF as u32);
    }
    let rest = averages.into_remainder().iter_mut();
    for (number, (average, source)) in rest.zip(sources.remainder()).enumerate() {
        let word = word(key, index.wrapping_add((number % HALF) as u32));
        let bits = match number < HALF {
            true => word & 0xffff,
            false => word >> 16,
        };
        lerp_one(average, source.widened(), weight, bits);
    }
}

#[inline(always)]
fn lerp_one<E: OfHalf>(average: &mut E, source: f32, weight: f32, bits: u32) {
    let old = average.widened();
    *average = E::of(rounded(old + (source - old) * weight, bits));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 + 2^-10 is seven eighths of the way down from 1 + 2^-7: of 2^16 bits, those from 0xe000 on carry.
    #[test]
    fn the_lower_half_carries_with_its_probability() {
        let number = f32::from_bits(0x3f80_2000);
        assert_eq!(rounded(number, 0xdfff), bf16::from_f32(1.0));
        assert_eq!(rounded(number, 0xe000), bf16::from_f32(1.007_812_5));
        assert_eq!(rounded(-number, 0xe000), bf16::from_f32(-1.007_812_5));
        let up = (0..=0xffff).filter(|bits| rounded(number, *bits) != bf16::ONE);
        assert_eq!(up.count(), 0x2000);
    }

    #[test]
    fn numbers_of_bf16_stay_and_the_rest_is_no_number_that_was_none() {
        for bits in [0, 0x7fff, 0xffff] {
            for number in [0.0, -0.0, 1.0, -3.5, f32::INFINITY, f32::NEG_INFINITY] {
                assert_eq!(rounded(number, bits).to_f32().to_bits(), number.to_bits());
            }
            assert!(rounded(f32::NAN, bits).is_nan());
            assert!(rounded(f32::from_bits(0xffff_ffff), bits).is_nan());
        }
    }

    /// A bit that is set too often, or goes with another, would be a bias, or a pattern in the weights.
    #[test]
    fn each_bit_is_fair_and_alone() {
        let words: Vec<u32> = (0..1 << 14)
            .map(|index| word(random_key(3, 5, "weight"), index))
            .collect();
        let share = |is_set: &dyn Fn(usize) -> bool| {
            let count = (0..words.len()).filter(|index| is_set(*index)).count();
            count as f64 / words.len() as f64
        };
        // Five deviations of a mean of 2^14 fair bits.
        let off = |share: f64| (share - 0.5).abs() > 5.0 * 0.5 / 128.0;
        for bit in 0..32 {
            assert!(!off(share(&|index| words[index] >> bit & 1 == 1)), "{bit}");
            for other in 0..32 {
                let differs = |index: usize| (words[index] >> bit ^ words[index] >> other) & 1 == 1;
                assert!(bit == other || !off(share(&differs)), "{bit} and {other}");
                let next = |index: usize| {
                    (words[index] >> bit ^ words[(index + 1) % words.len()] >> other) & 1 == 1
                };
                assert!(!off(share(&next)), "{bit} and {other} of the next");
            }
        }
    }

    /// The same for a bit of one element over updates, and for tensors.
    #[test]
    fn updates_and_tensors_are_independent() {
        let means = |bits: &dyn Fn(u64) -> u32| {
            (0..16)
                .map(|bit| (0..1 << 14).filter(|at| bits(*at) >> bit & 1 == 1).count())
                .collect::<Vec<_>>()
        };
        let over_updates = means(&|update| word(random_key(0, update, "weight"), 0));
        let over_both = means(&|update| {
            word(random_key(0, update, "weight"), 0) ^ word(random_key(0, update + 1, "weight"), 1)
        });
        let over_tensors = means(&|tensor| word(random_key(0, 0, &format!("layer.{tensor}")), 0));
        for count in [over_updates, over_both, over_tensors].concat() {
            assert!((count as f64 - 8192.0).abs() < 5.0 * 64.0, "{count}");
        }
    }
}
