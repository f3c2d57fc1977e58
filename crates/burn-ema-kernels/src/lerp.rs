//! The one operation, for tensors of any backend and dtype.

use std::sync::Once;

use burn::backend::{Dispatch, DispatchAutodiffContext, DispatchTensor, TensorMetadata};
use burn::tensor::DType;
use burn::tensor::kind::BridgeTensor;

use crate::average::Average;
use crate::batch::{Batch, Member};
use crate::devices;
use crate::ops::LerpOps;
use crate::portable;

/// Moves each average towards its source: `average + (source - average) * weight`. Returns them in their order.
///
/// This form leaves `average == source` exactly as it is, where `average * decay + source * weight` drifts. At weight 1
/// it would not be exact (`1e8 + (1.2345 - 1e8)` is 0 in f32, and NaN stays NaN), so that is a copy, which shares the
/// source's memory; at weight 0 nothing is computed.
///
/// An average that nobody else holds changes in place, by a kernel without memory of the size of a tensor (on CubeCL, if
/// average and source lie alike); otherwise it gets new memory, and other holders of the old one keep what it was.
/// Sources may be of any dtype and of any strides; no conversion is needed from f32 or f64 to the same, nor from half
/// precision to f32; nor, in the processor's memory, to f64.
///
/// Averages of one source should be next to each other: the source is then read from memory once. Sources may be on
/// several devices.
///
/// # Panics
///
/// If an average and its source differ in shape or device, one of them is no float or has autodiff, or there is no source at
/// the position that an average names.
///
/// # Example
///
/// ```
/// use burn::tensor::Tensor;
/// use burn_ema_kernels::{Average, lerp};
///
/// let device = Default::default();
/// let source = Tensor::<1>::from_floats([1.0, 2.0], &device).into_bridge();
/// let value = Tensor::<1>::from_floats([0.0, 4.0], &device).into_bridge();
/// let average = Average { value, source: 0, weight: 0.25 };
/// let averages = lerp(vec![source], vec![average]);
/// let value = Tensor::<1>::from_bridge(averages.into_iter().next().unwrap());
/// assert_eq!(value.into_data().to_vec::<f32>().unwrap(), [0.25, 3.5]);
/// ```
pub fn lerp(sources: Vec<BridgeTensor>, averages: Vec<Average>) -> Vec<BridgeTensor> {
    for average in &averages {
        let source = sources.get(average.source).unwrap_or_else(|| {
            panic!(
                "an average names source {}, and there are {}",
                average.source,
                sources.len()
            )
        });
        check(average, source);
    }
    moved(sources, averages)
}

/// As many sources as should be handed to [`lerp`] at a time, where there are many.
///
/// On a GPU they fit into one launch, which it works on while the next are on their way. On a processor they are enough
/// for every thread, and few enough for their handles to stay in the cache.
///
/// # Example
///
/// ```
/// use burn::tensor::Tensor;
/// use burn_ema_kernels::batch_size;
///
/// let source = Tensor::<1>::from_floats([1.0, 2.0], &Default::default()).into_bridge();
/// assert!([32, 128].contains(&batch_size(&source)));
/// ```
#[allow(unused_imports, unreachable_patterns)]
pub fn batch_size(source: &BridgeTensor) -> usize {
    use burn::backend::DispatchTensorKind;

    const OF_PROCESSOR: usize = 128;

    match &source.as_parts().1.kind {
        #[cfg(feature = "cube")]
        DispatchTensorKind::Cube(_) => crate::backends::TENSORS_OF_LAUNCH,
        _ => OF_PROCESSOR,
    }
}

fn check(average: &Average, source: &BridgeTensor) {
    let value = &average.value;
    let is_plain = |tensor: &BridgeTensor| {
        tensor.is_float() && tensor.as_parts().1.autodiff == DispatchAutodiffContext::Disabled
    };
    assert!(
        is_plain(value) && is_plain(source),
        "an average and its source must be floats without autodiff"
    );
    let (expected, found) = (value.shape(), source.shape());
    assert_eq!(
        expected, found,
        "an average and its source must be of one shape"
    );
    assert!(
        devices::are_together([value, source]),
        "an average and its source must be on one device"
    );
}

