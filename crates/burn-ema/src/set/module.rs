//! Several EMAs as one Burn module, with one record.

use std::convert::Infallible;
use std::fmt;

use burn::module::{
    Content as Text, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor, ParamGroup,
};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Device;

use crate::burn_facts::{records, walkers};
use crate::error::EmaError;
use crate::model::config::MissingEma;
use crate::record::content::{Content, group_in};
use crate::record::traverse::{Recorded, Traverse};
use crate::set::{EmaSet, Named};

const CONTAINER: &str = "Struct:EmaSet";

/// Where the EMAs of a set are in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    /// The path of each. `None` if it is to start from weights.
    paths: Vec<Option<String>>,
    /// The EMAs of the record that the set does not have.
    others: Vec<String>,
}

impl<M: Module> EmaSet<M> {
    /// Loads `whole`, which contains this set at `path`, or this set alone, from a record.
    ///
    /// If the record has all EMAs, `load_whole` does it with a clone of this set, and the flags of the record as they are. If some
    /// start from weights
    /// ([`MissingEma`]), `load_parts` does, which is told where each EMA is. Returns `None` if the record has no EMA at or below
    /// `path`.
    ///
    /// # Errors
    ///
    /// If the record has some EMAs, but not one that is wanted, or does not fit.
    #[doc(hidden)]
    pub fn try_load_as<T>(
        &self,
        path: &str,
        record: ModuleRecord,
        load_whole: impl FnOnce(Self, ModuleRecord) -> Result<T, RecordError>,
        load_parts: impl FnOnce(ModuleRecord, &[Option<String>]) -> Result<T, RecordError>,
    ) -> Result<Option<T>, RecordError> {
        records::caught(|| {
            let content = Content::of(&record);
            let Some(found) = self.find(&content, path)? else {
                return Ok(None);
            };
            let loaded = match found.paths.contains(&None) {
                // Each part leaves the others unused.
                true if !found.others.is_empty() && !records::allows_unused(&record) => {
                    return Err(EmaError::UnusedEmas {
                        names: found.others,
                    }
                    .into());
                }
                true => load_parts(record, &found.paths),
                false => {
                    let mut paths = found.paths.iter().flatten();
                    let set = self.clone().try_each(|_, ema| {
                        let path = paths.next().map_or("", String::as_str);
                        ema.expecting(&content, path, &record)
                    })?;
                    // What a panic has lost must be in the record.
                    let record = match self.emas().any(|ema| ema.is_interrupted) {
                        true => record.allow_partial(false),
                        false => record,
                    };
                    load_whole(set, record)
                }
            };
            loaded.map(Some).map_err(|error| found.explained(error))
        })
    }

    /// Loads each EMA from its path. Those without a path start from `weights`, or stay as they are without any.
    #[doc(hidden)]
    pub fn try_load_parts(
        self,
        record: &ModuleRecord,
        paths: &[Option<String>],
        weights: Option<&M>,
    ) -> Result<Self, RecordError> {
        let content = Content::of(record);
        let mut paths = paths.iter();
        self.try_each(|_, ema| match paths.next().cloned().flatten() {
            Some(path) => ema.load_at(&path, &content, record.clone()),
            None => {
                let mut ema = ema.at_the_beginning();
                if let Some(weights) = weights {
                    ema.restart(weights)?;
                }
                Ok(ema)
            }
        })
    }

    /// The set, unless the record that was mapped onto it does not fit.
    #[doc(hidden)]
    pub fn loaded(self) -> Result<Self, RecordError> {
        self.try_each(|_, ema| ema.loaded())
    }

    fn find(&self, content: &Content, path: &str) -> Result<Option<Found>, EmaError> {
        let below =
            |ema: &String| path.is_empty() || ema == path || ema.starts_with(&format!("{path}."));
        let known: Vec<String> = content
            .emas()
            .iter()
            .filter(|ema| below(ema))
            .cloned()
            .collect();
        if known.is_empty() {
            return Ok(None);
        }
        let mut found = Found {
            paths: Vec::new(),
            others: known.clone(),
        };
        for Named { name, average } in &self.members {
            let at = joined(path, name);
            let places = average.emas().map(|(place, _)| place);
            let are_there: Vec<(&str, bool)> = places
                .map(|place| (place, content.has(&joined(&at, place))))
                .collect();
            let is_any = are_there.iter().any(|(_, is_there)| *is_there);
            for (place, is_there) in are_there {
                match (is_there, is_any, average.ema.config().missing_ema) {
                    (true, ..) | (false, false, MissingEma::StartFromWeights) => {}
                    // Parts of one average begin together.
                    (false, true, _) if !place.is_empty() => {
                        return Err(EmaError::MissingPart {
                            name: name.clone(),
                            part: joined(name, place),
                        });
                    }
                    (false, ..) => {
                        return Err(EmaError::MissingEmaOf {
                            name: name.clone(),
                            known,
                        });
                    }
                }
                let at = joined(&at, place);
                found.others.retain(|other| *other != at);
                found.paths.push(is_there.then_some(at));
            }
        }
        Ok(Some(found))
    }
}

