//! Exponential moving average (EMA) of the weights of any [Burn](burn) model, on any backend.
//!
//! The EMA of the weights usually generalizes better than the last *online weights*, those that the optimizer changes, and
//! costs one multiply-add per parameter and step. [`EmaModel`] keeps one beside a model:
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn_ema::{Decay, EmaConfig};
//!
//! let model = LinearConfig::new(4, 2).init(&Default::default());
//! let mut ema = EmaConfig::new().with_decay(Decay::half_life(1_000.0)).init(&model);
//! // After each optimizer step:
//! ema.update(&model)?;
//! // To evaluate, sample, export:
//! let averaged = ema.model();
//! # Ok::<(), burn_ema::EmaError>(())
//! ```
//!
//! | task | see |
//! |---|---|
//! | choose how fast old weights fade | [`Decay`], or a preset of another framework in `presets` (feature `presets`, on by default) |
//! | know what that means before training | [`EmaConfig::profile`] |
//! | start late, or update every few steps | [`EmaConfig`], [`schedule`] |
//! | choose what is averaged, copied or ignored | [`Policy`] |
//! | list what happens to each tensor, and its cost | [`EmaConfig::plan`], [`EmaModel::plan`] |
//! | save, load and resume | [`EmaModel`] as a module, [`config::MissingEma`] |
//! | continue an EMA of another framework, start again, carry over to a grown model | [`EmaModel::resume_from`], [`restart`](EmaModel::restart), [`adopt`](EmaModel::adopt) |
//! | guard against NaN | [`config::NonFinite`] |
//! | keep several EMAs | [`EmaSet`] |
//! | run on the EMA | [`EmaModel::model`], [`EmaModel::training_model`], [`EmaModel::evaluate_in`], [`exchange::Stored`] |
//! | compute BatchNorm's running statistics from data | [`EmaModel::reestimate`], [`batch_norm`] |
//! | let training continue from the EMA | [`write_back::WriteBack`] |
//! | keep the mean of the last updates | [`window`] |
//! | average without lag | [`lag`] |
//! | merge checkpoints, make a soup of models, take a window out of a mean | [`merge`] |
//! | choose the width of an EMA after training | `post_hoc` (feature `post-hoc`, on by default) |
//! | keep the EMA as a field of the model, as GAN code does | [`submodule`] |
//! | train with Burn's `Learner` | the crate `burn-ema-train` |
//!
//! # Backends
//!
//! This crate enables no backend: enable the features of your backend here (`flex`, `ndarray`, `tch`, `wgpu`, `vulkan`,
//! `metal`, `webgpu`, `cuda`, `rocm`, `cpu`, spelled as Burn's) for the fused update. On a backend without it updates use
//! Burn's tensor operations, and say so once in the log.

mod burn_facts;
mod counters;
mod engine;
mod error;
mod model;
mod set;
mod store;
mod walk;

pub mod batch_norm;
pub mod lag;
pub mod merge;
pub mod plan;
pub mod policy;
#[cfg(feature = "post-hoc")]
pub mod post_hoc;
#[doc(hidden)]
pub mod record;
pub mod submodule;
pub mod window;

#[cfg(feature = "presets")]
pub use burn_ema_rules::presets;
pub use burn_ema_rules::{decay, profile, schedule};

/// Configuration of an EMA.
pub mod config {
    pub use crate::model::config::{EmaConfig, EmaPrecision, MissingEma, NonFinite};
    pub use crate::set::config::{AverageKind, EmaSetConfig, NamedConfig};
}

/// Putting EMA weights into a model and back.
pub mod exchange {
    pub use crate::model::exchange::{Stored, Swapped};
}

/// Carrying an EMA over to a model of another structure.
pub mod carry {
    pub use crate::model::carry::Adopted;
}

/// Writing the EMA back into the online model.
pub mod write_back {
    pub use crate::model::write_back::WriteBack;
}

pub use burn_ema_rules::RulesError;
pub use decay::Decay;
pub use error::EmaError;
pub use model::EmaModel;
pub use model::config::EmaConfig;
pub use model::update::Update;
pub use policy::Policy;
pub use set::EmaSet;
pub use set::config::EmaSetConfig;
