//! The guard: one flag, which any unit may raise.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::zeros_client;
use burn_cubecl::tensor::CubeTensor;

use super::division::{Division, TENSORS_OF_LAUNCH, bindings, grouped, launches};
use super::layout::{has_few_gaps, rows, span, width};

/// Raises `found` if a value is not finite. Tensors are shared out among cubes as in the update.
///
/// Tensor `s` is made of rows of `rows[s]` vectors that begin `pitches[s]` apart; what lies between them says nothing.
#[cube(launch, address_type = "dynamic")]
fn non_finite_kernel<F: Float, N: Size>(
    tensors: &Sequence<Box<[Vector<F, N>]>>,
    found: &mut [Atomic<u32>],
    lengths: &Sequence<usize>,
    rows: &Sequence<usize>,
    pitches: &Sequence<usize>,
    bounds: &Sequence<usize>,
    #[comptime] per_unit: usize,
    #[define(F)] _dtype: ElemType,
) {
    let count = comptime![tensors.len()];

    #[unroll]
    for s in 0..count {
        let first = bounds[s];
        let end = bounds[s + 1];
        if CUBE_POS >= first && CUBE_POS < end {
            let tensor = tensors.index(s);
            let length = lengths[s];
            let row = rows[s];
            let pitch = pitches[s];
            let start = (CUBE_POS - first) * CUBE_DIM as usize * per_unit + UNIT_POS as usize;

            let mut off = Vector::<u32, N>::new(0u32);
            for step in 0..per_unit {
                let pos = start + step * CUBE_DIM as usize;
                if pos < length && pos % pitch < row {
                    let value = tensor[pos];
                    off += Vector::<u32, N>::cast_from(value.is_nan());
                    off += Vector::<u32, N>::cast_from(value.is_inf());
                }
            }
            if off.vector_sum() > 0u32 {
                found[0].store(1u32);
            }
        }
    }
}

/// 1 if a value of these tensors, of which there is one at least, is not finite; otherwise 0.
pub(super) fn non_finite(tensors: Vec<CubeTensor>) -> CubeTensor {
    let (client, device) = (tensors[0].client.clone(), tensors[0].device.clone());
    let found = zeros_client(client.clone(), device, Shape::new([1]), DType::U32);
    let tasks = tensors.into_iter().map(Task::of).collect();
    let groups = grouped(tasks, |a: &Task, b| a.kind() == b.kind());
    let most = bindings(&client)
        .saturating_sub(1)
        .clamp(1, TENSORS_OF_LAUNCH);
    for tasks in groups.into_iter().flat_map(|group| launches(group, most)) {
        launch(&client, tasks, &found);
    }
    found
}

/// A tensor to look at.
struct Task {
    tensor: CubeTensor,
    /// Elements of a vector.
    width: usize,
    /// In vectors.
    length: usize,
    row: usize,
    pitch: usize,
}

impl Task {
    fn of(tensor: CubeTensor) -> Self {
        let (tensor, (row, pitch)) = match rows(&tensor) {
            Some(rows) if has_few_gaps(&tensor) => (tensor, rows),
            _ => {
                let all = tensor.meta.num_elements();
                (into_contiguous(tensor), (all, all))
            }
        };
        let length = span(&tensor);
        let width = width(&tensor, &[length, row, pitch]);
        Self {
            tensor,
            width,
            length: length / width,
            row: row / width,
            pitch: pitch / width,
        }
    }

    /// What a kernel is compiled for.
    fn kind(&self) -> (DType, usize) {
        (self.tensor.dtype, self.width)
    }
}

/// Looks at tensors that are alike.
fn launch(client: &Client, tasks: Vec<Task>, found: &CubeTensor) {
    let (dtype, width) = tasks[0].kind();
    let lengths: Vec<usize> = tasks.iter().map(|task| task.length).collect();
    let division = Division::of(client, &lengths);
    let addresses = tasks.iter().map(|task| task.tensor.required_address_type());
    non_finite_kernel::launch(
        client,
        division.cube_count,
        division.cube_dim,
        addresses.max().unwrap_or_default(),
        width,
        {
            let tensors = tasks.iter().map(|task| task.tensor.clone());
            tensors.map(CubeTensor::into_buffer_arg).collect()
        },
        found.clone().into_buffer_arg(),
        lengths.into_iter().collect(),
        tasks.iter().map(|task| task.row).collect(),
        tasks.iter().map(|task| task.pitch).collect(),
        division.bounds.into_iter().collect(),
        division.per_unit,
        dtype_to_elem_type(dtype),
    );
}
