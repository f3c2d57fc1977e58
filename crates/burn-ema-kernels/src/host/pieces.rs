//! Many runs of memory, shared out among threads.

use half::{bf16, f16};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::{LENGTH, Lerp, LerpCompensated, LerpStochastic, worth_a_thread};

/// Work on one average, which can be cut into parts.
pub(crate) trait Work: Send + Sized {
    /// Numbers that it changes.
    fn len(&self) -> usize;

    /// Where its source is.
    fn address(&self) -> usize;

    /// Cuts off the first `length` numbers.
    fn cut(&mut self, length: usize) -> Self;

    /// Does it, in code that is compiled for whatever processor it is inlined for.
    fn run_inline(&mut self);

    /// Does it with the widest vectors that the processor has.
    fn run(&mut self) {
        Arch::new().dispatch(Inline(self));
    }
}

struct Inline<'a, W>(&'a mut W);

impl<W: Work> NullaryFnOnce for Inline<'_, W> {
    type Output = ();

    // A closure would be compiled for the least processor.
    #[inline(always)]
    fn call(self) {
        self.0.run_inline();
    }
}

/// A run of an average's memory, that of its source, and the weight.
#[derive(Debug)]
pub(crate) struct Run<'a, E, S> {
    average: &'a mut [E],
    source: &'a [S],
    weight: f64,
}

/// The same with the compensation of the average.
#[derive(Debug)]
pub(crate) struct CompensatedRun<'a, E, S> {
    run: Run<'a, E, S>,
    compensation: &'a mut [E],
}

/// The same with the key of the average, and the number of the first element.
#[derive(Debug)]
pub(crate) struct StochasticRun<'a, E, S> {
    run: Run<'a, E, S>,
    key: u64,
    first: usize,
}

fn cut<'a, E>(numbers: &mut &'a mut [E], length: usize) -> &'a mut [E] {
    let (first, rest) = std::mem::take(numbers).split_at_mut(length);
    *numbers = rest;
    first
}

impl<E, S> Run<'_, E, S> {
    fn cut(&mut self, length: usize) -> Self {
        let (source, rest) = self.source.split_at(length);
        self.source = rest;
        Self {
            average: cut(&mut self.average, length),
            source,
            weight: self.weight,
        }
    }
}

impl<E: Lerp<S> + Send, S: Sync> Work for Run<'_, E, S> {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn address(&self) -> usize {
        self.source.as_ptr().addr()
    }

    fn cut(&mut self, length: usize) -> Self {
        self.cut(length)
    }

    #[inline(always)]
    fn run_inline(&mut self) {
        E::lerp(self.average, self.source, self.weight);
    }
}

impl<E: LerpCompensated<S> + Send, S: Sync> Work for CompensatedRun<'_, E, S> {
    fn len(&self) -> usize {
        self.run.source.len()
    }

    fn address(&self) -> usize {
        self.run.source.as_ptr().addr()
    }

    fn cut(&mut self, length: usize) -> Self {
        Self {
            run: self.run.cut(length),
            compensation: cut(&mut self.compensation, length),
        }
    }

    #[inline(always)]
    fn run_inline(&mut self) {
        let Run {
            average,
            source,
            weight,
        } = &mut self.run;
        E::lerp_compensated(average, self.compensation, source, *weight);
    }
}

impl<E: LerpStochastic<S> + Send, S: Sync> Work for StochasticRun<'_, E, S> {
    fn len(&self) -> usize {
        self.run.source.len()
    }

    fn address(&self) -> usize {
        self.run.source.as_ptr().addr()
    }

    fn cut(&mut self, length: usize) -> Self {
        let first = self.first;
        self.first += length;
        Self {
            run: self.run.cut(length),
            key: self.key,
            first,
        }
    }

    #[inline(always)]
    fn run_inline(&mut self) {
        let Run {
            average,
            source,
            weight,
        } = &mut self.run;
        E::lerp_stochastic(average, source, *weight, self.key, self.first);
    }
}

