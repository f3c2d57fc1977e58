//! Averages that are corrected for lag: BEMA and the double EMA (DEMA), computed from an EMA when you read them.
//!
//! An EMA lags behind the weights by its mean age: a longer half-life means less noise and more lag. Two corrections are in
//! use:
//!
//! | | what is kept | what is read |
//! |---|---|---|
//! | [`BemaModel`] | an EMA, and the first weights | the EMA, plus a part of the way from the first weights to the online ones |
//! | [`DemaModel`] | an EMA, and an EMA of that | twice the EMA, less the EMA of it |
//!
//! BEMA (Block and Zhang 2025, arXiv:2508.00180) is meant for fine-tuning, where the weights stay near the first weights. The
//! share that BEMA adds falls slowly, so in a long run from scratch the result is far beyond the online weights.
//!
//! Both keep up to twice the memory of an EMA, and `model` creates one model more. Only trainable parameters are corrected.
//! Buffers are those of the EMA, because a corrected variance could be negative; so are frozen parameters, integers and
//! booleans. Both are Burn modules: their records hold all that is kept, and a resumed run goes on bit for bit. An
//! [`EmaSet`](crate::EmaSet), and with it Burn's Learner, keeps them beside other EMAs:
//! [`EmaSetConfig::with_bema`](crate::EmaSetConfig::with_bema), [`with_dema`](crate::EmaSetConfig::with_dema).

pub(crate) mod bema;
pub(crate) mod dema;

pub use bema::BemaModel;
pub use burn_ema_rules::bema::{Bema, BemaConvention};
pub use dema::DemaModel;
