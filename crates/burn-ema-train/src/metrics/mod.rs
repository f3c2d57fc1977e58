//! What the dashboard and the logs show.

pub(crate) mod compared;
pub(crate) mod monitor;
