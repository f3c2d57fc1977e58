//! An average as a Burn module, and the records that follow from it.

use burn::module::{
    Content, Devices, Flag, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor, Param, ParamGroup,
};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::{Bool, Device, Int, Tensor};

use crate::ids::exchanged;
use crate::model::Counters;
use crate::record::{self, Plain, Recorded, Traverse};
use crate::{EmaError, EmaModel, PlainRecord};

/// Name of the averaged values in a record.
const SHADOW: &str = "shadow";

impl<M: Module> EmaModel<M> {
    /// The device of the first value, for what needs any device.
    fn any_device(&self) -> Device {
        self.shadow.devices().next().unwrap_or_default()
    }

    fn start_from(mut self, record: ModuleRecord) -> Result<Self, RecordError> {
        let model = Recorded(Plain(self.full_precision_model()));
        let Recorded(Plain(model)) = model.try_load_record(record)?;
        self.replace(model, Counters::default())?;
        Ok(self)
    }
}

impl<M: Module> Traverse for EmaModel<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.enter_module(SHADOW, "Struct:EmaModel");
        self.full_precision_model().visit(&mut OwnIds(visitor));
        visitor.exit_module(SHADOW, "Struct:EmaModel");
        self.counters.visit(&self.any_device(), visitor);
    }

    fn map<Mapper: ModuleMapper>(mut self, mapper: &mut Mapper) -> Self {
        mapper.enter_module(SHADOW, "Struct:EmaModel");
        let model = self.full_precision_model().map(&mut OwnIds(mapper));
        mapper.exit_module(SHADOW, "Struct:EmaModel");
        let counters = self.counters.map(&self.any_device(), mapper);
        self.replace(model, counters)
            .expect("a mapper does not change the rank of a parameter");
        self
    }
}

impl<M: Module> Module for EmaModel<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        Traverse::visit(self, visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        Traverse::map(self, mapper)
    }

    fn collect_devices(&self, mut devices: Devices) -> Devices {
        for device in self.shadow.devices() {
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        devices
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn to_device(mut self, device: &Device) -> Self {
        self.move_to(device);
        self
    }

    /// An average is never trained: this does nothing.
    fn train(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn materialize(mut self) -> Self {
        let model = self.full_precision_model().materialize();
        let counters = self.counters;
        self.replace(model, counters)
            .expect("materializing does not change the rank of a parameter");
        self
    }

    fn into_record_group(self, group: ParamGroup) -> ModuleRecord {
        Recorded(self).into_record_group(group)
    }

    /// Loads the average and its counters. A record of a plain model is refused, or started from, as
    /// [`PlainRecord`] says.
    fn try_load_record(self, record: ModuleRecord) -> Result<Self, RecordError> {
        if record::holds_average(&record, "") {
            return Ok(Recorded(self).try_load_record(record)?.0);
        }
        match self.plain_record() {
            PlainRecord::Refuse => Err(EmaError::PlainRecord.into()),
            PlainRecord::StartFrom => self.start_from(record),
        }
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplayDefault for EmaModel<M> {
    fn content(&self, content: Content) -> Option<Content> {
        content
            .set_top_level_type("EmaModel")
            .add("model", self.model())
            .add("num_updates", &(self.num_updates() as usize))
            .optional()
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplay for EmaModel<M> {}

impl<M: Module + ModuleDisplay> std::fmt::Display for EmaModel<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.format(Default::default()))
    }
}

/// Passes a traversal on with ids of the average's own.
///
/// The average keeps the ids of its source, for a model that is taken out of it. Whoever traverses
/// the average must not see those: an optimizer that meets the id of a live parameter would take its
/// gradient and its state.
struct OwnIds<'a, T>(&'a mut T);

impl<V: ModuleVisitor> ModuleVisitor for OwnIds<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.0.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.0.exit_module(name, container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut param = param.clone();
        param.id = exchanged(param.id);
        self.0.visit_float(&param);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let mut param = param.clone();
        param.id = exchanged(param.id);
        self.0.visit_int(&param);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let mut param = param.clone();
        param.id = exchanged(param.id);
        self.0.visit_bool(&param);
    }
}

impl<T: ModuleMapper> ModuleMapper for OwnIds<'_, T> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.0.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.0.exit_module(name, container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let mut param = record::of_saved_shape(param);
        param.id = exchanged(param.id);
        let mut param = self.0.map_float(param);
        param.id = exchanged(param.id);
        param
    }

    fn map_int<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Int>>,
    ) -> Param<Tensor<D, Int>> {
        param.id = exchanged(param.id);
        let mut param = self.0.map_int(param);
        param.id = exchanged(param.id);
        param
    }

    fn map_bool<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        param.id = exchanged(param.id);
        let mut param = self.0.map_bool(param);
        param.id = exchanged(param.id);
        param
    }

    // Flags say how a model behaves. The averaged model is always in validation state.
    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        flag
    }
}
