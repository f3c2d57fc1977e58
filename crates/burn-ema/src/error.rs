//! What can go wrong, and what to do about it.

use burn::store::RecordError;
use burn::tensor::{DType, Shape};
use burn_ema_rules::error::RulesError;

/// An error of this crate. After any of them the EMA, and the model that was passed in, are as they were before the call.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EmaError {
    /// A decay schedule, an update schedule or a reconstruction has a number that is out of its range.
    #[error(transparent)]
    Rules(#[from] RulesError),

    /// A field of a configuration has a value that does not work.
    #[error("EmaConfig::{field}: {problem}")]
    InvalidConfig {
        /// The field, e.g. `interval`.
        field: &'static str,
        /// What is wrong with the value, and what to write instead.
        problem: String,
    },

    /// An override of the policy matches no parameter and no buffer of the model.
    #[error(
        "EmaConfig::policy.overrides: {group} matches no parameter and no buffer of the model (similar paths: \
         {}): correct the path or remove the override",
        list(.near)
    )]
    UnmatchedOverride {
        /// The group of the override, as `Debug` prints it.
        group: String,
        /// Paths of the model that look similar.
        near: Vec<String>,
    },

    /// The model has no parameter and no buffer.
    #[error(
        "the model has no parameters and no buffers, so there is nothing to average: create the layers of the model \
         before its EMA"
    )]
    EmptyModel,

    /// An averaged tensor of the EMA is missing in the model.
    #[error(
        "`{path}` is in the EMA but not in the model: carry the EMA over to the changed model with \
         `EmaModel::adopt`, or create a new EMA"
    )]
    Missing {
        /// Module path of the tensor.
        path: String,
    },

    /// The model has a tensor to average that the EMA does not know.
    #[error(
        "`{path}` is in the model but not in the EMA: carry the EMA over to the changed model with \
         `EmaModel::adopt`, or create a new EMA"
    )]
    Unexpected {
        /// Module path of the tensor.
        path: String,
    },

    /// An averaged tensor has one shape in the EMA and another in the model.
    #[error(
        "`{path}` has shape {expected} in the EMA and {found} in the model: carry the EMA over to the changed model \
         with `EmaModel::adopt`, or create a new EMA"
    )]
    ShapeMismatch {
        /// Module path of the tensor.
        path: String,
        /// Shape in the EMA.
        expected: Shape,
        /// Shape in the model.
        found: Shape,
    },

    /// An averaged tensor has one dtype in the EMA and another in the model.
    #[error(
        "`{path}` was {expected:?} when the EMA was created and is {found:?} now: create a new EMA after casting or \
         quantizing a model"
    )]
    DTypeMismatch {
        /// Module path of the tensor.
        path: String,
        /// Dtype when the EMA was created.
        expected: DType,
        /// Dtype now.
        found: DType,
    },

    /// A parameter has more dimensions than Burn's own optimizers and records support.
    #[error("`{path}` has rank {rank}: Burn trains and stores tensors of rank 1 to {max}")]
    UnsupportedRank {
        /// Module path of the parameter.
        path: String,
        /// Its rank.
        rank: usize,
        /// The highest supported rank.
        max: usize,
    },

    /// `visit` and `map` of a module that was written without `derive(Module)` show different tensors.
    #[error(
        "`{path}` is shown by `Module::visit` but not by `Module::map`: make both go through the same fields in the \
         implementation of `Module`"
    )]
    VisitDiffersFromMap {
        /// Module path of the first tensor that `map` does not show.
        path: String,
    },

    /// The model holds NaN or infinity, and [`NonFinite::Error`](crate::config::NonFinite::Error) is set.
    #[error(
        "`{path}` of the model holds NaN or infinity: lower the learning rate, clip gradients, or choose \
         `NonFinite::Skip`"
    )]
    NonFinite {
        /// Module path of the first such tensor.
        path: String,
    },

    /// The backend panicked in the middle of an earlier update.
    #[error(
        "an earlier update panicked before it was finished, and some EMA weights are lost: load a record, call \
         `restart` or `copy_from`, or create a new EMA"
    )]
    Interrupted,

    /// The EMAs of an [`EmaSetConfig`](crate::EmaSetConfig) do not go together.
    #[error("EmaSetConfig: {problem}")]
    InvalidSet {
        /// What is wrong, and what to do.
        problem: String,
    },

    /// No EMA has this name.
    #[error("no EMA is called `{name}`: the names are {}", list(.known))]
    UnknownEma {
        /// The name.
        name: String,
        /// The names of the EMAs.
        known: Vec<String>,
    },

    /// A record has no EMA.
    #[error(
        "the record has weights but no EMA: load it into the model and create a new EMA, or start from its weights with \
         `EmaConfig::with_missing_ema(MissingEma::StartFromWeights)`"
    )]
    MissingEma,

    /// A record has EMAs, but not the one that is asked for.
    #[error(
        "the record has no EMA {}, its EMAs are {}: use one of these names, or let the new EMA start from weights with \
         `EmaConfig::with_missing_ema(MissingEma::StartFromWeights)`",
        called(.name),
        list(.known)
    )]
    MissingEmaOf {
        /// The name.
        name: String,
        /// Paths of the EMAs of the record.
        known: Vec<String>,
    },

    /// A record has EMAs that the set does not have.
    #[error(
        "the record also has the EMAs {}: add them to the configuration, or leave them out with \
         `record.allow_unused(true)`",
        list(.names)
    )]
    UnusedEmas {
        /// Paths of the EMAs that are not used.
        names: Vec<String>,
    },

    /// A record has several EMAs where one is wanted.
    #[error(
        "the record has several EMAs ({}): load it into an `EmaSet` of these names and take one with \
         `EmaSet::into_ema`",
        list(.known)
    )]
    SeveralEmas {
        /// Paths of the EMAs of the record.
        known: Vec<String>,
    },

    /// The state of an EMA in a record is of a format that this version does not know.
    #[error(
        "`{path}` of the record has format {found}, and this version of burn-ema reads format {known}: use the version \
         that wrote the record, or a later one"
    )]
    UnknownFormat {
        /// Path in the record.
        path: String,
        /// What was found.
        found: String,
        /// The format of this version.
        known: i32,
    },

    /// The counters of an EMA in a record contradict each other.
    #[error(
        "the record has {steps} steps, {updates} updates and {skipped} skipped steps, which no run can reach: the \
         record is damaged"
    )]
    InvalidCounters {
        /// Optimizer steps.
        steps: u64,
        /// Updates.
        updates: u64,
        /// Skipped steps.
        skipped: u64,
    },

    /// A tensor of a record does not fit into the dtype of the EMA without loss.
    #[error(
        "`{path}` is {found:?} in the record and {expected:?} in the EMA: cast on loading with \
         `record.cast_to_module_dtype()`"
    )]
    RecordDType {
        /// Path in the EMA.
        path: String,
        /// Dtype of the EMA.
        expected: DType,
        /// Dtype in the record.
        found: DType,
    },

    /// A record has an average of a set, but not all that it consists of.
    #[error(
        "the record has no `{part}`, a part of the average `{name}`, which it has: `{name}` was saved as another kind of average. \
         Configure that kind, or give this one another name"
    )]
    MissingPart {
        /// Name of the average.
        name: String,
        /// What the record lacks.
        part: String,
    },

    /// A record has compensations, which the EMA does not keep.
    #[error(
        "the record has a compensation for `{path}`, which an EMA of precision {precision} does not keep: configure \
         `EmaPrecision::Compensated`, or leave the compensations out with `record.allow_unused(true)`"
    )]
    UnusedCompensation {
        /// Module path of the first tensor that has one.
        path: String,
        /// The precision of the EMA, as `Debug` prints it.
        precision: String,
    },

    /// [`EmaModel::resume_from`](crate::EmaModel::resume_from) was given progress of another update schedule.
    #[error(
        "the progress is for an interval of {found} steps, and the EMA has an interval of {expected}: convert the number of \
         updates, or configure the same interval"
    )]
    IntervalMismatch {
        /// Interval of the EMA.
        expected: u64,
        /// Interval of the progress.
        found: u64,
    },

    /// Running statistics could not be computed from the data of a loader.
    #[error("running statistics cannot be computed: {problem}")]
    Reestimation {
        /// What the loader or the computation said.
        problem: String,
    },

    /// Running statistics were to be computed of a model in which no BatchNorm layer trains.
    #[error(
        "no BatchNorm layer of the model computes running statistics (it has none, or all are frozen): unfreeze the \
         layers, or do not re-estimate"
    )]
    NothingToReestimate,

    /// Running statistics were to be computed from no data.
    #[error("there are no batches to compute running statistics from: pass at least one")]
    NoBatches,

    /// A forward pass did not change the running statistics of any layer.
    #[error(
        "no batch has changed running statistics such as `{path}`: put the batches on an autodiff device \
         (`device.autodiff()`), as in training, and run the model on them in `forward`"
    )]
    StatisticsUnmoved {
        /// Module path of the first statistic.
        path: String,
    },

    /// Models do not fit each other or the weights, or the rounding of snapshots would be amplified too much.
    #[error("the models cannot be merged: {problem}")]
    Merge {
        /// What is wrong, and what to do.
        problem: String,
    },

    /// The module has no field at a path.
    #[error("the model has no submodule `{path}`: it has {}", list(.siblings))]
    UnknownSubmodule {
        /// The path.
        path: String,
        /// The fields at the last part of the path that exists.
        siblings: Vec<String>,
    },

    /// A path leads to a field without parameters, or to a single parameter.
    #[error(
        "`{path}` is not a submodule with parameters or buffers: name a field that is a module (a single `Param` is \
         not), and create an `Option` before the run"
    )]
    NotASubmodule {
        /// The path.
        path: String,
    },

    /// Two submodules cannot be the model and the EMA of a pair.
    #[error("`{source_path}` and `{ema_path}` cannot be a pair: {problem}")]
    InvalidPair {
        /// The submodule that is trained.
        source_path: String,
        /// Its EMA copy.
        ema_path: String,
        /// Why not, and what to do.
        problem: &'static str,
    },

    /// One submodule of a pair has a tensor that the other has not.
    #[error(
        "`{path}` has no counterpart in `{other}`: create both submodules from the same configuration"
    )]
    Unpaired {
        /// The tensor.
        path: String,
        /// The submodule that lacks it.
        other: String,
    },

    /// The tensors of a pair have different shapes.
    #[error(
        "`{path}` has shape {found} and `{source_path}` has {expected}: create both submodules from the same \
         configuration"
    )]
    PairShape {
        /// The tensor in the EMA copy.
        path: String,
        /// The tensor in the model.
        source_path: String,
        /// Shape in the model.
        expected: Box<Shape>,
        /// Shape in the EMA copy.
        found: Box<Shape>,
    },

    /// The tensors of a pair are of different kinds.
    #[error(
        "`{path}` and `{source_path}` are of different kinds (float, integer, boolean, quantized): create both \
         submodules from the same configuration"
    )]
    PairKind {
        /// The tensor in the EMA copy.
        path: String,
        /// The tensor in the model.
        source_path: String,
    },

    /// A submodule of a pair is no longer what it was when the run began.
    #[error(
        "`{path}` {change} since the run began: pair the submodules again (`EmaSubmodules::new`)"
    )]
    SubmoduleChanged {
        /// Module path of the tensor.
        path: String,
        /// What happened to it: `appeared`, `disappeared`, or changed its shape or kind.
        change: String,
    },

    /// The share of the online weights that a write-back keeps is not between 0 and 1.
    #[error(
        "keep must be in [0, 1], found {found}: it is the share of the online weights that stays, and 0 copies the EMA"
    )]
    Keep {
        /// The share.
        found: f64,
    },

    /// The weight of new values is not between 0 and 1.
    #[error("the weight of new values must be in [0, 1], found {found}: it is 1 - decay")]
    Weight {
        /// The weight.
        found: f64,
    },

    /// The weight of an update is negative or not finite, or the sum of weights would not be finite.
    #[error(
        "the weight of an update must be finite and at least 0, as must the sum of weights, found {found}: scale the weights"
    )]
    UpdateWeight {
        /// The weight.
        found: f64,
    },

    /// A function that blends values returned another number of them.
    #[error(
        "the interpolation returned {found} values for `{path}`, which has {expected}: return one for each"
    )]
    BlendLength {
        /// The tensor.
        path: String,
        /// Number of its elements.
        expected: usize,
        /// Number of values returned.
        found: usize,
    },
}

