//! Why an [`EmaHook`](super::EmaHook) refuses to run.

use burn_ema::EmaError;
use burn_ema::twin::TwinError;

/// An error of an [`EmaHook`](super::EmaHook). Whenever one is returned, every value of the model is what
/// it was before the call.
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

    /// A key leads into the twin of another, which is not trained and so cannot be followed or shared.
    #[error(
        "module key `{key}` leads into `{twin}`, which is an averaged network itself: follow the trained \
         network, or leave one of the two keys out"
    )]
    KeyWithinTwin {
        /// The key.
        key: String,
        /// The other one.
        twin: String,
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

    /// A decay rule is not valid, or gave something that is no decay.
    #[error("decay: {problem}")]
    Decay {
        /// What is wrong with it.
        problem: String,
    },

    /// There is more than one answer to how far twins move.
    #[error(
        "decay is there beside a momentum or an interpolation of your own: write one of `decay`, \
         `momentum` and `interp_mode`"
    )]
    DecayAndMomentum,

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

    /// A resumed run has twins that share running statistics with other networks.
    #[error(
        "a twin shares BatchNorm's running statistics with another network in a run that is resumed, so \
         that a record put both into one place: call `EmaHook::begin` on the model before loading the \
         record, or before this if the twin was made after loading"
    )]
    SharedStatistics,

    /// [`after_train_iter`](super::Hook::after_train_iter) came before
    /// [`before_run`](super::Hook::before_run).
    #[error("the hook was called before the run began: call `before_run` of all hooks first")]
    NotBegun,
}

impl HookError {
    pub(super) fn decay(problem: EmaError) -> Self {
        Self::Decay {
            problem: problem.to_string(),
        }
    }
}
