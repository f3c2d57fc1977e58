//! What a checkpoint holds: the online weights, the averages, the counters.

use burn::module::{Module, ModuleMapper, ModuleVisitor, ParamGroup};
use burn::store::{ModuleRecord, RecordError};
use burn_ema::record::{Plain, Recorded, Traverse};
use burn_ema::{EmaSet, EmaSetConfig};

/// Path of the averages in a checkpoint. Unlikely to be the name of a field.
const AVERAGES: &str = "burn_ema";

/// All sets of weights as one record. The online weights keep their own paths, so that a plain
/// model finds them.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint<M: Module> {
    pub(crate) online: M,
    pub(crate) averages: EmaSet<M>,
}

/// Whether a record is one of a [`Checkpoint`] with these averages.
pub(crate) fn holds_averages(
    record: &ModuleRecord,
    averages: &EmaSetConfig,
) -> Result<bool, RecordError> {
    Ok(averages.is_in(record, AVERAGES)?)
}

impl<M: Module> Checkpoint<M> {
    pub(crate) fn into_record(self) -> ModuleRecord {
        Recorded(self).into_record()
    }

    pub(crate) fn into_record_group(self, group: ParamGroup) -> ModuleRecord {
        Recorded(self).into_record_group(group)
    }

    pub(crate) fn try_load(self, record: ModuleRecord) -> Result<Self, RecordError> {
        Ok(Recorded(self).try_load_record(record)?.0)
    }
}

impl<M: Module> Traverse for Checkpoint<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.online.visit(visitor);
        visitor.enter_module(AVERAGES, "Struct:EmaSet");
        Traverse::visit(&self.averages, visitor);
        visitor.exit_module(AVERAGES, "Struct:EmaSet");
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        // Making the averages has initialized the parameters.
        let Plain(online) = Traverse::map(Plain(self.online), mapper);
        mapper.enter_module(AVERAGES, "Struct:EmaSet");
        let averages = Traverse::map(self.averages, mapper);
        mapper.exit_module(AVERAGES, "Struct:EmaSet");
        Self { online, averages }
    }
}
