//! The one operation of a weight average, `average + (source - average) * weight`, as fast as memory allows.
//!
//! [`lerp`] updates many averages at once, in place, on whatever backend they are; [`all_finite`] is the guard before it.
//! Neither knows of models. Two forms of it lose no update that is too small for the dtype of the average:
//! [`lerp_compensated`] keeps what rounding loses, [`lerp_stochastic`] rounds to bf16 at random.
//!
//! | backend | feature | what runs |
//! |---|---|---|
//! | Flex | `flex` | vector code over all tensors together, in `rayon`'s threads; several averages of one source read it once |
//! | NdArray | `ndarray` | the same |
//! | LibTorch | `tch` | `lerp_`; small tensors, and half precision, as Flex's where they are in the processor's memory |
//! | CubeCL | `wgpu`, `vulkan`, `metal`, `webgpu`, `cuda`, `rocm`, `cpu` | one kernel for as many tensors as the device binds at once; with and without Fusion |
//! | any other | | [`portable`] |
//!
//! On Flex and NdArray an average whose values lie in another order than those of its source is updated index by index (on
//! NdArray in one thread); on CubeCL its source is brought into order at each update. With LibTorch on a GPU, an update with
//! compensation takes several operations, and one with stochastic rounding goes through the processor's memory.
//!
//! A backend that is enabled in Burn but not by a feature of this crate is "any other".

#![cfg_attr(any(feature = "ndarray", feature = "tch"), allow(deprecated))]

mod backends;
mod batch;
mod devices;
mod finite;
#[cfg(feature = "host")]
mod host;
mod lerp;
mod memory;
mod ops;
pub mod portable;
mod random;

#[doc(hidden)]
pub use batch::{Batch, Member};
pub use finite::all_finite;
pub use lerp::{
    Average, CompensatedAverage, StochasticAverage, batch_size, lerp, lerp_compensated,
    lerp_stochastic,
};
pub use memory::is_same_memory;
#[cfg(feature = "cube")]
#[doc(hidden)]
pub use ops::GuardOps;
#[doc(hidden)]
pub use ops::LerpOps;
pub use random::random_key;
