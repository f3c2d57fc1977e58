//! The mean of a window of the last updates, in the memory of two models.
//!
//! An exact mean of the last 10,000 models needs all of them in memory. [`WindowModel`] lets the length of the window vary
//! instead: it keeps the mean of the block of updates that is being filled and the mean of the block before, and `model`
//! combines the two. Once the first block is full, the result is the mean of at least the last `W` and at most the last `2 W`
//! updates. This is Paddle's `ModelAverage`. [`EmaSetConfig::with_window`](crate::EmaSetConfig::with_window) keeps it in a set, and so
//! in Burn's Learner.
//!
//! Other windows need no type of their own:
//!
//! - a window that starts again and is evaluated at its end (OLMo): [`RestartedMean`](crate::decay::RestartedMean), a decay schedule;
//! - the window between two records of one mean: [`range_mean`](crate::merge::range_mean);
//! - the mean of the last `k` checkpoints (LAWA): [`Merge::uniform`](crate::merge::Merge::uniform) of the files.

use burn::module::Module;
use burn::tensor::Device;
use burn_ema_rules::decay::Decay;
use serde::{Deserialize, Serialize};

use crate::burn_facts::rank;
use crate::error::EmaError;
use crate::model::EmaModel;
use crate::model::config::EmaConfig;
use crate::model::update::Update;

/// How long a window is, in updates: Paddle's `ModelAverage`, and its names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The shortest block, at least 1.
    pub min_average_window: u64,
    /// The longest block, at least the shortest.
    pub max_average_window: u64,
    /// In between, the share of all updates so far that a block has; finite and at least 0.
    pub average_window_rate: f64,
}

impl Window {
    /// Blocks of `updates` updates: a window of `updates` to twice as many.
    #[must_use]
    pub fn of(updates: u64) -> Self {
        Self {
            min_average_window: updates,
            max_average_window: updates,
            average_window_rate: 0.0,
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    ///
    /// [`EmaError::InvalidConfig`] for the first that is out of its range.
    pub fn validate(&self) -> Result<(), EmaError> {
        let Self {
            min_average_window: min,
            max_average_window: max,
            average_window_rate: rate,
        } = *self;
        let invalid = |field, problem| Err(EmaError::InvalidConfig { field, problem });
        if min == 0 || max < min {
            return invalid(
                "max_average_window",
                format!(
                    "min_average_window must be at least 1 and at most max_average_window, found {min} and {max}: raise max_average_window"
                ),
            );
        }
        if !(rate.is_finite() && rate >= 0.0) {
            return invalid(
                "average_window_rate",
                format!("must be finite and at least 0, found {rate}"),
            );
        }
        Ok(())
    }

    /// Whether a block of `count` updates is full after `updates` updates in all.
    fn is_full(&self, count: u64, updates: u64) -> bool {
        let wanted = self.average_window_rate * updates as f64;
        let wanted = wanted.min(self.max_average_window as f64);
        count >= self.min_average_window && count as f64 >= wanted
    }
}

/// The mean of the last updates of the weights of a model `M`. See the [module](self).
///
/// `WindowModel` is a Burn module: its record holds both blocks and their counters, and a resumed run goes on bit for bit,
/// also within a block.
///
/// # Example
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_ema::EmaConfig;
/// use burn_ema::window::{Window, WindowModel};
///
/// let model = LinearConfig::new(2, 1).init(&Default::default());
/// let mut window = WindowModel::try_new(&model, Window::of(100), &EmaConfig::new())?;
/// for _ in 0..250 {
///     // An optimizer step, then:
///     window.update(&model)?;
/// }
/// assert_eq!(window.num_averaged(), 150);
/// let mean = window.model()?;
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Module, Debug)]
pub struct WindowModel<M: Module> {
    /// The block that is being filled.
    block: EmaModel<M>,
    /// The full block before.
    before: EmaModel<M>,
    #[module(skip)]
    window: Window,
}

