//! Records that hold an average beside, or instead of, a model.

use std::fmt;

use burn::module::{Devices, Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::store::ModuleRecord;
use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

use crate::model::Counters;

/// Name of the counters in a record.
const COUNTERS: &str = "ema_counters";

/// The id of the counters' tensor. Ids tell parameters apart for optimizers, which do not look at
/// integers, so one for all is enough; and the same each time keeps records byte for byte equal.
const COUNTERS_ID: u64 = 0x656d_615f_636f_756e;

/// What takes part in a record: the two methods of [`Module`] that matter for one.
///
/// Burn makes and applies records with methods that [`Module`] provides. A module that overrides one
/// of them cannot call what it overrides; it can implement this and go through [`Recorded`].
pub trait Traverse: Clone + Send + fmt::Debug {
    /// As [`Module::visit`].
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V);
    /// As [`Module::map`].
    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self;
}

/// A module that is only good for records, over whatever can be [traversed](Traverse).
///
/// Its other methods (devices, training state) do nothing.
#[derive(Clone, Debug)]
pub struct Recorded<T>(pub T);

impl<T: Traverse> Module for Recorded<T> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        Self(self.0.map(mapper))
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        devices
    }

    fn fork(self, _device: &Device) -> Self {
        self
    }

    fn to_device(self, _device: &Device) -> Self {
        self
    }

    fn train(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn materialize(self) -> Self {
        self
    }
}

/// A plain module that takes part in a record: it loads also where Burn alone refuses, into a `Col`-layout
/// weight that is initialized.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{LinearConfig, LinearLayout};
/// use burn_ema::record::{Plain, Recorded};
///
/// let config = LinearConfig::new(2, 3).with_layout(LinearLayout::Col);
/// let record = config.init(&Default::default()).into_record();
/// let model = config.init(&Default::default()).valid(); // initialized
/// let Recorded(Plain(model)) = Recorded(Plain(model)).try_load_record(record).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Plain<M>(pub M);

impl<M: Module> Traverse for Plain<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        Self(self.0.map(&mut SavedShapes(mapper)))
    }
}

/// Passes parameters on in the shape that records accept.
struct SavedShapes<'a, T>(&'a mut T);

impl<T: ModuleMapper> ModuleMapper for SavedShapes<'_, T> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.0.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.0.exit_module(name, container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0.map_float(of_saved_shape(param))
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.0.map_int(param)
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        self.0.map_bool(param)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.0.map_flag(flag)
    }
}

/// A parameter that records accept.
///
/// A record holds a `Col`-layout weight as it is saved, transposed, and compares that shape with the
/// one of the parameter to load into: as saved if it is lazy, but as it lives if it is initialized.
/// So a parameter whose two shapes differ is made lazy again, over the value that it has.
pub(crate) fn of_saved_shape<const D: usize>(param: Param<Tensor<D>>) -> Param<Tensor<D>> {
    let shape = param.transform_for_save().base().shape();
    if shape == param.shape() {
        return param;
    }
    let device = param.lazy_device();
    let trainable = Module::train(param.clone()).is_require_grad();
    let (id, value, mapper) = param.consume();
    let (load, save) = (mapper.clone(), mapper);
    let init = move |device: &Device, _: bool| value.to_device(device);
    Param::uninitialized(id, init, device, trainable, shape)
        .load_mapper(move |tensor| load.on_load(tensor))
        .save_mapper(move |tensor| save.on_save(tensor))
}

/// Whether `record` holds an average whose path is `path`: empty for the record of an
/// [`EmaModel`](crate::EmaModel) itself, the path of its field otherwise.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn_ema::{EmaConfig, record};
///
/// let model = LinearConfig::new(2, 1).init(&Default::default());
/// let ema = EmaConfig::new().init(&model);
/// assert!(record::holds_average(&ema.into_record(), ""));
/// assert!(!record::holds_average(&model.into_record(), ""));
/// ```
pub fn holds_average(record: &ModuleRecord, path: &str) -> bool {
    let probe = Recorded(Probe {
        path: path.to_string(),
        counters: None,
    });
    let record = record.clone();
    let record = record
        .allow_partial(true)
        .allow_unused(true)
        .validate(false);
    probe
        .try_load_record(record)
        .is_ok_and(|probe| probe.0.counters.is_some())
}

/// Looks for the counters of an average at a path.
#[derive(Clone, Debug)]
struct Probe {
    path: String,
    counters: Option<Counters>,
}

