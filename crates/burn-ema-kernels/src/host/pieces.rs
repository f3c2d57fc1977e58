//! Many runs of memory, shared out among threads.

use half::{bf16, f16};
use rayon::prelude::*;

use super::{LENGTH, Lerp, worth_a_thread};

/// Work on one average: a run of its memory, that of its source, and the weight.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    F32(Run<'a, f32, f32>),
    F64(Run<'a, f64, f64>),
    F16(Run<'a, f32, f16>),
    BF16(Run<'a, f32, bf16>),
    F32ToF64(Run<'a, f64, f32>),
    F16ToF64(Run<'a, f64, f16>),
    BF16ToF64(Run<'a, f64, bf16>),
}

#[derive(Debug)]
pub(crate) struct Run<'a, E, S> {
    average: &'a mut [E],
    source: &'a [S],
    weight: f64,
}

macro_rules! pieces {
    ($($variant:ident: $average:ty, $source:ty);*) => {
        $(
            impl<'a> From<(&'a mut [$average], &'a [$source], f64)> for Piece<'a> {
                fn from((average, source, weight): (&'a mut [$average], &'a [$source], f64)) -> Self {
                    debug_assert_eq!(average.len(), source.len());
                    Self::$variant(Run { average, source, weight })
                }
            }
        )*

        impl<'a> Piece<'a> {
            fn len(&self) -> usize {
                match self {
                    $(Self::$variant(run) => run.source.len(),)*
                }
            }

            fn address(&self) -> usize {
                match self {
                    $(Self::$variant(run) => run.source.as_ptr().addr(),)*
                }
            }

            /// Cuts off the first `length` numbers.
            fn cut(&mut self, length: usize) -> Self {
                match self {
                    $(Self::$variant(run) => Self::$variant(run.cut(length)),)*
                }
            }

            fn run(&mut self) {
                match self {
                    $(Self::$variant(run) => Lerp::lerp(run.average, run.source, run.weight),)*
                }
            }
        }
    };
}
pieces!(
    F32: f32, f32; F64: f64, f64; F16: f32, f16; BF16: f32, bf16;
    F32ToF64: f64, f32; F16ToF64: f64, f16; BF16ToF64: f64, bf16
);

impl<'a, E, S> Run<'a, E, S> {
    fn cut(&mut self, length: usize) -> Self {
        let (average, rest) = std::mem::take(&mut self.average).split_at_mut(length);
        self.average = rest;
        let (source, rest) = self.source.split_at(length);
        self.source = rest;
        Self {
            average,
            source,
            weight: self.weight,
        }
    }
}

/// Does all the work. Averages of one source are next to each other in `pieces`.
pub(crate) fn run(pieces: Vec<Piece<'_>>) {
    let numbers: usize = pieces.iter().map(Piece::len).sum();
    let mut pieces = short(pieces);
    match worth_a_thread(pieces.len(), numbers) {
        None => pieces.iter_mut().for_each(Piece::run),
        // Work is halved until there is about as much left as is worth a thread.
        Some(least) => pieces
            .par_iter_mut()
            .with_min_len(least)
            .for_each(Piece::run),
    }
}

/// Cuts pieces into ones that fit into a cache, such that those which read the same memory follow each other.
fn short(mut pieces: Vec<Piece<'_>>) -> Vec<Piece<'_>> {
    let mut short = Vec::with_capacity(pieces.len());
    let reads_alike =
        |a: &Piece<'_>, b: &Piece<'_>| a.address() == b.address() && a.len() == b.len();
    for alike in pieces.chunk_by_mut(reads_alike) {
        while alike[0].len() > LENGTH {
            short.extend(alike.iter_mut().map(|piece| piece.cut(LENGTH)));
        }
        short.extend(alike.iter_mut().map(|piece| piece.cut(piece.len())));
    }
    short
}
