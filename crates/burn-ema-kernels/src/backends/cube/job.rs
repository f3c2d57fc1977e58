//! Jobs: a source, and averages of it that units of one kernel move together.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::{AddressType, BufferArg, TensorBinding};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::kernel::Rounding;
use super::layout::{are_in_step, is_row_by_row, span, width};
use crate::batch::Batch;
use crate::random::BLOCK;

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
    pub(super) value: Target,
    /// What rounding has lost of it, if that is kept.
    pub(super) compensation: Option<Target>,
    pub(super) weight: f64,
    /// What its random bits are made of, if it is rounded stochastically.
    pub(super) key: Option<u64>,
}

/// A tensor that changes.
pub(super) struct Target {
    /// Where the new values go.
    pub(super) new: BufferArg,
    /// The old ones, if they are elsewhere.
    pub(super) previous: Option<BufferArg>,
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Kind {
    pub(super) value: DType,
    pub(super) source: DType,
    /// Elements of a vector.
    pub(super) width: usize,
    pub(super) in_place: bool,
    pub(super) rounding: Rounding,
}

/// The jobs of a batch, of at most `most` averages each, and the tensors that will hold its result: values, and then
/// compensations.
pub(super) fn plan(batch: Batch<CubeBackend>, most: usize) -> (Vec<Job>, Vec<CubeTensor>) {
    let rounding = Rounding::of(&batch);
    // Sources live until the end, so that no average that shares memory with one seems to be the only holder.
    let Batch {
        sources,
        averages,
        compensations,
        keys,
    } = batch;
    let mut copies: Vec<Option<CubeTensor>> = vec![None; sources.len()];
    let mut jobs: Vec<Job> = Vec::with_capacity(averages.len());
    let mut values = Vec::with_capacity(averages.len());
    let mut new_compensations = Vec::with_capacity(compensations.len());
    let mut compensations = compensations.into_iter();
    let mut keys = keys.into_iter();
    for member in averages {
        let (compensation, key) = (compensations.next(), keys.next());
        if member.value.meta.num_elements() == 0 {
            values.push(member.value);
            new_compensations.extend(compensation);
            continue;
        }
        let source = &sources[member.source];
        let is_in_step = match rounding {
            Rounding::Nearest => are_in_step(&member.value, source),
            // Compensations lie row by row, and random bits go by the row.
            Rounding::Compensated | Rounding::Stochastic => [&member.value, source]
                .into_iter()
                .chain(&compensation)
                .all(is_row_by_row),
        };
        let (value, compensation, source) = if is_in_step {
            (member.value, compensation, source)
        } else {
            let copy = &mut copies[member.source];
            let copy = copy.get_or_insert_with(|| into_contiguous(source.clone()));
            let compensation = compensation.map(into_contiguous);
            (into_contiguous(member.value), compensation, &*copy)
        };
        let in_place = value.can_mut() && compensation.as_ref().is_none_or(CubeTensor::can_mut);
        let (value, previous) = target(value, in_place);
        let (compensation, previous_compensation) = match compensation {
            Some(compensation) => {
                let (new, previous) = target(compensation, in_place);
                (Some(new), previous)
            }
            None => (None, None),
        };
        let length = span(&value);
        let width = width(&value, &[length]);
        let kind = Kind {
            value: value.dtype,
            source: source.dtype,
            width: match rounding {
                // The random bits of a vector are halves of one kind.
                Rounding::Stochastic => width.min(BLOCK / 2),
                Rounding::Nearest | Rounding::Compensated => width,
            },
            in_place,
            rounding,
        };
        let tensors = [source, &value].into_iter().chain(&previous);
        let address_type = tensors.map(CubeTensor::required_address_type).max();
        let address_type = address_type.unwrap_or_default();
        let average = Average {
            value: Target::of(&value, previous.as_ref()),
            compensation: compensation
                .as_ref()
                .map(|new| Target::of(new, previous_compensation.as_ref())),
            weight: member.weight,
            key,
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
        new_compensations.extend(compensation);
    }
    values.extend(new_compensations);
    (jobs, values)
}

impl Target {
    fn of(new: &CubeTensor, previous: Option<&CubeTensor>) -> Self {
        Self {
            new: buffer(new),
            previous: previous.map(buffer),
        }
    }
}

impl Job {
    /// Whether the same kernel does both.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.averages.len() == other.averages.len()
    }
}

/// Where the new values of a tensor go, and the old ones, if they are elsewhere.
fn target(value: CubeTensor, in_place: bool) -> (CubeTensor, Option<CubeTensor>) {
    if in_place {
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
