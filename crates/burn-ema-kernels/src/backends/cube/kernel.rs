//! The kernel: each cube works on a block of one source and of its averages.

use burn_cubecl::cubecl::{self, prelude::*};

/// Moves `values`, `per_source` of them for each source.
///
/// Tensor `s` has `lengths[s]` vectors, on which the cubes from `bounds[s]` to `bounds[s + 1]` work; each unit does
/// `per_unit` of them. Buffers cannot be chosen at run time, so there is code for every tensor.
#[cube(launch, address_type = "dynamic")]
pub(super) fn lerp_kernel<E: Float, S: Float, N: Size>(
    values: &mut Sequence<Box<[Vector<E, N>]>>,
    previous: &Sequence<Box<[Vector<E, N>]>>,
    sources: &Sequence<Box<[Vector<S, N>]>>,
    weights: &Sequence<InputScalar>,
    lengths: &Sequence<usize>,
    bounds: &Sequence<usize>,
    #[comptime] per_source: usize,
    #[comptime] per_unit: usize,
    #[comptime] in_place: bool,
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
                    let target = Vector::<E, N>::cast_from(source[pos]);

                    #[unroll]
                    for m in 0..per_source {
                        let i = s * per_source + m;
                        let weight = Vector::<E, N>::new(weights.index(i).get::<E>());
                        let value = values.index_mut(i);
                        let old = if in_place {
                            value[pos]
                        } else {
                            previous.index(i)[pos]
                        };
                        value[pos] = old + (target - old) * weight;
                    }
                }
            }
        }
    }
}
