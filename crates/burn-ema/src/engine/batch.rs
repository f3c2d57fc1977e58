//! Tensors on their way towards the model's: gathered, so that one call of a kernel moves them all.

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Device};
use burn_ema_kernels::{Average, CompensatedAverage, StochasticAverage};

use crate::burn_facts::{late_reads, rank};
use crate::store::slot::Slot;

/// Bytes of copies that are in memory at a time: once there are more, the tensors move.
const MAX_COPIED: usize = 1 << 25;

/// What becomes of digits that a tensor has no room for when it moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rounding {
    /// They are lost.
    Nearest,
    /// They are kept beside it.
    Compensated,
    /// They are the probability of the next number; the key is what random bits are made of.
    Stochastic { key: u64 },
}

/// How a tensor moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Move {
    /// What it is from then on.
    pub(crate) dtype: DType,
    /// Share of the model.
    pub(crate) weight: f64,
    pub(crate) rounding: Rounding,
}

/// Tensors of one or several EMAs that are to move. Those of one source are added one after the other.
#[derive(Debug)]
pub(crate) struct Batch {
    sources: Vec<BridgeTensor>,
    nearest: Group<Average>,
    compensated: Group<CompensatedAverage>,
    stochastic: Group<StochasticAverage>,
    /// How many sources may come, and how many tensors for each.
    expected: (usize, usize),
    /// How many sources one call of a kernel takes.
    limit: usize,
    /// Clones that make the kernel write to new memory, for late reads of the old.
    kept: Vec<BridgeTensor>,
    /// Bytes of tensors that are in memory twice until they have moved.
    copied: usize,
}

/// What one call of a kernel moves.
#[derive(Debug)]
struct Group<A> {
    averages: Vec<A>,
    homes: Vec<Home>,
}

/// Where a tensor comes from, and goes back to.
#[derive(Clone, Copy, Debug)]
struct Home {
    member: usize,
    place: usize,
    was_shared: bool,
    weight: f64,
}

/// A tensor that has moved.
#[derive(Debug)]
pub(crate) struct Moved {
    /// Index of its member.
    pub(crate) member: usize,
    pub(crate) place: usize,
    pub(crate) tensor: BridgeTensor,
    /// In a box, for few have one and handles are slow to move.
    pub(crate) compensation: Option<Box<BridgeTensor>>,
    /// Whether others may hold its memory.
    pub(crate) is_shared: bool,
}

impl Batch {
    /// For about so many sources, and so many tensors for each.
    pub(crate) fn of(sources: usize, members: usize) -> Self {
        Self {
            sources: Vec::new(),
            nearest: Group::new(),
            compensated: Group::new(),
            stochastic: Group::new(),
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
            self.sources.reserve(self.expected.0.min(self.limit));
        }
        self.sources.push(source);
    }

    /// Adds the tensor of a slot, which moves towards the source that was added last. Says whether it was on another device
    /// than the source.
    pub(crate) fn add(
        &mut self,
        slot: &mut Slot,
        (member, place): (usize, usize),
        to: Move,
    ) -> bool {
        let Move {
            dtype,
            weight,
            rounding,
        } = to;
        let source = self.sources.len() - 1;
        let (value, compensation, was_shared) = slot.start_move();
        let is_elsewhere = !rank::are_together(&value, &self.sources[source]);
        let value = self.prepared(value, dtype, was_shared, is_elsewhere);
        let home = Home {
            member,
            place,
            was_shared,
            weight,
        };
        let (sources, members) = self.expected;
        let expected = sources.min(self.limit) * members;
        match rounding {
            Rounding::Nearest => self.nearest.add(expected, home, || Average {
                value,
                source,
                weight,
            }),
            Rounding::Compensated => {
                let compensation = match compensation {
                    Some(compensation) => {
                        self.prepared(*compensation, dtype, was_shared, is_elsewhere)
                    }
                    None => rank::zeros_like(&value),
                };
                self.compensated.add(expected, home, || CompensatedAverage {
                    value,
                    compensation,
                    source,
                    weight,
                });
            }
            Rounding::Stochastic { key } => {
                self.stochastic.add(expected, home, || StochasticAverage {
                    value,
                    source,
                    weight,
                    key,
                });
            }
        }
        is_elsewhere
    }

    /// A tensor where the last source is, as `dtype`.
    fn prepared(
        &mut self,
        mut tensor: BridgeTensor,
        dtype: DType,
        was_shared: bool,
        is_elsewhere: bool,
    ) -> BridgeTensor {
        if is_elsewhere {
            let last = self.sources.len() - 1;
            let device = rank::device(&self.sources[last]);
            tensor = self.brought(tensor, &device);
        }
        if tensor.dtype() != dtype {
            tensor = rank::cast(tensor, dtype);
        }
        if was_shared && late_reads::happens_on(&rank::device(&tensor)) {
            self.copied += bytes(&tensor);
            self.kept.push(tensor.clone());
        }
        tensor
    }

    /// Whether there is enough to do.
    pub(crate) fn is_full(&self) -> bool {
        self.sources.len() >= self.limit || self.copied >= MAX_COPIED
    }

    /// Moves all tensors and gives each to `bring`.
    pub(crate) fn run(&mut self, mut bring: impl FnMut(Moved)) {
        let sources = std::mem::take(&mut self.sources);
        if !self.compensated.averages.is_empty() {
            let (averages, homes) = self.compensated.take();
            let moved = burn_ema_kernels::lerp_compensated(sources.clone(), averages);
            for (home, (tensor, compensation)) in homes.zip(moved) {
                bring(home.moved(tensor, Some(Box::new(compensation))));
            }
        }
        if !self.stochastic.averages.is_empty() {
            let (averages, homes) = self.stochastic.take();
            let moved = burn_ema_kernels::lerp_stochastic(sources.clone(), averages);
            for (home, tensor) in homes.zip(moved) {
                bring(home.moved(tensor, None));
            }
        }
        let (averages, homes) = self.nearest.take();
        let moved = burn_ema_kernels::lerp(sources, averages);
        for (home, tensor) in homes.zip(moved) {
            bring(home.moved(tensor, None));
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

impl<A> Group<A> {
    fn new() -> Self {
        Self {
            averages: Vec::new(),
            homes: Vec::new(),
        }
    }

    /// Adds an average to about as many as are `expected`.
    fn add(&mut self, expected: usize, home: Home, average: impl FnOnce() -> A) {
        if self.homes.is_empty() {
            self.averages.reserve(expected);
            self.homes.reserve(expected);
        }
        self.homes.push(home);
        self.averages.push(average());
    }

    fn take(&mut self) -> (Vec<A>, std::vec::Drain<'_, Home>) {
        (std::mem::take(&mut self.averages), self.homes.drain(..))
    }
}

impl Home {
    fn moved(self, tensor: BridgeTensor, compensation: Option<Box<BridgeTensor>>) -> Moved {
        // At weight 1, as far as f32 can tell, a tensor becomes a copy and shares the memory of its source.
        let is_copy = self.weight as f32 == 1.0;
        Moved {
            member: self.member,
            place: self.place,
            tensor,
            compensation,
            is_shared: (self.weight == 0.0 && self.was_shared) || is_copy,
        }
    }
}

fn bytes(tensor: &BridgeTensor) -> usize {
    tensor.shape().num_elements() * tensor.dtype().size()
}
