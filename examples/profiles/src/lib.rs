//! What averages by different rules are made of, as a picture and as a table.
//!
//! Nothing is trained: a [run](run::run) takes the [`rules`], asks each for its
//! [profile](burn_ema::EmaConfig::profile), and draws the [`curves`] that follow from it into a
//! [`chart`] and their numbers into a [`table`].

pub mod chart;
pub mod curves;
pub mod error;
pub mod rules;
pub mod run;
pub mod settings;
pub mod table;
