//! Which tensors are averaged, copied or ignored.

use burn::config::Config;
use burn::module::{ParamGroup, ParamId};
use serde::{Deserialize, Serialize};

/// What an update does to a float parameter of the EMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Action {
    /// Move it towards the model: `ema + (model - ema) * (1 - decay)`.
    Average,
    /// Replace it by the model's, exactly.
    Copy,
    /// Leave it as it was when the EMA was created. The model's tensor is not looked at: it may change its shape or
    /// disappear.
    Ignore,
}

/// What an update does to a float buffer, such as BatchNorm's running mean and variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BufferAction {
    /// Move it towards the model's, with the decay of the parameters.
    Average,
    /// Replace it by the model's, exactly.
    Copy,
    /// Leave it. Forward passes of [`EmaModel::training_model`](crate::EmaModel::training_model) change running
    /// statistics then.
    Ignore,
    /// Replace it by the model's until [`EmaModel::reestimate`](crate::EmaModel::reestimate) computes it from data.
    Reestimate,
}

/// What an update does to an integer, boolean or quantized tensor. These are never averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DiscreteAction {
    /// Replace it by the model's, exactly.
    Copy,
    /// Leave it as it was when the EMA was created.
    Ignore,
}

/// The class of a tensor, by which a [`Policy`] chooses what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Class {
    /// A float parameter that the optimizer trains, now or at an earlier update.
    Trainable,
    /// A float parameter that has been frozen since the EMA was created.
    Frozen,
    /// A float buffer, such as BatchNorm's running statistics.
    Buffer,
    /// An integer, boolean or quantized tensor.
    Discrete,
}

/// What happens to each [class](Class) of tensor, with overrides by module path.
///
/// By default everything that is a float and changes in training is averaged, buffers included, as timm, torchvision,
/// YOLO and Lightning do; frozen parameters, integers and booleans are copied.
///
/// A parameter that was averaged once stays averaged while it is frozen for a while, as GAN loops freeze the generator.
/// A parameter that is unfrozen during the run is averaged from then on.
///
/// # Which running statistics fit an EMA
///
/// BatchNorm normalizes with statistics of the activations, which belong to the weights that made them. There
/// are four choices for [`buffers`](Self::buffers):
///
/// | choice | right when | wrong when |
/// |---|---|---|
/// | [`Average`](BufferAction::Average) (default) | nearly always: statistics are an average over past batches themselves, and with the decay of the weights they have the age of the weights | the schedule gives old statistics much weight ([`EqualWeights`](crate::decay::EqualWeights), SWA): the variance of a mean of weights is not the mean of variances |
/// | [`Copy`](BufferAction::Copy) | the online weights move little within the window of the EMA: late in training, a small learning rate, a short half-life | the online weights still move fast: early validation is then far below that of the online weights |
/// | [`Reestimate`](BufferAction::Reestimate) | always, for the price of a pass over some batches before each use of the EMA; needed for SWA | the data is not available |
/// | [`Ignore`](BufferAction::Ignore) | the EMA is a teacher that [runs in training mode](crate::EmaModel::training_model) on its own data: its statistics follow its own activations | it does not run in training mode: statistics stay as they were when the EMA was created |
///
/// # Example
///
/// ```
/// use burn::module::{ParamGroup, ParamId};
/// use burn_ema::Policy;
/// use burn_ema::policy::{Action, BufferAction};
///
/// // Copy BatchNorm's running statistics, and leave the head alone.
/// let policy = Policy::new()
///     .with_buffers(BufferAction::Copy)
///     .with_override(ParamGroup::from_regex(r"^head\.").unwrap(), Action::Ignore);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Policy {
    /// What happens to trainable float parameters. Default: average.
    pub trainable: Action,
    /// What happens to float parameters that were never trained. Default: copy.
    pub frozen: Action,
    /// What happens to float buffers, such as BatchNorm's running statistics. Default: average.
    pub buffers: BufferAction,
    /// What happens to integer, boolean and quantized tensors. Default: copy.
    pub discrete: DiscreteAction,
    /// Exceptions by module path or parameter id. The last one that matches counts. The tensors that an override is for
    /// are found when the EMA is created, and an override that matches none is an error.
    pub overrides: Vec<Override>,
}

impl Config for Policy {}

impl Default for Policy {
    fn default() -> Self {
        Self {
            trainable: Action::Average,
            frozen: Action::Copy,
            buffers: BufferAction::Average,
            discrete: DiscreteAction::Copy,
            overrides: Vec::new(),
        }
    }
}

/// An exception from the [`Policy`] for a group of tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Override {
    /// The tensors, by exact path, part of a path, regular expression or id.
    pub group: ParamGroup,
    /// What happens to them. Integer, boolean and quantized tensors are copied where this says average.
    pub action: Action,
}

impl Policy {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what happens to [trainable parameters](Self::trainable).
    #[must_use]
    pub fn with_trainable(mut self, action: Action) -> Self {
        self.trainable = action;
        self
    }

    /// Sets what happens to [frozen parameters](Self::frozen).
    #[must_use]
    pub fn with_frozen(mut self, action: Action) -> Self {
        self.frozen = action;
        self
    }

    /// Sets what happens to [float buffers](Self::buffers).
    #[must_use]
    pub fn with_buffers(mut self, action: BufferAction) -> Self {
        self.buffers = action;
        self
    }

    /// Sets what happens to [integers, booleans and quantized tensors](Self::discrete).
    #[must_use]
    pub fn with_discrete(mut self, action: DiscreteAction) -> Self {
        self.discrete = action;
        self
    }

    /// Adds an exception for the tensors of `group`. A later exception beats an earlier one.
    #[must_use]
    pub fn with_override(mut self, group: ParamGroup, action: Action) -> Self {
        self.overrides.push(Override { group, action });
        self
    }

    /// The exception for a tensor, if there is one.
    pub(crate) fn exception(&self, id: &ParamId, path: &str) -> Option<Action> {
        let mut overrides = self.overrides.iter().rev();
        let exception = overrides.find(|exception| exception.group.matches(id, Some(path)));
        exception.map(|exception| exception.action)
    }

    /// Whether running statistics are computed from data before the EMA is used.
    pub fn reestimates(&self) -> bool {
        self.buffers == BufferAction::Reestimate
    }
}
