//! Why a run cannot start or continue, each in one line.

use std::io;
use std::path::PathBuf;

use burn_ema_digits::chart::ChartError;
use burn_ema_digits::data::DataError;
use burn_ema_digits::error::DigitsError;
use burn_ema_train::hook::HookError;

/// What stopped a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GanError {
    /// The data file is not right.
    #[error(transparent)]
    Data(#[from] DataError),

    /// The device is not compiled in, or does not work.
    #[error(transparent)]
    Device(#[from] DigitsError),

    /// The settings of the EMA are not valid.
    #[error(transparent)]
    Hook(#[from] HookError),

    /// A hook stopped the run.
    #[error("{0}")]
    Run(Box<dyn std::error::Error + Send + Sync>),

    /// A picture could not be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),

    /// A file or folder of the output cannot be read or written.
    #[error("{path}: {problem}")]
    Output {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },

    /// The output folder holds something that is not a run of this program.
    #[error(
        "{path} holds files that are not from this program: choose an empty or new folder with --out"
    )]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
    },

    /// The run to resume is missing, damaged, or at its end.
    #[error("cannot resume in {path}: {problem}")]
    Resume {
        /// The folder of the run.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl GanError {
    pub(crate) fn output(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Output {
            path: path.into(),
            problem: source.to_string(),
        }
    }
}
