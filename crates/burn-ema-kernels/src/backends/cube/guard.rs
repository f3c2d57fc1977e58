//! The guard: one flag, which any unit may raise.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::zeros_client;
use burn_cubecl::tensor::CubeTensor;

use super::division::{Division, MAX_TENSORS, bindings, launches};
use super::layout::{has_no_gaps, width};

/// Raises `found` if a value is not finite. Tensors are shared out among cubes as in the update.
#[cube(launch, address_type = "dynamic")]
fn non_finite_kernel<F: Float, N: Size>(
    tensors: &Sequence<Box<[Vector<F, N>]>>,
    found: &mut [Atomic<u32>],
    lengths: &Sequence<usize>,
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
            let start = (CUBE_POS - first) * CUBE_DIM as usize * per_unit + UNIT_POS as usize;

            let mut off = Vector::<u32, N>::new(0u32);
            for step in 0..per_unit {
                let pos = start + step * CUBE_DIM as usize;
                if pos < length {
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
    let mut groups: Vec<(DType, usize, Vec<CubeTensor>)> = Vec::new();
    for tensor in tensors {
        // What is in the gaps between rows says nothing.
        let tensor = match has_no_gaps(&tensor) {
            true => tensor,
            false => into_contiguous(tensor),
        };
        let (dtype, width) = (tensor.dtype, width(&tensor, tensor.meta.num_elements()));
        match groups
            .iter_mut()
            .find(|(of, wide, _)| (*of, *wide) == (dtype, width))
        {
            Some((_, _, group)) => group.push(tensor),
            None => groups.push((dtype, width, vec![tensor])),
        }
    }
    let most = bindings(&client).saturating_sub(1).clamp(1, MAX_TENSORS);
    for (dtype, width, group) in groups {
        for tensors in launches(group, most) {
            let lengths: Vec<usize> = tensors
                .iter()
                .map(|tensor| tensor.meta.num_elements() / width)
                .collect();
            let division = Division::of(&client, &lengths);
            let addresses = tensors.iter().map(CubeTensor::required_address_type);
            non_finite_kernel::launch(
                &client,
                division.cube_count,
                division.cube_dim,
                addresses.max().unwrap_or_default(),
                width,
                tensors
                    .into_iter()
                    .map(CubeTensor::into_buffer_arg)
                    .collect(),
                found.clone().into_buffer_arg(),
                lengths.into_iter().collect(),
                division.bounds.into_iter().collect(),
                division.per_unit,
                dtype_to_elem_type(dtype),
            );
        }
    }
    found
}
