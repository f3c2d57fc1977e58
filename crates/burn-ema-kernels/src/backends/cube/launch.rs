//! Launches of the update: how many jobs go together.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_cubecl::cubecl::prelude::{Client, InputScalar};

use super::division::{Division, TENSORS_OF_LAUNCH, bindings, launches};
use super::job::Job;
use super::kernel::{Rounding, lerp_kernel};
use super::queue;

/// Averages of one job.
const MAX_AVERAGES_OF_SOURCE: usize = 8;

/// Averages of one source that fit into a launch, even if none of them changes in place.
pub(super) fn averages_per_job(client: &Client, rounding: Rounding) -> usize {
    let averages = bindings(client).saturating_sub(1) / tensors_of_average(rounding, false);
    averages.clamp(1, MAX_AVERAGES_OF_SOURCE)
}

/// Tensors that are bound for an average.
fn tensors_of_average(rounding: Rounding, in_place: bool) -> usize {
    let changing = match rounding {
        Rounding::Nearest | Rounding::Stochastic => 1,
        Rounding::Compensated => 2,
    };
    match in_place {
        true => changing,
        false => 2 * changing,
    }
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
    let (mut compensations, mut previous_compensations) = (Vec::new(), Vec::new());
    let mut weights = Vec::new();
    let weight_elem = match kind.rounding {
        Rounding::Nearest => elem,
        Rounding::Compensated | Rounding::Stochastic => dtype_to_elem_type(DType::F32),
    };
    let mut keys: Vec<u32> = match kind.rounding {
        Rounding::Nearest => Vec::new(),
        Rounding::Compensated | Rounding::Stochastic => vec![0],
    };
    for job in jobs {
        sources.push(job.source);
        for average in job.averages {
            weights.push(InputScalar::new(average.weight, weight_elem));
            values.push(average.value.new);
            previous.extend(average.value.previous);
            if let Some(compensation) = average.compensation {
                compensations.push(compensation.new);
                previous_compensations.extend(compensation.previous);
            }
            if let Some(key) = average.key {
                keys.extend([key as u32, (key >> 32) as u32]);
            }
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
            compensations.into_iter().collect(),
            previous_compensations.into_iter().collect(),
            sources.into_iter().collect(),
            weights.into_iter().collect(),
            keys.into_iter().collect(),
            lengths.into_iter().collect(),
            division.bounds.into_iter().collect(),
            per_source,
            division.per_unit,
            kind.in_place,
            kind.rounding,
            [elem, source_elem],
        );
    });
}

fn jobs_per_launch(client: &Client, job: &Job) -> usize {
    let averages = job.averages.len();
    let per_average = tensors_of_average(job.kind.rounding, job.kind.in_place);
    let bound = bindings(client) / (1 + averages * per_average);
    bound.min(TENSORS_OF_LAUNCH / averages).max(1)
}