fn moved(sources: Vec<BridgeTensor>, averages: Vec<Average>) -> Vec<BridgeTensor> {
    if !devices::are_together(&sources) {
        return devices::lerp_each(sources, averages, moved);
    }
    let is_fused = averages
        .iter()
        .all(|average| has_kernel(&average.value, &sources[average.source], average.weight));
    if is_fused && !averages.is_empty() {
        return fused(sources, averages);
    }
    let mut updated: Vec<Option<BridgeTensor>> = averages.iter().map(|_| None).collect();
    let mut with_kernel = Vec::new();
    for (position, average) in averages.into_iter().enumerate() {
        let source = &sources[average.source];
        if has_kernel(&average.value, source, average.weight) {
            with_kernel.push((position, average));
        } else {
            updated[position] = Some(one(average.value, source, average.weight));
        }
    }
    let (positions, averages): (Vec<usize>, Vec<Average>) = with_kernel.into_iter().unzip();
    if !averages.is_empty() {
        for (position, value) in positions.into_iter().zip(fused(sources, averages)) {
            updated[position] = Some(value);
        }
    }
    let updated = updated.into_iter();
    updated
        .map(|value| value.expect("each was updated"))
        .collect()
}

/// An average that no kernel is for.
fn one(value: BridgeTensor, source: &BridgeTensor, weight: f64) -> BridgeTensor {
    // Burn's CubeCL backends panic at arithmetic on nothing.
    if weight == 0.0 || value.shape().num_elements() == 0 {
        return value;
    }
    if is_copy(weight, value.dtype()) {
        return portable::cast(source.clone(), value.dtype());
    }
    portable::lerp(value, source.clone(), weight)
}

fn fused(sources: Vec<BridgeTensor>, averages: Vec<Average>) -> Vec<BridgeTensor> {
    let member = |average: Average| Member {
        value: average.value.into_parts().1,
        source: average.source,
        weight: average.weight,
    };
    let batch = Batch {
        averages: averages.into_iter().map(member).collect(),
        sources: sources
            .into_iter()
            .map(|source| source.into_parts().1)
            .collect(),
    };
    let updated = <Dispatch as LerpOps>::lerp_batch(batch);
    updated.into_iter().map(BridgeTensor::float).collect()
}

/// Whether the weight is 1 in the arithmetic of an average.
fn is_copy(weight: f64, dtype: DType) -> bool {
    match dtype {
        DType::F64 => weight == 1.0,
        _ => weight as f32 == 1.0,
    }
}

/// Whether a kernel is to do this.
fn has_kernel(value: &BridgeTensor, source: &BridgeTensor, weight: f64) -> bool {
    let is_wanted = weight != 0.0 && !is_copy(weight, value.dtype());
    let is_known = match (value.dtype(), source.dtype()) {
        (DType::F32, DType::F32 | DType::F16 | DType::BF16) | (DType::F64, DType::F64) => true,
        (DType::F64, DType::F32 | DType::F16 | DType::BF16) => is_on_host(value.as_parts().1),
        _ => false,
    };
    if !(is_wanted && is_known) {
        return false;
    }
    let has_kernel = backend_has_kernel(value.as_parts().1);
    if !has_kernel {
        note_portable(value.as_parts().1);
    }
    has_kernel
}

/// Whether the loops of the processor do it, rather than kernels of CubeCL.
#[allow(unused_imports, unreachable_patterns)]
fn is_on_host(tensor: &DispatchTensor) -> bool {
    use burn::backend::DispatchTensorKind;

    match &tensor.kind {
        #[cfg(feature = "cube")]
        DispatchTensorKind::Cube(_) => false,
        _ => true,
    }
}

/// Says once that a kernel is missing where this crate has one.
fn note_portable(tensor: &DispatchTensor) {
    static NOTED: Once = Once::new();
    NOTED.call_once(|| {
        log::info!(
            "EMA updates on {:?} use Burn's tensor operations instead of the fused kernel: enable the feature of this backend \
             in burn-ema (or burn-ema-train) for about twice the speed, where it has one",
            tensor.device()
        );
    });
}

#[allow(unused_imports, unreachable_patterns)]
fn backend_has_kernel(tensor: &DispatchTensor) -> bool {
    use burn::backend::DispatchTensorKind;

    match &tensor.kind {
        #[cfg(feature = "flex")]
        DispatchTensorKind::Flex(_) => true,
        #[cfg(feature = "ndarray")]
        DispatchTensorKind::NdArray(_) => true,
        #[cfg(feature = "tch")]
        DispatchTensorKind::LibTorch(_) => true,
        #[cfg(feature = "cube")]
        DispatchTensorKind::Cube(_) => true,
        _ => false,
    }
}
