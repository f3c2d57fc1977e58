//! EMAs in Burn's Learner.

mod averages;
mod devices;
mod members;
mod no_ema;
mod resume;
mod set;
mod step_vote;
mod taken;
mod training;
mod validation;
mod weighted;
