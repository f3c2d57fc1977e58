//! How far two sets of tensors are apart.

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Device, Float, FloatDType, Tensor};

use crate::burn_facts::rank;

/// `|a - b| / |a|` in the Euclidean norm over all pairs `(a, b)` of floats together: 0 if all are
/// equal, infinite if only `a` is zero.
pub(crate) fn relative_distance<'a>(
    pairs: impl IntoIterator<Item = (&'a BridgeTensor, &'a BridgeTensor)>,
) -> f64 {
    // One wait per device rather than one per tensor.
    let mut sums: Vec<(Device, Tensor<1>)> = Vec::new();
    for (a, b) in pairs {
        if a.shape().num_elements() == 0 {
            continue;
        }
        let device = rank::device(b);
        let of_pair = squares(a, b, &device);
        match sums.iter_mut().find(|(known, _)| *known == device) {
            Some((_, sum)) => *sum = sum.clone().add(of_pair),
            None => sums.push((device, of_pair)),
        }
    }
    let (mut difference, mut norm) = (0.0, 0.0);
    for (_, sums) in sums {
        let sums: Vec<f64> = sums.into_data().iter::<f64>().collect();
        difference += sums[0];
        norm += sums[1];
    }
    if difference == 0.0 {
        0.0
    } else {
        (difference / norm).sqrt()
    }
}

/// `[sum of (a - b)^2, sum of a^2]`, in f32, on the device of `b`.
fn squares(a: &BridgeTensor, b: &BridgeTensor, device: &Device) -> Tensor<1> {
    let a = rank::any::<Float>(a.clone());
    let a = a.to_device(device).cast(FloatDType::F32);
    let b = rank::any::<Float>(b.clone()).cast(FloatDType::F32);
    let difference = a.clone().sub(b).square().sum();
    Tensor::cat(vec![difference, a.square().sum()], 0)
}
