//! Values on their way towards their sources: gathered, so that one call of the kernel moves them all.

use burn::module::Module;
use burn::tensor::kind::BridgeTensor;
use burn_ema_kernels::Average;

use super::Shadow;
use crate::{lazy_read, op};

/// Sources that are moved to at once: enough for every thread and for a launch on any GPU to be worth its while, and few
/// enough for their handles to stay in the cache.
const MAX_SOURCES: usize = 128;

/// Values that are in memory twice at a time, at most.
const MAX_KEPT: usize = 32;

/// Values of one or several shadows that are to move. Those of one source are added one after the other.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    sources: Vec<BridgeTensor>,
    averages: Vec<Average>,
    homes: Vec<Home>,
    /// How many are likely to come before they move.
    expected: usize,
    /// Second handles on values that somebody may still read, where that is done later than it was asked for: they make
    /// the kernel write elsewhere.
    kept: Vec<BridgeTensor>,
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
            expected: values.min(MAX_SOURCES),
            ..Self::default()
        }
    }

    /// Adds a source for the values that are added next.
    pub(crate) fn add_source(&mut self, source: BridgeTensor) {
        if self.sources.is_empty() {
            self.sources.reserve(self.expected);
            self.averages.reserve(self.expected);
            self.homes.reserve(self.expected);
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
            value = op::on_device(value, &op::device(&self.sources[source]));
        }
        if was_shared && lazy_read::happens_on(&op::device(&value)) {
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
        self.sources.len() >= MAX_SOURCES || self.kept.len() >= MAX_KEPT
    }

    /// Moves all values and gives each back to `bring`: index of its shadow, index of its slot, value, and whether
    /// somebody else may have its memory.
    pub(crate) fn carry_out(&mut self, mut bring: impl FnMut(usize, usize, BridgeTensor, bool)) {
        let averages = std::mem::take(&mut self.averages);
        let stays: Vec<bool> = averages
            .iter()
            .map(|average| average.weight == 0.0)
            .collect();
        let moved = burn_ema_kernels::lerp(std::mem::take(&mut self.sources), averages);
        for ((home, value), stays) in self.homes.drain(..).zip(moved).zip(stays) {
            bring(home.shadow, home.slot, value, home.was_shared && stays);
        }
        self.kept.clear();
    }
}
