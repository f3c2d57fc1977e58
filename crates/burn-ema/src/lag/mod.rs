//! Averages without lag: of an EMA, and of what else is kept, formed when they are read.
//!
//! An EMA lags behind the weights by its mean age: a longer half-life means less noise and more lag. Two corrections are in use:
//!
//! | | what is kept | what is read |
//! |---|---|---|
//! | [`BemaModel`] | an EMA, and the first weights | the EMA, plus a part of the way from the first weights to the online ones |
//! | [`DemaModel`] | an EMA, and an EMA of that | twice the EMA, less the EMA of it |
//!
//! BEMA (Block and Zhang 2025, arXiv:2508.00180) is meant for fine-tuning, where the way from the first weights is short; the part
//! that it adds falls slowly, so over a whole training it goes far beyond the weights.
//!
//! Both cost twice the memory of an EMA, and a model when they are read. Frozen parameters, buffers, integers and booleans are those of
//! the EMA: a variance must not become negative. Both are Burn modules: their records hold all that is kept, and a resumed run
//! goes on bit for bit.

mod bema;
mod dema;

pub use bema::{BEMA, BEMA_FIRST, BemaModel, bema_emas, bema_formed, bema_model};
pub use burn_ema_rules::bema::{Bema, BemaConvention};
pub use dema::DemaModel;
