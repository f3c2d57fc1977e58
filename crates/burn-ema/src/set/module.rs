//! Several averages as one Burn module, with one record.

use std::fmt;

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    ParamGroup,
};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Device;

use super::{EmaSet, EmaSetConfig, Member};
use crate::EmaError;
use crate::record::{self, Recorded, Traverse};

const CONTAINER: &str = "Struct:EmaSet";

impl EmaSetConfig {
    /// Whether `record` holds these averages at `path`: empty for the record of a set itself.
    ///
    /// # Errors
    ///
    /// If it holds some of them only.
    pub fn is_in(&self, record: &ModuleRecord, path: &str) -> Result<bool, EmaError> {
        let path_of = |name: &str| match (path.is_empty(), name.is_empty()) {
            (true, _) => name.to_string(),
            (false, true) => path.to_string(),
            (false, false) => format!("{path}.{name}"),
        };
        let is_in = |name: &&str| record::holds_average(record, &path_of(name));
        let (held, missing): (Vec<&str>, Vec<&str>) = self.names().partition(is_in);
        let holds_any = !held.is_empty() || record::holds_average(record, path);
        match missing.first() {
            Some(name) if holds_any => Err(EmaError::AverageMissing {
                name: name.to_string(),
            }),
            _ => Ok(holds_any),
        }
    }
}

impl<M: Module> Traverse for EmaSet<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for Member { name, average } in &self.members {
            if name.is_empty() {
                Traverse::visit(average, visitor);
                continue;
            }
            visitor.enter_module(name, CONTAINER);
            Traverse::visit(average, visitor);
            visitor.exit_module(name, CONTAINER);
        }
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        let mut members = Vec::new();
        for Member { name, average } in self.members {
            if !name.is_empty() {
                mapper.enter_module(&name, CONTAINER);
            }
            let average = Traverse::map(average, mapper);
            if !name.is_empty() {
                mapper.exit_module(&name, CONTAINER);
            }
            members.push(Member { name, average });
        }
        Self::of(members)
    }
}

impl<M: Module> Module for EmaSet<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        Traverse::visit(self, visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        Traverse::map(self, mapper)
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        let averages = self.members.iter();
        averages.fold(devices, |devices, member| {
            member.average.collect_devices(devices)
        })
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn to_device(self, device: &Device) -> Self {
        self.each(|average| average.to_device(device))
    }

    /// Averages are never trained: this does nothing.
    fn train(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn materialize(self) -> Self {
        self.each(Module::materialize)
    }

    fn into_record_group(self, group: ParamGroup) -> ModuleRecord {
        Recorded(self).into_record_group(group)
    }

    /// Loads every average and its counters. A record of a plain model is refused, or started from by those whose
    /// [`PlainRecord`](crate::PlainRecord) says so.
    fn try_load_record(self, record: ModuleRecord) -> Result<Self, RecordError> {
        if self.config().is_in(&record, "")? {
            return Ok(Recorded(self).try_load_record(record)?.0);
        }
        let mut members = Vec::new();
        for Member { name, average } in self.members {
            let average = average.try_load_record(record.clone())?;
            members.push(Member { name, average });
        }
        Ok(Self::of(members))
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplayDefault for EmaSet<M> {
    fn content(&self, content: Content) -> Option<Content> {
        let named = |content: Content, member: &Member<M>| {
            let name = match member.name.as_str() {
                "" => "average",
                name => name,
            };
            content.add(name, &member.average)
        };
        let content = content.set_top_level_type("EmaSet");
        self.members.iter().fold(content, named).optional()
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplay for EmaSet<M> {}

impl<M: Module + ModuleDisplay> fmt::Display for EmaSet<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.format(Default::default()))
    }
}
