//! The kernel: each cube works on a block of one source and of its averages.

use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};

use crate::batch::Batch;
use crate::random::BLOCK;

/// What becomes of the digits that an average has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rounding {
    Nearest,
    /// They are kept beside it.
    Compensated,
    /// They are the probability of the next number in bf16.
    Stochastic,
}

impl Rounding {
    pub(super) fn of(batch: &Batch<CubeBackend>) -> Self {
        match (batch.compensations.is_empty(), batch.keys.is_empty()) {
            (false, _) => Self::Compensated,
            (_, false) => Self::Stochastic,
            _ => Self::Nearest,
        }
    }
}

/// Moves `values`, `per_source` of them for each source.
///
/// Tensor `s` has `lengths[s]` vectors, on which the cubes from `bounds[s]` to `bounds[s + 1]` work; each unit does
/// `per_unit` of them. Buffers cannot be chosen at run time, so there is code for every tensor.
///
/// Compensations are there if rounding is `Compensated`. `keys` has a 0 that compilers do not know of, unless rounding is to
/// the nearest; and after it, if it is `Stochastic`, two halves of a key for each average.
#[cube(launch, address_type = "dynamic")]
pub(super) fn lerp_kernel<E: Float, S: Float, N: Size>(
    values: &mut Sequence<Box<[Vector<E, N>]>>,
    previous: &Sequence<Box<[Vector<E, N>]>>,
    compensations: &mut Sequence<Box<[Vector<E, N>]>>,
    previous_compensations: &Sequence<Box<[Vector<E, N>]>>,
    sources: &Sequence<Box<[Vector<S, N>]>>,
    weights: &Sequence<InputScalar>,
    keys: &Sequence<u32>,
    lengths: &Sequence<usize>,
    bounds: &Sequence<usize>,
    #[comptime] per_source: usize,
    #[comptime] per_unit: usize,
    #[comptime] in_place: bool,
    #[comptime] rounding: Rounding,
    #[define(E, S)] _dtypes: [ElemType; 2],
) {
    let count = comptime![sources.len()];

    #[unroll]
    for s in 0..count {
        let first = bounds[s];
        let end = bounds[s + 1];
        if CUBE_POS >= first && CUBE_POS < end {
            let source = sources.index(s);
            let length = lengths[s];
            let start = (CUBE_POS - first) * CUBE_DIM as usize * per_unit + UNIT_POS as usize;

            for step in 0..per_unit {
                // Units next to each other work on vectors next to each other.
                let pos = start + step * CUBE_DIM as usize;
                if pos < length {
                    let target = source[pos];

                    #[unroll]
                    for m in 0..per_source {
                        let i = s * per_source + m;
                        let value = values.index_mut(i);
                        let old = if in_place {
                            value[pos]
                        } else {
                            previous.index(i)[pos]
                        };
                        match rounding {
                            Rounding::Nearest => {
                                let target = Vector::<E, N>::cast_from(target);
                                let weight = Vector::<E, N>::new(weights.index(i).get::<E>());
                                value[pos] = old + (target - old) * weight;
                            }
                            Rounding::Compensated => {
                                let compensation = compensations.index_mut(i);
                                let lost = if in_place {
                                    compensation[pos]
                                } else {
                                    previous_compensations.index(i)[pos]
                                };
                                let weight = weights.index(i).get::<f32>();
                                let zero = keys[0];
                                let old = Vector::<f32, N>::cast_from(old);
                                let lost = Vector::<f32, N>::cast_from(lost);
                                let target = Vector::<f32, N>::cast_from(target);
                                let missing = target - old - lost;
                                let change = product(missing, weight, zero) + lost;
                                let moved = opaque(old + change, zero);
                                let lost = change - (moved - old);
                                value[pos] = Vector::<E, N>::cast_from(moved);
                                compensation[pos] = Vector::<E, N>::cast_from(lost);
                            }
                            Rounding::Stochastic => {
                                let weight = weights.index(i).get::<f32>();
                                let zero = keys[0];
                                let old = Vector::<f32, N>::cast_from(old);
                                let target = Vector::<f32, N>::cast_from(target);
                                let moved = old + product(target - old, weight, zero);
                                let first = pos * N::value();
                                let bits =
                                    random_bits::<N>(first, keys[1 + 2 * i], keys[2 + 2 * i]);
                                value[pos] = Vector::<E, N>::cast_from(rounded(moved, bits));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `numbers`, of which a compiler knows nothing. Compilers of GPUs may take `(a + b) - a` for `b`.
#[cube]
fn opaque<N: Size>(numbers: Vector<f32, N>, zero: u32) -> Vector<f32, N> {
    let bits = Vector::<u32, N>::reinterpret(numbers);
    Vector::<f32, N>::reinterpret(bits ^ Vector::<u32, N>::new(zero))
}

/// `numbers * factor`, rounded: a compiler may make one rounding of a product and a sum, and another may not.
#[cube]
fn product<N: Size>(numbers: Vector<f32, N>, factor: f32, zero: u32) -> Vector<f32, N> {
    opaque(numbers * Vector::<f32, N>::new(factor), zero)
}

const _: () = assert!(BLOCK == 32, "`random_bits` has words for 32 elements");

/// 16 bits for each element from number `first` on, a multiple of the width of a vector: see [`word`](crate::random::word).
#[cube]
fn random_bits<N: Size>(first: usize, low: u32, high: u32) -> Vector<u32, N> {
    // Of 32 elements, the first 16 have the lower halves of 16 words, and the others the upper. A vector is within one half.
    let word = ((first / 32) * 16 + first % 16) as u32;
    let is_upper = ((first / 16) % 2) as u32;
    let mut bits = Vector::<u32, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        bits.insert(lane, word + lane as u32);
    }
    let half = Vector::<u32, N>::new(16u32);
    bits ^= Vector::<u32, N>::new(low);
    bits ^= bits >> half;
    bits *= Vector::<u32, N>::new(0x7feb_352du32);
    bits ^= bits >> Vector::<u32, N>::new(15u32);
    bits ^= Vector::<u32, N>::new(high);
    bits *= Vector::<u32, N>::new(0x846c_a68bu32);
    bits ^= bits >> half;
    (bits >> Vector::<u32, N>::new(16u32 * is_upper)) & Vector::<u32, N>::new(0xffffu32)
}

/// Neighbours of `numbers` in bf16: see [`rounded`](crate::random::rounded).
#[cube]
fn rounded<N: Size>(numbers: Vector<f32, N>, bits: Vector<u32, N>) -> Vector<f32, N> {
    let found = Vector::<u32, N>::reinterpret(numbers);
    let size = found & Vector::<u32, N>::new(0x7fff_ffffu32);
    let is_nan = size.greater_than(&Vector::<u32, N>::new(0x7f80_0000u32));
    let kept = select_many(is_nan, found, found + bits);
    Vector::<f32, N>::reinterpret(kept & Vector::<u32, N>::new(0xffff_0000u32))
}
