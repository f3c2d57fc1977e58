//! The wrapper as a Burn module: its parameters are the online ones, its record holds everything.

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, ParamGroup};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Device;
use burn_ema::EmaError;
use burn_ema::config::MissingEma;
use burn_ema::record::caught;

use crate::learner::WithEma;
use crate::learner::checkpoint::{Checkpoint, online};
use crate::learner::emas::Snapshot;
use crate::learner::handle::Handle;

/// The parameters of the module are the online ones. An optimizer, a gradient walk or a sharder that
/// could see the EMA would treat it as trainable.
impl<M: Module, V> Module for WithEma<M, V> {
    fn visit<Visitor: ModuleVisitor>(&self, visitor: &mut Visitor) {
        self.online.visit(visitor);
    }

    /// Maps the online weights. To map the EMA too, map [`into_online`](WithEma::into_online) and [`ema`](WithEma::ema), and
    /// wrap the result.
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
        let (emas, snapshot) = (self.emas.fork(), self.fresh_snapshot());
        Self {
            emas,
            snapshot,
            ..self.with_online(|online| online.fork(device))
        }
    }

    fn to_device(self, device: &Device) -> Self {
        let snapshot = self.fresh_snapshot();
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
        let emas = self.emas.fork();
        let snapshot = self.snapshot.clone().unwrap_or_else(Snapshot::new);
        Self {
            snapshot: Some(snapshot),
            emas,
            ..self.clone().with_online(|online| online.valid())
        }
    }

    fn materialize(self) -> Self {
        let emas = self.emas.peek(|emas| emas.cloned());
        let emas = emas.map(|emas| Handle::running(emas.materialize()));
        let materialized = self.with_online(Module::materialize);
        match emas {
            Some(emas) => Self {
                emas,
                ..materialized
            },
            None => materialized,
        }
    }

    fn into_record(self) -> ModuleRecord {
        match self.checkpoint() {
            Ok(checkpoint) => checkpoint.into_record(),
            Err(error) => self.record_of_online(&error).into_record(),
        }
    }

    fn into_record_group(self, group: ParamGroup) -> ModuleRecord {
        match self.checkpoint() {
            Ok(checkpoint) => checkpoint.into_record_group(&group),
            Err(error) => self.record_of_online(&error).into_record_group(group),
        }
    }

    fn try_load_record(self, record: ModuleRecord) -> Result<Self, RecordError> {
        if let Some(loaded) = self.checkpoint()?.try_load(record.clone())? {
            self.monitor.show(&loaded.emas);
            return Ok(Self {
                emas: Handle::running(loaded.emas),
                ..self.with_online(|_| loaded.online)
            });
        }
        let config = self.emas.config();
        let mut emas = config.emas.iter();
        if emas.any(|ema| ema.config.missing_ema == MissingEma::Error) {
            return Err(EmaError::MissingEma.into());
        }
        let online = caught(|| online(self.online.clone(), record))?;
        Ok(Self {
            emas: self.emas.restarted(),
            ..self.with_online(|_| online)
        })
    }
}

impl<M: Module, V> WithEma<M, V> {
    /// Everything that a checkpoint holds.
    ///
    /// # Errors
    ///
    /// If no EMA of the model can be created.
    fn checkpoint(&self) -> Result<Checkpoint<M>, EmaError> {
        // Pending running statistics are not part of a record.
        drop(self.online.valid());
        Ok(Checkpoint {
            online: self.online.clone(),
            emas: self.emas()?,
        })
    }

    /// What is recorded where no EMA can be created: a record cannot be an error.
    fn record_of_online(self, error: &EmaError) -> M {
        log::error!("the checkpoint holds the online weights only, without an EMA: {error}");
        self.online
    }
}
