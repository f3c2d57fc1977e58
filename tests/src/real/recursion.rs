//! The EMA in f64, by another way than the library's: number by number, from what a visitor sees.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Bool, DType, Int, Tensor, TensorData};

use crate::snapshot::{Value, values};

/// `ema = decay * ema + (1 - decay) * online` of every float parameter and buffer; everything else is the latest.
#[derive(Clone, Debug)]
pub struct Recursion {
    decay: f64,
    floats: BTreeMap<String, Vec<f64>>,
    discrete: BTreeMap<String, Value>,
}

impl Recursion {
    /// One that starts from `model`.
    pub fn new<M: Module>(model: &M, decay: f64) -> Self {
        let mut recursion = Self {
            decay,
            floats: BTreeMap::new(),
            discrete: BTreeMap::new(),
        };
        recursion.take(model, |_, online| online);
        recursion
    }

    /// One update.
    pub fn update<M: Module>(&mut self, model: &M) {
        let decay = self.decay;
        self.take(model, |ema, online| decay * ema + (1.0 - decay) * online);
    }

    fn take<M: Module>(&mut self, model: &M, combine: impl Fn(f64, f64) -> f64) {
        // `valid` brings running statistics up to date.
        for value in values(&model.valid()) {
            if !is_float(&value) {
                self.discrete.insert(value.path.clone(), value);
                continue;
            }
            let online = numbers(&value);
            let known = self.floats.entry(value.path).or_insert(online.clone());
            for (ema, online) in known.iter_mut().zip(online) {
                *ema = combine(*ema, online);
            }
        }
    }

    /// Compares `model` with the recursion.
    ///
    /// # Errors
    ///
    /// Lists the paths where they differ by more than `tolerance` of the largest number, or at all if discrete.
    pub fn compare<M: Module>(&self, model: &M, tolerance: f64) -> Result<(), String> {
        let actual = values(model);
        let count = self.floats.len() + self.discrete.len();
        if actual.len() != count {
            return Err(format!("{} values, expected {count}", actual.len()));
        }
        let mut problems = Vec::new();
        for value in actual {
            if let Some(discrete) = self.discrete.get(&value.path) {
                if value.stored() != discrete.stored() {
                    problems.push(format!("`{}` is not what the model has", value.path));
                }
                continue;
            }
            let Some(expected) = self.floats.get(&value.path) else {
                problems.push(format!("`{}` is not in the model", value.path));
                continue;
            };
            let off = distance(&numbers(&value), expected);
            if off.is_none_or(|off| off > tolerance) {
                problems.push(format!("`{}` is off by {off:?} of its largest", value.path));
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("; ")),
        }
    }

    /// `model` with the numbers of the recursion, in the dtypes and on the devices of `model`.
    pub fn written_into<M: Module>(&self, model: M) -> M {
        model.map(&mut Write {
            path: Vec::new(),
            recursion: self,
        })
    }
}

/// Largest difference over the largest number, if the lengths agree and all is finite.
pub(crate) fn distance(actual: &[f64], expected: &[f64]) -> Option<f64> {
    let largest =
        |numbers: &mut dyn Iterator<Item = f64>| numbers.map(f64::abs).fold(0.0, f64::max);
    let all_finite = actual
        .iter()
        .chain(expected)
        .all(|number| number.is_finite());
    if actual.len() != expected.len() || !all_finite {
        return None;
    }
    let difference = largest(&mut actual.iter().zip(expected).map(|(a, e)| a - e));
    let scale = largest(&mut expected.iter().copied());
    Some(difference / scale.max(1e-3))
}

/// Whether a value is averaged.
pub(crate) fn is_float(value: &Value) -> bool {
    value.dtype.is_float() && !matches!(value.dtype, DType::QFloat(_))
}

fn data(value: &Value) -> TensorData {
    TensorData::from_bytes_vec(value.bytes.clone(), value.shape.clone(), value.dtype)
}

/// The numbers of a value.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    data(value).iter::<f64>().collect()
}

struct Write<'a> {
    path: Vec<String>,
    recursion: &'a Recursion,
}

impl Write<'_> {
    fn discrete(&self) -> TensorData {
        data(&self.recursion.discrete[&self.path.join(".")])
    }
}

impl ModuleMapper for Write<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(numbers) = self.recursion.floats.get(&self.path.join(".")) else {
            return param; // quantized: the cases make the same base every time
        };
        let numbers = TensorData::new(numbers.clone(), param.base().shape());
        param.map(|old| Tensor::from_data(numbers, (&old.device(), old.dtype())))
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let numbers = self.discrete();
        param.map(|old| Tensor::from_data(numbers, (&old.device(), old.dtype())))
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        let numbers = self.discrete();
        param.map(|old| Tensor::from_data(numbers, &old.device()))
    }
}
