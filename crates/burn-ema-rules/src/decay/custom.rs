//! A decay schedule of the user.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// A decay schedule of your own, with a name. Made by [`Decay::custom`](crate::decay::Decay::custom).
///
/// A configuration file stores the name only. A `Custom` that was read from a file has no schedule:
/// [`validate`](DecaySchedule::validate) returns [`RulesError::InvalidConfig`], which says how to set the schedule of that
/// name.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{Custom, DecaySchedule, Progress};
///
/// let linear = Custom::new("linear", |at: Progress| (at.updates as f64 / 1000.0).min(0.999));
/// assert_eq!(linear.decay(Progress { updates: 500, interval: 1 }), 0.5);
/// assert_eq!(linear.name, "linear");
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// The name of the schedule in files and messages.
    pub name: String,
    #[serde(skip)]
    schedule: Option<Arc<dyn DecaySchedule + Send + Sync>>,
}

impl Custom {
    /// Makes a schedule with the name `name`.
    pub fn new(
        name: impl Into<String>,
        schedule: impl DecaySchedule + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            schedule: Some(Arc::new(schedule)),
        }
    }
}

/// Two are equal if they have the same name and share one schedule, as clones do.
impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        let same_schedule = match (&self.schedule, &other.schedule) {
            (Some(schedule), Some(other)) => Arc::ptr_eq(schedule, other),
            (None, None) => true,
            _ => false,
        };
        self.name == other.name && same_schedule
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Custom").field(&self.name).finish()
    }
}

impl DecaySchedule for Custom {
    /// NaN if there is no schedule; [`validate`](DecaySchedule::validate) returns an error for that.
    fn decay(&self, at: Progress) -> f64 {
        let schedule = self.schedule.as_ref();
        schedule.map_or(f64::NAN, |schedule| schedule.decay(at))
    }

    fn validate(&self) -> Result<(), RulesError> {
        match &self.schedule {
            Some(schedule) => schedule.validate(),
            None => Err(RulesError::InvalidConfig {
                field: "decay",
                problem: format!(
                    "the decay schedule `{0}` is a function of the program that wrote the file, and a file stores its \
                     name only: set it with `with_decay(Decay::custom(\"{0}\", ..))`",
                    self.name
                ),
            }),
        }
    }

    fn retained(&self, from: Progress, updates: u64) -> f64 {
        match &self.schedule {
            Some(schedule) => schedule.retained(from, updates),
            None => f64::NAN,
        }
    }
}
