//! Exponential moving average (EMA) of the weights of any [Burn](burn) model, on any backend.
//!
//! An average of the weights that training passes through is a better model than the last of them,
//! and costs one multiply-add per parameter and step. [`EmaModel`] keeps one beside a model:
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
//! | to | see |
//! |---|---|
//! | choose how fast old weights fade | [`Decay`], or a recipe of another system in [`peers`] |
//! | know what that means before training | [`EmaConfig::profile`] |
//! | start late, or average every few steps | [`Schedule`], [`EmaConfig`] |
//! | say which values are averaged, copied or left alone | [`Policy`] |
//! | save, load and resume | [`EmaModel`] as a module, [`PlainRecord`] |
//! | guard against NaN | [`NonFinite`] |
//! | keep several averages | [`EmaSet`] |
//! | run on the average | [`EmaModel::model`], [`EmaModel::training_model`], [`EmaModel::evaluate_in`], [`Stored`] |
//! | compute BatchNorm's running statistics anew | [`EmaModel::reestimate`], [`reestimate`] |
//! | let training go on from the average | [`Switch`] |
//! | choose the width of an average after training | [`post_hoc`] |
//! | keep the average as a field of the model, as GAN code does | [`twin`] |
//! | train with Burn's `Learner` | the crate `burn-ema-train` |
//!
//! # Backends
//!
//! Each cargo feature (`flex`, the default, `ndarray`, `tch`, `wgpu`, `vulkan`, `metal`, `webgpu`,
//! `cuda`, `rocm`, `cpu`) enables Burn's backend of that name. None is needed: an average runs on
//! whatever device its source is on.

mod assign;
mod autodiff;
mod config;
mod distance;
mod error;
mod evaluate;
mod ids;
mod lazy_read;
mod model;
mod module;
mod op;
pub mod peers;
mod policy;
pub mod post_hoc;
mod profile;
pub mod record;
mod reestimate;
mod rule;
mod schedule;
mod scope;
mod set;
mod shadow;
mod stored;
mod switch;
mod traverse;
pub mod twin;
mod update;

pub use config::{EmaConfig, NonFinite, PlainRecord, ShadowDType};
pub use error::EmaError;
pub use model::EmaModel;
pub use policy::{Action, Class, Override, Policy};
pub use profile::Profile;
pub use reestimate::reestimate;
pub use rule::{
    Annealing, Clock, Constant, CopyFirst, Custom, Debiased, Decay, EqualWeights,
    ExponentialWarmup, HalfLife, ImageRampUp, LinearWarmup, Moment, PerStep, PowerFunction,
    PowerWarmup, Rule, TfRamp, Ticks, Weight, gamma_of_sigma_rel, sigma_rel_of_gamma,
};
pub use schedule::{Phase, Schedule};
pub use scope::Swapped;
pub use set::{EmaSet, EmaSetConfig, NamedConfig};
pub use stored::Stored;
pub use switch::Switch;
pub use update::Update;
