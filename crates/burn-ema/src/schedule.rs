//! When to average: counted in optimizer steps, without a look at any tensor.

/// What an optimizer step means for the average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Training has not reached the start: the average is a copy of the source.
    Copy,
    /// An average is due.
    Average,
    /// Between two averages: nothing happens.
    Wait,
}

/// Start and interval of averaging, in optimizer steps.
///
/// Steps are counted from 1. Steps `1..=start` copy the source, each of them; after those, every
/// `interval`-th step averages, so the first average is at step `start + interval`. This is the rule
/// of mmagic's `ExponentialMovingAverageHook`, whose 0-based iteration is `step - 1`.
///
/// # Example
///
/// ```
/// use burn_ema::{Phase, Schedule};
///
/// let schedule = Schedule { start: 2, interval: 3 };
/// let phases: Vec<_> = (1..=8).map(|step| schedule.phase(step)).collect();
/// use Phase::*;
/// assert_eq!(phases, [Copy, Copy, Wait, Wait, Average, Wait, Wait, Average]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Number of optimizer steps that only copy.
    pub start: u64,
    /// Number of optimizer steps from one average to the next, at least 1.
    pub interval: u64,
}

impl Schedule {
    /// What to do after optimizer step number `step`, counted from 1.
    pub fn phase(&self, step: u64) -> Phase {
        if step <= self.start {
            Phase::Copy
        } else if (step - self.start).is_multiple_of(self.interval) {
            Phase::Average
        } else {
            Phase::Wait
        }
    }
}
