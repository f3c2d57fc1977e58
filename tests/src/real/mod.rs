//! Models that people bring, and checks that each of them has to pass.
//!
//! A [`Case`] is a model with an input, a loss and an optimizer; [`check`] runs every check on it, prints one line
//! for a table of models by checks, and panics with the list of those that failed:
//!
//! ```sh
//! cargo test --workspace --test real -- --nocapture 2>/dev/null | grep ' | '
//! ```
//!
//! What the checks call of the library is in [`api`], and nowhere else.

pub mod adapters;
pub mod api;
mod check;
pub mod containers;
pub mod conv;
pub mod examples;
pub mod linear;
mod numbers;
pub mod recurrent;
mod recursion;
mod report;
pub mod transformer;

pub use check::{Case, Trainer, check};
pub use numbers::{filled, tokens, wave};
pub use recursion::Recursion;
