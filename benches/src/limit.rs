//! What memory allows: the traffic of an update, or a copy, and nothing else.

use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use rayon::prelude::*;

use crate::timing::seconds;

/// Numbers of values that a thread takes at a time, of which the fastest is used.
const CHUNKS: [usize; 3] = [1 << 14, 1 << 16, 1 << 20];

const WEIGHT: f32 = 0.001;

/// An update over two flat arrays in the CPU's memory, in rayon's threads.
#[derive(Debug)]
pub struct FlatLoop {
    ema: Vec<f32>,
    source: Source,
    chunk: usize,
}

#[derive(Debug)]
enum Source {
    Single(Vec<f32>),
    /// The bits of bf16.
    Half(Vec<u16>),
}

impl FlatLoop {
    /// One over `values` values, whose source is of `dtype`: bf16, or f32 otherwise.
    pub fn new(values: usize, dtype: FloatDType) -> Self {
        let source = match dtype {
            FloatDType::BF16 => Source::Half(vec![0x3f80; values]),
            _ => Source::Single(vec![1.0; values]),
        };
        let mut this = Self {
            ema: vec![0.5; values],
            source,
            chunk: 0,
        };
        let mut least = f64::INFINITY;
        let mut fastest = 0;
        for chunk in CHUNKS {
            this.chunk = chunk;
            for _ in 0..5 {
                let time = seconds(|| this.run());
                if time < least {
                    (least, fastest) = (time, chunk);
                }
            }
        }
        this.chunk = fastest;
        this
    }

    /// Does it once.
    pub fn run(&mut self) {
        match &self.source {
            Source::Single(source) => lerp(&mut self.ema, source, self.chunk, |value| value),
            Source::Half(source) => lerp(&mut self.ema, source, self.chunk, |bits| {
                f32::from_bits(u32::from(bits) << 16)
            }),
        }
    }
}

fn lerp<S: Copy + Sync>(
    ema: &mut [f32],
    source: &[S],
    chunk: usize,
    widen: impl Fn(S) -> f32 + Sync,
) {
    let chunks = ema.par_chunks_mut(chunk).zip(source.par_chunks(chunk));
    chunks.for_each(|(ema, source)| {
        for (ema, source) in ema.iter_mut().zip(source) {
            *ema += (widen(*source) - *ema) * WEIGHT;
        }
    });
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
