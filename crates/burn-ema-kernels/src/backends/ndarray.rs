//! NdArray: reference-counted arrays of f32 or f64, which copy themselves when they change and are shared.

use burn::backend::BackendTensor;
use burn_ndarray::{NdArray, NdArrayTensor};
use ndarray::{ArcArray, ArrayView, IxDyn, Zip};

use crate::batch::Batch;
use crate::host::{self, CompensatedPiece, Lerp, Numbers, Piece, StochasticPiece};
use crate::ops::LerpOps;

impl LerpOps for NdArray {
    fn lerp_batch(batch: Batch<Self>) -> Vec<NdArrayTensor> {
        let Batch {
            sources, averages, ..
        } = batch;
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

    fn lerp_compensated(batch: Batch<Self>) -> Vec<NdArrayTensor> {
        let sources = batch.sources.into_iter().map(in_rows).collect::<Vec<_>>();
        let members = batch.averages.into_iter().zip(batch.compensations);
        let mut averages: Vec<_> = members
            .map(|(average, compensation)| {
                let link = (&sources[average.source], average.weight);
                (in_rows(average.value), in_rows(compensation), link)
            })
            .collect();
        let mut pieces: Vec<CompensatedPiece<'_>> = Vec::with_capacity(averages.len());
        for (value, compensation, (source, weight)) in &mut averages {
            use NdArrayTensor::{F32, F64};

            pieces.push(match (value, compensation, source) {
                (F32(value), F32(compensation), F32(source)) => {
                    let (value, compensation) = (value.ensure_owned(), compensation.ensure_owned());
                    (
                        rows_mut(value),
                        rows_mut(compensation),
                        rows(source.view()),
                        *weight,
                    )
                        .into()
                }
                (F64(value), F64(compensation), F64(source)) => {
                    let (value, compensation) = (value.ensure_owned(), compensation.ensure_owned());
                    (
                        rows_mut(value),
                        rows_mut(compensation),
                        rows(source.view()),
                        *weight,
                    )
                        .into()
                }
                (value, _, source) => unreachable!("{value:?} and {source:?} were not let through"),
            });
        }
        host::run(pieces);
        let averages = averages.into_iter();
        let (mut values, compensations): (Vec<_>, Vec<_>) = averages
            .map(|(value, compensation, _)| (value, compensation))
            .unzip();
        values.extend(compensations);
        values
    }

    fn lerp_stochastic(batch: Batch<Self>) -> Vec<NdArrayTensor> {
        let sources = batch.sources.into_iter().map(in_rows).collect::<Vec<_>>();
        let mut values = Vec::with_capacity(batch.averages.len());
        let mut links = Vec::with_capacity(batch.averages.len());
        for (average, key) in batch.averages.into_iter().zip(batch.keys) {
            values.push(in_rows(average.value));
            links.push((&sources[average.source], average.weight, key));
        }
        let mut pieces: Vec<StochasticPiece<'_>> = Vec::with_capacity(values.len());
        for (value, (source, weight, key)) in values.iter_mut().zip(links) {
            pieces.push(match (value, source) {
                (NdArrayTensor::F32(value), NdArrayTensor::F32(source)) => (
                    rows_mut(value.ensure_owned()),
                    rows(source.view()),
                    weight,
                    key,
                )
                    .into(),
                (value, source) => unreachable!("{value:?} and {source:?} were not let through"),
            });
        }
        host::run(pieces);
        values
    }
}

/// A tensor row by row.
fn in_rows(tensor: NdArrayTensor) -> NdArrayTensor {
    fn in_rows<E: Clone>(values: ArcArray<E, IxDyn>) -> ArcArray<E, IxDyn> {
        match values.is_standard_layout() {
            true => values,
            false => values.as_standard_layout().into_owned().into_shared(),
        }
    }
    match tensor {
        NdArrayTensor::F32(values) => NdArrayTensor::F32(in_rows(values.into_shared()).into()),
        NdArrayTensor::F64(values) => NdArrayTensor::F64(in_rows(values.into_shared()).into()),
        other => other,
    }
}

/// The values of a tensor that lies row by row.
fn rows<E>(values: ArrayView<'_, E, IxDyn>) -> &[E] {
    values.to_slice().expect("they lie row by row")
}

/// The same, to change, in memory of their own.
fn rows_mut<E: Clone>(values: &mut ArcArray<E, IxDyn>) -> &mut [E] {
    values.as_slice_mut().expect("they lie row by row")
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
