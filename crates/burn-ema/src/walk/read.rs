//! Reading the tensors of a module.
//!
//! Each update reads the model, so it follows the [`Route`] that it knows. Paths are built only where the model differs.

use burn::module::{Flag, Module, ModuleVisitor, Param, ParamId};
use burn::tensor::kind::Autodiff;
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Bool, DType, GradientCheckpointingStrategy, Int, Tensor};

use crate::burn_facts::{mode, running_state};
use crate::walk::path::{Locator, Path};
use crate::walk::places::{Mode, Places};
use crate::walk::route::{Follow, Route};

/// A tensor as a module shows it.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// The stored value, without autodiff. With LoRA this is the weight without its adapter, whose factors are shown as
    /// tensors of their own.
    pub(crate) tensor: BridgeTensor,
    pub(crate) id: ParamId,
    /// The rank of its type. A backend may not know the shape of a tensor whose rank is too high.
    pub(crate) rank: usize,
    /// Whether it is a float that the optimizer trains.
    pub(crate) is_trainable: bool,
}

/// What a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Float,
    Quantized,
    Int,
    Bool,
}

impl Shown {
    pub(crate) fn kind(&self) -> Kind {
        let tensor = &self.tensor;
        match (tensor.is_bool(), tensor.is_int(), tensor.is_qfloat()) {
            (true, ..) => Kind::Bool,
            (_, true, _) => Kind::Int,
            (.., true) => Kind::Quantized,
            _ => Kind::Float,
        }
    }
}

/// Whether a tensor of one dtype can take the place of one of the other.
///
/// Booleans are stored in several ways, which a backend may choose for each tensor; and a record of Burn's loads integers
/// as the type that the backend prefers. Both are copied as they come.
pub(crate) fn is_compatible(a: DType, b: DType) -> bool {
    let is_integer = |dtype: DType| dtype.is_int() || dtype.is_uint();
    a == b || (a.is_bool() && b.is_bool()) || (is_integer(a) && is_integer(b))
}

/// Every tensor of a module for the first time, and where they are.
#[derive(Debug, Default)]
pub(crate) struct First {
    pub(crate) places: Places,
    pub(crate) shown: Vec<Shown>,
    pub(crate) mode: Mode,
    /// The paths of everything that was entered: fields, elements and tensors.
    pub(crate) fields: Vec<String>,
}

/// The tensors of a model that is read again, by the [`Places`] that it had.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// One for each place. `None` if the model has no such tensor now.
    pub(crate) shown: Vec<Option<Shown>>,
    /// Tensors that have no place, with their paths.
    pub(crate) others: Vec<(String, Shown)>,
    pub(crate) mode: Mode,
}

/// Reads `model`, with its running statistics up to date.
pub(crate) fn first<M: Module>(model: &M) -> First {
    running_state::apply_pending(model);
    let mut visitor = Visitor(FirstWalk::default());
    model.visit(&mut visitor);
    let FirstWalk {
        route, mut first, ..
    } = visitor.0;
    first.places.route = route;
    first
}

/// Reads `model` again. `has_buffers` says whether it may have running statistics.
pub(crate) fn again<M: Module>(model: &M, places: &Places, has_buffers: bool) -> Reading {
    if has_buffers {
        running_state::apply_pending(model);
    }
    along(model, places).unwrap_or_else(|| by_path(model, places))
}

/// Reads a model that is what it was all along the route.
fn along<M: Module>(model: &M, places: &Places) -> Option<Reading> {
    let mut visitor = Visitor(Along {
        follow: places.route.follow(),
        shown: Vec::with_capacity(places.len()),
        mode: Mode {
            trainable: Vec::with_capacity(places.len()),
            ..Mode::default()
        },
    });
    model.visit(&mut visitor);
    let Along {
        follow,
        shown,
        mode,
    } = visitor.0;
    follow.has_arrived().then_some(Reading {
        shown,
        others: Vec::new(),
        mode,
    })
}

