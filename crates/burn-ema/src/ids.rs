//! Ids of averages.

use burn::module::ParamId;

/// The id of a value in an average for its id in the source, and back.
///
/// An optimizer or a gradient walk that meets the id of a live parameter in an average takes it for that
/// parameter. One id for each, and the same one each time, keeps records and resumed runs equal.
pub(crate) fn exchanged(id: ParamId) -> ParamId {
    const MASK: u64 = 0x454d_415f_5348_4457;
    ParamId::from(id.val() ^ MASK)
}
