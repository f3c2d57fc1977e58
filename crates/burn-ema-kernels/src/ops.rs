//! The backend extension: which backends have a kernel, and what it does.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

use crate::Batch;

/// The fused operation, as a backend implements it. Use [`lerp`](crate::lerp), which works on every backend.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    LibTorch: cfg(feature = "tch"),
    Cube: cfg(feature = "cube"),
)]
pub trait LerpOps: Backend {
    /// `value + (source - value) * weight` for every average, in their order.
    ///
    /// A value that nobody else holds changes in place; otherwise whoever holds it keeps what it was. Dtypes are
    /// those that [`lerp`](crate::lerp) lets through: f32 and f64 of the source's dtype, and f32 of a source of
    /// half precision.
    // Without any of the features above there is nothing that uses it.
    #[allow(unused_variables)]
    fn lerp_batch(#[extension_type] batch: Batch<Self>) -> Vec<FloatTensor<Self>>;
}
