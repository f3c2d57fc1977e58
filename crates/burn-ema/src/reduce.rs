//! Numbers about many tensors at once, for one wait per device rather than one per tensor.

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Bool, Device, Float, FloatDType, Tensor};

use crate::op;

/// Partial results, one for each device.
struct PerDevice<T>(Vec<(Device, T)>);

impl<T> PerDevice<T> {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn fold(&mut self, device: Device, item: T, combine: impl FnOnce(T, T) -> T) {
        match self.0.iter().position(|(known, _)| *known == device) {
            Some(index) => {
                let (device, partial) = self.0.swap_remove(index);
                self.0.push((device, combine(partial, item)));
            }
            None => self.0.push((device, item)),
        }
    }
}

fn has_elements(tensor: &BridgeTensor) -> bool {
    tensor.shape().num_elements() > 0
}

/// Whether every value of every tensor is finite. All of them must be floats.
pub(crate) fn all_finite<'a>(tensors: impl IntoIterator<Item = &'a BridgeTensor>) -> bool {
    let mut off = PerDevice::new();
    for tensor in tensors.into_iter().filter(|tensor| has_elements(tensor)) {
        match burn_ema_kernels::all_finite(tensor) {
            Some(true) => {}
            Some(false) => return false,
            None => off.fold(op::device(tensor), has_non_finite(tensor), Tensor::bool_or),
        }
    }
    let mut flags = off.0.into_iter();
    flags.all(|(_, off)| !off.into_data().iter::<bool>().any(|off| off))
}

fn has_non_finite(tensor: &BridgeTensor) -> Tensor<1, Bool> {
    op::any::<Float>(tensor.clone())
        .is_finite()
        .bool_not()
        .any()
}

/// `|a - b| / |a|` in the Euclidean norm over all pairs `(a, b)` of floats together: 0 if all are
/// equal, infinite if only `a` is zero.
pub(crate) fn relative_distance<'a>(
    pairs: impl IntoIterator<Item = (&'a BridgeTensor, &'a BridgeTensor)>,
) -> f64 {
    let mut sums = PerDevice::new();
    for (a, b) in pairs.into_iter().filter(|(a, _)| has_elements(a)) {
        let device = op::device(b);
        sums.fold(device.clone(), squares(a, b, &device), |x, y| x.add(y));
    }
    let (mut difference, mut norm) = (0.0, 0.0);
    for (_, sums) in sums.0 {
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
    let a = op::any::<Float>(a.clone());
    let a = a.to_device(device).cast(FloatDType::F32);
    let b = op::any::<Float>(b.clone()).cast(FloatDType::F32);
    let difference = a.clone().sub(b).square().sum();
    Tensor::cat(vec![difference, a.square().sum()], 0)
}
