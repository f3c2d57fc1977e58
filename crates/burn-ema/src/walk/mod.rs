//! Going through a module, and nothing else: where its tensors are, what they hold, and how to replace them.
//!
//! Burn's visitors and mappers are implemented here, once each; what to do at a tensor is a [`Read`](read::Read) or a
//! [`Write`](write::Write).

pub(crate) mod frame;
pub(crate) mod path;
pub(crate) mod places;
pub(crate) mod read;
pub(crate) mod route;
pub(crate) mod write;
