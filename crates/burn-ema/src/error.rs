//! What can go wrong, and what to do about it.

use burn::store::RecordError;
use burn::tensor::{DType, Shape};

/// An error of this crate. Whenever one is returned, the average is as it was before the call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmaError {
    /// A decay rule has a number that it cannot work with.
    #[error("{rule}: {quantity} must be {expected}, found {found}{hint}")]
    InvalidDecay {
        /// The rule, e.g. `Decay::constant`.
        rule: &'static str,
        /// The number that is off, e.g. `decay`.
        quantity: &'static str,
        /// The range that it must lie in.
        expected: &'static str,
        /// The number as given.
        found: f64,
        /// What was probably meant, or nothing.
        hint: String,
    },

    /// A field of a configuration has a value that it cannot work with.
    #[error("EmaConfig::{field}: {problem}")]
    InvalidConfig {
        /// The field, e.g. `interval`.
        field: &'static str,
        /// What is wrong with it, and what to write instead.
        problem: String,
    },

    /// A parameter or buffer of the average is no longer in the source.
    #[error(
        "`{path}` is in the average but not in the source model. The structure of the source \
         changed after `init`: make a new average from it"
    )]
    Missing {
        /// Module path of the parameter or buffer.
        path: String,
    },

    /// The source has a parameter or buffer that the average does not know.
    #[error(
        "`{path}` is in the source model but not in the average. The structure of the source \
         changed after `init`: make a new average from it"
    )]
    Unexpected {
        /// Module path of the parameter or buffer.
        path: String,
    },

    /// A parameter or buffer of the source has another shape than at `init`.
    #[error(
        "`{path}` has shape {found} in the source model, but {expected} in the average: make a \
         new average from the changed model"
    )]
    ShapeMismatch {
        /// Module path of the parameter or buffer.
        path: String,
        /// Shape in the average.
        expected: Shape,
        /// Shape in the source.
        found: Shape,
    },

    /// A parameter or buffer of the source has another dtype than at `init`.
    #[error(
        "`{path}` is {found:?} in the source model, but was {expected:?} when the average was \
         made: make a new average after casting or quantizing a model"
    )]
    DTypeMismatch {
        /// Module path of the parameter or buffer.
        path: String,
        /// Dtype of the source at `init`.
        expected: DType,
        /// Dtype of the source now.
        found: DType,
    },

    /// A parameter has more dimensions than Burn's own optimizers and records handle.
    #[error("`{path}` has rank {rank}; Burn trains and stores tensors up to rank {max}")]
    RankTooHigh {
        /// Module path of the parameter.
        path: String,
        /// Its rank.
        rank: usize,
        /// The highest rank that is handled.
        max: usize,
    },

    /// The source holds NaN or infinity, and [`NonFinite::Error`](crate::NonFinite::Error) is set.
    #[error(
        "`{path}` of the source model holds NaN or infinity. The average was not touched: lower \
         the learning rate, clip gradients, or choose `NonFinite::Skip`"
    )]
    NonFinite {
        /// Module path of the first such parameter.
        path: String,
    },

    /// The averages of an [`EmaSetConfig`](crate::EmaSetConfig) do not go together.
    #[error("EmaSetConfig: {problem}")]
    InvalidSet {
        /// What is wrong, and what to do.
        problem: String,
    },

    /// There is no average of that name.
    #[error("there is no average `{name}`: there are {known:?}")]
    UnknownAverage {
        /// The name.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },

    /// A record holds some averages of a set and not others.
    #[error(
        "the record has no average `{name}`: load it with a configuration of those that it was \
         saved with, and make the new one from the loaded model"
    )]
    AverageMissing {
        /// The first that it lacks.
        name: String,
    },

    /// Running statistics cannot be computed anew from the data of a loader.
    #[error("running statistics cannot be re-estimated: {problem}")]
    Reestimation {
        /// What the loader or the estimation said.
        problem: String,
    },

    /// Stored averages cannot be combined.
    #[error("no reconstruction: {problem}")]
    Reconstruction {
        /// What is wrong, and what to do.
        problem: String,
    },

    /// Statistics were to be computed from no data.
    #[error("there are no batches to compute running statistics from")]
    NoBatches,

    /// A forward pass did not move the running statistics of any layer.
    #[error(
        "no batch has moved running statistics such as `{path}`: put the batches on an autodiff device \
         (`device.autodiff()`), as in training, and run the model on them in `forward`"
    )]
    StatisticsUnmoved {
        /// Module path of the first statistic.
        path: String,
    },

    /// The record is that of a plain model: it has weights but no average. Or its averages have names, and this one
    /// has none.
    #[error(
        "the record holds a plain model and no average. Load it into the model and make a new \
         average from that, or allow it with `EmaConfig::with_plain_record(PlainRecord::StartFrom)`. (If it \
         was saved with several averages, load it into an `EmaSet` or `EmaLearner` of the same names)"
    )]
    PlainRecord,

    /// Burn could not read, write or apply a record.
    #[error("{0}")]
    Record(#[from] RecordError),
}

impl From<EmaError> for RecordError {
    fn from(error: EmaError) -> Self {
        match error {
            EmaError::Record(error) => error,
            error => RecordError::Validation(error.to_string()),
        }
    }
}
