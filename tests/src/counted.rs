//! A module that counts how often it is gone through.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
use burn::tensor::Device;

/// A model that counts its visits, and the calls of its `valid`. What is made of it counts for itself.
#[derive(Clone, Debug)]
pub struct Counted<M> {
    model: M,
    visits: Arc<AtomicUsize>,
    valids: Arc<AtomicUsize>,
}

impl<M> Counted<M> {
    /// `model`, of which nothing has been counted.
    pub fn new(model: M) -> Self {
        Self {
            model,
            visits: Arc::default(),
            valids: Arc::default(),
        }
    }

    /// How often it has been visited.
    pub fn visits(&self) -> usize {
        self.visits.load(SeqCst)
    }

    /// How often `valid` has been called, which goes through a model too.
    pub fn valids(&self) -> usize {
        self.valids.load(SeqCst)
    }
}

impl<M: Module> Module for Counted<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.visits.fetch_add(1, SeqCst);
        self.model.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        Self::new(self.model.map(mapper))
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.model.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self::new(self.model.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        Self::new(self.model.to_device(device))
    }

    fn train(self) -> Self {
        Self::new(self.model.train())
    }

    fn valid(&self) -> Self {
        self.valids.fetch_add(1, SeqCst);
        Self::new(self.model.valid())
    }

    fn materialize(self) -> Self {
        Self::new(self.model.materialize())
    }
}
