//! A GAN on handwritten digits, with an EMA copy of the generator in the same model.
//!
//! A run reads its [`settings`] and trains the [`model`] in a loop of its own ([`trainer`]) that calls
//! hooks, one of which updates the EMA copy. Every so often it compares samples of both with
//! real digits: as a picture ([`grid`]) and as a [`frechet`] distance in the features of a
//! [`classifier`]. [`folder`] keeps what a resumed run needs.

pub mod classifier;
pub mod error;
pub mod evaluation;
pub mod folder;
pub mod frechet;
pub mod grid;
pub mod model;
pub mod run;
pub mod settings;
pub mod trainer;

/// Held by tests that draw random numbers: the generator is one for the whole process.
#[cfg(test)]
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
