//! How work is shared out: tensors among launches, and the vectors of a launch among its cubes.

use burn_cubecl::cubecl::prelude::{Client, CubeCount, CubeDim};
use burn_cubecl::cubecl::server::CubeCountSelection;

/// Tensors of a launch, where the device would bind more: the kernel has code for each.
pub(crate) const TENSORS_OF_LAUNCH: usize = 32;

/// Tensors that a kernel can have. Lengths and scalars need a binding, too.
pub(super) fn bindings(client: &Client) -> usize {
    client.properties().hardware.max_bindings.saturating_sub(1) as usize
}

/// Those together that the same kernel does.
pub(super) fn grouped<T>(items: Vec<T>, is_like: impl Fn(&T, &T) -> bool) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|group| is_like(&group[0], &item)) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// Parts `items` into what goes into one launch each, `most` at a time.
pub(super) fn launches<T>(mut items: Vec<T>, most: usize) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        // A kernel is compiled for each count, so few counts occur.
        let count = match items.len() {
            0 => return None,
            left if left >= most => most,
            left => 1 << left.ilog2(),
        };
        Some(items.drain(..count).collect())
    })
}

/// The cubes of a launch. Those from `bounds[s]` to `bounds[s + 1]` work on tensor `s`.
pub(super) struct Division {
    pub(super) cube_dim: CubeDim,
    /// It may be rounded up: kernels leave cubes past the last bound idle.
    pub(super) cube_count: CubeCount,
    /// Vectors that a unit does.
    pub(super) per_unit: usize,
    pub(super) bounds: Vec<usize>,
}

impl Division {
    /// For tensors of so many vectors each.
    pub(super) fn of(client: &Client, lengths: &[usize]) -> Self {
        // The same shape for every launch, as it is compiled in.
        let cube_dim = CubeDim::new(client, u32::MAX as usize);
        let per_unit = vectors_per_unit(client);
        let block = cube_dim.num_elems() as usize * per_unit;
        let mut cubes = 0;
        let mut bounds = vec![0];
        for length in lengths {
            cubes += length.div_ceil(block);
            bounds.push(cubes);
        }
        Self {
            cube_dim,
            cube_count: CubeCountSelection::new(client, cubes as u32).cube_count(),
            per_unit,
            bounds,
        }
    }
}

/// Enough to make up for finding the tensor. A unit of a GPU is one of thousands; one of a CPU is a thread.
fn vectors_per_unit(client: &Client) -> usize {
    match client.properties().hardware.num_cpu_cores {
        Some(_) => 64,
        None => 4,
    }
}
