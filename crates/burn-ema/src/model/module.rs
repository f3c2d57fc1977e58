//! An EMA as a Burn module, and its records.

use std::collections::HashSet;

use burn::module::{
    Content as Text, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor, Param, ParamGroup, ParamId,
};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::{Device, Int, Tensor};

use crate::burn_facts::{rank, records, walkers};
use crate::counters::Counters;
use crate::error::EmaError;
use crate::model::config::{EmaPrecision, MissingEma};
use crate::model::{EmaModel, planned};
use crate::record::content::{Content, group_in};
use crate::record::ids::{exchanged, of_compensation};
use crate::record::progress::{PROGRESS, Progress};
use crate::record::traverse::{Plain, Recorded, Traverse};
use crate::record::walk::{COMPENSATIONS, Only, OwnIds, WEIGHTS};
use crate::store::Store;
use crate::store::slot::Slot;
use crate::walk::read::{Kind, Shown, again};

const CONTAINER: &str = "Struct:EmaModel";

impl<M: Module> EmaModel<M> {
    fn any_device(&self) -> Device {
        rank::device(self.store.slots[0].tensor())
    }

    fn progress(&self) -> Progress {
        Progress {
            counters: self.counters,
            trained: self.plan.trained(),
        }
    }

    /// Puts something in the place of weights that a panic has lost, for a record to be loaded over it.
    fn mend(&mut self) {
        let devices = self.store.frame.devices();
        let Some(device) = devices.first() else {
            return;
        };
        let entries = self.plan.entries.iter().zip(&mut self.store.slots);
        for (entry, slot) in entries.filter(|(_, slot)| !slot.is_whole()) {
            slot.put(rank::zeros(
                &entry.shape,
                self.config.precision.of(entry.dtype),
                device,
            ));
        }
    }

    /// The EMA, unless the record that was mapped onto it does not fit.
    pub(crate) fn loaded(mut self) -> Result<Self, RecordError> {
        match self.load_error.take() {
            Some(error) => Err(error.into()),
            None => Ok(self),
        }
    }

    /// Takes over what a record has.
    fn resume(&mut self, progress: Progress) {
        self.counters = progress.counters;
        self.plan.set_trained(&progress.trained);
        self.written_back_at = self.counters.steps;
        self.is_interrupted = false;
    }

    /// Takes over a changed [`full_precision_model`](Self::full_precision_model) that has the same places.
    ///
    /// `loaded_from_record` says that dtypes are those of a record, and not the wish of the caller.
    ///
    /// # Errors
    ///
    /// If a tensor of a record is of a dtype that would lose digits.
    fn take_in(&mut self, model: &M, loaded_from_record: bool) -> Result<(), EmaError> {
        let reading = again(model, &self.plan.places, false);
        let is_same = reading.others.is_empty()
            && reading
                .shown
                .iter()
                .zip(&self.plan.entries)
                .all(|(shown, entry)| {
                    shown
                        .as_ref()
                        .is_some_and(|shown| shown.kind() == entry.kind)
                });
        if !is_same {
            return self.take_in_other(model);
        }
        let shown: Vec<Shown> = reading.shown.into_iter().flatten().collect();
        let mut tensors = Vec::with_capacity(shown.len());
        for (place, shown) in shown.iter().enumerate() {
            let expected = self.store.slots[place].dtype();
            let found = shown.tensor.dtype();
            let tensor = match loaded_from_record && shown.kind() == Kind::Float {
                true if rank::is_lossless(found, expected) => {
                    rank::cast(shown.tensor.clone(), expected)
                }
                true => {
                    return Err(EmaError::RecordDType {
                        path: self.plan.places.paths[place].clone(),
                        expected,
                        found,
                    });
                }
                false => shown.tensor.clone(),
            };
            tensors.push(tensor);
        }
        let ids: Vec<ParamId> = shown.iter().map(|shown| shown.id).collect();
        self.release();
        let places = self.plan.places.clone();
        self.store.replace(&places, tensors, &ids);
        Ok(())
    }

    /// The same of a model that has other places: a mapper has changed its structure.
    fn take_in_other(&mut self, model: &M) -> Result<(), EmaError> {
        let (first, plan, frame) = planned(model, |first, buffers| {
            Ok(self.plan.revised(first, buffers))
        })?;
        self.release();
        let slots = first.shown.into_iter().map(|shown| Slot::new(shown.tensor));
        self.store = Store::new(slots.collect(), frame, self.store.pinned.clone());
        self.plan = plan;
        self.store.read_now();
        Ok(())
    }

    fn start_from(mut self, record: ModuleRecord) -> Result<Self, RecordError> {
        self.mend();
        let model = Recorded(Plain(self.full_precision_model()));
        let Recorded(Plain(model)) = model.try_load_record(record)?;
        self.take_in(&model, true)?;
        self.resume(Progress::default());
        Ok(self)
    }