impl Found {
    /// Burn lists every tensor that is not used. If these are EMAs, their names say more.
    fn explained(&self, error: RecordError) -> RecordError {
        match !self.others.is_empty() && error.to_string().contains("Unused tensors") {
            true => EmaError::UnusedEmas {
                names: self.others.clone(),
            }
            .into(),
            false => error,
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_string(),
        (false, true) => path.to_string(),
        (false, false) => format!("{path}.{name}"),
    }
}

/// The path of an EMA in the record of a set, part by part.
fn parts<'a>(name: &'a str, place: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
    let parts = [name, place].into_iter();
    parts.filter(|part| !part.is_empty())
}

impl<M: Module> Traverse for EmaSet<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for Named { name, average } in &self.members {
            for (place, ema) in average.emas() {
                parts(name, place).for_each(|part| visitor.enter_module(part, CONTAINER));
                Traverse::visit(ema, visitor);
                parts(name, place)
                    .rev()
                    .for_each(|part| visitor.exit_module(part, CONTAINER));
            }
        }
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        let mapped = self.try_each(|(name, place), ema| {
            parts(name, place).for_each(|part| mapper.enter_module(part, CONTAINER));
            let ema = Traverse::map(ema, mapper);
            parts(name, place)
                .rev()
                .for_each(|part| mapper.exit_module(part, CONTAINER));
            Ok::<_, Infallible>(ema)
        });
        mapped.unwrap_or_else(|never| match never {})
    }
}

impl<M: Module> Module for EmaSet<M> {
    /// Shows every EMA below its name. Burn's optimizers are shown nothing.
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

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.emas()
            .fold(devices, |devices, ema| ema.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn to_device(self, device: &Device) -> Self {
        self.each(|ema| ema.to_device(device))
    }

    /// EMAs are never trained: this does nothing.
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
        let group = group_in(&self, &group);
        Recorded(self).into_record_group(group)
    }

    /// Loads every EMA and its counters. [`MissingEma`] says what happens with an EMA that the record does not have, and with
    /// a record without EMAs. An EMA of the record that the set does not have is an error, unless
    /// [`allow_unused`](ModuleRecord::allow_unused) is set.
    fn try_load_record(self, record: ModuleRecord) -> Result<Self, RecordError> {
        if let [Named { name, .. }] = self.members.as_slice()
            && name.is_empty()
        {
            return self.try_each(|_, ema| ema.try_load_record(record.clone()));
        }
        let whole = |set: Self, record| Recorded(set).try_load_record(record)?.0.loaded();
        let parts = |record: ModuleRecord, paths: &[Option<String>]| {
            self.clone().try_load_parts(&record, paths, None)
        };
        match self.try_load_as("", record.clone(), whole, parts)? {
            Some(loaded) => Ok(loaded),
            None => self.try_each(|_, ema| ema.try_load_record(record.clone())),
        }
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplayDefault for EmaSet<M> {
    fn content(&self, content: Text) -> Option<Text> {
        let named = |content: Text, member: &Named<M>| {
            let name = match member.name.as_str() {
                "" => "ema",
                name => name,
            };
            content.add(name, &member.average.ema)
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

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};

    use crate::model::config::EmaConfig;
    use crate::set::config::EmaSetConfig;

    /// Otherwise zeros would stand where a weight was lost, and pass for weights.
    #[test]
    fn what_a_panic_has_lost_must_be_in_the_record_of_a_set() {
        let layer: Linear = LinearConfig::new(2, 2).init(&Device::flex());
        let mut set = EmaSetConfig::new()
            .with("ema", EmaConfig::new())
            .init(&layer);
        let whole = set.clone().into_record();
        let bias = ParamGroup::from_path("bias");
        let part = set.clone().into_record_group(bias).allow_partial(true);
        let ema = set.ema_mut("ema").unwrap();
        ema.is_interrupted = true;
        drop(ema.store.slots[0].start_move());
        assert!(set.clone().try_load_record(part).is_err());
        assert!(set.try_load_record(whole).is_ok());
    }
}
