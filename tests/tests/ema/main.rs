//! Averages of models.

mod algebra;
mod autodiff;
mod batch_norm;
mod config;
mod devices;
mod dtype;
mod kernels;
mod lora;
mod non_finite;
mod peers;
mod peers_golden;
mod policy;
mod post_hoc;
mod profile;
mod record;
mod reestimate;
mod schedule;
mod set;
mod structure;
mod switch;
mod update;
mod walk;
