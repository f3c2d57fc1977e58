//! Merges: one model out of several, after training.
//!
//! [`Merge`] combines checkpoints of a run, or models that were trained from the same start: with given weights
//! ([`linear`](Merge::linear), [`uniform`](Merge::uniform)), as a greedy soup ([`greedy`](Merge::greedy)), or on the arc
//! between two ([`slerp`](Merge::slerp)). [`weights`] gives the weights that replace a decay of the learning rate, [`best`]
//! the positions of the best checkpoints. [`range_mean`] takes a window out of two running means.
//!
//! Models are taken one by one, so they can be loaded from files one after the other. `linear` and `uniform` hold the sum and
//! two models at most, `greedy` up to five models.
//!
//! # What is merged
//!
//! The same as in an [update](crate::EmaModel::update), by the same [`Policy`]: trainable float parameters and float buffers
//! are summed, each by module path; frozen parameters, integers, booleans and quantized tensors are those of the last model.
//! If no parameter of the first model is trainable (it was loaded for inference), all float parameters are summed. If a weight
//! is negative, buffers are those of the last model too, unless an override says otherwise: a variance must not become
//! negative. The result is on the device of the last model, in its dtypes, and in inference mode: to train on, load its record
//! into a model.
//!
//! BatchNorm's running statistics fit merged weights only roughly: [`reestimate`](crate::batch_norm::reestimate) them.
//!
//! # Example
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn_ema::merge::{Merge, MergeSchedule, weights};
//!
//! let device = Default::default();
//! let checkpoints = (0..4).map(|_| LinearConfig::new(2, 1).init(&device)); // or loaded from files
//! let weights = weights(4, MergeSchedule::MinusSqrt)?;
//! let merged = Merge::new().linear(&weights, checkpoints)?;
//! # Ok::<(), burn_ema::EmaError>(())
//! ```

mod range;
mod slerp;
mod soup;
pub(crate) mod sum;

pub use burn_ema_rules::merge::{MergeSchedule, best, range_weights, weights, window};
pub use range::range_mean;
pub use soup::Soup;

use burn::module::Module;

use crate::error::EmaError;
use crate::merge::sum::{Sum, invalid};
use crate::model::config::EmaPrecision;
use crate::policy::{BufferAction, Policy};

/// How models are merged. See the [module](self).
#[derive(Clone, Debug)]
#[must_use]
pub struct Merge {
    policy: Policy,
    precision: EmaPrecision,
}

impl Default for Merge {
    fn default() -> Self {
        Self {
            policy: Policy::new(),
            precision: EmaPrecision::AtLeastF32,
        }
    }
}

impl Merge {
    /// A merge by the default policy, with sums in at least f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which tensors are summed and which are taken from the last model. Tensors that the policy ignores are taken from
    /// the first model.
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the dtype that floats are summed in: [`AtLeastF32`](EmaPrecision::AtLeastF32),
    /// [`SameAsModel`](EmaPrecision::SameAsModel) or [`F64`](EmaPrecision::F64), and an error at the merge otherwise. The result
    /// is of the dtypes of the model. Sums in f16 may overflow.
    pub fn with_precision(mut self, precision: EmaPrecision) -> Self {
        self.precision = precision;
        self
    }

    /// The sum of `models`, each times its weight. Weights are finite, and may be negative or above 1 (extrapolation, task
    /// arithmetic). They are not normalized: with weights that sum to 2 the result is twice as large.
    ///
    /// # Errors
    ///
    /// [`EmaError::Merge`] if there are not as many models as weights or none, a weight is not finite, or models differ in
    /// structure or in what is trainable; [`EmaError::UnmatchedOverride`] if an override of the policy matches nothing.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::merge::Merge;
    ///
    /// let linear = || LinearConfig::new(2, 1).init(&Default::default());
    /// let (pretrained, tuned) = (linear(), linear());
    /// // Half of the way, and half as far again (WiSE-FT, task arithmetic).
    /// let half = Merge::new().linear(&[0.5, 0.5], [pretrained.clone(), tuned.clone()])?;
    /// let beyond = Merge::new().linear(&[-0.5, 1.5], [pretrained, tuned])?;
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn linear<M: Module>(
        &self,
        weights: &[f64],
        models: impl IntoIterator<Item = M>,
    ) -> Result<M, EmaError> {
        if let Some(weight) = weights.iter().find(|weight| !weight.is_finite()) {
            return invalid(format!("weights must be finite, found {weight}"));
        }
        let policy = match weights.iter().any(|weight| *weight < 0.0) {
            true => self.without_buffers(),
            false => self.policy.clone(),
        };
        sum::weighted(weights, models, |first, weight| {
            Sum::of(first, weight, &policy, self.precision)
        })
    }

    /// The mean of `models`.
    ///
    /// # Errors
    ///
    /// As for [`linear`](Self::linear).
    pub fn uniform<M: Module>(&self, models: impl IntoIterator<Item = M>) -> Result<M, EmaError> {
        let mut models = models.into_iter();
        let Some(mut last) = models.next() else {
            return invalid("there are no models: give at least one".into());
        };
        let mut sum = Sum::of(&last, 1.0, &self.policy, self.precision)?;
        let mut count = 1.0;
        for model in models {
            sum.add(&model, 1.0)?;
            count += 1.0;
            last = model;
        }
        sum.into_model(&last, 1.0 / count)
    }

    fn without_buffers(&self) -> Policy {
        let policy = self.policy.clone();
        match policy.buffers {
            BufferAction::Average => policy.with_buffers(BufferAction::Copy),
            _ => policy,
        }
    }
}
