//! An allocator that counts, for tests of memory.
//!
//! A test binary that declares it counts what the whole process allocates, so its tests have to run
//! one at a time: each starts with [`alone`].

// SAFETY: `Counting` passes each call on to the system's allocator with the arguments that it got,
// and counts; so it keeps the contract of `GlobalAlloc` as far as its caller does.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Tensor;

use crate::backend;

/// The system's allocator, counting. To be a `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Keeps the other tests of the binary waiting.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that are allocated now.
pub fn live() -> usize {
    LIVE.load(SeqCst)
}

/// Bytes above those that are live now, at the peak of `work`.
pub fn peak(work: impl FnOnce()) -> f64 {
    let before = live();
    PEAK.store(before, SeqCst);
    work();
    (PEAK.load(SeqCst) - before) as f64
}

/// Whether the backend's tensors are in memory that is counted. Says so on the test's output where
/// they are not.
pub fn sees_tensors(test: &str) -> bool {
    let device = backend::device();
    let bytes = peak(|| drop(Tensor::<2>::ones([1000, 1000], &device)));
    let sees = bytes > 3.9e6;
    if !sees {
        println!("SKIPPED {test}: {device:?} keeps its tensors elsewhere");
    }
    sees
}

fn grow(bytes: usize) {
    let live = LIVE.fetch_add(bytes, SeqCst) + bytes;
    PEAK.fetch_max(live, SeqCst);
}

fn shrink(bytes: usize) {
    LIVE.fetch_sub(bytes, SeqCst);
}

// SAFETY: see above.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: `pointer` came from `System` with this `layout`, as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        // SAFETY: `pointer` came from `System` with this `layout`, as the caller promises.
        let pointer = unsafe { System.realloc(pointer, layout, size) };
        shrink(layout.size());
        pointer
    }
}
