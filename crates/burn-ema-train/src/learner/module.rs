//! The wrapper as a Burn module: its parameters are the online ones, its record holds everything.

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, ParamGroup};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Device;
use burn_ema::record::{Plain, Recorded};
use burn_ema::{EmaError, PlainRecord};

use super::EmaLearner;
use super::averages::Snapshot;
use crate::handle::Handle;
use crate::record::{self, Checkpoint};

/// The parameters of the module are the online ones. An optimizer, a gradient walk or a sharder that
/// could see the average would treat it as trainable.
impl<M: Module, V> Module for EmaLearner<M, V> {
    fn visit<Visitor: ModuleVisitor>(&self, visitor: &mut Visitor) {
        self.online.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        self.with_online(|online| online.map(mapper))
    }

    fn num_params(&self) -> usize {
        self.online.num_params()
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.online.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        let (averages, snapshot) = (self.averages.fork(), self.snapshot_anew());
        Self {
            averages,
            snapshot,
            ..self.with_online(|online| online.fork(device))
        }
    }

    fn to_device(self, device: &Device) -> Self {
        let snapshot = self.snapshot_anew();
        Self {
            snapshot,
            ..self.with_online(|online| online.to_device(device))
        }
    }

    fn train(self) -> Self {
        self.with_online(Module::train)
    }

    fn valid(&self) -> Self {
        // Taken from a fork, which no step changes: what is averaged and what is counted belong together.
        let averages = self.averages.fork();
        let snapshot = self.snapshot.clone().unwrap_or_else(Snapshot::new);
        Self {
            snapshot: Some(snapshot),
            averages,
            ..self.clone().with_online(|online| online.valid())
        }
    }

    fn materialize(self) -> Self {
        let averages = self.averages.peek(|averages| averages.cloned());
        let averages = averages.map(|averages| Handle::running(averages.materialize()));
        let materialized = self.with_online(Module::materialize);
        match averages {
            Some(averages) => Self {
                averages,
                ..materialized
            },
            None => materialized,
        }
    }

    fn into_record(self) -> ModuleRecord {
        self.checkpoint().into_record()
    }

    fn into_record_group(self, group: ParamGroup) -> ModuleRecord {
        self.checkpoint().into_record_group(group)
    }

    fn try_load_record(self, record: ModuleRecord) -> Result<Self, RecordError> {
        let config = self.averages.config();
        if record::holds_averages(&record, &config)? {
            let loaded = self.clone().checkpoint().try_load(record)?;
            self.monitor.show(&loaded.averages);
            return Ok(Self {
                averages: Handle::running(loaded.averages),
                ..self.with_online(|_| loaded.online)
            });
        }
        let mut averages = config.averages.iter();
        if averages.any(|average| average.config.plain_record == PlainRecord::Refuse) {
            return Err(EmaError::PlainRecord.into());
        }
        let online = Recorded(Plain(self.online.clone()));
        let Recorded(Plain(online)) = online.try_load_record(record)?;
        Ok(Self {
            averages: self.averages.restarted(),
            ..self.with_online(|_| online)
        })
    }
}

impl<M: Module, V> EmaLearner<M, V> {
    /// Everything that a checkpoint holds.
    ///
    /// # Panics
    ///
    /// If no average can be made of the model, which [`EmaModel`](burn_ema::EmaModel) would have said before.
    fn checkpoint(self) -> Checkpoint<M> {
        // Running statistics that are still pending are not part of a record.
        drop(self.online.valid());
        let averages = self
            .averages()
            .unwrap_or_else(|error| panic!("no checkpoint of the average: {error}"));
        Checkpoint {
            online: self.online,
            averages,
        }
    }
}