fn by_path<M: Module>(model: &M, places: &Places) -> Reading {
    let mut visitor = Visitor(ByPath {
        path: Path::default(),
        locator: Locator::new(places.len()),
        places,
        reading: Reading {
            shown: vec![None; places.len()],
            ..Reading::default()
        },
    });
    model.visit(&mut visitor);
    visitor.0.reading
}

/// What is done at each step of a walk.
trait Walk {
    fn enter(&mut self, name: &str);
    fn exit(&mut self);
    fn tensor(&mut self, shown: Shown);
    fn mode(&mut self) -> &mut Mode;
}

struct Visitor<W>(W);

impl<W: Walk> Visitor<W> {
    fn shown(&mut self, shown: Shown, strategy: Option<GradientCheckpointingStrategy>) {
        let mode = self.0.mode();
        mode.trainable.push(shown.is_trainable);
        mode.strategy = mode.strategy.or(strategy);
        self.0.tensor(shown);
    }

    fn discrete<const D: usize, K: Autodiff>(&mut self, id: ParamId, value: Tensor<D, K>) {
        let shown = Shown {
            tensor: value.without_autodiff().into_bridge(),
            id,
            rank: D,
            is_trainable: false,
        };
        self.shown(shown, None);
    }
}

impl<W: Walk> ModuleVisitor for Visitor<W> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.0.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.0.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base();
        let strategy = value.gradient_checkpointing_strategy();
        let tensor = value.without_autodiff().into_bridge();
        let shown = Shown {
            is_trainable: !tensor.is_qfloat() && mode::is_trainable(param),
            tensor,
            id: param.id,
            rank: D,
        };
        self.shown(shown, strategy);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.discrete(param.id, param.base());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.discrete(param.id, param.base());
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        let is_enabled = Module::train(flag.clone()).is_enabled();
        self.0.mode().flags.push(is_enabled);
    }
}

#[derive(Default)]
struct FirstWalk {
    path: Path,
    route: Route,
    first: First,
}

impl Walk for FirstWalk {
    fn enter(&mut self, name: &str) {
        self.path.enter(name);
        self.route.enter(name);
        self.first.fields.push(self.path.as_str().to_string());
    }

    fn exit(&mut self) {
        self.path.exit();
        self.route.exit();
    }

    fn tensor(&mut self, shown: Shown) {
        self.route.tensor();
        self.first.places.paths.push(self.path.as_str().to_string());
        self.first.shown.push(shown);
    }

    fn mode(&mut self) -> &mut Mode {
        &mut self.first.mode
    }
}

struct Along<'a> {
    follow: Follow<'a>,
    shown: Vec<Option<Shown>>,
    mode: Mode,
}

impl Walk for Along<'_> {
    fn enter(&mut self, name: &str) {
        self.follow.enter(name);
    }

    fn exit(&mut self) {
        self.follow.exit();
    }

    fn tensor(&mut self, shown: Shown) {
        self.follow.tensor();
        if !self.follow.is_lost() {
            self.shown.push(Some(shown));
        }
    }

    fn mode(&mut self) -> &mut Mode {
        &mut self.mode
    }
}

struct ByPath<'a> {
    path: Path,
    locator: Locator,
    places: &'a Places,
    reading: Reading,
}

impl Walk for ByPath<'_> {
    fn enter(&mut self, name: &str) {
        self.path.enter(name);
    }

    fn exit(&mut self) {
        self.path.exit();
    }

    fn tensor(&mut self, shown: Shown) {
        let path = self.path.as_str();
        match self
            .locator
            .locate(&self.places.paths, path, String::as_str)
        {
            Some(place) => self.reading.shown[place] = Some(shown),
            None => self.reading.others.push((path.to_string(), shown)),
        }
    }

    fn mode(&mut self) -> &mut Mode {
        &mut self.reading.mode
    }
}
