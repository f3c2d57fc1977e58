//! Jobs: a source, and averages of it that units of one kernel move together.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::{AddressType, BufferArg, TensorBinding};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::layout::{are_in_step, span, width};
use crate::batch::Batch;

pub(super) struct Job {
    pub(super) source: BufferArg,
    pub(super) averages: Vec<Average>,
    pub(super) kind: Kind,
    /// Length of each of its tensors in memory, in vectors.
    pub(super) vectors: usize,
    /// 64 bits for more than `u32::MAX` elements. How much one binding may span is the device's limit.
    pub(super) address_type: AddressType,
    /// Position of the source in the batch, and whether it is as it was there.
    origin: (usize, bool),
}

pub(super) struct Average {
    /// Where the new value goes.
    pub(super) value: BufferArg,
    /// The old value, if that is elsewhere.
    pub(super) previous: Option<BufferArg>,
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
    let mut jobs: Vec<Job> = Vec::with_capacity(averages.len());
    let mut values = Vec::with_capacity(averages.len());
    for member in averages {
        if member.value.meta.num_elements() == 0 {
            values.push(member.value);
            continue;
        }
        let source = &sources[member.source];
        let is_in_step = are_in_step(&member.value, source);
        let (value, source) = if is_in_step {
            (member.value, source)
        } else {
            let copy = &mut copies[member.source];
            let copy = copy.get_or_insert_with(|| into_contiguous(source.clone()));
            (into_contiguous(member.value), &*copy)
        };
        let (value, previous) = target(value);
        let length = span(&value);
        let kind = Kind {
            value: value.dtype,
            source: source.dtype,
            width: width(&value, &[length]),
            in_place: previous.is_none(),
        };
        let tensors = [source, &value].into_iter().chain(&previous);
        let address_type = tensors.map(CubeTensor::required_address_type).max();
        let address_type = address_type.unwrap_or_default();
        let average = Average {
            value: buffer(&value),
            previous: previous.as_ref().map(buffer),
            weight: member.weight,
        };
        let origin = (member.source, is_in_step);
        let last = jobs
            .last_mut()
            .filter(|job| job.origin == origin && job.kind == kind && job.averages.len() < most);
        match last {
            Some(job) => {
                job.averages.push(average);
                job.address_type = job.address_type.max(address_type);
            }
            None => jobs.push(Job {
                source: buffer(source),
                averages: vec![average],
                kind,
                vectors: length / kind.width,
                address_type,
                origin,
            }),
        }
        values.push(value);
    }
    (jobs, values)
}

impl Job {
    /// Whether the same kernel does both.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.averages.len() == other.averages.len()
    }
}

/// Where the new value of an average goes, and the old one, if that is elsewhere.
fn target(value: CubeTensor) -> (CubeTensor, Option<CubeTensor>) {
    if value.can_mut() {
        return (value, None);
    }
    // Whoever else holds the old value keeps it. The new one has the same strides, hence as much memory.
    let memory = value.client.empty(value.handle.size_in_used() as usize);
    let meta = (*value.meta).clone();
    let (client, device) = (value.client.clone(), value.device.clone());
    let target = CubeTensor::new(client, memory, meta, device, value.dtype);
    (target, Some(value))
}

/// The memory of a tensor as an argument. A clone of the tensor gives the same, but that is longer in the making, and there
/// are thousands of them.
fn buffer(tensor: &CubeTensor) -> BufferArg {
    let binding = TensorBinding {
        handle: tensor.handle.clone().binding(),
        strides: tensor.meta.strides.clone(),
        shape: tensor.meta.shape.clone(),
        tiling: tensor.meta.tiling,
    };
    binding.into_tensor_arg().into_buffer_arg()
}
