//! The BatchNorm layers of a model: finding them, and reading and writing their statistics.

use std::collections::HashSet;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};

use crate::burn_facts::batch_norm::{FLAG, LAYER, STATISTICS, huge, is_reached, nothing, shortest};
use crate::burn_facts::running_state;
use crate::walk::path::{Locator, Path};

/// The statistics of the BatchNorm layers that are not frozen, in the order in which the model shows them.
#[derive(Debug)]
pub(super) struct Layers {
    paths: Vec<String>,
}

impl Layers {
    /// The layers of `model`, which is as in training, and the model with everything else as in validation.
    pub(super) fn running<M: Module>(model: M) -> (Self, M) {
        let mut finder = Finder::default();
        model.visit(&mut finder);
        let Finder {
            enabled,
            mut statistics,
            ..
        } = finder;
        statistics.retain(|(layer, _)| enabled.contains(layer));
        let layers = Self {
            paths: statistics.into_iter().map(|(_, path)| path).collect(),
        };
        (layers, model.map(&mut OnlyBatchNorm::default()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Path of each statistic.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// Sets every statistic to the zero that no forward pass makes: `-0 + 0` is `+0`.
    pub(super) fn set_to_nothing<M: Module>(&self, model: M) -> M {
        set(&self.paths, model, |_, old| full(old, nothing()))
    }

    /// What a forward pass has added to each statistic. `None` where it has not come by.
    pub(super) fn shares<M: Module>(&self, model: &M) -> Vec<Option<Vec<f64>>> {
        let values = self.read(model).into_iter();
        values
            .map(|(_, values)| {
                values
                    .iter()
                    .any(|value| is_reached(*value))
                    .then_some(values)
            })
            .collect()
    }

    /// Sets every statistic so high that no activation counts beside it, to a power of two.
    pub(super) fn set_huge<M: Module>(&self, model: M) -> M {
        set(&self.paths, model, |_, old| {
            let huge = huge(old.dtype());
            full(old, huge)
        })
    }

    /// The share of each statistic that a forward pass from there has left, if it adds `shares`.
    pub(super) fn retained<M: Module>(&self, model: &M, shares: &[Option<Vec<f64>>]) -> Vec<f64> {
        let values = self.read(model).into_iter().zip(shares);
        values
            .map(|((dtype, values), share)| {
                let epsilon = dtype.finfo().map_or(0.0, |info| info.epsilon);
                // In f16 nothing is so huge that the share would not count beside it.
                let share = share.as_ref().map_or(0.0, |share| share[0]);
                shortest((values[0] - share) / huge(dtype), epsilon)
            })
            .collect()
    }

    fn read<M: Module>(&self, model: &M) -> Vec<(DType, Vec<f64>)> {
        running_state::apply_pending(model);
        let mut reader = Reader {
            path: Path::default(),
            locator: Locator::new(self.paths.len()),
            paths: &self.paths,
            values: vec![None; self.paths.len()],
        };
        model.visit(&mut reader);
        reader.values.into_iter().flatten().collect()
    }
}

/// Statistics by path: `None` for those that nothing has moved.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    pub(super) values: Vec<(String, Option<Vec<f64>>)>,
}

impl Statistics {
    /// Path and value of those that were moved.
    pub(super) fn moved(&self) -> impl Iterator<Item = (&str, &[f64])> {
        let values = self.values.iter();
        values.filter_map(|(path, values)| Some((path.as_str(), values.as_deref()?)))
    }

    /// `model` with those that were moved.
    pub(super) fn written_into<M: Module>(&self, model: M) -> M {
        let (paths, values): (Vec<String>, Vec<&[f64]>) = self
            .moved()
            .map(|(path, values)| (path.to_string(), values))
            .unzip();
        set(&paths, model, |index, old| {
            let data = TensorData::new(values[index].to_vec(), old.shape());
            Tensor::from_data(data, (&old.device(), old.dtype()))
        })
    }
}

impl Statistics {
    /// Number of layers of which a statistic was moved.
    pub(super) fn layers(&self) -> usize {
        let layer = |path: &str| path.rsplit_once('.').map(|(layer, _)| layer.to_string());
        let layers: HashSet<Option<String>> = self.moved().map(|(path, _)| layer(path)).collect();
        layers.len()
    }
}

/// `model` with other values at `paths`.
fn set<M: Module>(
    paths: &[String],
    model: M,
    next: impl FnMut(usize, Tensor<1>) -> Tensor<1>,
) -> M {
    model.map(&mut Setter {
        path: Path::default(),
        locator: Locator::new(paths.len()),
        paths,
        next,
    })
}

fn full(old: Tensor<1>, value: f64) -> Tensor<1> {
    // Not `Tensor::full`, which need not tell the two zeros apart.
    let data = TensorData::new(vec![value; old.shape().num_elements()], old.shape());
    Tensor::from_data(data, (&old.device(), old.dtype()))
}

/// The fields that were entered, each with the type that it is a field of.
#[derive(Debug, Default)]
struct Fields {
    path: Path,
    parents: Vec<(String, bool)>,
}

impl Fields {
    fn enter(&mut self, name: &str, container_type: &str) {
        let parent = self.path.as_str().to_string();
        self.parents.push((parent, container_type == LAYER));
        self.path.enter(name);
    }

    fn exit(&mut self) {
        self.path.exit();
        self.parents.pop();
    }

    /// The path of the layer, if the field is one of those called `names` of a BatchNorm.
    fn layer(&self, names: &[&str]) -> Option<&str> {
        let (parent, is_layer) = self.parents.last()?;
        let name = self.path.as_str().rsplit('.').next()?;
        (*is_layer && names.contains(&name)).then_some(parent)
    }
}

macro_rules! follow_fields {
    () => {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.fields.enter(name, container_type);
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.fields.exit();
        }
    };
}

#[derive(Default)]
struct Finder {
    fields: Fields,
    enabled: HashSet<String>,
    /// Path of the layer and of the statistic.
    statistics: Vec<(String, String)>,
}

impl ModuleVisitor for Finder {
    follow_fields!();

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        if let Some(layer) = self.fields.layer(&STATISTICS) {
            let path = self.fields.path.as_str().to_string();
            self.statistics.push((layer.to_string(), path));
        }
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        if let Some(layer) = self.fields.layer(&[FLAG])
            && flag.is_enabled()
        {
            self.enabled.insert(layer.to_string());
        }
    }
}

