//! YOLOv5 and ultralytics.

use super::{Peer, all_floats};
use crate::{Clock, Decay, EmaConfig, EmaError, ExponentialWarmup};

/// `ModelEMA` of YOLOv5 and ultralytics: an [`ExponentialWarmup`] that counts from 1. Buffers are averaged. (Integers
/// are stale there, and checkpoints hold f16.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yolo {
    /// `decay`, default 0.9999.
    pub decay: f64,
    /// `tau`, default 2000.
    pub tau: f64,
}

impl Default for Yolo {
    fn default() -> Self {
        Self {
            decay: 0.9999,
            tau: 2000.0,
        }
    }
}

impl Peer for Yolo {
    fn decay(&self) -> Result<Decay, EmaError> {
        let rule = ExponentialWarmup {
            clock: Clock {
                inclusive: true,
                ..Clock::default()
            },
            max: self.decay,
            tau: self.tau,
        };
        Decay::from(rule).checked()
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new()
            .with_decay(self.decay()?)
            .with_policy(all_floats(true)))
    }
}
