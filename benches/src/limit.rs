//! What memory allows: the traffic of an update, or a copy, and nothing else.

use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use burn_ema::config::EmaPrecision;
use rayon::prelude::*;

use crate::timing::seconds;

/// Numbers of values that a thread takes at a time, of which the fastest is used.
const CHUNKS: [usize; 3] = [1 << 14, 1 << 16, 1 << 20];

/// The traffic of an update in the CPU's memory, in rayon's threads: what it reads and writes, and an addition of integers.
#[derive(Debug)]
pub struct Traffic {
    source: Bits,
    ema: Ema,
    chunk: usize,
}

/// The bits of a source.
#[derive(Debug)]
enum Bits {
    Single(Vec<u32>),
    Half(Vec<u16>),
}

/// What an update reads and writes.
#[derive(Debug)]
enum Ema {
    Half(Vec<u16>),
    Single(Vec<u32>),
    Double(Vec<u64>),
    /// With a compensation.
    Two(Vec<u32>, Vec<u32>),
}

impl Traffic {
    /// That of an EMA of `values` values, whose source is of `dtype`: bf16, or f32 otherwise.
    pub fn of(precision: EmaPrecision, values: usize, dtype: FloatDType) -> Self {
        let mut this = Self {
            source: match dtype {
                FloatDType::BF16 => Bits::Half(vec![1; values]),
                _ => Bits::Single(vec![1; values]),
            },
            ema: match precision {
                EmaPrecision::F64 => Ema::Double(vec![1; values]),
                EmaPrecision::Compensated => Ema::Two(vec![1; values], vec![1; values]),
                EmaPrecision::StochasticBf16 { .. } => Ema::Half(vec![1; values]),
                _ => Ema::Single(vec![1; values]),
            },
            chunk: 0,
        };
        this.chunk = fastest_chunk(|chunk| {
            this.chunk = chunk;
            this.run();
        });
        this
    }

    /// Bytes that are read and written.
    pub fn bytes(&self) -> usize {
        let of_source = match &self.source {
            Bits::Single(source) => 4 * source.len(),
            Bits::Half(source) => 2 * source.len(),
        };
        of_source
            + match &self.ema {
                Ema::Half(ema) => 4 * ema.len(),
                Ema::Single(ema) => 8 * ema.len(),
                Ema::Double(ema) => 16 * ema.len(),
                Ema::Two(ema, _) => 16 * ema.len(),
            }
    }

    /// Does it once.
    pub fn run(&mut self) {
        match &self.source {
            Bits::Single(source) => self.ema.add(source, self.chunk),
            Bits::Half(source) => self.ema.add(source, self.chunk),
        }
    }
}

impl Ema {
    fn add<S: Copy + Sync + Into<u32>>(&mut self, source: &[S], chunk: usize) {
        match self {
            Self::Half(ema) => in_chunks(ema, source, chunk, |ema, source| {
                *ema = ema.wrapping_add(source.into() as u16);
            }),
            Self::Single(ema) => in_chunks(ema, source, chunk, |ema, source| {
                *ema = ema.wrapping_add(source.into());
            }),
            Self::Double(ema) => in_chunks(ema, source, chunk, |ema, source| {
                *ema = ema.wrapping_add(u64::from(source.into()));
            }),
            Self::Two(ema, compensation) => {
                let chunks = ema.par_chunks_mut(chunk).zip(source.par_chunks(chunk));
                let chunks = chunks.zip(compensation.par_chunks_mut(chunk));
                chunks.for_each(|((ema, source), compensation)| {
                    let elements = ema.iter_mut().zip(source).zip(compensation);
                    for ((ema, source), compensation) in elements {
                        *ema = ema.wrapping_add((*source).into());
                        *compensation = compensation.wrapping_add((*source).into());
                    }
                });
            }
        }
    }
}

fn in_chunks<E: Send, S: Copy + Sync>(
    ema: &mut [E],
    source: &[S],
    chunk: usize,
    change: impl Fn(&mut E, S) + Sync,
) {
    let chunks = ema.par_chunks_mut(chunk).zip(source.par_chunks(chunk));
    chunks.for_each(|(ema, source)| {
        for (ema, source) in ema.iter_mut().zip(source) {
            change(ema, *source);
        }
    });
}

/// The number of values that a thread takes at a time with which `run` is fastest.
fn fastest_chunk(mut run: impl FnMut(usize)) -> usize {
    let mut least = f64::INFINITY;
    let mut fastest = 0;
    for chunk in CHUNKS {
        for _ in 0..5 {
            let time = seconds(|| run(chunk));
            if time < least {
                (least, fastest) = (time, chunk);
            }
        }
    }
    fastest
}

/// A copy on the device, tensor by tensor of a size at which launches do not show.
#[derive(Debug)]
pub struct DeviceCopy {
    originals: Vec<Tensor<1>>,
    copies: Vec<Tensor<1>>,
}

impl DeviceCopy {
    /// One of `values` values of f32.
    pub fn new(values: usize, device: &Device) -> Self {
        // Drivers limit the size of a buffer.
        const PIECE: usize = 1 << 26;
        let piece = |start: usize| {
            let length = PIECE.min(values - start);
            Tensor::<1>::random([length], Distribution::Default, device)
        };
        Self {
            originals: (0..values).step_by(PIECE).map(piece).collect(),
            copies: Vec::new(),
        }
    }

    /// Does it once.
    pub fn run(&mut self) {
        self.copies.clear();
        let originals = self.originals.iter();
        // By a factor, as a clone copies nothing; and kept, as Fusion does not write what nobody holds.
        let copies = originals.map(|original| original.clone() * 0.999);
        self.copies.extend(copies);
    }
}

/// Whether the tensors of `device` are in the CPU's memory.
pub fn is_cpu(device: &Device) -> bool {
    let name = format!("{device:?}");
    !name.contains("Cube(") || name.contains("Cube(Cpu")
}