impl EmaError {
    /// Module path of the tensor or submodule that the error is about.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Missing { path }
            | Self::Unexpected { path }
            | Self::ShapeMismatch { path, .. }
            | Self::DTypeMismatch { path, .. }
            | Self::UnsupportedRank { path, .. }
            | Self::VisitDiffersFromMap { path }
            | Self::NonFinite { path }
            | Self::UnknownFormat { path, .. }
            | Self::RecordDType { path, .. }
            | Self::UnusedCompensation { path, .. }
            | Self::StatisticsUnmoved { path }
            | Self::UnknownSubmodule { path, .. }
            | Self::NotASubmodule { path }
            | Self::InvalidPair { ema_path: path, .. }
            | Self::Unpaired { path, .. }
            | Self::PairShape { path, .. }
            | Self::PairKind { path, .. }
            | Self::SubmoduleChanged { path, .. }
            | Self::BlendLength { path, .. } => Some(path),
            _ => None,
        }
    }
}

/// Burn's traits return errors of this type.
impl From<EmaError> for RecordError {
    fn from(error: EmaError) -> Self {
        Self::Validation(error.to_string())
    }
}

fn called(name: &str) -> String {
    match name {
        "" => "without a name".to_string(),
        name => format!("called `{name}`"),
    }
}

fn list(names: &[String]) -> String {
    let quote = |name: &String| match name.as_str() {
        "" => "one without a name".to_string(),
        name => format!("`{name}`"),
    };
    let quoted: Vec<String> = names.iter().map(quote).collect();
    match quoted.is_empty() {
        true => "none".to_string(),
        false => quoted.join(", "),
    }
}
