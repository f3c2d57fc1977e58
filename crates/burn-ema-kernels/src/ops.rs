//! The backend extensions: which backends have a kernel, and what it does.

use burn::backend::tensor::FloatTensor;
#[cfg(feature = "cube")]
use burn::backend::tensor::IntTensor;
use burn::backend::{Backend, backend_extension};

use crate::batch::Batch;

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
    /// A value that nobody else holds changes in place; otherwise its other holders keep what it was. Dtypes are
    /// those that [`lerp`](crate::lerp) lets through: f32 of f32 and half precision, and f64 of any of these and f64.
    // Without any of the features above there is nothing that uses it.
    #[allow(unused_variables)]
    fn lerp_batch(#[extension_type] batch: Batch<Self>) -> Vec<FloatTensor<Self>>;

    /// The same with a compensation for every average. Returns the new values, and then as many new compensations.
    #[allow(unused_variables)]
    fn lerp_compensated(#[extension_type] batch: Batch<Self>) -> Vec<FloatTensor<Self>>;

    /// The same with a key for every average, which is rounded stochastically to bf16. Averages are of bf16 or f32, sources of
    /// f32 or half precision.
    #[allow(unused_variables)]
    fn lerp_stochastic(#[extension_type] batch: Batch<Self>) -> Vec<FloatTensor<Self>>;
}

/// The guard, for backends whose values the processor does not see. Use [`all_finite`](crate::all_finite), which works on
/// every backend.
#[cfg(feature = "cube")]
#[backend_extension(Cube)]
pub trait GuardOps: Backend {
    /// One number, which is 0 if all values of all sources are finite. There is a source, and none is empty. Averages are
    /// not looked at.
    fn non_finite(#[extension_type] batch: Batch<Self>) -> IntTensor<Self>;
}
