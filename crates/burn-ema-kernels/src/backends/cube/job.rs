//! Jobs: a source, and averages of it that units of one kernel move together.

use std::iter::once;

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::AddressType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::layout::{are_in_step, span, width};
use crate::Batch;

pub(super) struct Job {
    pub(super) source: CubeTensor,
    pub(super) averages: Vec<Average>,
    pub(super) kind: Kind,
    /// Length of each of its tensors in memory, in vectors.
    pub(super) vectors: usize,
    /// Position of the source in the batch, and whether it is as it was there.
    origin: (usize, bool),
}

pub(super) struct Average {
    /// Where the new value goes.
    pub(super) value: CubeTensor,
    /// The old value, if that is elsewhere.
    pub(super) previous: Option<CubeTensor>,
    pub(super) weight: f64,
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Kind {
    pub(super) value: DType,
    pub(super) source: DType,
    /// Elements of a vector.
    pub(super) width: usize,
    pub(super) in_place: bool,
}

/// The jobs of a batch, of at most `most` averages each, and the tensors that will hold its result.
pub(super) fn plan(batch: Batch<CubeBackend>, most: usize) -> (Vec<Job>, Vec<CubeTensor>) {
    // Sources live until the end, so that no average that shares memory with one seems to be the only holder.
    let Batch { sources, averages } = batch;
    let mut copies: Vec<Option<CubeTensor>> = vec![None; sources.len()];
    let mut jobs: Vec<Job> = Vec::new();
    let mut values = Vec::with_capacity(averages.len());
    for member in averages {
        if member.value.meta.num_elements() == 0 {
            values.push(member.value);
            continue;
        }
        let source = &sources[member.source];
        let is_in_step = are_in_step(&member.value, source);
        let (value, source) = if is_in_step {
            (member.value, source.clone())
        } else {
            let copy = &mut copies[member.source];
            let copy = copy.get_or_insert_with(|| into_contiguous(source.clone()));
            (into_contiguous(member.value), copy.clone())
        };
        let average = Average::new(value, member.weight);
        values.push(average.value.clone());

        let length = span(&average.value);
        let kind = Kind {
            value: average.value.dtype,
            source: source.dtype,
            width: width(&average.value, &[length]),
            in_place: average.previous.is_none(),
        };
        let origin = (member.source, is_in_step);
        let last = jobs
            .last_mut()
            .filter(|job| job.origin == origin && job.kind == kind && job.averages.len() < most);
        match last {
            Some(job) => job.averages.push(average),
            None => jobs.push(Job {
                source,
                averages: vec![average],
                kind,
                vectors: length / kind.width,
                origin,
            }),
        }
    }
    (jobs, values)
}

impl Job {
    /// 64 bits for more than `u32::MAX` elements. How much one binding may span is the device's limit.
    pub(super) fn address_type(&self) -> AddressType {
        self.averages
            .iter()
            .flat_map(|average| once(&average.value).chain(&average.previous))
            .chain(once(&self.source))
            .map(CubeTensor::required_address_type)
            .max()
            .unwrap_or_default()
    }

    /// Whether the same kernel does both.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.averages.len() == other.averages.len()
    }
}

impl Average {
    fn new(value: CubeTensor, weight: f64) -> Self {
        if value.can_mut() {
            return Self {
                value,
                previous: None,
                weight,
            };
        }
        // Whoever else holds the old value keeps it. The new one has the same strides, hence as much memory.
        let memory = value.client.empty(value.handle.size_in_used() as usize);
        let meta = (*value.meta).clone();
        let (client, device) = (value.client.clone(), value.device.clone());
        Self {
            value: CubeTensor::new(client, memory, meta, device, value.dtype),
            previous: Some(value),
            weight,
        }
    }
}
