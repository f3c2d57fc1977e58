//! Making EMA copies ready: untrained, with their own ids and running statistics.

use std::collections::HashMap;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Bool, Int, Shape, Tensor};

use crate::burn_facts::{mode, running_state};
use crate::plan::pair::SubmodulePair;
use crate::record::ids;
use crate::walk::path::{Locator, Path, within};
use crate::walk::read::First;

/// Prepares the EMA copies of `module`, and says whether they shared running statistics with other submodules.
///
/// `placeholder` stands in for the module while it is mapped.
pub(super) fn prepare<M: Module>(
    module: &mut M,
    placeholder: &M,
    pairs: &[SubmodulePair],
    found: &First,
) -> bool {
    let mut owners: HashMap<ParamId, usize> = HashMap::new();
    for shown in &found.shown {
        *owners.entry(shown.id).or_insert(0) += 1;
    }
    let copies = Copies { pairs };
    let mut all = found.shown.iter().zip(&found.places.paths);
    let is_cloned = all.any(|(shown, path)| owners[&shown.id] > 1 && copies.number(path).is_some());
    let mut whole = std::mem::replace(module, placeholder.clone());
    let mut shared = false;
    if is_cloned {
        (whole, shared) = detached(whole, copies, found);
    }
    *module = whole.map(&mut Own {
        path: Path::default(),
        copies,
        owners,
    });
    shared
}

/// The EMA copies among the submodules.
#[derive(Clone, Copy)]
struct Copies<'a> {
    pairs: &'a [SubmodulePair],
}

impl Copies<'_> {
    /// The number of the EMA copy that a tensor at `path` belongs to.
    fn number(&self, path: &str) -> Option<usize> {
        let is_its = |pair: &SubmodulePair| within(path, &pair.ema).is_some();
        self.pairs.iter().position(is_its)
    }
}

/// Makes the parameters of EMA copies untrained, and gives those whose id is not theirs alone another one.
struct Own<'a> {
    path: Path,
    copies: Copies<'a>,
    owners: HashMap<ParamId, usize>,
}

impl Own<'_> {
    /// The id that the value at the current path is to have, if it belongs to an EMA copy.
    fn id(&self, id: ParamId) -> Option<ParamId> {
        let path = self.path.as_str();
        self.copies.number(path)?;
        match self.owners.get(&id) {
            Some(owners) if *owners > 1 => Some(ids::of_copy(id, path)),
            _ => Some(id),
        }
    }
}

impl ModuleMapper for Own<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, mut param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.id(param.id) {
            None => param,
            Some(id) => {
                param.id = id;
                param.set_require_grad(false)
            }
        }
    }

    fn map_int<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Int>>,
    ) -> Param<Tensor<D, Int>> {
        param.id = self.id(param.id).unwrap_or(param.id);
        param
    }

    fn map_bool<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        param.id = self.id(param.id).unwrap_or(param.id);
        param
    }
}

/// `module` with running statistics that are not shared, if EMA copies share theirs with other submodules, and whether they
/// did.
///
/// A clone of BatchNorm writes into the statistics of the original. `train` and `valid` make copies that do not, and are the only
/// methods that do; so one of them is applied to the whole module, and what else it changes is put back.
fn detached<M: Module>(module: M, copies: Copies<'_>, found: &First) -> (M, bool) {
    // Applies pending statistics, which would come back over the tensors that are put back.
    running_state::apply_pending(&module);
    let mut memory = Memory::default();
    let module = module.map(&mut memory);
    let module = module.map(&mut Mark {
        path: Path::default(),
        copies,
    });
    let is_shared = is_shared(&module, copies, found);
    let is_autodiff = || module.devices().iter().any(|device| device.is_autodiff());
    let module = match is_shared {
        true if is_autodiff() => mode::training_copy(&module),
        true => module.valid(),
        false => module,
    };
    let module = module.map(&mut Restore {
        path: Path::default(),
        locator: Locator::new(memory.values.len()),
        memory: &memory,
        next_flag: 0,
    });
    (module, is_shared)
}

/// The values and flags of a module.
#[derive(Default)]
struct Memory {
    path: Path,
    values: Vec<(String, BridgeTensor)>,
    flags: Vec<Param<Flag>>,
}

impl Memory {
    fn keep(&mut self, value: BridgeTensor) {
        self.values.push((self.path.as_str().to_string(), value));
    }
}

impl ModuleMapper for Memory {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.keep(param.base().into_bridge());
        param
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.keep(param.base().into_bridge());
        param
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        self.keep(param.base().into_bridge());
        param
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.flags.push(flag.clone());
        flag
    }
}

struct Restore<'a> {
    path: Path,
    locator: Locator,
    memory: &'a Memory,
    next_flag: usize,
}

impl Restore<'_> {
    fn value(&mut self) -> BridgeTensor {
        let values = &self.memory.values;
        let path = self.path.as_str();
        let index = self.locator.locate(values, path, |(path, _)| path);
        values[index.expect("a mapper does not change the structure of a module")]
            .1
            .clone()
    }
}

impl ModuleMapper for Restore<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|_| Tensor::from_bridge(self.value()))
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        param.map(|_| Tensor::from_bridge(self.value()))
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        param.map(|_| Tensor::from_bridge(self.value()))
    }

    // The whole parameter: a disabled flag remembers whether `train` is to enable it again.
    fn map_flag(&mut self, _flag: Param<Flag>) -> Param<Flag> {
        self.next_flag += 1;
        self.memory.flags[self.next_flag - 1].clone()
    }
}

/// Gives the floats of EMA copies shapes that tell which copy they belong to, to see where else those turn up.
struct Mark<'a> {
    path: Path,
    copies: Copies<'a>,
}

impl ModuleMapper for Mark<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.copies.number(self.path.as_str()) {
            Some(number) => {
                let shape = marked(&param.base().shape(), number);
                param.map(|value| Tensor::zeros(shape, &value.device()))
            }
            None => param,
        }
    }
}

/// A small shape of the same rank that `shape` is not, another one for each EMA copy.
fn marked(shape: &Shape, number: usize) -> Shape {
    let mark = |side: usize| Shape::from(vec![side; shape.num_dims()]);
    match *shape == mark(2 * number + 1) {
        true => mark(2 * number + 2),
        false => mark(2 * number + 1),
    }
}

/// Whether a tensor changed its shape with that of an EMA copy that it does not belong to.
fn is_shared<M: Module>(module: &M, copies: Copies<'_>, found: &First) -> bool {
    let mut shapes = Shapes {
        path: Path::default(),
        locator: Locator::new(found.places.len()),
        copies,
        found,
        is_shared: false,
    };
    module.visit(&mut shapes);
    shapes.is_shared
}

struct Shapes<'a> {
    path: Path,
    locator: Locator,
    copies: Copies<'a>,
    found: &'a First,
    is_shared: bool,
}

impl ModuleVisitor for Shapes<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.as_str();
        let paths = &self.found.places.paths;
        let Some(place) = self.locator.locate(paths, path, String::as_str) else {
            return;
        };
        let original = self.found.shown[place].tensor.shape();
        let expected = match self.copies.number(path) {
            Some(number) => marked(&original, number),
            None => original,
        };
        self.is_shared |= param.base().shape() != expected;
    }
}
