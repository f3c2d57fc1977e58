//! The kernels: one file for each backend, which implements and nothing else.

#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
pub(crate) mod flex;
#[cfg(feature = "cube")]
mod fusion;
#[cfg(feature = "tch")]
pub(crate) mod libtorch;
#[cfg(feature = "ndarray")]
pub(crate) mod ndarray;

#[cfg(feature = "cube")]
pub(crate) use cube::TENSORS_OF_LAUNCH;
