//! Making twins ready: untrained, with ids and running statistics of their own.

use std::collections::HashMap;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Bool, GradientCheckpointingStrategy, Int, Shape, Tensor};

use super::pairing::Found;
use super::{TwinError, Twins};
use crate::ids;
use crate::traverse::{Locator, Path, follow_path};

/// The prepared module, and whether its twins shared running statistics with other networks. With an
/// error the module is as it was.
pub(super) fn prepare<M: Module>(
    module: M,
    twins: &Twins<M>,
    found: &[Found],
) -> (M, Result<bool, TwinError>) {
    let mut owners: HashMap<ParamId, usize> = HashMap::new();
    for value in found {
        *owners.entry(value.id).or_insert(0) += 1;
    }
    let is_shared = |value: &Found| owners[&value.id] > 1 && twins.network(&value.path).is_some();
    let (module, shared) = match found.iter().any(is_shared) {
        true => detached(module, twins, found),
        false => (module, Ok(false)),
    };
    if shared.is_err() {
        return (module, shared);
    }
    let module = module.map(&mut Own {
        path: Path::default(),
        twins,
        owners,
    });
    (module, shared)
}

impl<M: Module> Twins<M> {
    /// The number of the twin that a value at `path` belongs to.
    fn network(&self, path: &str) -> Option<usize> {
        let is_its = |pair: &super::Pair| super::within(path, &pair.twin).is_some();
        self.pairs.iter().position(is_its)
    }
}

/// Makes the twins' parameters untrained, and gives those whose id is not theirs alone another one.
struct Own<'a, M> {
    path: Path,
    twins: &'a Twins<M>,
    owners: HashMap<ParamId, usize>,
}

impl<M: Module> Own<'_, M> {
    /// The id that the value at the current path is to have, if it belongs to a twin.
    fn id(&self, id: ParamId) -> Option<ParamId> {
        let path = self.path.as_str();
        self.twins.network(path)?;
        match self.owners.get(&id) {
            Some(owners) if *owners > 1 => Some(ids::of_twin(id, path)),
            _ => Some(id),
        }
    }
}

impl<M: Module> ModuleMapper for Own<'_, M> {
    follow_path!();

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

/// `module` with running statistics that nobody else shares, if twins share theirs with other networks.
///
/// A clone of BatchNorm writes into the statistics of the original. `valid` makes new ones, and is the
/// one method that does; so it is applied to the whole module, and what else it changes is put back.
fn detached<M: Module>(
    module: M,
    twins: &Twins<M>,
    found: &[Found],
) -> (M, Result<bool, TwinError>) {
    // Applies what is pending, which would come back over the values that are put back.
    drop(module.valid());
    let mut memory = Memory::default();
    let module = module.map(&mut memory);
    let module = module.map(&mut Mark {
        path: Path::default(),
        twins,
    });
    let shared = first_shared(&module, twins, found);
    let (module, result) = match shared {
        None => (module, Ok(false)),
        // `train` gives what is no parameter the default strategy, and nothing reaches that to put it back.
        Some(path) if memory.is_checkpointed => (module, Err(TwinError::Shared { path })),
        Some(_) => match module.devices().iter().any(|device| device.is_autodiff()) {
            true => (module.valid().train(), Ok(true)),
            false => (module.valid(), Ok(true)),
        },
    };
    let module = module.map(&mut Restore {
        path: Path::default(),
        locator: Locator::new(memory.values.len()),
        memory: &memory,
        next_flag: 0,
    });
    (module, result)
}

/// The values and flags of a module.
#[derive(Default)]
struct Memory {
    path: Path,
    values: Vec<(String, BridgeTensor)>,
    flags: Vec<Param<Flag>>,
    /// Whether a value is on a device with gradient checkpointing.
    is_checkpointed: bool,
}

impl Memory {
    fn keep(&mut self, value: BridgeTensor) {
        self.values.push((self.path.as_str().to_string(), value));
    }
}

impl ModuleMapper for Memory {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = param.base();
        let strategy = value.gradient_checkpointing_strategy();
        self.is_checkpointed |= strategy == Some(GradientCheckpointingStrategy::Balanced);
        self.keep(value.into_bridge());
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
    follow_path!();

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

/// Gives the twins' floats shapes that tell which twin they belong to, to see where else those turn up.
struct Mark<'a, M> {
    path: Path,
    twins: &'a Twins<M>,
}

impl<M: Module> ModuleMapper for Mark<'_, M> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.twins.network(self.path.as_str()) {
            Some(network) => {
                let shape = marked(&param.base().shape(), network);
                param.map(|value| Tensor::zeros(shape, &value.device()))
            }
            None => param,
        }
    }
}

/// A small shape of the same rank that `shape` is not, another one for each network.
fn marked(shape: &Shape, network: usize) -> Shape {
    let mark = |side: usize| Shape::from(vec![side; shape.num_dims()]);
    match *shape == mark(2 * network + 1) {
        true => mark(2 * network + 2),
        false => mark(2 * network + 1),
    }
}

/// The path of the first value that changed its shape with that of a twin that it does not belong to.
fn first_shared<M: Module>(module: &M, twins: &Twins<M>, found: &[Found]) -> Option<String> {
    let mut shapes = Shapes {
        path: Path::default(),
        locator: Locator::new(found.len()),
        twins,
        found,
        shared: None,
    };
    module.visit(&mut shapes);
    shapes.shared
}

struct Shapes<'a, M> {
    path: Path,
    locator: Locator,
    twins: &'a Twins<M>,
    found: &'a [Found],
    shared: Option<String>,
}

impl<M: Module> Shapes<'_, M> {
    fn on_float(&mut self, shape: Shape) {
        let path = self.path.as_str();
        let Some(index) = self.locator.locate(self.found, path, |value| &value.path) else {
            return;
        };
        let original = &self.found[index].shape;
        let expected = match self.twins.network(path) {
            Some(network) => marked(original, network),
            None => original.clone(),
        };
        if shape != expected && self.shared.is_none() {
            self.shared = Some(path.to_string());
        }
    }
}

impl<M: Module> ModuleVisitor for Shapes<'_, M> {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.on_float(param.base().shape());
    }
}
