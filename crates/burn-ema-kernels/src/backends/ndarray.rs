//! NdArray: reference-counted arrays of f32 or f64, which copy themselves when they change and are shared.

use burn::backend::BackendTensor;
use burn_ndarray::{NdArray, NdArrayTensor};
use ndarray::{ArcArray, ArrayView, IxDyn, Zip};

use crate::batch::Batch;
use crate::host::{self, Lerp, Numbers, Piece};
use crate::ops::LerpOps;

impl LerpOps for NdArray {
    fn lerp_batch(batch: Batch<Self>) -> Vec<NdArrayTensor> {
        let Batch { sources, averages } = batch;
        let mut values = Vec::with_capacity(averages.len());
        let mut links = Vec::with_capacity(averages.len());
        for average in averages {
            values.push(average.value);
            links.push((&sources[average.source], average.weight));
        }
        let mut pieces = Vec::with_capacity(values.len());
        for (value, (source, weight)) in values.iter_mut().zip(links) {
            match (value, source) {
                (NdArrayTensor::F32(value), NdArrayTensor::F32(source)) => {
                    add(&mut pieces, value.ensure_owned(), source.view(), weight);
                }
                (NdArrayTensor::F64(value), NdArrayTensor::F64(source)) => {
                    add(&mut pieces, value.ensure_owned(), source.view(), weight);
                }
                (NdArrayTensor::F64(value), NdArrayTensor::F32(source)) => {
                    add(&mut pieces, value.ensure_owned(), source.view(), weight);
                }
                (value, source) => unreachable!("{value:?} and {source:?} were not let through"),
            }
        }
        host::run(pieces);
        values
    }
}

/// The values, if they lie one after the other.
pub(crate) fn numbers(tensor: &NdArrayTensor) -> Option<Numbers<'_>> {
    match tensor {
        NdArrayTensor::F32(values) => values.view().to_slice_memory_order().map(Numbers::from),
        NdArrayTensor::F64(values) => values.view().to_slice_memory_order().map(Numbers::from),
        _ => None,
    }
}

fn add<'a, E: Lerp<S> + Copy, S: Copy>(
    pieces: &mut Vec<Piece<'a>>,
    value: &'a mut ArcArray<E, IxDyn>,
    source: ArrayView<'a, S, IxDyn>,
    weight: f64,
) where
    Piece<'a>: From<(&'a mut [E], &'a [S], f64)>,
{
    let is_alike = value.strides() == source.strides()
        || (value.is_standard_layout() && source.is_standard_layout());
    if is_alike
        && value.as_slice_memory_order().is_some()
        && let Some(from) = source.to_slice_memory_order()
    {
        let average = value.as_slice_memory_order_mut();
        let average = average.expect("a copy keeps the order");
        pieces.push((average, from, weight).into());
        return;
    }
    Zip::from(value.view_mut())
        .and(&source)
        .for_each(|average, source| E::lerp_one(average, source, weight));
}

/// Whether both are views of the same memory.
pub(crate) fn is_same_memory(a: &BackendTensor<NdArray>, b: &BackendTensor<NdArray>) -> bool {
    match (a, b) {
        (
            BackendTensor::Float(NdArrayTensor::F32(a)),
            BackendTensor::Float(NdArrayTensor::F32(b)),
        ) => is_same(a.view(), b.view()),
        (
            BackendTensor::Float(NdArrayTensor::F64(a)),
            BackendTensor::Float(NdArrayTensor::F64(b)),
        ) => is_same(a.view(), b.view()),
        _ => false,
    }
}

fn is_same<E>(a: ArrayView<'_, E, IxDyn>, b: ArrayView<'_, E, IxDyn>) -> bool {
    std::ptr::eq(a.as_ptr(), b.as_ptr()) && a.shape() == b.shape() && a.strides() == b.strides()
}
