//! Which values are averaged, which copied, which left alone.

use burn::config::Config;
use burn::module::{ParamGroup, ParamId};
use serde::{Deserialize, Serialize};

use crate::EmaError;

/// What happens to a value when an average is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Move the average towards the source: `ema + (source - ema) * (1 - decay)`.
    Average,
    /// Take the source's value, exactly.
    Copy,
    /// Keep the value that the average has. It stays what it was at `init`; running statistics follow the
    /// forward passes of [`EmaModel::training_model`](crate::EmaModel::training_model).
    Ignore,
    /// Running statistics only: they are to be computed anew from data before the average is used, by
    /// [`EmaModel::reestimate`](crate::EmaModel::reestimate). Until then they are copied.
    Reestimate,
}

/// The class of a value, as far as averaging is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A float parameter that the optimizer trains.
    Trainable,
    /// A float parameter that is frozen, or a float buffer such as BatchNorm's running statistics.
    NonTrainable,
    /// An integer, boolean or quantized value. It is never interpolated.
    Discrete,
}

/// What happens to each [class](Class) of value, with overrides by module path.
///
/// The defaults are those of mmagic's `ExponentialMovingAverageHook`: trainable parameters are
/// averaged, everything else is copied. Class is looked up at every update, so a parameter that is
/// frozen in the middle of training is copied from then on.
///
/// # Which running statistics fit an average
///
/// BatchNorm normalizes with statistics of the activations, which belong to the weights that made them. There
/// are four choices for [`buffers`](Self::buffers), and each has made somebody's validation bad:
///
/// | choice | right when | wrong when |
/// |---|---|---|
/// | [`Copy`](Action::Copy) (default) | the online weights move little within the window of the average: late in training, a small learning rate, a short half-life | they still move fast; early validation of an average is then far below that of the online weights |
/// | [`Average`](Action::Average) | nearly always: statistics are an average over past batches themselves, and with the weights' own decay they are of the same age. timm, YOLO and d2go do so | the rule gives old statistics much weight ([`EqualWeights`](crate::EqualWeights), SWA): the variance of a mean of weights is not the mean of variances |
/// | [`Reestimate`](Action::Reestimate) | always, for the price of a pass over some batches before each use of the average; needed for SWA | the data cannot be had again |
/// | [`Ignore`](Action::Ignore) | the average is a teacher that [runs as in training](crate::EmaModel::training_model) on data of its own: its statistics follow its own activations | it does not run so: statistics stay what they were at `init` |
///
/// # Example
///
/// ```
/// use burn::module::ParamGroup;
/// use burn_ema::{Action, Policy};
///
/// // Average BatchNorm's running statistics too, and leave the head alone.
/// let policy = Policy::new()
///     .with_non_trainable(Action::Average)
///     .with_override(ParamGroup::from_regex(r"^head\.").unwrap(), Action::Ignore);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What happens to trainable float parameters. Default: average.
    pub trainable: Action,
    /// What happens to frozen float parameters, and to float buffers unless [`buffers`](Self::buffers) says
    /// otherwise. Default: copy.
    pub non_trainable: Action,
    /// What happens to float buffers such as BatchNorm's running statistics. Default (`None`): what happens to
    /// frozen parameters.
    pub buffers: Option<Action>,
    /// What happens to integer and boolean values: copy (the default) or ignore.
    pub discrete: Action,
    /// Exceptions by module path or parameter id; the last that matches counts.
    pub overrides: Vec<Override>,
}

impl Config for Policy {}

impl Default for Policy {
    fn default() -> Self {
        Self {
            trainable: Action::Average,
            non_trainable: Action::Copy,
            buffers: None,
            discrete: Action::Copy,
            overrides: Vec::new(),
        }
    }
}

/// An exception from the [`Policy`] for one group of values.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The values it is for, by exact path, part of a path, regular expression or id.
    pub group: ParamGroup,
    /// What happens to them. Integer, boolean and quantized values are copied where this says
    /// average.
    pub action: Action,
}

impl Policy {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what happens to [trainable parameters](Self::trainable).
    pub fn with_trainable(mut self, action: Action) -> Self {
        self.trainable = action;
        self
    }

    /// Sets what happens to [frozen parameters](Self::non_trainable), and to buffers as long as those are not
    /// [set apart](Self::with_buffers).
    pub fn with_non_trainable(mut self, action: Action) -> Self {
        self.non_trainable = action;
        self
    }

    /// Sets what happens to [float buffers](Self::buffers).
    pub fn with_buffers(mut self, action: Action) -> Self {
        self.buffers = Some(action);
        self
    }

    /// Sets what happens to [integers and booleans](Self::discrete).
    pub fn with_discrete(mut self, action: Action) -> Self {
        self.discrete = action;
        self
    }

    /// Adds an exception for the values of `group`. A later exception beats an earlier one.
    pub fn with_override(mut self, group: ParamGroup, action: Action) -> Self {
        self.overrides.push(Override { group, action });
        self
    }

    /// The exception for one value, if there is one.
    pub(crate) fn exception(&self, id: &ParamId, path: &str) -> Option<Action> {
        let mut matching = self.overrides.iter().rev();
        matching
            .find(|exception| exception.group.matches(id, Some(path)))
            .map(|exception| exception.action)
    }

    /// What happens to a value of `class` for which `exception` was found.
    pub(crate) fn action(
        &self,
        class: Class,
        is_buffer: bool,
        exception: Option<Action>,
    ) -> Action {
        let action = exception.unwrap_or(match class {
            Class::Discrete => self.discrete,
            _ if is_buffer => self.buffers.unwrap_or(self.non_trainable),
            Class::Trainable => self.trainable,
            Class::NonTrainable => self.non_trainable,
        });
        match (class, action) {
            (Class::Discrete, Action::Average) => Action::Copy,
            _ => action,
        }
    }

    /// Whether running statistics are to be computed anew before the average is used.
    pub fn reestimates(&self) -> bool {
        self.buffers == Some(Action::Reestimate)
    }

    pub(crate) fn validate(&self) -> Result<(), EmaError> {
        let refuse = |field, problem: &str| {
            Err(EmaError::InvalidConfig {
                field,
                problem: problem.into(),
            })
        };
        let not_buffers = [
            ("policy.trainable", self.trainable),
            ("policy.non_trainable", self.non_trainable),
            ("policy.discrete", self.discrete),
        ];
        for (field, action) in not_buffers {
            if action == Action::Reestimate {
                return refuse(
                    field,
                    "only running statistics can be re-estimated: write `with_buffers(Action::Reestimate)`",
                );
            }
        }
        let mut exceptions = self.overrides.iter();
        if exceptions.any(|exception| exception.action == Action::Reestimate) {
            return refuse(
                "policy.overrides",
                "re-estimation computes all running statistics: write `with_buffers(Action::Reestimate)`",
            );
        }
        match self.discrete {
            Action::Average => refuse(
                "policy.discrete",
                "integer and boolean values cannot be averaged: write Copy or Ignore",
            ),
            _ => Ok(()),
        }
    }
}
