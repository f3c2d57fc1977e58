//! Keras.

use super::{Peer, checked};
use crate::{Decay, EmaConfig, EmaError, Switch};

/// A Keras optimizer with `use_ema=True`: the first step copies, the others average what is trained; every
/// `ema_overwrite_frequency` steps the model takes over the average: in a loop of your own call
/// [`switch_if_due`](crate::EmaModel::switch_if_due) after each update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keras {
    /// `ema_momentum`, default 0.99: a *decay* in spite of its name.
    pub ema_momentum: f64,
    /// `ema_overwrite_frequency`, default none.
    pub ema_overwrite_frequency: Option<u64>,
}

impl Default for Keras {
    fn default() -> Self {
        Self {
            ema_momentum: 0.99,
            ema_overwrite_frequency: None,
        }
    }
}

impl Peer for Keras {
    fn decay(&self) -> Result<Decay, EmaError> {
        Ok(Decay::try_constant(self.ema_momentum)?.copy_first(1))
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        checked(EmaConfig {
            switch: self.ema_overwrite_frequency.map(Switch::every),
            ..EmaConfig::new().with_decay(self.decay()?)
        })
    }
}
