//! Interpolations of the user's own.

use std::fmt;

use burn::tensor::Tensor;

use super::InterpConfig;

/// A way to move an averaged value towards its source, chosen by name with
/// [`interp_mode`](super::EmaHookConfig::interp_mode).
///
/// Called for each float value of an averaged network when an average is due. Before
/// [`start_iter`](super::EmaHookConfig::start_iter) values are copied without asking; integers, booleans
/// and quantized values always.
///
/// # Example
///
/// ```
/// use burn::tensor::Tensor;
/// use burn_ema_train::hook::{EmaHook, EmaHookConfig, InterpConfig, Interpolation, Moment};
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
///         average: Tensor<1>,
///         at: Moment,
///         _config: &InterpConfig,
///     ) -> Tensor<1> {
///         average.clone() + (source - average) / (at.updates + 1) as f64
///     }
/// }
///
/// # use burn::nn::Linear;
/// let config = EmaHookConfig::new("generator_ema").with_interp_mode("mean").with_interval(1);
/// # #[derive(burn::module::Module, Debug)]
/// # struct Gan { generator: Linear, generator_ema: Linear }
/// let hook = EmaHook::<Gan>::with_interpolation(config, Mean)?;
/// # Ok::<(), burn_ema_train::hook::HookError>(())
/// ```
pub trait Interpolation: fmt::Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// The next value of an average.
    ///
    /// Both tensors are the values as rows of numbers, in the dtype and on the device of the average;
    /// the result must be as long.
    fn interpolate(
        &self,
        source: Tensor<1>,
        average: Tensor<1>,
        at: Moment,
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

/// Where a run stands when an average is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The 0-based index of the iteration, or of the optimizer step if those are counted.
    pub iter: u64,
    /// The number of averages before this one.
    pub updates: u64,
    /// Whether the optimizer trains the value.
    pub trainable: bool,
}
