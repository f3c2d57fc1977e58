//! torch.optim.swa_utils.

use super::{Peer, all_floats};
use crate::{Decay, EmaConfig, EmaError};

/// torch's `AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))`: the first call of
/// `update_parameters` copies, the others average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TorchEma {
    /// `decay` of `get_ema_multi_avg_fn`, default 0.999.
    pub decay: f64,
    /// `use_buffers`, default false: buffers are copied.
    pub use_buffers: bool,
}

impl Default for TorchEma {
    fn default() -> Self {
        Self {
            decay: 0.999,
            use_buffers: false,
        }
    }
}

impl Peer for TorchEma {
    fn decay(&self) -> Result<Decay, EmaError> {
        Ok(Decay::try_constant(self.decay)?.copy_first(1))
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new()
            .with_decay(self.decay()?)
            .with_policy(all_floats(self.use_buffers)))
    }
}

/// torch's `AveragedModel(model)`: the mean of the weights at each call of `update_parameters` (SWA). Set start and
/// interval to when your script calls it, and [re-estimate](crate::EmaModel::reestimate) running statistics at the
/// end where it calls `update_bn`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TorchSwa {
    /// `use_buffers`, default false: buffers are copied.
    pub use_buffers: bool,
}

impl Peer for TorchSwa {
    fn decay(&self) -> Result<Decay, EmaError> {
        Ok(Decay::equal_weights())
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new()
            .with_decay(self.decay()?)
            .with_policy(all_floats(self.use_buffers)))
    }
}
