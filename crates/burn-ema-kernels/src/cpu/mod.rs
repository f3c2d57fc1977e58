//! The update of memory that the processor can see, for the backends that keep values there.
//!
//! An update reads two numbers and writes one for every parameter, so it takes as long as memory takes. What there
//! is to do is to keep every core busy, to come near each value once, and to do little besides.

mod element;
mod pieces;
mod strided;

pub(crate) use element::{Finite, Lerp};
pub(crate) use pieces::{Piece, run};
pub(crate) use strided::{Layout, dense, lerp_strided};

use rayon::prelude::*;

/// Numbers that are worth a thread of their own: below this, waking one costs more than it saves.
const WORTH_A_THREAD: usize = 1 << 15;

/// Whether all values are finite.
pub(crate) fn all_finite<E: Finite>(values: &[E]) -> bool {
    if values.len() <= WORTH_A_THREAD {
        return E::all_finite(values);
    }
    values.par_chunks(WORTH_A_THREAD).all(E::all_finite)
}
