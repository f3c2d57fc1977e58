//! The product of the decays so far, remembered from one update to the next.
//!
//! A schedule without closed form takes up to 65,536 calls for the product of its decays. A run asks for the products in
//! order, so each is the last one times one more decay.
//!
//! The result must not depend on earlier calls: a resumed run continues bit for bit. So a product is defined without
//! them: `retained` up to the beginning of a block of 65,536 updates, times the decays of the block one by one. Up to
//! 65,536 updates that is `retained` itself, bit for bit.

use std::sync::{Mutex, PoisonError};

use crate::decay::copy_first::CopyFirst;
use crate::decay::decay_schedule::{DecaySchedule, SAMPLES, multiply};
use crate::decay::known::Decay;
use crate::decay::per_step::PerStep;
use crate::decay::progress::Progress;

/// Remembers the last product of one schedule. The owner must not change the schedule.
#[derive(Default)]
pub(crate) struct Running {
    last: Mutex<Option<Last>>,
}

#[derive(Clone, Copy)]
struct Last {
    /// Where the product ends.
    at: Progress,
    product: f64,
}

impl Running {
    /// The product of the decays of `schedule` before `at`.
    pub(crate) fn product(&self, schedule: &Decay, at: Progress) -> f64 {
        match schedule {
            Decay::PerStep(PerStep { schedule }) => self.product(schedule, at.in_steps()),
            Decay::CopyFirst(CopyFirst {
                updates: 0,
                schedule,
            }) => self.product(schedule, at),
            // Closed forms. `Debiased` remembers a product of its own.
            Decay::CopyFirst(_)
            | Decay::Debiased(_)
            | Decay::Constant(_)
            | Decay::Weight(_)
            | Decay::HalfLife(_)
            | Decay::EqualWeights(_)
            | Decay::PowerFunction(_)
            | Decay::RestartedMean(_) => schedule.retained(at.first(), at.updates),
            Decay::PowerWarmup(_)
            | Decay::TfRamp(_)
            | Decay::ExponentialWarmup(_)
            | Decay::LinearWarmup(_)
            | Decay::CosineWarmup(_)
            | Decay::ImageRampUp(_)
            | Decay::Annealing(_)
            | Decay::PowerLaw(_)
            | Decay::Custom(_) => self.counted(schedule, at),
        }
    }

    fn counted(&self, schedule: &Decay, at: Progress) -> f64 {
        let block = at.updates.saturating_sub(1) / SAMPLES * SAMPLES;
        // The lock is not held while the schedule is asked: it may be anything.
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.filter(|last| {
            let in_block = last.at.updates > block && last.at.updates <= at.updates;
            in_block && last.at.interval == at.interval
        });
        let (updates, product) = match last {
            Some(last) => (last.at.updates, last.product),
            None => (block, schedule.retained(at.first(), block)),
        };
        let product = match product {
            // 0 and NaN stay what they are.
            product if product > 0.0 => {
                let decays =
                    (updates..at.updates).map(|updates| schedule.decay(Progress { updates, ..at }));
                multiply(product, decays)
            }
            product => product,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Last { at, product });
        product
    }
}

/// A clone continues from the same product.
impl Clone for Running {
    fn clone(&self) -> Self {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            last: Mutex::new(last),
        }
    }
}
