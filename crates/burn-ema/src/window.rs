//! The mean of a window of the last updates, in the memory of two models.
//!
//! An exact mean of the last 10,000 models needs all of them in memory. [`WindowModel`] lets the length of the window vary
//! instead: it keeps the mean of the block of updates that is being filled and the mean of the block before, and `model`
//! combines the two. Once the first block is full, the result is the mean of at least the last `W` and at most the last `2 W`
//! updates. This is Paddle's `ModelAverage`.
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
use crate::counters::Counters;
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
        let config = config.clone().with_decay(Decay::equal_weights());
        let block = config.try_init(model)?;
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
        let is_averaged = matches!(update, Update::Averaged { .. });
        let [count, _] = self.counts();
        if is_averaged && self.window.is_full(count, self.num_updates()) {
            std::mem::swap(&mut self.block, &mut self.before);
            // The run goes on; of a block without weight the next update is a copy.
            self.block.counters = Counters {
                weight: 0.0,
                ..self.before.counters
            };
        }
        Ok(update)
    }

    /// The mean of the window, in inference mode. Before the first update it is a copy: of the initial weights, or, with a
    /// start, of the online weights after the last step.
    ///
    /// # Errors
    ///
    /// If an earlier update panicked.
    pub fn model(&self) -> Result<M, EmaError> {
        self.block.check_whole()?;
        self.before.check_whole()?;
        let [block, before] = self.counts();
        let share = before as f64 / (block + before) as f64;
        Ok(match (block, before) {
            (_, 0) => self.block.fresh_model(),
            (0, _) => self.before.fresh_model(),
            _ => self.block.formed(true, |place, mean| {
                match self.before.tensor_of(&self.block, place) {
                    Some(older) => {
                        let older = rank::conform(older, &rank::device(&mean), mean.dtype());
                        rank::lerp(mean, older, share)
                    }
                    None => mean,
                }
            }),
        })
    }

    /// Number of updates in the mean.
    pub fn num_averaged(&self) -> u64 {
        self.counts().iter().sum()
    }

    /// The number of updates in each block. Their counters have those of the run, and a sum of weights of their own.
    fn counts(&self) -> [u64; 2] {
        [&self.block, &self.before].map(|block| block.counters.weight as u64)
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
