//! CubeCL: a few launches for a whole batch, each for as many tensors as the device binds at once.

mod division;
mod guard;
mod job;
mod kernel;
mod launch;
mod layout;
pub(super) mod queue;

use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use crate::batch::Batch;
use crate::ops::{GuardOps, LerpOps};
use kernel::Rounding;

pub(crate) use division::TENSORS_OF_LAUNCH;

impl LerpOps for CubeBackend {
    fn lerp_batch(batch: Batch<Self>) -> Vec<CubeTensor> {
        moved(batch)
    }

    fn lerp_compensated(batch: Batch<Self>) -> Vec<CubeTensor> {
        moved(batch)
    }

    fn lerp_stochastic(batch: Batch<Self>) -> Vec<CubeTensor> {
        moved(batch)
    }
}

fn moved(batch: Batch<CubeBackend>) -> Vec<CubeTensor> {
    let Some(source) = batch.sources.first() else {
        return Vec::new();
    };
    let client = source.client.clone();
    let most = launch::averages_per_job(&client, Rounding::of(&batch));
    let (jobs, values) = job::plan(batch, most);
    for alike in division::grouped(jobs, job::Job::is_like) {
        launch::run(&client, alike);
    }
    let bytes = |value: &CubeTensor| value.meta.num_elements() * value.dtype.size();
    if queue::is_long(values.iter().map(bytes).sum()) {
        queue::send(&client);
    }
    values
}

impl GuardOps for CubeBackend {
    fn non_finite(batch: Batch<Self>) -> CubeTensor {
        guard::non_finite(batch.sources)
    }
}
