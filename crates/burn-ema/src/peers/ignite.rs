//! Ignite (pytorch).

use super::{Peer, checked};
use crate::rule::Checks;
use crate::{Action, Clock, Decay, EmaConfig, EmaError, LinearWarmup, Policy, Weight};

/// Ignite's `EMAHandler`: momentum is the weight of the *new* value, and moves from `momentum_warmup` to `momentum`
/// along a line over the first `warmup_iters` updates.
///
/// # Example
///
/// ```
/// use burn_ema::peers::Ignite;
/// use burn_ema::{Decay, Moment, Rule};
///
/// let rule = Decay::ignite(Ignite { momentum: 0.1, momentum_warmup: Some(0.5), warmup_iters: 5, ..Ignite::default() });
/// let momentum = |update| 1.0 - rule.decay(Moment { updates: update, interval: 1 });
/// assert!((momentum(0) - 0.5).abs() < 1e-15 && (momentum(2) - 0.3).abs() < 1e-15);
/// assert_eq!(rule.decay(Moment { updates: 4, interval: 1 }), 0.9);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ignite {
    /// `momentum`, default 0.0002.
    pub momentum: f64,
    /// `momentum_warmup`, default none.
    pub momentum_warmup: Option<f64>,
    /// `warmup_iters`, default 0. Not used without `momentum_warmup`.
    pub warmup_iters: u64,
    /// `handle_buffers`, default `copy`.
    pub handle_buffers: HandleBuffers,
    /// `every` of the event that the handler is attached to, default 1.
    pub every: u64,
}

/// Ignite's `handle_buffers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandleBuffers {
    /// `"copy"`. (There the average's buffers *are* those of the model from then on.)
    #[default]
    Copy,
    /// `"update"`: they are averaged.
    Update,
    /// `"ema_train"`: they follow the forward passes of the averaged model, that of
    /// [`training_model`](crate::EmaModel::training_model) here.
    EmaTrain,
}

impl Default for Ignite {
    fn default() -> Self {
        Self {
            momentum: 0.0002,
            momentum_warmup: None,
            warmup_iters: 0,
            handle_buffers: HandleBuffers::Copy,
            every: 1,
        }
    }
}

impl Peer for Ignite {
    fn decay(&self) -> Result<Decay, EmaError> {
        // Where there is none, the other is checked twice.
        let warmup = self.momentum_warmup.unwrap_or(self.momentum);
        Checks::of("Ignite")
            .momentum("momentum", self.momentum)
            .momentum("momentum_warmup", warmup)
            .done()?;
        match self.momentum_warmup {
            None => Ok(Decay::Weight(Weight {
                weight: self.momentum,
            })),
            Some(warmup) => {
                let (from, to) = (1.0 - warmup, 1.0 - self.momentum);
                let rule = LinearWarmup {
                    from,
                    to,
                    updates: self.warmup_iters,
                    clock: Clock::default(),
                };
                Decay::from(rule).checked()
            }
        }
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        let buffers = match self.handle_buffers {
            HandleBuffers::Copy => Action::Copy,
            HandleBuffers::Update => Action::Average,
            HandleBuffers::EmaTrain => Action::Ignore,
        };
        let policy = Policy::new()
            .with_non_trainable(Action::Average)
            .with_buffers(buffers);
        checked(
            EmaConfig::new()
                .with_decay(self.decay()?)
                .with_interval(self.every)
                .with_policy(policy),
        )
    }
}
