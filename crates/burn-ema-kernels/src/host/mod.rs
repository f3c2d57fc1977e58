//! The update of memory that the processor can see, for the backends that keep values there.
//!
//! An update reads two numbers and writes one for every parameter, so it takes as long as memory takes. What there
//! is to do is to keep every core busy, to come near each value once, and to do little besides.

mod element;
mod finite;
mod pieces;
#[cfg(feature = "flex")]
mod strided;

pub(crate) use element::{Lerp, LerpCompensated, LerpStochastic};
pub(crate) use finite::{Numbers, all_finite};
pub(crate) use pieces::{CompensatedPiece, Piece, StochasticPiece, run};
#[cfg(feature = "flex")]
pub(crate) use strided::{Layout, dense, lerp_strided};

/// Numbers in a piece of work: fewer are not worth a thread, for waking one costs more than it saves. Of f32, two of
/// them fit into the second-level cache of a core: the source, which is read once for all of its averages, and an average.
const LENGTH: usize = 1 << 15;

/// How many of so many pieces a thread should do at least, if there is work for several threads.
fn worth_a_thread(pieces: usize, numbers: usize) -> Option<usize> {
    let is_one = numbers <= LENGTH || rayon::current_num_threads() == 1;
    (!is_one).then(|| (pieces * LENGTH / numbers).max(1))
}
