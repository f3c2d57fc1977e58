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
    /// Keep the value that the average has. It stays what it was at `init`.
    Ignore,
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
#[derive(Config, Debug)]
pub struct Policy {
    /// What happens to trainable float parameters. Default: average.
    #[config(default = "Action::Average")]
    pub trainable: Action,
    /// What happens to frozen float parameters and float buffers. Default: copy.
    #[config(default = "Action::Copy")]
    pub non_trainable: Action,
    /// What happens to integer and boolean values: copy (the default) or ignore.
    #[config(default = "Action::Copy")]
    pub discrete: Action,
    /// Exceptions by module path or parameter id; the last that matches counts.
    #[config(default = "Vec::new()")]
    pub overrides: Vec<Override>,
}

/// An exception from the [`Policy`] for one group of values.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Override {
    /// The values it is for, by exact path, part of a path, regular expression or id.
    pub group: ParamGroup,
    /// What happens to them. Integer, boolean and quantized values are copied where this says
    /// average.
    pub action: Action,
}

impl Policy {
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
    pub(crate) fn action(&self, class: Class, exception: Option<Action>) -> Action {
        let action = exception.unwrap_or(match class {
            Class::Trainable => self.trainable,
            Class::NonTrainable => self.non_trainable,
            Class::Discrete => self.discrete,
        });
        match (class, action) {
            (Class::Discrete, Action::Average) => Action::Copy,
            _ => action,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), EmaError> {
        match self.discrete {
            Action::Average => Err(EmaError::InvalidConfig {
                field: "policy.discrete",
                problem: "integer and boolean values cannot be averaged: write Copy or Ignore"
                    .into(),
            }),
            Action::Copy | Action::Ignore => Ok(()),
        }
    }
}
