//! Models that people bring, each through every check of [`burn_ema_tests::real`]: one module per family.
//!
//! `cargo test --workspace --test real -- --nocapture 2>/dev/null | grep ' | '` is a table of models by checks. Where no
//! second backend is compiled in, the checks that need one say `SKIPPED`: with `--features ndarray` they run.

mod adapters;
mod containers;
mod conv;
mod examples;
mod linear;
mod recurrent;
mod transformer;
