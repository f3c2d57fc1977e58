//! `EmaModel`, `EmaSet` and what they are made of.

mod algebra;
#[path = "../../../crates/burn-ema-rules/tests/rules/arbitrary.rs"]
mod arbitrary;
mod autodiff;
mod averages;
mod batch_norm;
mod carry_on;
mod config;
#[cfg(feature = "flex")]
mod default_device;
mod devices;
mod dtype;
mod field;
#[path = "../../../crates/burn-ema-rules/tests/rules/framework_runs.rs"]
mod framework_runs;
mod kernels;
mod lag;
mod lora;
mod merge;
mod modes;
mod non_finite;
mod plain_tensors;
mod plan;
mod policy;
mod post_hoc;
mod presets;
mod profile;
mod record;
mod reestimate;
mod schedule;
mod set;
mod stall;
mod strictness;
mod structure;
mod update;
mod walk;
mod weighted;
mod window;
mod write_back;
