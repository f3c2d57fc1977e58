//! Launches: how many jobs go together, and how cubes are shared among them.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::cubecl::prelude::{Client, CubeDim, InputScalar};
use burn_cubecl::cubecl::server::CubeCountSelection;
use burn_cubecl::tensor::CubeTensor;

use super::job::Job;
use super::kernel::lerp_kernel;

/// Of one launch, where the device would bind more: the kernel has code for each.
const MAX_AVERAGES: usize = 32;
/// Of one job.
const MAX_AVERAGES_OF_SOURCE: usize = 8;

/// Averages of one source that fit into a launch, even if none of them changes in place.
pub(super) fn averages_per_job(client: &Client) -> usize {
    let averages = bindings(client).saturating_sub(1) / 2;
    averages.clamp(1, MAX_AVERAGES_OF_SOURCE)
}

/// Does jobs that are alike.
pub(super) fn run(client: &Client, mut jobs: Vec<Job>) {
    let most = jobs_per_launch(client, &jobs[0]);
    while !jobs.is_empty() {
        // A kernel is compiled for each count, so few counts occur.
        let count = match jobs.len() >= most {
            true => most,
            false => 1 << jobs.len().ilog2(),
        };
        launch(client, jobs.drain(..count).collect());
    }
}

fn launch(client: &Client, jobs: Vec<Job>) {
    let kind = jobs[0].kind;
    let per_source = jobs[0].averages.len();
    let elem = dtype_to_elem_type(kind.value);
    let address_type = jobs.iter().map(Job::address_type).max().unwrap_or_default();

    // The same shape for every launch, as it is compiled in.
    let cube_dim = CubeDim::new(client, u32::MAX as usize);
    let per_unit = vectors_per_unit(client);
    let block = cube_dim.num_elems() as usize * per_unit;

    let (mut values, mut previous, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    let (mut weights, mut lengths, mut bounds) = (Vec::new(), Vec::new(), vec![0]);
    let mut cubes = 0;
    for job in jobs {
        cubes += job.vectors.div_ceil(block);
        bounds.push(cubes);
        lengths.push(job.vectors);
        sources.push(job.source.into_buffer_arg());
        for average in job.averages {
            weights.push(InputScalar::new(average.weight, elem));
            values.push(average.value.into_buffer_arg());
            previous.extend(average.previous.map(CubeTensor::into_buffer_arg));
        }
    }

    lerp_kernel::launch(
        client,
        // It may be rounded up: the kernel leaves cubes past the last bound idle.
        CubeCountSelection::new(client, cubes as u32).cube_count(),
        cube_dim,
        address_type,
        kind.width,
        values.into_iter().collect(),
        previous.into_iter().collect(),
        sources.into_iter().collect(),
        weights.into_iter().collect(),
        lengths.into_iter().collect(),
        bounds.into_iter().collect(),
        per_source,
        per_unit,
        kind.in_place,
        [elem, dtype_to_elem_type(kind.source)],
    );
}

fn jobs_per_launch(client: &Client, job: &Job) -> usize {
    let averages = job.averages.len();
    let per_average = if job.kind.in_place { 1 } else { 2 };
    let bound = bindings(client) / (1 + averages * per_average);
    bound.min(MAX_AVERAGES / averages).max(1)
}

/// Tensors that a kernel can have. Lengths and scalars need a binding, too.
fn bindings(client: &Client) -> usize {
    client.properties().hardware.max_bindings.saturating_sub(1) as usize
}

/// Enough to make up for finding the tensor. A unit of a GPU is one of thousands; one of a CPU is a thread.
fn vectors_per_unit(client: &Client) -> usize {
    match client.properties().hardware.num_cpu_cores {
        Some(_) => 64,
        None => 4,
    }
}
