//! Conversions that several presets share.

use crate::decay::checks::Checks;
use crate::decay::constant::Constant;
use crate::decay::known::Decay;
use crate::error::RulesError;

/// A constant decay in `[0, 1]`, which other frameworks accept, under the name that `preset` has for it.
pub(super) fn constant(
    preset: &'static str,
    argument: &'static str,
    decay: f64,
) -> Result<Decay, RulesError> {
    Checks::of(preset).share(argument, decay).done()?;
    Ok(Constant { decay }.into())
}

/// An offset of a [`Clock`](crate::decay::Clock) that delays a curve by `updates`.
pub(super) fn delay(updates: u64) -> i64 {
    -i64::try_from(updates).unwrap_or(i64::MAX)
}