impl Traverse for Probe {
    fn visit<V: ModuleVisitor>(&self, _visitor: &mut V) {}

    fn map<Mapper: ModuleMapper>(mut self, mapper: &mut Mapper) -> Self {
        let parts: Vec<&str> = self
            .path
            .split('.')
            .filter(|part| !part.is_empty())
            .collect();
        for part in &parts {
            mapper.enter_module(part, "Struct:EmaModel");
        }
        self.counters = Counters::load(&Device::default(), mapper);
        for part in parts.iter().rev() {
            mapper.exit_module(part, "Struct:EmaModel");
        }
        self
    }
}

impl Counters {
    /// Shows the counters to `visitor`, as a parameter `ema_counters` of `i32[6]`.
    pub(crate) fn visit<V: ModuleVisitor>(&self, device: &Device, visitor: &mut V) {
        visitor.enter_module(COUNTERS, "Struct:EmaModel");
        visitor.visit_int(&self.param(device));
        visitor.exit_module(COUNTERS, "Struct:EmaModel");
    }

    /// The counters as `mapper` changes them.
    pub(crate) fn map<Mapper: ModuleMapper>(self, device: &Device, mapper: &mut Mapper) -> Self {
        mapper.enter_module(COUNTERS, "Struct:EmaModel");
        let mapped = mapper.map_int(self.param(device));
        mapper.exit_module(COUNTERS, "Struct:EmaModel");
        Self::from_data(mapped.val().into_data()).unwrap_or(self)
    }

    /// The counters that `mapper` has, if it has any.
    fn load<Mapper: ModuleMapper>(device: &Device, mapper: &mut Mapper) -> Option<Self> {
        mapper.enter_module(COUNTERS, "Struct:EmaModel");
        let nothing = TensorData::new(vec![-1_i32; 6], [6]);
        let nothing = Tensor::from_data(nothing, (device, DType::I32));
        let nothing = Param::initialized(ParamId::from(COUNTERS_ID), nothing);
        let mapped: Param<Tensor<1, Int>> = mapper.map_int(nothing);
        mapper.exit_module(COUNTERS, "Struct:EmaModel");
        Self::from_data(mapped.val().into_data())
    }

    fn param(&self, device: &Device) -> Param<Tensor<1, Int>> {
        let data = TensorData::new(self.to_limbs().to_vec(), [6]);
        let tensor = Tensor::from_data(data, (device, DType::I32));
        Param::initialized(ParamId::from(COUNTERS_ID), tensor)
    }

    /// Each counter as two numbers of 31 bits, low one first: `i32` is the one integer type that
    /// every backend has.
    fn to_limbs(self) -> [i32; 6] {
        let low = |count: u64| (count & LIMB) as i32;
        let high = |count: u64| (count >> LIMB_BITS) as i32;
        let Self {
            steps,
            updates,
            skipped,
        } = self;
        [
            low(steps),
            high(steps),
            low(updates),
            high(updates),
            low(skipped),
            high(skipped),
        ]
    }

    fn from_data(data: TensorData) -> Option<Self> {
        let limbs: Vec<u64> = data
            .iter::<i64>()
            .map(|limb| u64::try_from(limb).ok().filter(|limb| *limb <= LIMB))
            .collect::<Option<_>>()?;
        let [a, b, c, d, e, f] = limbs.try_into().ok()?;
        let count = |low: u64, high: u64| low | (high << LIMB_BITS);
        Some(Self {
            steps: count(a, b),
            updates: count(c, d),
            skipped: count(e, f),
        })
    }
}

const LIMB_BITS: u32 = 31;
const LIMB: u64 = (1 << LIMB_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_survive_as_limbs() {
        for count in [0, 1, LIMB - 1, LIMB, LIMB + 1, 1 << 53, (1 << 62) - 1] {
            let counters = Counters {
                steps: count,
                updates: count / 3,
                skipped: count / 7,
            };
            let data = TensorData::new(counters.to_limbs().to_vec(), [6]);
            assert_eq!(Counters::from_data(data), Some(counters));
        }
    }

    #[test]
    fn negative_or_missing_limbs_are_no_counters() {
        let from = |limbs: Vec<i32>| {
            let length = limbs.len();
            Counters::from_data(TensorData::new(limbs, [length]))
        };
        assert_eq!(from(vec![-1; 6]), None);
        assert_eq!(from(vec![0; 5]), None);
    }
}
