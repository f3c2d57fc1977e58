//! What a rule counts.

use serde::{Deserialize, Serialize};

use super::Moment;

/// What a rule counts: where on its curve it stands at an average.
///
/// A curve begins at `s = 0`. By default `s` is the number of averages before this one, so it is 0
/// at the first average whatever the start and the interval, and grows by one from average to average. The
/// counting of other systems differs from that by the unit and by an offset; the
/// [constructors named after them](crate::peers) set both.
///
/// # Example
///
/// ```
/// use burn_ema::{Clock, Moment, Ticks};
///
/// // The fourth average, with one every 10 optimizer steps.
/// let fourth = Moment { updates: 3, interval: 10 };
/// assert_eq!(Clock::default().read(fourth), 3.0);
/// let steps = Clock { ticks: Ticks::Steps, inclusive: true, offset: -25 };
/// assert_eq!(steps.read(fourth), 15.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clock {
    /// The unit. Default: averages.
    pub ticks: Ticks,
    /// Whether the average that is due counts. Default: no, the first is at 0.
    pub inclusive: bool,
    /// Added to the count; a negative one delays the curve. Default: 0.
    pub offset: i64,
}

/// The unit of a [`Clock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ticks {
    /// Averages.
    #[default]
    Updates,
    /// Optimizer steps since averaging started.
    Steps,
}

impl Clock {
    /// The count, not below 0.
    pub fn read(&self, at: Moment) -> f64 {
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
