//! Decay schedules, update schedules and presets for an exponential moving average (EMA) of model weights, as numbers.
//!
//! An EMA update is `ema = decay * ema + (1 - decay) * online`, where the *online weights* are the weights that the
//! optimizer changes. This crate computes `decay`, says which optimizer steps update the EMA, and tells before the run
//! what the two amount to. This crate has no tensors and does not depend on Burn; `burn-ema` applies the numbers to any
//! Burn model.
//!
//! ```
//! use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
//! use burn_ema_rules::schedule::{Phase, Schedule};
//!
//! let schedule = Schedule { start: 500, interval: 10 };
//! let decay = Decay::half_life(2_000.0);
//! let mut updates = 0;
//! for step in 1..=1_000 {
//!     if schedule.phase(step) == Phase::Update {
//!         let decay = decay.decay(Progress { updates, interval: schedule.interval });
//!         assert_eq!(decay, 0.5_f64.powf(10.0 / 2_000.0));
//!         updates += 1;
//!     }
//! }
//! // What the configuration amounts to after 10,000 updates.
//! let profile = schedule.profile(&decay, 10_000)?;
//! assert!((profile.half_life() - 2_000.0).abs() < 1e-6);
//! # Ok::<(), burn_ema_rules::RulesError>(())
//! ```
//!
//! | task | module |
//! |---|---|
//! | choose how fast old weights fade | [`decay`] |
//! | start late, or update every few optimizer steps | [`schedule`] |
//! | know the weight of each past step | [`profile`] |
//! | combine checkpoints | [`merge`] |
//! | correct an average for its lag | [`bema`] |
//! | take over the arguments of timm, diffusers, mmengine and others | `presets` (feature `presets`, on by default) |
//! | choose the width of an EMA after the run | `post_hoc` (feature `post-hoc`, on by default) |
//!
//! # Files
//!
//! Every type implements [`Serialize`](serde::Serialize) and [`Deserialize`](serde::Deserialize). JSON writes each f64
//! with enough digits, but `serde_json` reads some of them back with an error in the last bit. A program that reads JSON
//! and needs the same f64 bit for bit, for example to resume a run, must enable the feature `float_roundtrip` of
//! `serde_json` in its `Cargo.toml`:
//!
//! ```toml
//! serde_json = { version = "1", features = ["float_roundtrip"] }
//! ```

pub mod bema;
pub mod decay;
pub mod error;
pub mod merge;
#[cfg(feature = "post-hoc")]
pub mod post_hoc;
#[cfg(feature = "presets")]
pub mod presets;
pub mod profile;
pub mod schedule;

pub use error::RulesError;
