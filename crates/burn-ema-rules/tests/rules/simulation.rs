//! An EMA of one number in f64.

use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
use burn_ema_rules::schedule::{Phase, Schedule};

/// What a schedule does to the old EMA after each of `steps` steps: 0 is a copy, 1 is nothing.
pub(crate) fn kept(schedule: Schedule, decay: &Decay, steps: u64) -> Vec<f64> {
    let interval = schedule.interval;
    let mut updates = 0;
    let after = |step| match schedule.phase(step) {
        Phase::Copy => 0.0,
        Phase::Wait => 1.0,
        Phase::Update => {
            updates += 1;
            decay.decay(Progress {
                updates: updates - 1,
                interval,
            })
        }
    };
    (1..=steps).map(after).collect()
}

/// The EMA after each step of `seen`.
pub(crate) fn emas(schedule: Schedule, decay: &Decay, initial: f64, seen: &[f64]) -> Vec<f64> {
    let mut ema = initial;
    kept(schedule, decay, seen.len() as u64)
        .iter()
        .zip(seen)
        .map(|(kept, seen)| {
            ema = kept * ema + (1.0 - kept) * seen;
            ema
        })
        .collect()
}
