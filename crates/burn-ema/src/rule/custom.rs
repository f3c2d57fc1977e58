//! Rules of the user's own.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Moment, Rule};
use crate::EmaError;

/// A rule of the user's own. Made by [`Decay::custom`](super::Decay::custom).
///
/// A configuration file holds its name only. What is loaded from one is refused when it is used, with a message
/// that asks for the rule of that name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// What the rule is called in files and messages.
    pub name: String,
    #[serde(skip)]
    rule: Option<Arc<dyn Rule + Send + Sync>>,
}

impl Custom {
    /// A rule that is called `name`.
    pub fn new(name: impl Into<String>, rule: impl Rule + Send + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            rule: Some(Arc::new(rule)),
        }
    }
}

/// Rules are equal if they are the same one.
impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        let same_rule = match (&self.rule, &other.rule) {
            (Some(rule), Some(other)) => Arc::ptr_eq(rule, other),
            (None, None) => true,
            _ => false,
        };
        self.name == other.name && same_rule
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Custom").field(&self.name).finish()
    }
}

impl Rule for Custom {
    /// NaN if the rule is not there, which [`validate`](Rule::validate) says before.
    fn decay(&self, at: Moment) -> f64 {
        self.rule.as_ref().map_or(f64::NAN, |rule| rule.decay(at))
    }

    fn validate(&self) -> Result<(), EmaError> {
        match &self.rule {
            Some(rule) => rule.validate(),
            None => Err(EmaError::InvalidConfig {
                field: "decay",
                problem: format!(
                    "the rule `{0}` is a function of the program that wrote the file, and not in it: \
                     set it with `with_decay(Decay::custom(\"{0}\", ..))`",
                    self.name
                ),
            }),
        }
    }

    fn retained(&self, from: Moment, updates: u64) -> f64 {
        match &self.rule {
            Some(rule) => rule.retained(from, updates),
            None => f64::NAN,
        }
    }
}
