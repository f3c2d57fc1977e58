//! Errors of an [`EmaHook`](super::EmaHook).

use burn_ema::EmaError;
use burn_ema::RulesError;

/// An error of an [`EmaHook`](super::EmaHook). Whenever one is returned, every value of the model is what
/// it was before the call.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// No submodule is named.
    #[error("module_keys is empty: name at least one EMA copy, e.g. `generator_ema`")]
    NoKeys,

    /// The name of an EMA copy does not say which submodule it follows.
    #[error(
        "module key `{key}` does not end in `_ema`: call the EMA copy as the submodule that it \
         follows, with `_ema` behind it"
    )]
    KeyWithoutSuffix {
        /// The key.
        key: String,
    },

    /// An EMA copy would be averaged twice at each update.
    #[error("module key `{key}` is there twice: name each EMA copy once")]
    KeyTwice {
        /// The key.
        key: String,
    },

    /// A key leads into the EMA copy of another, which is not trained and so cannot be followed or shared.
    #[error(
        "module key `{key}` leads into `{ema}`, which is an EMA copy itself: follow the submodule that is trained, \
         or leave one of the two keys out"
    )]
    KeyWithinEma {
        /// The key.
        key: String,
        /// The other one.
        ema: String,
    },

    /// `lerp` has no such argument.
    #[error(
        "interp_cfg has `{argument}`, which lerp does not know: write `momentum` or \
         `momentum_nontrainable`"
    )]
    UnknownArgument {
        /// The argument.
        argument: String,
    },

    /// The weight of new values is out of its range.
    #[error(
        "momentum must be above 0 and below 1, found {found}: it is the weight of the new value, \
         e.g. 0.001"
    )]
    Momentum {
        /// The momentum.
        found: f64,
    },

    /// The weight of new values of what is not trained is out of its range.
    #[error(
        "momentum_nontrainable must be above 0 and at most 1, found {found}: write 1 to copy what is \
         not trained"
    )]
    MomentumNontrainable {
        /// The momentum.
        found: f64,
    },

    /// A decay schedule is not valid, or gave a number that is no decay.
    #[error("decay: {problem}")]
    Decay {
        /// What is wrong with the schedule.
        problem: RulesError,
    },

    /// There is more than one answer to how far EMA copies move.
    #[error(
        "there is a decay beside a momentum or your own interpolation: write one of `decay`, \
         `momentum` and `interp_mode`"
    )]
    DecayAndMomentum,

    /// No interpolation has that name.
    #[error(
        "interp_mode `{mode}` is unknown: write `lerp`, or hand the hook an interpolation of that name \
         with `EmaHook::with_interpolation`"
    )]
    UnknownMode {
        /// The name.
        mode: String,
    },

    /// An interpolation of the user's does not accept its arguments.
    #[error("interp_mode `{mode}`: {problem}")]
    Interpolation {
        /// Its name.
        mode: String,
        /// What it said.
        problem: String,
    },

    /// The submodules of a key cannot be paired or updated.
    #[error("module key `{key}`: {problem}")]
    Submodule {
        /// The key.
        key: String,
        /// What is wrong, and what to do.
        problem: Box<EmaError>,
    },

    /// A resumed run has EMA copies that share running statistics with other submodules.
    #[error(
        "an EMA copy shares BatchNorm's running statistics with another submodule in a run that is resumed, so \
         that a record put both into one place: call `EmaHook::begin` on the model before loading the \
         record, or before this if the EMA copy was made after loading"
    )]
    SharedStatistics,

    /// [`after_train_iter`](super::Hook::after_train_iter) came before
    /// [`before_run`](super::Hook::before_run).
    #[error("the hook was called before the run began: call `before_run` of all hooks first")]
    NotBegun,
}
