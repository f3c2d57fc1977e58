//! Folders of tests.

use std::path::Path;

use tempfile::TempDir;

use crate::backend;

/// A folder that is gone with all that is in it when this is dropped.
///
/// Burn reads files late, on GPUs after it has said that it has loaded them. So whatever a test has loaded from here and not
/// looked at is read before that: otherwise CubeCL fails to, and its error can come up where another test uses the same
/// memory.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// An empty folder.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn temporary() -> Self {
        Self(tempfile::tempdir().expect("there is a place for temporary files"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A failure is that of a test, which tells of it.
        let _ = backend::device().sync();
    }
}
