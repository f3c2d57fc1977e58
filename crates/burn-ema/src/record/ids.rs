//! Ids of the tensors of an EMA.

use burn::module::ParamId;

/// The id of a tensor in an EMA for its id in the model, and back.
///
/// An optimizer or a gradient walk that meets the id of a live parameter takes what it meets for that parameter. A fixed
/// second id for each keeps records and resumed runs equal.
pub(crate) fn exchanged(id: ParamId) -> ParamId {
    const MASK: u64 = 0x454d_415f_5348_4457;
    ParamId::from(id.val() ^ MASK)
}

/// The id of the compensation of a tensor in an EMA for the tensor's id in the model, and back.
pub(crate) fn of_compensation(id: ParamId) -> ParamId {
    const MASK: u64 = 0x434f_4d50_454e_5341;
    ParamId::from(id.val() ^ MASK)
}

/// An id for the tensor at `path` of an EMA copy of a submodule, instead of one that another tensor has too.
pub(crate) fn of_copy(id: ParamId, path: &str) -> ParamId {
    // FNV-1a: the same in each run and on each machine.
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    ParamId::from(exchanged(id).val() ^ hash)
}
