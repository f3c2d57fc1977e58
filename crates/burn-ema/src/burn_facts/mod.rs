//! What Burn 0.22.1 does and does not do, as far as this crate relies on it: one fact in each file, with a test that
//! fails when Burn changes.
//!
//! | file | fact |
//! |---|---|
//! | [`batch_norm`] | how a BatchNorm layer and its momentum show from outside |
//! | [`late_reads`] | `into_data` returns before the data is read |
//! | [`layout`] | records hold a `Col`-layout weight transposed |
//! | [`mode`] | `train` and `valid` make independent copies, and what they do to autodiff |
//! | [`rank`] | a tensor's operations go by the rank that it has, not by its type |
//! | [`records`] | a record does not tell what it holds, and panics at a float that is an integer |
//! | [`running_state`] | clones share running statistics, and `visit` does not show pending ones |
//! | [`walkers`] | optimizers go through a module as records do |

pub(crate) mod batch_norm;
pub(crate) mod late_reads;
pub(crate) mod layout;
pub(crate) mod mode;
pub(crate) mod rank;
pub(crate) mod records;
pub(crate) mod running_state;
pub(crate) mod walkers;
