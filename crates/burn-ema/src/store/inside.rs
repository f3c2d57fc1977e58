//! EMA weights inside a model: taken out for an update, and put back.

use burn::module::Module;
use burn::tensor::kind::BridgeTensor;

use crate::burn_facts::rank;
use crate::walk::write::replace;

/// Takes the tensors of the places for which `is_wanted` holds out of `module`, which has tensors of one element instead until
/// they are [put back](put_back). Nobody else holds them then, unless a clone of the module does.
///
/// `placeholder` stands in for the module while it is mapped.
pub(crate) fn take_out<M: Module>(
    module: &mut M,
    placeholder: &M,
    paths: &[String],
    is_wanted: impl FnMut(usize) -> bool,
) -> Vec<Option<BridgeTensor>> {
    let mut taken: Vec<Option<BridgeTensor>> = paths.iter().map(|_| None).collect();
    change(module, placeholder, |module| {
        let take = |place: usize, old: BridgeTensor| {
            let single = rank::single(&old);
            taken[place] = Some(old);
            single
        };
        replace(module, paths, is_wanted, take).0
    });
    taken
}

/// Puts tensors back into their places. `None` stays as it is.
pub(crate) fn put_back<M: Module>(
    module: &mut M,
    placeholder: &M,
    paths: &[String],
    mut tensors: Vec<Option<BridgeTensor>>,
) {
    let is_there: Vec<bool> = tensors.iter().map(Option::is_some).collect();
    change(module, placeholder, |module| {
        let put = |place: usize, old: BridgeTensor| tensors[place].take().unwrap_or(old);
        replace(module, paths, |place| is_there[place], put).0
    });
}

fn change<M: Module>(module: &mut M, placeholder: &M, change: impl FnOnce(M) -> M) {
    let whole = std::mem::replace(module, placeholder.clone());
    *module = change(whole);
}