    /// The EMA, which knows of which tensors the record has compensations: a record without them is one in which nothing is lost.
    ///
    /// # Errors
    ///
    /// If the record has some, and the EMA does not keep any.
    pub(crate) fn expecting(
        mut self,
        content: &Content,
        path: &str,
        record: &ModuleRecord,
    ) -> Result<Self, EmaError> {
        let compensations = content.compensations(path);
        let is_kept = self.config.precision == EmaPrecision::Compensated;
        if let Some(first) = compensations.first()
            && !is_kept
            && !records::allows_unused(record)
        {
            return Err(EmaError::UnusedCompensation {
                path: first.clone(),
                precision: format!("{:?}", self.config.precision),
            });
        }
        let compensations = compensations.into_iter().filter(|_| is_kept);
        self.expected = Some(compensations.collect());
        Ok(self)
    }

    /// Loads the EMA at `path` of a record.
    pub(crate) fn load_at(
        self,
        path: &str,
        content: &Content,
        record: ModuleRecord,
    ) -> Result<Self, RecordError> {
        let loading = Loading {
            ema: self.expecting(content, path, &record)?,
            path: path.to_string(),
        };
        // What a panic has lost must be in the record.
        let record = match loading.ema.is_interrupted {
            true => record.allow_partial(false),
            false => record,
        };
        // Whatever else is in the record stays there.
        let record = match path {
            "" => record,
            _ => record.allow_unused(true),
        };
        let Recorded(loaded) = Recorded(loading)
            .try_load_record(record)
            .map_err(format_error)?;
        loaded.ema.loaded()
    }
}

/// Says so if progress has another length than this version writes.
fn format_error(error: RecordError) -> RecordError {
    let text = error.to_string();
    let is_of_progress = text.contains(&format!("{PROGRESS}: shape mismatch"));
    match is_of_progress && !text.contains(&format!("{WEIGHTS}.")) {
        true => EmaError::UnknownFormat {
            path: PROGRESS.to_string(),
            found: "of another length".to_string(),
            known: 1,
        }
        .into(),
        false => error,
    }
}

impl<M: Module> Traverse for EmaModel<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.enter_module(WEIGHTS, CONTAINER);
        self.full_precision_model().visit(&mut OwnIds {
            inner: visitor,
            exchange: exchanged,
        });
        visitor.exit_module(WEIGHTS, CONTAINER);
        if walkers::is_of_record::<V>() && self.config.precision == EmaPrecision::Compensated {
            let paths = self.compensated_paths();
            let is_wanted = |path: &str| paths.contains(path);
            visitor.enter_module(COMPENSATIONS, CONTAINER);
            self.compensations(&is_wanted).visit(&mut Only::of(
                &mut OwnIds {
                    inner: visitor,
                    exchange: of_compensation,
                },
                &is_wanted,
            ));
            visitor.exit_module(COMPENSATIONS, CONTAINER);
        }
        self.progress().visit(&self.any_device(), visitor);
    }

    fn map<Mapper: ModuleMapper>(mut self, mapper: &mut Mapper) -> Self {
        let is_of_record = walkers::is_of_record::<Mapper>();
        let compensations = match (is_of_record, self.expected.take()) {
            (true, Some(expected)) => expected,
            (true, None) => self.compensated_paths(),
            (false, _) => HashSet::new(),
        };
        if let Err(error) = self.map_all(mapper, is_of_record, &compensations) {
            // `map` cannot return an error. For an EMA that is a field of a module, Burn reports this path as missing.
            let nothing = Tensor::<1, Int>::zeros([1], &self.any_device());
            mapper.enter_module(&error.to_string(), CONTAINER);
            drop(mapper.map_int(Param::initialized(ParamId::new(), nothing)));
            mapper.exit_module(&error.to_string(), CONTAINER);
            self.load_error = Some(error);
        }
        self
    }
}

impl<M: Module> EmaModel<M> {
    fn map_all<Mapper: ModuleMapper>(
        &mut self,
        mapper: &mut Mapper,
        is_of_record: bool,
        compensations: &HashSet<String>,
    ) -> Result<(), EmaError> {
        self.mend();
        let device = self.any_device();
        mapper.enter_module(WEIGHTS, CONTAINER);
        let model = self.full_precision_model().map(&mut OwnIds {
            inner: mapper,
            exchange: exchanged,
        });
        mapper.exit_module(WEIGHTS, CONTAINER);
        let is_wanted = |path: &str| compensations.contains(path);
        let lost = (!compensations.is_empty()).then(|| {
            mapper.enter_module(COMPENSATIONS, CONTAINER);
            let lost = self.compensations(&|_| false).map(&mut Only::of(
                &mut OwnIds {
                    inner: mapper,
                    exchange: of_compensation,
                },
                &is_wanted,
            ));
            mapper.exit_module(COMPENSATIONS, CONTAINER);
            lost
        });
        let progress = self.progress().map(&device, mapper)?;
        self.take_in(&model, is_of_record)?;
        if let Some(lost) = lost {
            self.take_compensations(&lost, &is_wanted)?;
        }
        self.resume(progress);
        Ok(())
    }

