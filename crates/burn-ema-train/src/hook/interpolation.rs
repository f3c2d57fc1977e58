//! Your own interpolations.

use std::fmt;

use burn::tensor::Tensor;

use crate::hook::config::InterpConfig;

/// A way to move a tensor of an EMA copy towards its source, chosen by name with
/// [`interp_mode`](super::EmaHookConfig::interp_mode).
///
/// Called for each float tensor of an EMA copy at every update. Before
/// [`start_iter`](super::EmaHookConfig::start_iter) tensors are copied without asking; integers, booleans
/// and quantized tensors always.
///
/// # Example
///
/// ```
/// use burn::tensor::Tensor;
/// use burn_ema_train::hook::{At, EmaHook, EmaHookConfig, InterpConfig, Interpolation};
///
/// /// The mean of everything since the start.
/// #[derive(Debug)]
/// struct Mean;
///
/// impl Interpolation for Mean {
///     fn name(&self) -> &str {
///         "mean"
///     }
///
///     fn interpolate(
///         &self,
///         source: Tensor<1>,
///         ema: Tensor<1>,
///         at: At,
///         _config: &InterpConfig,
///     ) -> Tensor<1> {
///         ema.clone() + (source - ema) / (at.updates + 1) as f64
///     }
/// }
///
/// # use burn::nn::Linear;
/// let config = EmaHookConfig::new("generator_ema").with_interval(1);
/// # #[derive(burn::module::Module, Debug)]
/// # struct Gan { generator: Linear, generator_ema: Linear }
/// let hook = EmaHook::<Gan>::with_interpolation(config, Mean)?;
/// # Ok::<(), burn_ema_train::hook::HookError>(())
/// ```
pub trait Interpolation: fmt::Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// The next value of a tensor of an EMA copy.
    ///
    /// Both tensors are rows of numbers, in the dtype and on the device of the EMA copy;
    /// the result must be as long.
    fn interpolate(
        &self,
        source: Tensor<1>,
        ema: Tensor<1>,
        at: At,
        config: &InterpConfig,
    ) -> Tensor<1>;

    /// Checks the arguments before the run. Default: that the momenta are in the ranges of `lerp`.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to write instead.
    fn validate(&self, config: &InterpConfig) -> Result<(), String> {
        config.validate_momenta().map_err(|error| error.to_string())
    }
}

/// Where a run stands at an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct At {
    /// The 0-based index of the iteration, or of the optimizer step if those are counted.
    pub iter: u64,
    /// The number of updates before this one.
    pub updates: u64,
    /// Whether the optimizer trains the tensor.
    pub trainable: bool,
}
