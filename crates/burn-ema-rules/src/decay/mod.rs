//! Decay schedules: the share of the old EMA that an update keeps, as a function of progress.
//!
//! [`Decay`] holds any decay schedule and can be stored in a configuration file. A function of [`Progress`], or a type
//! that implements [`DecaySchedule`], becomes a [`Decay`] by [`Decay::custom`].

// A new schedule is a file with a struct that implements `DecaySchedule`, and a variant of `Decay` in `known.rs`.

pub(crate) mod annealing;
pub(crate) mod checks;
pub(crate) mod clock;
pub(crate) mod constant;
pub(crate) mod copy_first;
pub(crate) mod cosine_warmup;
pub(crate) mod custom;
pub(crate) mod debiased;
pub(crate) mod decay_schedule;
pub(crate) mod ends;
pub(crate) mod equal_weights;
pub(crate) mod exponential_warmup;
pub(crate) mod half_life;
pub(crate) mod image_ramp_up;
pub(crate) mod known;
pub(crate) mod linear_warmup;
pub(crate) mod per_step;
pub(crate) mod power_function;
pub(crate) mod power_law;
pub(crate) mod power_warmup;
pub(crate) mod progress;
pub(crate) mod restarted_mean;
mod running;
pub(crate) mod tf_ramp;
pub(crate) mod weight;

pub use annealing::Annealing;
pub use clock::{Clock, Ticks};
pub use constant::Constant;
pub use copy_first::CopyFirst;
pub use cosine_warmup::CosineWarmup;
pub use custom::Custom;
pub use debiased::Debiased;
pub use decay_schedule::DecaySchedule;
pub use ends::Ends;
pub use equal_weights::EqualWeights;
pub use exponential_warmup::ExponentialWarmup;
pub use half_life::HalfLife;
pub use image_ramp_up::ImageRampUp;
pub use known::Decay;
pub use linear_warmup::LinearWarmup;
pub use per_step::PerStep;
pub use power_function::{PowerFunction, gamma_of_sigma_rel, sigma_rel_of_gamma};
pub use power_law::PowerLaw;
pub use power_warmup::PowerWarmup;
pub use progress::Progress;
pub use restarted_mean::RestartedMean;
pub use tf_ramp::TfRamp;
pub use weight::Weight;
