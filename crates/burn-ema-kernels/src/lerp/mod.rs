//! The operation in its three roundings, for tensors of any backend and dtype, on one device or several.

mod compensated;
mod nearest;
mod stochastic;

use std::sync::Once;

use burn::backend::{DispatchAutodiffContext, DispatchTensor, TensorMetadata};
use burn::tensor::DType;
use burn::tensor::kind::BridgeTensor;

pub use compensated::{CompensatedAverage, lerp_compensated};
pub use nearest::{Average, lerp};
pub use stochastic::{StochasticAverage, lerp_stochastic};

use crate::devices;

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

/// An average that is to move towards one of the sources of a call.
trait Follower: Sized {
    /// What comes back.
    type Moved;

    fn value(&self) -> &BridgeTensor;

    fn weight(&self) -> f64;

    /// Position of its source.
    fn source(&self) -> usize;

    fn source_mut(&mut self) -> &mut usize;

    /// Whether kernels move a value of one dtype towards a source of another: those of the processor, or those of CubeCL.
    fn is_known(value: DType, source: DType, is_on_host: bool) -> bool;

    /// Whether a kernel is to do this.
    fn has_kernel(&self, source: &BridgeTensor) -> bool {
        let (value, weight) = (self.value(), self.weight());
        let is_wanted = weight != 0.0 && !is_copy(weight, value.dtype());
        let is_known = || Self::is_known(value.dtype(), source.dtype(), is_on_host(value));
        is_wanted && is_known() && backend_has_kernel(value)
    }

    /// Moves it without a kernel.
    fn move_alone(self, source: &BridgeTensor) -> Self::Moved;

    /// Moves followers for which there is a kernel, all on one device.
    fn move_fused(sources: Vec<BridgeTensor>, averages: Vec<Self>) -> Vec<Self::Moved>;
}

/// What the fields that all kinds of followers have mean to [`Follower`].
macro_rules! fields {
    () => {
        fn value(&self) -> &BridgeTensor {
            &self.value
        }

        fn weight(&self) -> f64 {
            self.weight
        }

        fn source(&self) -> usize {
            self.source
        }

        fn source_mut(&mut self) -> &mut usize {
            &mut self.source
        }
    };
}
use fields;

/// Moves each towards its source. Returns them in their order.
///
/// # Panics
///
/// If one does not fit its source.
fn moved<A: Follower>(sources: Vec<BridgeTensor>, averages: Vec<A>) -> Vec<A::Moved> {
    for average in &averages {
        let source = sources.get(average.source()).unwrap_or_else(|| {
            panic!(
                "an average names source {}, and there are {}",
                average.source(),
                sources.len()
            )
        });
        check(average.value(), source, "source");
    }
    moved_anywhere(sources, averages)
}

/// Checks that a value and its source, or its compensation, fit.
fn check(value: &BridgeTensor, source: &BridgeTensor, name: &str) {
    let is_plain = |tensor: &BridgeTensor| {
        tensor.is_float() && tensor.as_parts().1.autodiff == DispatchAutodiffContext::Disabled
    };
    assert!(
        is_plain(value) && is_plain(source),
        "an average and its {name} must be floats without autodiff"
    );
    let (expected, found) = (value.shape(), source.shape());
    assert_eq!(
        expected, found,
        "an average and its {name} must be of one shape"
    );
    assert!(
        devices::are_together([value, source]),
        "an average and its {name} must be on one device"
    );
}

fn moved_anywhere<A: Follower>(sources: Vec<BridgeTensor>, averages: Vec<A>) -> Vec<A::Moved> {
    match devices::are_together(&sources) {
        true => moved_together(sources, averages),
        false => moved_apart(sources, averages),
    }
}

fn moved_together<A: Follower>(sources: Vec<BridgeTensor>, averages: Vec<A>) -> Vec<A::Moved> {
    let is_fused = averages
        .iter()
        .all(|average| average.has_kernel(&sources[average.source()]));
    if is_fused && !averages.is_empty() {
        return A::move_fused(sources, averages);
    }
    let mut moved: Vec<Option<A::Moved>> = averages.iter().map(|_| None).collect();
    let mut with_kernel = Vec::new();
    for (position, average) in averages.into_iter().enumerate() {
        let source = &sources[average.source()];
        if average.has_kernel(source) {
            with_kernel.push((position, average));
        } else {
            moved[position] = Some(average.move_alone(source));
        }
    }
    let (positions, averages): (Vec<usize>, Vec<A>) = with_kernel.into_iter().unzip();
    if !averages.is_empty() {
        for (position, value) in positions.into_iter().zip(A::move_fused(sources, averages)) {
            moved[position] = Some(value);
        }
    }
    let moved = moved.into_iter();
    moved.map(|value| value.expect("each was moved")).collect()
}

/// Those on the first device, and then the others.
fn moved_apart<A: Follower>(sources: Vec<BridgeTensor>, averages: Vec<A>) -> Vec<A::Moved> {
    let first = sources[0].as_parts().1.device();
    let is_first: Vec<bool> = sources
        .iter()
        .map(|source| source.as_parts().1.device() == first)
        .collect();
    let is_here = |average: &A| is_first[average.source()];
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
        *average.source_mut() = moved_to[average.source()];
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
    let mut here = moved_together(of_first, here).into_iter();
    let mut elsewhere = moved_anywhere(of_others, elsewhere).into_iter();
    let next = |is_here| {
        if is_here {
            here.next()
        } else {
            elsewhere.next()
        }
    };
    order.into_iter().filter_map(next).collect()
}

/// Whether the weight is 1 in the arithmetic of an average.
fn is_copy(weight: f64, dtype: DType) -> bool {
    match dtype {
        DType::F64 => weight == 1.0,
        _ => weight as f32 == 1.0,
    }
}

/// Whether a kernel can change averages of the backend of `tensor`. If not, that is said once.
fn backend_has_kernel(tensor: &BridgeTensor) -> bool {
    let tensor = tensor.as_parts().1;
    let has_kernel = is_extended(tensor);
    if !has_kernel {
        note_portable(tensor);
    }
    has_kernel
}

/// Whether the loops of the processor do it, rather than kernels of CubeCL.
#[allow(unused_imports, unreachable_patterns)]
fn is_on_host(tensor: &BridgeTensor) -> bool {
    use burn::backend::DispatchTensorKind;

    match &tensor.as_parts().1.kind {
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
fn is_extended(tensor: &DispatchTensor) -> bool {
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
