//! Making twins ready: untrained, with ids and running statistics of their own.

use std::collections::HashSet;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Bool, Int, Shape, Tensor};

use super::pairing::Found;
use super::{Entry, Twins};
use crate::ids;
use crate::traverse::{Locator, Path, follow_path};

/// The prepared module, and whether its twins shared running statistics with their sources.
pub(super) fn prepare<M: Module>(module: M, twins: &Twins<M>, found: &[Found]) -> (M, bool) {
    let of_sources = sources(&twins.entries)
        .map(|index| found[index].id)
        .collect();
    let of_twins = twin_indices(&twins.entries).map(|index| found[index].id);
    let shares_ids = of_twins
        .into_iter()
        .any(|id| HashSet::contains(&of_sources, &id));
    let (module, shared) = match shares_ids {
        true => detached(module, &twins.entries),
        false => (module, false),
    };
    let module = module.map(&mut Own {
        path: Path::default(),
        locator: Locator::new(twins.entries.len()),
        twins,
        of_sources,
    });
    (module, shared)
}

fn twin_indices(entries: &[Entry]) -> impl Iterator<Item = usize> {
    (0..entries.len()).filter(|index| entries[*index].source.is_some())
}

fn sources(entries: &[Entry]) -> impl Iterator<Item = usize> {
    entries.iter().filter_map(|entry| entry.source)
}

/// Makes the twins' parameters untrained, and gives those that have the id of a source another one.
struct Own<'a, M> {
    path: Path,
    locator: Locator,
    twins: &'a Twins<M>,
    of_sources: HashSet<ParamId>,
}

impl<M: Module> Own<'_, M> {
    fn is_twin(&mut self) -> bool {
        let path = self.path.as_str();
        let index = self.twins.locate(&mut self.locator, path);
        index.is_some_and(|index| self.twins.entries[index].source.is_some())
    }

    fn id(&self, id: ParamId) -> ParamId {
        match self.of_sources.contains(&id) {
            true => ids::exchanged(id),
            false => id,
        }
    }
}

impl<M: Module> ModuleMapper for Own<'_, M> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, mut param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.is_twin() {
            param.id = self.id(param.id);
            param = param.set_require_grad(false);
        }
        param
    }

    fn map_int<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Int>>,
    ) -> Param<Tensor<D, Int>> {
        if self.is_twin() {
            param.id = self.id(param.id);
        }
        param
    }

    fn map_bool<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        if self.is_twin() {
            param.id = self.id(param.id);
        }
        param
    }
}

/// `module` with running statistics that nobody else shares, if twins share theirs with their sources.
///
/// A clone of BatchNorm writes into the statistics of the original. `valid` makes new ones, and is the
/// one method that does; so it is applied to the whole module, and what else it changes is put back.
fn detached<M: Module>(module: M, entries: &[Entry]) -> (M, bool) {
    // Applies what is pending, which would come back over the values that are put back.
    drop(module.valid());
    let mut memory = Memory::default();
    let module = module.map(&mut memory);

    let module = module.map(&mut Enlarge {
        path: Path::default(),
        locator: Locator::new(entries.len()),
        entries,
    });
    let shared = sources_changed(&module, entries);
    let module = match shared {
        true if module.devices().iter().any(|device| device.is_autodiff()) => {
            module.valid().train()
        }
        true => module.valid(),
        false => module,
    };
    let module = module.map(&mut Restore {
        path: Path::default(),
        locator: Locator::new(memory.values.len()),
        memory: &memory,
        next_flag: 0,
    });
    (module, shared)
}

/// The floats and flags of a module.
#[derive(Default)]
struct Memory {
    path: Path,
    values: Vec<(String, BridgeTensor)>,
    flags: Vec<Flag>,
}

impl ModuleMapper for Memory {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = param.base().into_bridge();
        self.values.push((self.path.as_str().to_string(), value));
        param
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.flags.push(flag.val());
        flag
    }
}

struct Restore<'a> {
    path: Path,
    locator: Locator,
    memory: &'a Memory,
    next_flag: usize,
}

impl ModuleMapper for Restore<'_> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let values = &self.memory.values;
        let path = self.path.as_str();
        let index = self.locator.locate(values, path, |(path, _)| path);
        let index = index.expect("a mapper does not change the structure of a module");
        param.map(|_| Tensor::from_bridge(values[index].1.clone()))
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        let value = self.memory.flags[self.next_flag];
        self.next_flag += 1;
        flag.with_value(value.is_enabled())
    }
}

/// Gives the twins' floats a shape that they do not have, to see whether the sources' change with them.
struct Enlarge<'a> {
    path: Path,
    locator: Locator,
    entries: &'a [Entry],
}

impl ModuleMapper for Enlarge<'_> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.as_str();
        let index = self.locator.locate(self.entries, path, |entry| &entry.path);
        match index.map(|index| &self.entries[index]) {
            Some(entry) if entry.source.is_some() => {
                let shape = marked(&entry.shape);
                param.map(|value| Tensor::zeros(shape, &value.device()))
            }
            _ => param,
        }
    }
}

/// A small shape of the same rank, that `shape` is not.
fn marked(shape: &Shape) -> Shape {
    let ones = Shape::from(vec![1_usize; shape.num_dims()]);
    match *shape == ones {
        true => Shape::from(vec![2_usize; shape.num_dims()]),
        false => ones,
    }
}

fn sources_changed<M: Module>(module: &M, entries: &[Entry]) -> bool {
    let mut shapes = Shapes {
        path: Path::default(),
        locator: Locator::new(entries.len()),
        entries,
        differ: false,
    };
    module.visit(&mut shapes);
    shapes.differ
}

struct Shapes<'a> {
    path: Path,
    locator: Locator,
    entries: &'a [Entry],
    differ: bool,
}

impl ModuleVisitor for Shapes<'_> {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.as_str();
        let index = self.locator.locate(self.entries, path, |entry| &entry.path);
        let entry = index.map(|index| &self.entries[index]);
        let source = entry.filter(|entry| entry.source.is_none());
        self.differ |= source.is_some_and(|entry| param.base().shape() != entry.shape);
    }
}
