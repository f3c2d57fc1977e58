//! The error type of this crate.

/// Why a decay schedule, an update schedule, a preset or a reconstruction is not valid.
///
/// Each message says what is wrong, the value that was found, and what to write instead.
///
/// # Example
///
/// ```
/// use burn_ema_rules::RulesError;
/// use burn_ema_rules::decay::Decay;
///
/// let error = Decay::try_weight(1.5).unwrap_err();
/// assert!(matches!(error, RulesError::InvalidDecay { quantity: "weight", .. }));
/// assert_eq!(error.to_string(), "Decay::weight: weight must be in [0, 1], found 1.5");
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// A decay schedule or a preset has a number outside its range, or returned a decay outside `[0, 1]`.
    #[error("{schedule}: {quantity} must be {expected}, found {found}{hint}")]
    InvalidDecay {
        /// The decay schedule or preset, e.g. `Decay::constant`, `TimmV3` or `Decay::custom("mine")`.
        schedule: String,
        /// The name of the number, e.g. `decay`.
        quantity: &'static str,
        /// The range of the number, e.g. `in [0, 1]`.
        expected: &'static str,
        /// The number.
        found: f64,
        /// What was probably meant and what to write instead, with the punctuation before it; or an empty string.
        hint: String,
    },

    /// A field of a configuration is not valid.
    #[error("{field}: {problem}")]
    InvalidConfig {
        /// The field, e.g. `interval`.
        field: &'static str,
        /// What is wrong with the field and what to write instead.
        problem: String,
    },

    /// Stored EMA snapshots cannot be combined into the EMA that was asked for.
    #[error("no reconstruction: {problem}")]
    Reconstruction {
        /// What is wrong and what to do.
        problem: String,
    },
}
