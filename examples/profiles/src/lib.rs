//! How much each past step contributes to an EMA under different decay schedules, as a picture and as a table.
//!
//! Nothing is trained: a [run](run::run) takes the [`schedules`], asks each for its
//! [profile](burn_ema::EmaConfig::profile), and draws the [`curves`] that follow from it into a
//! [`chart`] and their numbers into a [`table`].

pub mod chart;
pub mod curves;
pub mod error;
pub mod run;
pub mod schedules;
pub mod settings;
pub mod table;
