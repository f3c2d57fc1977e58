//! Where the elements of a tensor lie in memory.

use burn_cubecl::tensor::CubeTensor;

/// Whether a walk through memory meets the elements of both in the same order.
///
/// Gaps may be on the way, as a pitched allocation has them at the ends of rows: walking through them costs less than
/// closing them. They are written only in memory that nobody else holds.
pub(super) fn are_in_step(a: &CubeTensor, b: &CubeTensor) -> bool {
    let are_rows = !a.meta.is_tiled() && !b.meta.is_tiled();
    let strides = a.meta.strides().iter().zip(b.meta.strides().iter());
    let mut dims = a.meta.shape().iter().zip(strides);
    let are_alike = dims.all(|(dim, (a, b))| *dim == 1 || a == b);
    are_rows && are_alike && a.is_nonoverlapping() && span(a) <= 2 * a.meta.num_elements()
}

/// Elements from the first to the last in memory.
pub(super) fn span(tensor: &CubeTensor) -> usize {
    let dims = tensor.meta.shape().iter().zip(tensor.meta.strides().iter());
    let last: usize = dims.map(|(dim, stride)| (dim - 1) * stride).sum();
    last + 1
}

/// Whether every element from the first to the last in memory is one of the tensor, and is so once.
pub(super) fn has_no_gaps(tensor: &CubeTensor) -> bool {
    let is_rows = !tensor.meta.is_tiled();
    is_rows && tensor.is_nonoverlapping() && span(tensor) == tensor.meta.num_elements()
}

/// The widest vectors of which `length` elements of `tensor` are a whole number.
pub(super) fn width(tensor: &CubeTensor, length: usize) -> usize {
    let mut widths = tensor.client.io_optimized_vector_sizes(tensor.dtype.size());
    widths
        .find(|width| length.is_multiple_of(*width))
        .unwrap_or(1)
}
