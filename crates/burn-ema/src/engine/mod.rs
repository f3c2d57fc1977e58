//! One update: decide, guard, batch, run.
//!
//! [`decide`] looks at tensors but changes none, and finds everything that can be wrong. [`run`] changes tensors and decides
//! nothing.

pub(crate) mod batch;
pub(crate) mod decide;
pub(crate) mod distance;
pub(crate) mod guard;
pub(crate) mod run;
