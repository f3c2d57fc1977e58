//! What a checkpoint holds: the online weights, the average, the counters.

use burn::module::{Module, ModuleMapper, ModuleVisitor, ParamGroup};
use burn::store::{ModuleRecord, RecordError};
use burn_ema::EmaModel;
use burn_ema::record::{Plain, Recorded, Traverse};

/// Path of the average in a checkpoint. Unlikely to be the name of a field.
const AVERAGE: &str = "burn_ema";

/// Both sets of weights as one record. The online weights keep their own paths, so that a plain
/// model finds them.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint<M: Module> {
    pub(crate) online: M,
    pub(crate) average: EmaModel<M>,
}

/// Whether a record is one of a [`Checkpoint`].
pub(crate) fn holds_average(record: &ModuleRecord) -> bool {
    burn_ema::record::holds_average(record, AVERAGE)
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
        visitor.enter_module(AVERAGE, "Struct:EmaModel");
        Traverse::visit(&self.average, visitor);
        visitor.exit_module(AVERAGE, "Struct:EmaModel");
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        // Making the average has initialized the parameters.
        let Plain(online) = Traverse::map(Plain(self.online), mapper);
        mapper.enter_module(AVERAGE, "Struct:EmaModel");
        let average = Traverse::map(self.average, mapper);
        mapper.exit_module(AVERAGE, "Struct:EmaModel");
        Self { online, average }
    }
}
