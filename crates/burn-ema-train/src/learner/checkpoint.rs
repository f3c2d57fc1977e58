//! What a checkpoint holds: the online weights, the EMAs, their counters.

use burn::module::{Module, ModuleMapper, ModuleVisitor, ParamGroup};
use burn::store::{ModuleRecord, RecordError};
use burn_ema::EmaSet;
use burn_ema::record::{Plain, Recorded, Traverse, group_in};

/// Path of the EMAs in a checkpoint. Unlikely to be the name of a field.
const EMAS: &str = "burn_ema";

const CONTAINER: &str = "Struct:EmaSet";

/// All sets of weights as one record. The online weights keep their own paths, so that a plain model finds them.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint<M: Module> {
    pub(crate) online: M,
    pub(crate) emas: EmaSet<M>,
}

impl<M: Module> Checkpoint<M> {
    pub(crate) fn into_record(self) -> ModuleRecord {
        Recorded(self).into_record()
    }

    pub(crate) fn into_record_group(self, group: &ParamGroup) -> ModuleRecord {
        let group = group_in(&self, group);
        Recorded(self).into_record_group(group)
    }

    /// Loads online weights and EMAs. `None` if the record has no EMA.
    ///
    /// # Errors
    ///
    /// If the record has some EMAs but not all that are wanted, or does not fit.
    pub(crate) fn try_load(self, record: ModuleRecord) -> Result<Option<Self>, RecordError> {
        let whole = |emas, record| {
            let online = self.online.clone();
            let whole = Recorded(Self { online, emas });
            let Recorded(Self { online, emas }) = whole.try_load_record(record)?;
            let emas = emas.loaded()?;
            Ok(Self { online, emas })
        };
        // EMAs that the record does not have start from its online weights.
        let parts = |record: ModuleRecord, paths: &[Option<String>]| {
            let online = online(self.online.clone(), record.clone().allow_unused(true))?;
            let emas = self.emas.clone();
            let emas = emas.try_load_parts(&record, paths, Some(&online))?;
            Ok(Self { online, emas })
        };
        self.emas.try_load_as(EMAS, record, whole, parts)
    }
}

/// `model` with the weights of a record.
pub(crate) fn online<M: Module>(model: M, record: ModuleRecord) -> Result<M, RecordError> {
    // Creating the EMAs has initialized the parameters.
    let Recorded(Plain(online)) = Recorded(Plain(model)).try_load_record(record)?;
    Ok(online)
}

impl<M: Module> Traverse for Checkpoint<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.online.visit(visitor);
        visitor.enter_module(EMAS, CONTAINER);
        Traverse::visit(&self.emas, visitor);
        visitor.exit_module(EMAS, CONTAINER);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        let Plain(online) = Traverse::map(Plain(self.online), mapper);
        mapper.enter_module(EMAS, CONTAINER);
        let emas = Traverse::map(self.emas, mapper);
        mapper.exit_module(EMAS, CONTAINER);
        Self { online, emas }
    }
}
