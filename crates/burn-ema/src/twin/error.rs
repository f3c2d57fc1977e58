//! Why networks cannot be paired.

/// Networks cannot be paired, or are no longer what they were when they were paired. Whenever one is
/// returned, the module is as it was before the call.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TwinError {
    /// The module has no field at a path.
    #[error("the model has no network `{path}`: it has {siblings}")]
    Unknown {
        /// The path.
        path: String,
        /// The fields that are at the last part of the path that exists.
        siblings: String,
    },

    /// There is a field, and nothing in it.
    #[error(
        "`{path}` holds no parameters and no buffers: if it is an `Option`, make the network before \
         the run"
    )]
    Empty {
        /// The path.
        path: String,
    },

    /// One network of a pair has a value that the other has not.
    #[error(
        "`{path}` has no counterpart in `{network}`: make both networks from the same configuration"
    )]
    Unpaired {
        /// The value.
        path: String,
        /// The network that lacks it.
        network: String,
    },

    /// The values of a pair differ in shape.
    #[error(
        "`{path}` has shape {found:?} and `{source_path}` has {expected:?}: make both networks from the \
         same configuration"
    )]
    ShapeMismatch {
        /// The value in the twin.
        path: String,
        /// The value in the source.
        source_path: String,
        /// Shape in the source.
        expected: Vec<usize>,
        /// Shape in the twin.
        found: Vec<usize>,
    },

    /// One value of a pair is a float and the other an integer, say.
    #[error(
        "`{path}` and `{source_path}` are of different kinds (float, integer, boolean): make both \
         networks from the same configuration"
    )]
    KindMismatch {
        /// The value in the twin.
        path: String,
        /// The value in the source.
        source_path: String,
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

    /// A twin shares running statistics, and they cannot be taken apart.
    #[error(
        "`{path}` shares BatchNorm's running statistics with another network, and with gradient \
         checkpointing they cannot be taken apart: make the twin from a configuration (`config.init`) in \
         place of `clone()`, and start with `start_iter` of at least 1"
    )]
    Shared {
        /// The first value that is shared.
        path: String,
    },

    /// A network is no longer what it was when it was paired.
    #[error(
        "`{path}` {change} since the run began: networks and their twins must keep their structure"
    )]
    Changed {
        /// Module path of the value.
        path: String,
        /// What happened to it: `appeared`, `disappeared`, or changed its shape or kind.
        change: String,
    },
}

impl TwinError {
    /// Module path of the value or network that the error is about.
    pub fn path(&self) -> &str {
        match self {
            Self::Unknown { path, .. }
            | Self::Empty { path }
            | Self::Unpaired { path, .. }
            | Self::ShapeMismatch { path, .. }
            | Self::KindMismatch { path, .. }
            | Self::RankTooHigh { path, .. }
            | Self::Shared { path }
            | Self::Changed { path, .. } => path,
        }
    }
}
