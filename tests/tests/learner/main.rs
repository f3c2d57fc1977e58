//! Averages in Burn's learner.

mod devices;
mod resume;
mod set;
mod training;
mod validation;