    /// A model of the compensations at the paths that are wanted, and of nothing lost elsewhere.
    fn compensations(&self, is_wanted: &dyn Fn(&str) -> bool) -> M {
        let places = &self.plan.places;
        self.store.frame.filled(places, |place| {
            let tensor = self.store.slots[place].tensor();
            let compensation = match is_wanted(&places.paths[place]) {
                true => self.store.share_compensation(place),
                false => None,
            };
            match compensation {
                Some(compensation) => compensation,
                None if tensor.is_float() => rank::zeros_like(tensor),
                None => rank::single(tensor),
            }
        })
    }

    /// Takes over the compensations at the paths that are wanted.
    fn take_compensations(
        &mut self,
        model: &M,
        is_wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(), EmaError> {
        let places = self.plan.places.clone();
        let reading = again(model, &places, false);
        for (place, shown) in reading.shown.into_iter().enumerate() {
            let Some(shown) = shown.filter(|_| is_wanted(&places.paths[place])) else {
                continue;
            };
            let slot = &mut self.store.slots[place];
            let (expected, found) = (slot.dtype(), shown.tensor.dtype());
            if !rank::is_lossless(found, expected) {
                return Err(EmaError::RecordDType {
                    path: places.paths[place].clone(),
                    expected,
                    found,
                });
            }
            rank::read(&shown.tensor);
            slot.set_compensation(rank::cast(shown.tensor, expected));
        }
        Ok(())
    }

    fn compensated_paths(&self) -> HashSet<String> {
        let paths = self.plan.places.paths.iter().enumerate();
        paths
            .filter(|(place, _)| self.is_compensated(*place))
            .map(|(_, path)| path.clone())
            .collect()
    }
}

/// An EMA that is loaded from somewhere in a record.
#[derive(Clone, Debug)]
struct Loading<M: Module> {
    ema: EmaModel<M>,
    path: String,
}

impl<M: Module> Traverse for Loading<M> {
    fn visit<V: ModuleVisitor>(&self, _visitor: &mut V) {}

    fn map<Mapper: ModuleMapper>(mut self, mapper: &mut Mapper) -> Self {
        let parts: Vec<&str> = self
            .path
            .split('.')
            .filter(|part| !part.is_empty())
            .collect();
        for part in &parts {
            mapper.enter_module(part, CONTAINER);
        }
        let compensations = self.ema.expected.take().unwrap_or_default();
        let loaded = self.ema.map_all(mapper, true, &compensations);
        self.ema.load_error = loaded.err();
        for part in parts.iter().rev() {
            mapper.exit_module(part, CONTAINER);
        }
        self
    }
}

impl<M: Module> Module for EmaModel<M> {
    /// Shows the EMA weights and the progress, with ids of their own. Burn's optimizers are shown nothing.
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        if !walkers::is_of_optimizer::<V>() {
            Traverse::visit(self, visitor);
        }
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        match walkers::is_of_optimizer::<Mapper>() {
            true => self,
            false => Traverse::map(self, mapper),
        }
    }

    fn collect_devices(&self, mut devices: Devices) -> Devices {
        for device in self.store.devices() {
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        devices
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    /// Moves the EMA to `device`. At the next update it follows its model again, unless it was
    /// [kept elsewhere](EmaModel::with_device): then it is kept on `device`.
    fn to_device(mut self, device: &Device) -> Self {
        self.release();
        self.store.move_to(device);
        self
    }

    /// An EMA is never trained: this does nothing.
    fn train(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn materialize(mut self) -> Self {
        self.release();
        let places = self.plan.places.clone();
        let kept: Vec<_> = (0..places.len())
            .map(|place| self.store.share_compensation(place))
            .collect();
        let model = self.full_precision_model().materialize();
        self.take_in_other(&model)
            .expect("materializing changes neither the ranks nor the fields of a model");
        for (path, compensation) in places.paths.iter().zip(kept) {
            if let (Some(place), Some(compensation)) =
                (self.plan.places.position(path), compensation)
            {
                self.store.slots[place].set_compensation(compensation);
            }
        }
        self
    }

    fn into_record_group(self, group: ParamGroup) -> ModuleRecord {
        let group = group_in(&self, &group);
        Recorded(self).into_record_group(group)
    }

    /// Loads the EMA and its counters, from wherever in the record they are: the record may be that of a Learner's
    /// checkpoint. What happens with a record without an EMA says [`MissingEma`].
    fn try_load_record(self, record: ModuleRecord) -> Result<Self, RecordError> {
        records::caught(|| {
            let content = Content::of(&record);
            match content.single()? {
                Some(path) => self.load_at(path, &content, record),
                None => match self.config.missing_ema {
                    MissingEma::Error => Err(EmaError::MissingEma.into()),
                    MissingEma::StartFromWeights => self.start_from(record),
                },
            }
        })
    }
}

impl<M: Module> EmaModel<M> {
    /// The same EMA at the beginning: the weights that it has, and all counters at 0.
    pub(crate) fn at_the_beginning(mut self) -> Self {
        self.counters = Counters::default();
        self.written_back_at = 0;
        self
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplayDefault for EmaModel<M> {
    fn content(&self, content: Text) -> Option<Text> {
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
