//! Checks of the numbers of a rule, and of what was probably meant.

use super::Rule;
use crate::EmaError;

/// Collects the first number of a rule that is off.
#[derive(Debug)]
pub(crate) struct Checks {
    rule: &'static str,
    result: Result<(), EmaError>,
}

impl Checks {
    pub(crate) fn of(rule: &'static str) -> Self {
        Self {
            rule,
            result: Ok(()),
        }
    }

    pub(crate) fn done(self) -> Result<(), EmaError> {
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

    /// A decay that an average ends up with, in `[0.5, 1]`. Less is probably the weight of the new value.
    pub(crate) fn decay(self, quantity: &'static str, found: f64) -> Self {
        let holds = (0.5..=1.0).contains(&found);
        self.hinted(holds, quantity, "in [0.5, 1]", found, || {
            match (0.0..0.5).contains(&found) {
                true => format!(
                    ". Decay is the share of the *old* average. If {found} is the share of the new \
                     value (momentum, tau), write Decay::weight({found}), which is decay {}",
                    1.0 - found
                ),
                false => String::new(),
            }
        })
    }

    /// A weight of the new value that is not 0 or 1; mmengine and Ignite call it momentum.
    pub(crate) fn momentum(self, quantity: &'static str, found: f64) -> Self {
        let holds = found > 0.0 && found < 1.0;
        self.that(holds, quantity, "above 0 and below 1", found)
    }

    /// Warns if what should be the weight of the new value is probably a decay.
    pub(crate) fn warn_of_decay(self, quantity: &str, found: f64) -> Self {
        if self.result.is_ok() && found > 0.5 && found < 1.0 {
            let decay = 1.0 - found;
            log::warn!(
                "{}: {quantity} {found} is the weight of the *new* value, and keeps only {decay} of the \
                 old average at each update. If {found} is a decay, write Decay::constant({found}), or \
                 {quantity} {decay}",
                self.rule
            );
        }
        self
    }

    /// Warns if what should be a decay that an average ends up with is probably the weight of the new value.
    pub(crate) fn warn_of_weight(self, quantity: &str, found: f64) -> Self {
        if self.result.is_ok() && found < 0.5 {
            log::warn!(
                "{}: {quantity} {found} is the share of the *old* average, and forgets most of it at each update. If \
                 {found} is the weight of the new value, write {}",
                self.rule,
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
            self.result = Err(EmaError::InvalidDecay {
                rule: self.rule,
                quantity,
                expected,
                found,
                hint: hint(),
            });
        }
        self
    }
}

/// `rule`, if it is valid.
///
/// # Panics
///
/// If it is not.
pub(super) fn valid<R: Rule>(rule: R) -> R {
    match rule.validate() {
        Ok(()) => rule,
        Err(error) => panic!("{error}"),
    }
}
