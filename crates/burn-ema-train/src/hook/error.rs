//! Why an [`EmaHook`](super::EmaHook) refuses to run.

use burn_ema::twin::TwinError;

/// An error of an [`EmaHook`](super::EmaHook). Whenever one is returned, the model is as it was before
/// the call.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// There is nothing to average.
    #[error("module_keys is empty: name at least one averaged network, e.g. `generator_ema`")]
    NoKeys,

    /// The name of a twin does not say which network it follows.
    #[error(
        "module key `{key}` does not end in `_ema`: call the averaged network as the one that it \
         follows, with `_ema` behind it"
    )]
    KeyWithoutSuffix {
        /// The key.
        key: String,
    },

    /// A twin would be averaged twice at each update.
    #[error("module key `{key}` is there twice: name each averaged network once")]
    KeyTwice {
        /// The key.
        key: String,
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

    /// There is no interpolation of that name.
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

    /// The networks of a key cannot be paired.
    #[error("module key `{key}`: {problem}")]
    Twin {
        /// The key.
        key: String,
        /// What is wrong, and what to do.
        problem: TwinError,
    },

    /// A resumed run has twins that share running statistics with their sources.
    #[error(
        "a twin shares BatchNorm's running statistics with its source in a run that is resumed, so the          record put the twin's into both: call `EmaHook::begin` on the model before loading the record"
    )]
    SharedStatistics,

    /// [`after_train_iter`](super::Hook::after_train_iter) came before
    /// [`before_run`](super::Hook::before_run).
    #[error("the hook was called before the run began: call `before_run` of all hooks first")]
    NotBegun,
}
