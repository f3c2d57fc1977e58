//! Random numbers in tests: a backend has one generator for the whole process.
//!
//! A test that seeds it expects to be the only one that draws. So each test of such a binary that draws numbers, if only
//! as the first values of a layer, starts with [`alone`].

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps the other tests of the binary that draw numbers waiting.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
