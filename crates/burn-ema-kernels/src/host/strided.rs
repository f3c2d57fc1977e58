//! Tensors whose values do not lie one after the other.

use std::ops::Range;

use rayon::prelude::*;

use super::{LENGTH, Lerp};

/// Rows and columns of a matrix that are gone through together.
const TILE: usize = 32;

/// Where the values of a tensor are: those of index `i` at `offset + sum(i * strides)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) strides: &'a [isize],
    pub(crate) offset: usize,
}

/// The memory of a tensor whose values fill it without gaps, in whatever order its dimensions are.
pub(crate) fn dense(layout: Layout<'_>) -> Option<Range<usize>> {
    let mut dims: Vec<(usize, usize)> = Vec::with_capacity(layout.shape.len());
    for (size, stride) in layout.shape.iter().zip(layout.strides) {
        if *size != 1 {
            dims.push((usize::try_from(*stride).ok()?, *size));
        }
    }
    dims.sort_unstable();
    let mut filled = 1;
    for (stride, size) in dims {
        if stride != filled {
            return None;
        }
        filled *= size;
    }
    Some(layout.offset..layout.offset + filled)
}

/// `average + (source - average) * weight`, index by index. `average` lies row by row.
pub(crate) fn lerp_strided<E: Lerp<S> + Send, S: Copy + Sync>(
    average: &mut [E],
    source: &[S],
    layout: Layout<'_>,
    weight: f64,
) {
    if average.len() <= LENGTH {
        return lerp_part(average, source, layout, weight);
    }
    if let [1, rest @ ..] = layout.shape {
        let (shape, strides) = (rest, &layout.strides[1..]);
        let layout = Layout {
            shape,
            strides,
            ..layout
        };
        return lerp_strided(average, source, layout, weight);
    }
    // Whole rows for each thread, or what is the like of them in other ranks.
    let row = average.len() / layout.shape[0];
    let rows = LENGTH.div_ceil(row).max(TILE);
    let parts = average.par_chunks_mut(rows * row).enumerate();
    parts.for_each(|(part, average)| {
        let mut shape = layout.shape.to_vec();
        shape[0] = average.len() / row;
        let layout = Layout {
            shape: &shape,
            strides: layout.strides,
            offset: at(layout.offset, part * rows, layout.strides[0]),
        };
        lerp_part(average, source, layout, weight);
    });
}

fn lerp_part<E: Lerp<S>, S: Copy>(
    average: &mut [E],
    source: &[S],
    layout: Layout<'_>,
    weight: f64,
) {
    let Layout {
        shape,
        strides,
        offset,
    } = layout;
    match shape {
        [] => E::lerp_one(&mut average[0], &source[offset], weight),
        [length] => {
            for (index, average) in average.iter_mut().take(*length).enumerate() {
                E::lerp_one(average, &source[at(offset, index, strides[0])], weight);
            }
        }
        [rows, columns] => lerp_matrix(average, source, (*rows, *columns), layout, weight),
        [size, rest @ ..] => {
            let length = rest.iter().product::<usize>();
            for index in 0..*size {
                let layout = Layout {
                    shape: rest,
                    strides: &strides[1..],
                    offset: at(offset, index, strides[0]),
                };
                let average = &mut average[index * length..(index + 1) * length];
                lerp_part(average, source, layout, weight);
            }
        }
    }
}

/// Goes through a matrix tile by tile, for a transposed source is read by columns: a tile of it stays in the cache.
fn lerp_matrix<E: Lerp<S>, S: Copy>(
    average: &mut [E],
    source: &[S],
    (rows, columns): (usize, usize),
    layout: Layout<'_>,
    weight: f64,
) {
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for row in top..rows.min(top + TILE) {
                let start = at(layout.offset, row, layout.strides[0]);
                for column in left..columns.min(left + TILE) {
                    let source = &source[at(start, column, layout.strides[1])];
                    E::lerp_one(&mut average[row * columns + column], source, weight);
                }
            }
        }
    }
}

fn at(offset: usize, index: usize, stride: isize) -> usize {
    offset.wrapping_add_signed(index as isize * stride)
}