/// Turns off whatever behaves in another way in training, but for BatchNorm.
#[derive(Default)]
struct OnlyBatchNorm {
    fields: Fields,
}

impl ModuleMapper for OnlyBatchNorm {
    follow_fields!();

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        match self.fields.layer(&[FLAG]) {
            Some(_) => flag,
            None => flag.with_value(false),
        }
    }
}

struct Reader<'a> {
    path: Path,
    locator: Locator,
    paths: &'a [String],
    values: Vec<Option<(DType, Vec<f64>)>>,
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.as_str();
        if let Some(index) = self.locator.locate(self.paths, path, String::as_str) {
            let data = param.base().into_data();
            self.values[index] = Some((data.dtype(), data.iter::<f64>().collect()));
        }
    }
}

struct Setter<'a, F> {
    path: Path,
    locator: Locator,
    paths: &'a [String],
    next: F,
}

impl<F: FnMut(usize, Tensor<1>) -> Tensor<1>> ModuleMapper for Setter<'_, F> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.as_str();
        let Some(index) = self.locator.locate(self.paths, path, String::as_str) else {
            return param;
        };
        param.map(|old| {
            let shape = old.shape();
            let length = shape.num_elements();
            (self.next)(index, old.reshape([length])).reshape(shape)
        })
    }
}
