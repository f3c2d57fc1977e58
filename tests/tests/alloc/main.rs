//! What averages cost in memory. A process of its own: its allocator counts, and each test waits for the others to end.

use burn_ema_tests::allocator::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

mod average;
mod frozen;
mod learner;
mod target;
