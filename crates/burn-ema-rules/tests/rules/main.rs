//! What holds for the numbers of an EMA: schedules, profiles, presets, and how they are stored.

mod allocations;
mod arbitrary;
mod bema;
mod config;
mod debiased;
mod formulas;
#[cfg(feature = "presets")]
mod framework_runs;
mod merge;
#[cfg(feature = "post-hoc")]
mod post_hoc;
#[cfg(feature = "post-hoc")]
mod post_hoc_any;
mod power_function;
#[cfg(feature = "presets")]
mod preset_arguments;
#[cfg(feature = "presets")]
mod preset_decays;
#[cfg(feature = "presets")]
mod preset_goldens;
mod profile;
mod ramps;
mod retained;
mod schedule;
mod simulation;
