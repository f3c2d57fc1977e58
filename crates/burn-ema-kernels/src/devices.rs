//! Batches whose tensors are on several devices: a kernel is called for each.

use burn::backend::TensorMetadata;
use burn::tensor::kind::BridgeTensor;

use crate::average::Average;

/// Whether all tensors are on one device.
pub(crate) fn are_together<'a>(tensors: impl IntoIterator<Item = &'a BridgeTensor>) -> bool {
    let tensors = tensors.into_iter();
    let mut devices = tensors.map(|tensor| tensor.as_parts().1.device());
    let first = devices.next();
    devices.all(|device| Some(device) == first)
}

/// `moved` of those on the first device, and then of the others.
pub(crate) fn lerp_each(
    sources: Vec<BridgeTensor>,
    averages: Vec<Average>,
    moved: fn(Vec<BridgeTensor>, Vec<Average>) -> Vec<BridgeTensor>,
) -> Vec<BridgeTensor> {
    let first = sources[0].as_parts().1.device();
    let is_first: Vec<bool> = sources
        .iter()
        .map(|source| source.as_parts().1.device() == first)
        .collect();
    let is_here = |average: &Average| is_first[average.source];
    let order: Vec<bool> = averages.iter().map(is_here).collect();
    let (mut here, mut elsewhere): (Vec<_>, Vec<_>) = averages.into_iter().partition(is_here);
    let mut positions = [0, 0];
    let moved_to: Vec<usize> = is_first
        .iter()
        .map(|is_first| {
            let position = &mut positions[usize::from(*is_first)];
            *position += 1;
            *position - 1
        })
        .collect();
    for average in here.iter_mut().chain(&mut elsewhere) {
        average.source = moved_to[average.source];
    }
    let (mut of_first, mut of_others) = (Vec::new(), Vec::new());
    for (source, is_first) in sources.into_iter().zip(is_first) {
        if is_first {
            &mut of_first
        } else {
            &mut of_others
        }
        .push(source);
    }
    let mut here = moved(of_first, here).into_iter();
    let mut elsewhere = moved(of_others, elsewhere).into_iter();
    let next = |is_here| {
        if is_here {
            here.next()
        } else {
            elsewhere.next()
        }
    };
    order.into_iter().filter_map(next).collect()
}