type Parts<'a, E, S> = (&'a mut [E], &'a [S], f64);
type CompensatedParts<'a, E, S> = (&'a mut [E], &'a mut [E], &'a [S], f64);
type StochasticParts<'a, E, S> = (&'a mut [E], &'a [S], f64, u64);

impl<'a, E, S> From<Parts<'a, E, S>> for Run<'a, E, S> {
    fn from((average, source, weight): Parts<'a, E, S>) -> Self {
        debug_assert_eq!(average.len(), source.len());
        Self {
            average,
            source,
            weight,
        }
    }
}

impl<'a, E, S> From<CompensatedParts<'a, E, S>> for CompensatedRun<'a, E, S> {
    fn from((average, compensation, source, weight): CompensatedParts<'a, E, S>) -> Self {
        debug_assert_eq!(average.len(), compensation.len());
        Self {
            run: (average, source, weight).into(),
            compensation,
        }
    }
}

impl<'a, E, S> From<StochasticParts<'a, E, S>> for StochasticRun<'a, E, S> {
    fn from((average, source, weight, key): StochasticParts<'a, E, S>) -> Self {
        Self {
            run: (average, source, weight).into(),
            key,
            first: 0,
        }
    }
}

/// Work of all dtypes of a kind of run, and what it is made of.
macro_rules! work {
    ($name:ident of $run:ident of $parts:ident; $($variant:ident: $average:ty, $source:ty);*) => {
        #[derive(Debug)]
        pub(crate) enum $name<'a> {
            $($variant($run<'a, $average, $source>),)*
        }

        $(
            impl<'a> From<$parts<'a, $average, $source>> for $name<'a> {
                fn from(parts: $parts<'a, $average, $source>) -> Self {
                    Self::$variant($run::from(parts))
                }
            }
        )*

        impl Work for $name<'_> {
            fn len(&self) -> usize {
                match self {
                    $(Self::$variant(run) => run.len(),)*
                }
            }

            fn address(&self) -> usize {
                match self {
                    $(Self::$variant(run) => run.address(),)*
                }
            }

            fn cut(&mut self, length: usize) -> Self {
                match self {
                    $(Self::$variant(run) => Self::$variant(run.cut(length)),)*
                }
            }

            #[inline(always)]
            fn run_inline(&mut self) {
                match self {
                    $(Self::$variant(run) => run.run_inline(),)*
                }
            }
        }
    };
}
work!(
    Piece of Run of Parts;
    F32: f32, f32; F64: f64, f64; F16: f32, f16; BF16: f32, bf16;
    F32ToF64: f64, f32; F16ToF64: f64, f16; BF16ToF64: f64, bf16
);
work!(
    CompensatedPiece of CompensatedRun of CompensatedParts;
    F32: f32, f32; F64: f64, f64; F16: f32, f16; BF16: f32, bf16
);
work!(
    StochasticPiece of StochasticRun of StochasticParts;
    F32: bf16, f32; F16: bf16, f16; BF16: bf16, bf16;
    F32InF32: f32, f32; F16InF32: f32, f16; BF16InF32: f32, bf16
);

/// Does all the work. Averages of one source are next to each other in `pieces`.
pub(crate) fn run<W: Work>(pieces: Vec<W>) {
    let numbers: usize = pieces.iter().map(W::len).sum();
    let mut pieces = short(pieces);
    match worth_a_thread(pieces.len(), numbers) {
        None => pieces.iter_mut().for_each(W::run),
        // Work is halved until there is about as much left as is worth a thread.
        Some(least) => pieces.par_iter_mut().with_min_len(least).for_each(W::run),
    }
}

/// Cuts pieces into ones that fit into a cache, such that those which read the same memory follow each other.
fn short<W: Work>(mut pieces: Vec<W>) -> Vec<W> {
    let mut short = Vec::with_capacity(pieces.len());
    let reads_alike = |a: &W, b: &W| a.address() == b.address() && a.len() == b.len();
    for alike in pieces.chunk_by_mut(reads_alike) {
        while alike[0].len() > LENGTH {
            short.extend(alike.iter_mut().map(|piece| piece.cut(LENGTH)));
        }
        short.extend(alike.iter_mut().map(|piece| piece.cut(piece.len())));
    }
    short
}
