//! Launches of the update: how many jobs go together.

use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::cubecl::prelude::{Client, InputScalar};

use super::division::{Division, TENSORS_OF_LAUNCH, bindings, launches};
use super::job::Job;
use super::kernel::lerp_kernel;
use super::queue;

/// Averages of one job.
const MAX_AVERAGES_OF_SOURCE: usize = 8;

/// Averages of one source that fit into a launch, even if none of them changes in place.
pub(super) fn averages_per_job(client: &Client) -> usize {
    let averages = bindings(client).saturating_sub(1) / 2;
    averages.clamp(1, MAX_AVERAGES_OF_SOURCE)
}

/// Does jobs that are alike.
pub(super) fn run(client: &Client, jobs: Vec<Job>) {
    let most = jobs_per_launch(client, &jobs[0]);
    launches(jobs, most).for_each(|jobs| launch(client, jobs));
}

fn launch(client: &Client, jobs: Vec<Job>) {
    let kind = jobs[0].kind;
    let per_source = jobs[0].averages.len();
    let elem = dtype_to_elem_type(kind.value);
    let source_elem = dtype_to_elem_type(kind.source);
    let address_types = jobs.iter().map(|job| job.address_type);
    let address_type = address_types.max().unwrap_or_default();
    let lengths: Vec<usize> = jobs.iter().map(|job| job.vectors).collect();
    let division = Division::of(client, &lengths);

    let (mut values, mut previous, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    let mut weights = Vec::new();
    for job in jobs {
        sources.push(job.source);
        for average in job.averages {
            weights.push(InputScalar::new(average.weight, elem));
            values.push(average.value);
            previous.extend(average.previous);
        }
    }

    queue::launch(client, move |client| {
        lerp_kernel::launch(
            client,
            division.cube_count,
            division.cube_dim,
            address_type,
            kind.width,
            values.into_iter().collect(),
            previous.into_iter().collect(),
            sources.into_iter().collect(),
            weights.into_iter().collect(),
            lengths.into_iter().collect(),
            division.bounds.into_iter().collect(),
            per_source,
            division.per_unit,
            kind.in_place,
            [elem, source_elem],
        );
    });
}

fn jobs_per_launch(client: &Client, job: &Job) -> usize {
    let averages = job.averages.len();
    let per_average = if job.kind.in_place { 1 } else { 2 };
    let bound = bindings(client) / (1 + averages * per_average);
    bound.min(TENSORS_OF_LAUNCH / averages).max(1)
}
