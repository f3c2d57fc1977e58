//! A look at numbers: whether all of them are finite.

use half::{bf16, f16};
use rayon::prelude::*;

use super::{LENGTH, worth_a_thread};

/// The values of a tensor, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Numbers<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
}

/// Whether all of them are finite.
pub(crate) fn all_finite(all: &[Numbers<'_>]) -> bool {
    let numbers = all.iter().map(Numbers::len).sum();
    let mut blocks = Vec::with_capacity(all.len());
    all.iter().for_each(|numbers| numbers.part(&mut blocks));
    match worth_a_thread(blocks.len(), numbers) {
        None => blocks.iter().all(Numbers::are_finite),
        Some(least) => {
            let blocks = blocks.par_iter().with_min_len(least);
            blocks.all(Numbers::are_finite)
        }
    }
}

macro_rules! numbers {
    ($($variant:ident: $float:ty, $exponent:expr);*) => {
        $(
            impl<'a> From<&'a [$float]> for Numbers<'a> {
                fn from(numbers: &'a [$float]) -> Self {
                    Self::$variant(numbers)
                }
            }
        )*

        impl<'a> Numbers<'a> {
            fn len(&self) -> usize {
                match self {
                    $(Self::$variant(numbers) => numbers.len(),)*
                }
            }

            /// Adds these numbers to `blocks`, in parts that are worth a thread.
            fn part(&self, blocks: &mut Vec<Self>) {
                match *self {
                    $(Self::$variant(numbers) => blocks.extend(numbers.chunks(LENGTH).map(Self::from)),)*
                }
            }

            fn are_finite(&self) -> bool {
                match self {
                    $(Self::$variant(numbers) => {
                        let is_finite = |number: &$float| number.to_bits() & $exponent != $exponent;
                        // No early exit within a block, so that the compiler takes many at once.
                        let mut blocks = numbers.chunks(1024);
                        blocks.all(|block| block.iter().fold(true, |all, number| all & is_finite(number)))
                    })*
                }
            }
        }
    };
}
numbers!(F32: f32, 0x7f80_0000; F64: f64, 0x7ff0_0000_0000_0000; F16: f16, 0x7c00; BF16: bf16, 0x7f80);
