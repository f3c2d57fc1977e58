//! The hook for training loops that are written by hand.

mod decay;
mod interpolation;
mod non_finite;
mod pairs;
mod parity;
mod refusals;
mod runner;
mod submodules;
