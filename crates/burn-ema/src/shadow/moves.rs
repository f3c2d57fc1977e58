//! Values on their way towards their sources: gathered, so that one call of the kernel moves them all.

use burn::module::Module;
use burn::tensor::Device;
use burn::tensor::kind::BridgeTensor;
use burn_ema_kernels::Average;

use super::Shadow;
use crate::{lazy_read, op};

/// Bytes of copies that are in memory at a time: once there are more, values move.
const MAX_COPIED: usize = 1 << 25;

/// Values of one or several shadows that are to move. Those of one source are added one after the other.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    sources: Vec<BridgeTensor>,
    averages: Vec<Average>,
    homes: Vec<Home>,
    /// How many sources may still come, for all that is known.
    expected: usize,
    /// How many are moved to at once.
    most: usize,
    /// Second handles on values that somebody may still read, where that is done later than it was asked for: they make
    /// the kernel write elsewhere.
    kept: Vec<BridgeTensor>,
    /// Bytes of values and sources that are in memory twice until they have moved.
    copied: usize,
}

/// Where a value comes from, and goes back to.
#[derive(Debug)]
struct Home {
    shadow: usize,
    slot: usize,
    was_shared: bool,
}

impl Moves {
    /// For about so many values.
    pub(crate) fn of(values: usize) -> Self {
        Self {
            expected: values,
            most: usize::MAX,
            ..Self::default()
        }
    }

    /// Adds a source for the values that are added next. It is brought to `device`, if there is one.
    pub(crate) fn add_source(&mut self, source: BridgeTensor, device: Option<&Device>) {
        let source = match device {
            Some(device) => self.brought(source, device),
            None => source,
        };
        if self.sources.is_empty() {
            self.most = burn_ema_kernels::batch_size(&source);
            let expected = self.expected.min(self.most);
            self.sources.reserve(expected);
            self.averages.reserve(expected);
            self.homes.reserve(expected);
        }
        self.sources.push(source);
    }

    /// Adds the value of a slot, which is to move towards the source that was added last.
    pub(crate) fn add<M: Module>(
        &mut self,
        shadow: &mut Shadow<M>,
        (index, slot): (usize, usize),
        weight: f64,
    ) {
        let source = self.sources.len() - 1;
        let (mut value, was_shared) = shadow.slots[slot].start_move();
        if !op::are_together(&value, &self.sources[source]) {
            value = self.brought(value, &op::device(&self.sources[source]));
        }
        if was_shared && lazy_read::happens_on(&op::device(&value)) {
            self.copied += bytes(&value);
            self.kept.push(value.clone());
        }
        self.homes.push(Home {
            shadow: index,
            slot,
            was_shared,
        });
        self.averages.push(Average {
            value,
            source,
            weight,
        });
    }

    /// Whether there is enough to do.
    pub(crate) fn is_full(&self) -> bool {
        self.sources.len() >= self.most || self.copied >= MAX_COPIED
    }

    /// Moves all values and gives each back to `bring`: index of its shadow, index of its slot, value, and whether
    /// somebody else may have its memory.
    pub(crate) fn carry_out(&mut self, mut bring: impl FnMut(usize, usize, BridgeTensor, bool)) {
        let averages = std::mem::take(&mut self.averages);
        // At weight 1, as far as an average can tell, it becomes a copy and shares the memory of its source.
        let weights: Vec<f64> = averages.iter().map(|average| average.weight).collect();
        let moved = burn_ema_kernels::lerp(std::mem::take(&mut self.sources), averages);
        for ((home, value), weight) in self.homes.drain(..).zip(moved).zip(weights) {
            let is_shared = (weight == 0.0 && home.was_shared) || weight as f32 == 1.0;
            bring(home.shadow, home.slot, value, is_shared);
        }
        self.kept.clear();
        self.copied = 0;
    }

    fn brought(&mut self, tensor: BridgeTensor, device: &Device) -> BridgeTensor {
        if op::is_on(&tensor, device) {
            return tensor;
        }
        self.copied += bytes(&tensor);
        op::on_device(tensor, device)
    }
}

fn bytes(tensor: &BridgeTensor) -> usize {
    tensor.shape().num_elements() * tensor.dtype().size()
}