impl<M: Module> WindowModel<M> {
    /// Starts as a copy of `model`. The start and interval of `config` are used, and its decay is not. Loading a record
    /// without a window returns an error, whatever [`missing_ema`](EmaConfig::missing_ema) is.
    ///
    /// # Errors
    ///
    /// If a number of `window` is out of its range, `config` writes back, or as [`EmaConfig::try_init`].
    pub fn try_new(model: &M, window: Window, config: &EmaConfig) -> Result<Self, EmaError> {
        window.validate()?;
        config.check_no_write_back()?;
        let block = of_block(config).try_init(model)?;
        let before = block.clone();
        Ok(Self {
            block,
            before,
            window,
        })
    }

    /// Takes the weights of `model` into account. Call it once after each optimizer step.
    ///
    /// # Errors
    ///
    /// As [`EmaModel::update`].
    ///
    /// # Panics
    ///
    /// As [`EmaModel::update`].
    pub fn update(&mut self, model: &M) -> Result<Update, EmaError> {
        self.before.check_whole()?;
        let update = self.block.update(model)?;
        turn(&mut self.block, &mut self.before, &self.window, update);
        Ok(update)
    }

    /// The mean of the window, in inference mode. Before the first update it is a copy: of the initial weights, or, with a
    /// start, of the online weights after the last step.
    ///
    /// # Errors
    ///
    /// If an earlier update panicked.
    pub fn model(&self) -> Result<M, EmaError> {
        formed(&self.block, &self.before)
    }

    /// Number of updates in the mean.
    pub fn num_averaged(&self) -> u64 {
        count(&self.block) + count(&self.before)
    }

    /// Number of updates so far.
    pub fn num_updates(&self) -> u64 {
        self.block.num_updates()
    }

    /// Number of optimizer steps seen.
    pub fn num_steps(&self) -> u64 {
        self.block.num_steps()
    }

    /// How long the window is.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Starts again from `model`, with all counters at 0.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the window. Nothing has changed then.
    pub fn restart(&mut self, model: &M) -> Result<(), EmaError> {
        self.block.restart(model)?;
        self.before = self.block.clone();
        Ok(())
    }

    /// Keeps everything on `device`, wherever the model is.
    #[must_use]
    pub fn with_device(self, device: &Device) -> Self {
        Self {
            block: self.block.with_device(device),
            before: self.before.with_device(device),
            window: self.window,
        }
    }
}

/// The configuration of a block.
pub(crate) fn of_block(config: &EmaConfig) -> EmaConfig {
    config.clone().with_decay(Decay::equal_weights())
}

/// The number of updates in a block. Its counters have those of the run, and a sum of weights of its own.
fn count<M: Module>(block: &EmaModel<M>) -> u64 {
    block.counters.weight as u64
}

/// Begins a new block in the place of the one before, if the update has filled this one.
pub(crate) fn turn<M: Module>(
    block: &mut EmaModel<M>,
    before: &mut EmaModel<M>,
    window: &Window,
    update: Update,
) {
    let is_averaged = matches!(update, Update::Averaged { .. });
    if is_averaged && window.is_full(count(block), block.num_updates()) {
        // The run goes on; of a block without weight the next update is a copy.
        before.store.settle();
        *before = block.clone();
        block.counters.weight = 0.0;
    }
}

/// The mean of both blocks.
///
/// # Errors
///
/// If an earlier update panicked.
pub(crate) fn formed<M: Module>(block: &EmaModel<M>, before: &EmaModel<M>) -> Result<M, EmaError> {
    block.check_whole()?;
    before.check_whole()?;
    let counts = [block, before].map(count);
    let share = counts[1] as f64 / counts.iter().sum::<u64>() as f64;
    Ok(match counts {
        [_, 0] => block.fresh_model(),
        [0, _] => before.fresh_model(),
        _ => block.formed(true, |place, mean| match before.tensor_of(block, place) {
            Some(older) => {
                let older = rank::conform(older, &rank::device(&mean), mean.dtype());
                rank::lerp(mean, older, share)
            }
            None => mean,
        }),
    })
}
