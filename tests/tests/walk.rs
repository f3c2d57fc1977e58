//! An update goes through its source once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, ParamGroup};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Device;
use burn_ema::{EmaConfig, EmaModel, EmaSetConfig, NonFinite};
use burn_ema_tests::backend::device;
use burn_ema_tests::models::Weights;

/// A module that counts how often it is gone through.
#[derive(Clone, Debug)]
struct Watched<M> {
    inner: M,
    walks: Arc<AtomicUsize>,
}

impl<M: Module> Watched<M> {
    fn new(inner: M) -> Self {
        Self {
            inner,
            walks: Arc::default(),
        }
    }

    fn with(self, change: impl FnOnce(M) -> M) -> Self {
        Self {
            inner: change(self.inner),
            walks: self.walks,
        }
    }

    /// How often `work` goes through it.
    fn walks(&self, work: impl FnOnce()) -> usize {
        self.walks.store(0, SeqCst);
        work();
        self.walks.load(SeqCst)
    }
}

impl<M: Module> Module for Watched<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.walks.fetch_add(1, SeqCst);
        self.inner.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        self.walks.fetch_add(1, SeqCst);
        self.with(|inner| inner.map(mapper))
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.inner.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.with(|inner| inner.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.with(|inner| inner.to_device(device))
    }

    fn train(self) -> Self {
        self.with(Module::train)
    }

    fn valid(&self) -> Self {
        self.walks.fetch_add(1, SeqCst);
        // What is made of it is counted apart.
        Self::new(self.inner.valid())
    }

    fn materialize(self) -> Self {
        self.with(Module::materialize)
    }

    fn into_record_group(self, group: ParamGroup) -> ModuleRecord {
        self.inner.into_record_group(group)
    }

    fn try_load_record(self, record: ModuleRecord) -> Result<Self, RecordError> {
        let inner = self.inner.try_load_record(record)?;
        Ok(Self {
            inner,
            walks: self.walks,
        })
    }
}

fn weights() -> Watched<Vec<Weights>> {
    let layer = |i| Weights::new(&[i as f32, 1.0], &device());
    Watched::new((0..3).map(layer).collect())
}

fn update<M: Module>(ema: &mut EmaModel<M>, source: &M) {
    ema.update(source).unwrap();
}

#[test]
fn update_goes_through_the_source_once() {
    let source = weights();
    let mut ema = EmaConfig::new().init(&source);
    assert_eq!(source.walks(|| update(&mut ema, &source)), 1);
    let mut guarded = EmaConfig::new()
        .with_non_finite(NonFinite::Error)
        .init(&source);
    assert_eq!(source.walks(|| update(&mut guarded, &source)), 1);
}

#[test]
fn several_averages_go_through_the_source_once() {
    let source = weights();
    let mut set = EmaSetConfig::new()
        .with("a", EmaConfig::new())
        .with("b", EmaConfig::new())
        .init(&source);
    let walks = source.walks(|| drop(set.update(&source).unwrap()));
    assert_eq!(walks, 1);
}

#[test]
fn nothing_due_needs_no_walk() {
    let source = weights();
    let mut ema = EmaConfig::new().with_interval(2).init(&source);
    assert_eq!(source.walks(|| update(&mut ema, &source)), 0);
}

/// Running statistics of the last forward pass are not shown until `valid` has been called.
#[test]
fn running_statistics_take_one_more_walk() {
    let norm: BatchNorm = BatchNormConfig::new(2).init(&device());
    let source = Watched::new(norm);
    let mut ema = EmaConfig::new().init(&source);
    assert_eq!(source.walks(|| update(&mut ema, &source)), 2);
}
