//! What the benches share: workloads, what is timed on them, and the table of the results.
//!
//! | bench | what it tells |
//! |---|---|
//! | `update` | the time of an update beside what memory allows, the naive expression, and PyTorch |
//! | `memory` | the memory that an update needs beside the EMA |
//! | `learner` | what an EMA adds to a training step |
//!
//! Each is a program: `cargo bench -p burn-ema-benches --bench update -- --help`. `BURN_DEVICE` chooses the device
//! among the backends compiled in, `RAYON_NUM_THREADS` (for LibTorch `OMP_NUM_THREADS`) the number of threads on the CPU.
//! `benches/run.sh` runs `update` and the peers in Python in turn.

pub mod case;
pub mod contenders;
pub mod limit;
pub mod naive;
pub mod shapes;
pub mod table;
pub mod timing;
pub mod vit;
pub mod weights;

/// The arguments of the program, without the `--bench` that cargo adds.
pub fn arguments() -> impl Iterator<Item = String> {
    std::env::args().filter(|argument| argument != "--bench")
}
