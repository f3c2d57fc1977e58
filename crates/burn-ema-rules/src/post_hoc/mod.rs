//! Post-hoc EMA: the weights that combine stored snapshots into an average that was not kept.
//!
//! A stored snapshot and the wanted average are each described by a *profile*: the weight of every step of the run. The
//! combination of the stored profiles that is closest to the wanted one gives the weights with which the snapshots are summed.
//! This module computes the weights, and how good they are; `burn-ema` sums the tensors.
//!
//! - [`reconstruct`] is for power function EMAs, as in Karras et al. 2023 (arXiv:2312.02696, section 3 and appendix C): two numbers
//!   describe a profile, and a formula gives the weights.
//! - [`reconstruct_profiles`] is for all others: EMAs by any schedule, running means, or plain checkpoints, combined into a mean of a
//!   window, an EMA of any half-life, or the merge that replaces a decay of the learning rate.
//!
//! ```
//! use burn_ema_rules::post_hoc::{PowerProfile, reconstruct};
//!
//! // Snapshots every 10 steps of two EMAs, of widths 0.05 and 0.10.
//! let mut stored = Vec::new();
//! for step in (10..=80).step_by(10) {
//!     for width in [0.05, 0.10] {
//!         stored.push(PowerProfile::new(f64::from(step), width)?);
//!     }
//! }
//! let reconstruction = reconstruct(&stored, PowerProfile::new(80.0, 0.15)?)?;
//! assert_eq!(reconstruction.normalized().len(), 16);
//! assert!(reconstruction.relative_error() < 0.05);
//! # Ok::<(), burn_ema_rules::RulesError>(())
//! ```
//!
//! # Two errors
//!
//! An average of a run is a weighted sum of models. The same average is the last model minus a share of the change of each
//! step; the share of a step is the sum of the weights of older models. [`relative_error`](Reconstruction::relative_error)
//! compares the weights, as Karras et al. do. `relative_error` means little if one step has most of the weight of a profile,
//! as in a plain checkpoint. [`change_error`](Reconstruction::change_error) compares the shares: it is the part of the way
//! from the last model to the wanted average that the combination misses, if the changes of different steps are independent.

mod power;
mod profiles;
mod reconstruction;

pub use power::{PowerProfile, reconstruct};
pub use profiles::{Fit, Measure, reconstruct_profiles};
pub use reconstruction::Reconstruction;
