//! Why there is no picture, each in one line.

use std::io;
use std::path::PathBuf;

use burn_ema::EmaError;

use crate::chart::ChartError;

/// What stopped a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfilesError {
    /// A decay schedule is not valid.
    #[error(transparent)]
    Ema(#[from] EmaError),

    /// The picture could not be drawn or written.
    #[error(transparent)]
    Chart(#[from] ChartError),

    /// The output folder cannot be made.
    #[error("cannot write into {path}: {source}. Choose another folder with --out")]
    Output {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
