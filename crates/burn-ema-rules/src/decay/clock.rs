//! What a decay schedule counts.

use serde::{Deserialize, Serialize};

use crate::decay::progress::Progress;

/// Sets what a warm-up counts: the position `s` of an update on the curve of a decay schedule.
///
/// A curve begins at `s = 0`. By default `s` is the number of updates before this update: `s` is 0 at the first update,
/// for any start and interval, and grows by 1 from update to update. Other frameworks count in another unit or with an
/// offset. The presets set both.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{Clock, Progress, Ticks};
///
/// // The fourth update, with one update every 10 optimizer steps.
/// let fourth = Progress { updates: 3, interval: 10 };
/// assert_eq!(Clock::default().read(fourth), 3.0);
/// let steps = Clock { ticks: Ticks::Steps, inclusive: true, offset: -25 };
/// assert_eq!(steps.read(fourth), 15.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clock {
    /// The unit. Default: updates.
    pub ticks: Ticks,
    /// Whether the current update counts. Default: no, and the first update is at 0.
    pub inclusive: bool,
    /// Added to the count. A negative offset delays the curve. Default: 0.
    pub offset: i64,
}

/// The unit of a [`Clock`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Ticks {
    /// Updates.
    #[default]
    Updates,
    /// Optimizer steps since averaging started.
    Steps,
}

impl Clock {
    /// The count at `at`, at least 0.
    #[must_use]
    pub fn read(&self, at: Progress) -> f64 {
        let unit = match self.ticks {
            Ticks::Updates => 1,
            Ticks::Steps => at.interval,
        };
        let updates = match self.inclusive {
            true => at.updates.saturating_add(1),
            false => at.updates,
        };
        // Beyond 2^53 a curve is flat.
        let count = updates
            .saturating_mul(unit)
            .saturating_add_signed(self.offset);
        count as f64
    }
}
