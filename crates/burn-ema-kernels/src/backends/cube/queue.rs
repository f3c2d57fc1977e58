//! Work on its way to a device, whose thread CubeCL runs: what that is asked for waits in a queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use burn::backend::{DeviceHandle, DeviceId, DeviceService, ServerUtilitiesHandle};
use burn_cubecl::cubecl::prelude::Client;

/// Bytes of averages that keep a device busy for longer than it takes to wake the threads that serve it.
const LONG: usize = 1 << 24;

/// The caller, Fusion's thread and the device's, all of which spin while they wait, and a core for the rest: with fewer, they
/// keep each other from their work.
const MIN_CORES: usize = 4;

/// Whether averages of so many bytes are to be worked on at once, while the rest is on its way.
///
/// Otherwise launches wait until CubeCL's queue is full, or a result is asked for, as operations of Fusion do in one
/// before it.
pub(in crate::backends) fn is_long(bytes: usize) -> bool {
    static HAS_CORES: LazyLock<bool> =
        LazyLock::new(|| available_parallelism().is_ok_and(|cores| cores.get() >= MIN_CORES));
    bytes >= LONG && *HAS_CORES
}

/// Prepares a launch on the device's thread, which has less to do than its callers. It comes after what they launched before.
///
/// # Panics
///
/// If an earlier one did: that thread only prints what it panics with.
pub(super) fn launch(client: &Client, prepare: impl FnOnce(&Client) + Send + 'static) {
    static HAS_PANICKED: AtomicBool = AtomicBool::new(false);
    assert!(
        !HAS_PANICKED.swap(false, Ordering::Relaxed),
        "averages did not move, as a launch panicked on the device's thread, where it said why"
    );
    let client = client.clone();
    thread_of(&client).submit(move |_| {
        if catch_unwind(AssertUnwindSafe(|| prepare(&client))).is_err() {
            HAS_PANICKED.store(true, Ordering::Relaxed);
        }
    });
}

/// Sends what waits for the device on its way, without waiting for it, as a [`Client`] would.
pub(super) fn send(client: &Client) {
    thread_of(client).flush_queue();
}

fn thread_of(client: &Client) -> DeviceHandle<Launches> {
    DeviceHandle::new(client.service_id().device)
}

/// A service on the device's thread beside CubeCL's. All that it has is a place in the queue.
struct Launches;

impl DeviceService for Launches {
    fn init(_: DeviceId) -> Self {
        Self
    }

    fn utilities(&self) -> ServerUtilitiesHandle {
        Arc::new(())
    }
}
