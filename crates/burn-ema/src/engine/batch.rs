//! Tensors on their way towards the model's: gathered, so that one call of a kernel moves them all.

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Device};
use burn_ema_kernels::Average;

use crate::burn_facts::{late_reads, rank};
use crate::store::slot::Slot;

/// Bytes of copies that are in memory at a time: once there are more, the tensors move.
const MAX_COPIED: usize = 1 << 25;

/// Tensors of one or several EMAs that are to move. Those of one source are added one after the other.
#[derive(Debug)]
pub(crate) struct Batch {
    sources: Vec<BridgeTensor>,
    averages: Vec<Average>,
    homes: Vec<Home>,
    /// How many sources may come, and how many tensors for each.
    expected: (usize, usize),
    /// How many sources one call of a kernel takes.
    limit: usize,
    /// Clones that make the kernel write to new memory, for late reads of the old.
    kept: Vec<BridgeTensor>,
    /// Bytes of tensors that are in memory twice until they have moved.
    copied: usize,
}

/// Where a tensor comes from, and goes back to.
#[derive(Clone, Copy, Debug)]
struct Home {
    member: usize,
    place: usize,
    was_shared: bool,
}

impl Batch {
    /// For about so many sources, and so many tensors for each.
    pub(crate) fn of(sources: usize, members: usize) -> Self {
        Self {
            sources: Vec::new(),
            averages: Vec::new(),
            homes: Vec::new(),
            expected: (sources, members),
            limit: usize::MAX,
            kept: Vec::new(),
            copied: 0,
        }
    }

    /// Adds a source for the tensors that are added next. It is brought to `device`, if there is one.
    pub(crate) fn add_source(&mut self, source: BridgeTensor, device: Option<&Device>) {
        let source = match device {
            Some(device) => self.brought(source, device),
            None => source,
        };
        if self.sources.is_empty() {
            self.limit = burn_ema_kernels::batch_size(&source);
            let (sources, members) = self.expected;
            let sources = sources.min(self.limit);
            self.sources.reserve(sources);
            self.averages.reserve(sources * members);
            self.homes.reserve(sources * members);
        }
        self.sources.push(source);
    }

    /// Adds the tensor of a slot, which moves towards the source that was added last, and is of `dtype` from then on. Says
    /// whether it was on another device than the source.
    pub(crate) fn add(
        &mut self,
        slot: &mut Slot,
        (member, place): (usize, usize),
        dtype: DType,
        weight: f64,
    ) -> bool {
        let source = self.sources.len() - 1;
        let (mut value, was_shared) = slot.start_move();
        let is_elsewhere = !rank::are_together(&value, &self.sources[source]);
        if is_elsewhere {
            value = self.brought(value, &rank::device(&self.sources[source]));
        }
        if value.dtype() != dtype {
            value = rank::cast(value, dtype);
        }
        if was_shared && late_reads::happens_on(&rank::device(&value)) {
            self.copied += bytes(&value);
            self.kept.push(value.clone());
        }
        self.homes.push(Home {
            member,
            place,
            was_shared,
        });
        self.averages.push(Average {
            value,
            source,
            weight,
        });
        is_elsewhere
    }

    /// Whether there is enough to do.
    pub(crate) fn is_full(&self) -> bool {
        self.sources.len() >= self.limit || self.copied >= MAX_COPIED
    }

    /// Moves all tensors and gives each back to `bring`: index of its member, its place, the tensor, and whether others may
    /// hold its memory.
    pub(crate) fn run(&mut self, mut bring: impl FnMut(usize, usize, BridgeTensor, bool)) {
        let averages = std::mem::take(&mut self.averages);
        // At weight 1, as far as f32 can tell, a tensor becomes a copy and shares the memory of its source.
        let weights: Vec<f64> = averages.iter().map(|average| average.weight).collect();
        let moved = burn_ema_kernels::lerp(std::mem::take(&mut self.sources), averages);
        for ((home, value), weight) in self.homes.drain(..).zip(moved).zip(weights) {
            let is_shared = (weight == 0.0 && home.was_shared) || weight as f32 == 1.0;
            bring(home.member, home.place, value, is_shared);
        }
        self.kept.clear();
        self.copied = 0;
    }

    fn brought(&mut self, tensor: BridgeTensor, device: &Device) -> BridgeTensor {
        if rank::is_on(&tensor, device) {
            return tensor;
        }
        self.copied += bytes(&tensor);
        rank::on_device(tensor, device)
    }
}

fn bytes(tensor: &BridgeTensor) -> usize {
    tensor.shape().num_elements() * tensor.dtype().size()
}
