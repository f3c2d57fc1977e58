//! Checks of the numbers of a decay schedule, and of what was probably meant.

use crate::decay::decay_schedule::DecaySchedule;
use crate::error::RulesError;

/// Collects the first number that is outside its range.
#[derive(Debug)]
pub(crate) struct Checks {
    schedule: &'static str,
    result: Result<(), RulesError>,
}

impl Checks {
    pub(crate) fn of(schedule: &'static str) -> Self {
        Self {
            schedule,
            result: Ok(()),
        }
    }

    pub(crate) fn done(self) -> Result<(), RulesError> {
        self.result
    }

    /// A number that is `expected` to be what `holds` says.
    pub(crate) fn that(
        self,
        holds: bool,
        quantity: &'static str,
        expected: &'static str,
        found: f64,
    ) -> Self {
        self.hinted(holds, quantity, expected, found, String::new)
    }

    pub(crate) fn positive(self, quantity: &'static str, found: f64) -> Self {
        let holds = found.is_finite() && found > 0.0;
        self.that(holds, quantity, "finite and above 0", found)
    }

    pub(crate) fn share(self, quantity: &'static str, found: f64) -> Self {
        let holds = (0.0..=1.0).contains(&found);
        self.that(holds, quantity, "in [0, 1]", found)
    }

    /// A decay that the constructors accept, in `[0.5, 1]`. Less is probably the weight of the new weights.
    pub(crate) fn usual_decay(self, quantity: &'static str, found: f64) -> Self {
        let holds = (0.5..=1.0).contains(&found);
        self.hinted(holds, quantity, "in [0.5, 1]", found, || {
            match (0.0..0.5).contains(&found) {
                true => format!(
                    ": decay is the share of the *old* EMA; if {found} is the share of the new weights (momentum, \
                     tau), write Decay::weight({found}), which is decay {}",
                    1.0 - found
                ),
                false => String::new(),
            }
        })
    }

    /// A weight of the new weights that is not 0 or 1. mmengine and Ignite call it momentum.
    pub(crate) fn momentum(self, quantity: &'static str, found: f64) -> Self {
        let holds = found > 0.0 && found < 1.0;
        self.that(holds, quantity, "above 0 and below 1", found)
    }

    /// Warns if what should be the weight of the new weights is probably a decay.
    pub(crate) fn warn_of_decay(self, quantity: &str, found: f64) -> Self {
        if self.result.is_ok() && found > 0.5 && found < 1.0 {
            let decay = 1.0 - found;
            log::warn!(
                "{}: {quantity} {found} is the weight of the *new* weights, and each update keeps only {decay} of the \
                 old EMA: if {found} is a decay, write Decay::constant({found}), or {quantity} {decay}",
                self.schedule
            );
        }
        self
    }

    /// Warns if what should be a decay is probably the weight of the new weights.
    pub(crate) fn warn_of_weight(self, quantity: &str, found: f64) -> Self {
        if self.result.is_ok() && found < 0.5 {
            log::warn!(
                "{}: {quantity} {found} is the share of the *old* EMA, and each update forgets most of it: if {found} \
                 is the weight of the new weights, write {}",
                self.schedule,
                1.0 - found
            );
        }
        self
    }

    fn hinted(
        mut self,
        holds: bool,
        quantity: &'static str,
        expected: &'static str,
        found: f64,
        hint: impl FnOnce() -> String,
    ) -> Self {
        if !holds && self.result.is_ok() {
            self.result = Err(RulesError::InvalidDecay {
                schedule: self.schedule.into(),
                quantity,
                expected,
                found,
                hint: hint(),
            });
        }
        self
    }
}

/// `value`, or a panic with the message of the error.
#[track_caller]
pub(crate) fn or_panic<T>(value: Result<T, RulesError>) -> T {
    value.unwrap_or_else(|error| panic!("{error}"))
}

/// `schedule`, if its numbers are valid. Panics otherwise.
#[track_caller]
pub(crate) fn valid<S: DecaySchedule>(schedule: S) -> S {
    or_panic(schedule.validate());
    schedule
}
