//! How far an EMA has come.

use crate::error::EmaError;

/// What an EMA has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    /// Optimizer steps seen.
    pub(crate) steps: u64,
    /// Updates that averaged. Copies before the start do not count.
    pub(crate) updates: u64,
    /// Steps at which the EMA would have changed, but the model was not finite.
    pub(crate) skipped: u64,
    /// Sum of the weights of the updates: as many as updates, if none was weighted. Finite and at least 0.
    pub(crate) weight: f64,
    /// Whether an update had another weight than 1.
    pub(crate) is_weighted: bool,
}

impl Counters {
    /// Checks that a run can reach these counters.
    pub(crate) fn check(&self) -> Result<(), EmaError> {
        let Self {
            steps,
            updates,
            skipped,
            ..
        } = *self;
        match updates.checked_add(skipped) {
            Some(changed) if changed <= steps => Ok(()),
            _ => Err(EmaError::InvalidCounters {
                steps,
                updates,
                skipped,
            }),
        }
    }
}
