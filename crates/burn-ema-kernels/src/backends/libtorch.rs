//! LibTorch: its own `lerp_`, in as many threads as it likes, or on its own GPU.

use burn_tch::{LibTorch, TchTensor};

use crate::{Batch, LerpOps};

impl LerpOps for LibTorch {
    fn lerp_batch(batch: Batch<Self>) -> Vec<TchTensor> {
        let Batch { sources, averages } = batch;
        averages
            .into_iter()
            .map(|average| lerp(average.value, &sources[average.source], average.weight))
            .collect()
    }
}

fn lerp(mut value: TchTensor, source: &TchTensor, weight: f64) -> TchTensor {
    if !value.can_mut() {
        // Whoever else holds it keeps what it is.
        value = TchTensor::new(value.tensor.copy());
    }
    if value.tensor.kind() == source.tensor.kind() {
        let _same = value.tensor.lerp_(&source.tensor, weight);
        return value;
    }
    widening(&mut value.tensor, &source.tensor, weight);
    value
}

/// Moves towards a source of half precision. `lerp_` wants both alike, so the source is widened block by block: a block
/// stays in the cache.
fn widening(value: &mut tch::Tensor, source: &tch::Tensor, weight: f64) {
    const BLOCK: i64 = 1 << 17;
    let kind = value.kind();
    let length = value.numel() as i64;
    if length <= BLOCK || !value.is_contiguous() || !source.is_contiguous() {
        let _same = value.lerp_(&source.to_kind(kind), weight);
        return;
    }
    let (value, source) = (value.view(-1), source.view(-1));
    for start in (0..length).step_by(BLOCK as usize) {
        let block = BLOCK.min(length - start);
        let source = source.narrow(0, start, block).to_kind(kind);
        let _same = value.narrow(0, start, block).lerp_(&source, weight);
    }
}
