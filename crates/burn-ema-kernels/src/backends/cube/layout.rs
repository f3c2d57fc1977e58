//! Where the elements of a tensor lie in memory.

use burn_cubecl::tensor::CubeTensor;

/// Whether a walk through memory meets the elements of both in the same order.
///
/// A few gaps may be on the way, as a pitched allocation has them at the ends of rows. They are written only in
/// memory that nobody else holds.
pub(super) fn are_in_step(a: &CubeTensor, b: &CubeTensor) -> bool {
    let are_rows = !a.meta.is_tiled() && !b.meta.is_tiled();
    let strides = a.meta.strides().iter().zip(b.meta.strides().iter());
    let mut dims = a.meta.shape().iter().zip(strides);
    let are_alike = dims.all(|(dim, (a, b))| *dim == 1 || a == b);
    are_rows && are_alike && a.is_nonoverlapping() && has_few_gaps(a)
}

/// Whether a walk through memory meets the elements row by row, and nothing else.
pub(super) fn is_row_by_row(tensor: &CubeTensor) -> bool {
    !tensor.meta.is_tiled() && tensor.is_contiguous()
}

/// Whether walking through the gaps costs less than closing them: they are at most as much as the rest.
pub(super) fn has_few_gaps(tensor: &CubeTensor) -> bool {
    span(tensor) <= 2 * tensor.meta.num_elements()
}

/// Elements from the first to the last in memory.
pub(super) fn span(tensor: &CubeTensor) -> usize {
    let dims = tensor.meta.shape().iter().zip(tensor.meta.strides().iter());
    let last: usize = dims.map(|(dim, stride)| (dim - 1) * stride).sum();
    last + 1
}

/// Length of the rows of a tensor and the distance of their beginnings, if it is made of rows without gaps. One without any
/// gaps is a row.
pub(super) fn rows(tensor: &CubeTensor) -> Option<(usize, usize)> {
    if tensor.meta.is_tiled() {
        return None;
    }
    let dims = tensor.meta.shape().iter().zip(tensor.meta.strides().iter());
    let mut dims: Vec<(usize, usize)> = dims
        .filter(|(dim, _)| **dim != 1)
        .map(|(dim, stride)| (*stride, *dim))
        .collect();
    dims.sort_unstable();
    let (mut filled, mut row) = (1, None);
    for (stride, dim) in dims {
        if stride != filled {
            if row.is_some() || stride < filled {
                return None;
            }
            row = Some((filled, stride));
        }
        filled = stride * dim;
    }
    Some(row.unwrap_or((filled, filled)))
}

/// The widest vectors of which all of `lengths` in elements of `tensor` are whole numbers.
pub(super) fn width(tensor: &CubeTensor, lengths: &[usize]) -> usize {
    let mut widths = tensor.client.io_optimized_vector_sizes(tensor.dtype.size());
    widths
        .find(|width| lengths.iter().all(|length| length.is_multiple_of(*width)))
        .unwrap_or(1)
}
