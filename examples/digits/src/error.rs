//! Why a run cannot start or continue, each in one line.

use std::io;
use std::path::PathBuf;

use burn_ema::EmaError;

use crate::chart::ChartError;
use crate::data::DataError;

/// What stopped a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DigitsError {
    /// The data file is not right.
    #[error(transparent)]
    Data(#[from] DataError),

    /// The picture could not be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),

    /// The settings of the EMA are not valid.
    #[error(transparent)]
    Ema(#[from] EmaError),

    /// A combination of flags that makes no sense.
    #[error("{0}")]
    Flags(String),

    /// The device is not compiled in, or does not work.
    #[error("{0}")]
    Device(String),

    /// A file or folder of the output cannot be read or written.
    #[error("{path}: {source}")]
    Output {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The output folder holds something that is not a run of this program.
    #[error(
        "{path} holds files that are not from this program: choose an empty or new folder with --out"
    )]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
    },

    /// The run to resume, or its checkpoint, is missing or damaged.
    #[error("cannot resume from epoch {epoch} in {path}: {problem}")]
    Checkpoint {
        /// The epoch that was asked for.
        epoch: usize,
        /// The folder of the run.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },

    /// Training stopped on an error.
    #[error("training stopped: {0}")]
    Training(String),

    /// The EMA weights could not be saved.
    #[error("cannot save the EMA weights to {path}: {problem}")]
    Save {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        problem: String,
    },
}
