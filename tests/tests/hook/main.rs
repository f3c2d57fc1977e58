//! The hook for training loops that are written by hand.

mod decay;
mod parity;
mod refusals;
mod runner;
mod submodules;
