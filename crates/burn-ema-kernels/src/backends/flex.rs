//! Flex: bytes, shared between tensors, with a layout each.

use std::ops::Range;

use burn::tensor::{Bytes, DType, Element};
use burn_flex::{Flex, FlexTensor, Layout};
use bytemuck::Pod;
use half::{bf16, f16};

use crate::batch::Batch;
use crate::host::{self, CompensatedPiece, Lerp, Numbers, Piece, StochasticPiece};
use crate::ops::LerpOps;

impl LerpOps for Flex {
    fn lerp_batch(batch: Batch<Self>) -> Vec<FlexTensor> {
        let Batch {
            sources, averages, ..
        } = batch;
        let mut values = Vec::with_capacity(averages.len());
        let mut links = Vec::with_capacity(averages.len());
        for average in averages {
            let source = &sources[average.source];
            values.push(match average.value.dtype() {
                DType::F64 => owned::<f64>(average.value, source),
                _ => owned::<f32>(average.value, source),
            });
            links.push((source, average.weight));
        }
        let mut pieces = Vec::with_capacity(values.len());
        for (value, (source, weight)) in values.iter_mut().zip(links) {
            match (value.dtype(), source.dtype()) {
                (DType::F32, DType::F32) => add::<f32, f32>(&mut pieces, value, source, weight),
                (DType::F64, DType::F64) => add::<f64, f64>(&mut pieces, value, source, weight),
                (DType::F32, DType::F16) => add::<f32, f16>(&mut pieces, value, source, weight),
                (DType::F32, DType::BF16) => add::<f32, bf16>(&mut pieces, value, source, weight),
                (DType::F64, DType::F32) => add::<f64, f32>(&mut pieces, value, source, weight),
                (DType::F64, DType::F16) => add::<f64, f16>(&mut pieces, value, source, weight),
                (DType::F64, DType::BF16) => add::<f64, bf16>(&mut pieces, value, source, weight),
                (value, source) => unreachable!("{value:?} and {source:?} were not let through"),
            }
        }
        host::run(pieces);
        values
    }

    fn lerp_compensated(batch: Batch<Self>) -> Vec<FlexTensor> {
        let sources = in_rows(batch.sources);
        let mut averages = Vec::with_capacity(batch.averages.len());
        for (average, compensation) in batch.averages.into_iter().zip(batch.compensations) {
            let value = own_rows(average.value);
            let compensation = own_rows(compensation);
            averages.push((
                value,
                compensation,
                &sources[average.source],
                average.weight,
            ));
        }
        let mut pieces: Vec<CompensatedPiece<'_>> = Vec::with_capacity(averages.len());
        for (value, compensation, source, weight) in &mut averages {
            macro_rules! piece {
                ($average:ty, $source:ty) => {{
                    let value = rows_mut::<$average>(value);
                    let compensation = rows_mut::<$average>(compensation);
                    (value, compensation, rows::<$source>(source), *weight).into()
                }};
            }
            pieces.push(match (value.dtype(), source.dtype()) {
                (DType::F32, DType::F32) => piece!(f32, f32),
                (DType::F32, DType::F16) => piece!(f32, f16),
                (DType::F32, DType::BF16) => piece!(f32, bf16),
                (DType::F64, DType::F64) => piece!(f64, f64),
                (value, source) => unreachable!("{value:?} and {source:?} were not let through"),
            });
        }
        host::run(pieces);
        let averages = averages.into_iter();
        let (mut values, compensations): (Vec<_>, Vec<_>) = averages
            .map(|(value, compensation, ..)| (value, compensation))
            .unzip();
        values.extend(compensations);
        values
    }

    fn lerp_stochastic(batch: Batch<Self>) -> Vec<FlexTensor> {
        let sources = in_rows(batch.sources);
        let mut values = Vec::with_capacity(batch.averages.len());
        let mut links = Vec::with_capacity(batch.averages.len());
        for (average, key) in batch.averages.into_iter().zip(batch.keys) {
            values.push(own_rows(average.value));
            links.push((&sources[average.source], average.weight, key));
        }
        let mut pieces: Vec<StochasticPiece<'_>> = Vec::with_capacity(values.len());
        for (value, (source, weight, key)) in values.iter_mut().zip(links) {
            macro_rules! piece {
                ($average:ty, $source:ty) => {
                    (
                        rows_mut::<$average>(value),
                        rows::<$source>(source),
                        weight,
                        key,
                    )
                        .into()
                };
            }
            pieces.push(match (value.dtype(), source.dtype()) {
                (DType::BF16, DType::F32) => piece!(bf16, f32),
                (DType::BF16, DType::F16) => piece!(bf16, f16),
                (DType::BF16, DType::BF16) => piece!(bf16, bf16),
                (DType::F32, DType::F32) => piece!(f32, f32),
                (DType::F32, DType::F16) => piece!(f32, f16),
                (DType::F32, DType::BF16) => piece!(f32, bf16),
                (value, source) => unreachable!("{value:?} and {source:?} were not let through"),
            });
        }
        host::run(pieces);
        values
    }
}

/// Tensors row by row.
fn in_rows(tensors: Vec<FlexTensor>) -> Vec<FlexTensor> {
    let row_by_row = |tensor: FlexTensor| match tensor.is_contiguous() {
        true => tensor,
        false => tensor.to_contiguous(),
    };
    tensors.into_iter().map(row_by_row).collect()
}

/// A tensor row by row, in memory of its own.
fn own_rows(tensor: FlexTensor) -> FlexTensor {
    let Some(range) = memory(&tensor).filter(|_| tensor.is_contiguous()) else {
        return tensor.to_contiguous();
    };
    match tensor.dtype() {
        DType::F64 => own::<f64>(tensor, range),
        DType::BF16 => own::<bf16>(tensor, range),
        _ => own::<f32>(tensor, range),
    }
}

/// The values of a tensor that lies row by row.
fn rows<E: Element + Pod>(tensor: &FlexTensor) -> &[E] {
    &tensor.storage::<E>()[memory(tensor).expect("it lies row by row")]
}

/// The same, to change.
fn rows_mut<E: Element + Pod>(tensor: &mut FlexTensor) -> &mut [E] {
    let range = memory(tensor).expect("it lies row by row");
    &mut tensor.storage_mut::<E>()[range]
}

/// The values, if they lie one after the other.
pub(crate) fn numbers(tensor: &FlexTensor) -> Option<Numbers<'_>> {
    let range = memory(tensor)?;
    Some(match tensor.dtype() {
        DType::F32 => tensor.storage::<f32>()[range].into(),
        DType::F64 => tensor.storage::<f64>()[range].into(),
        DType::F16 => tensor.storage::<f16>()[range].into(),
        DType::BF16 => tensor.storage::<bf16>()[range].into(),
        _ => return None,
    })
}

/// The average with memory of its own, without gaps. It stays in the order that it has if that is its source's or row by
/// row, and is brought row by row otherwise.
fn owned<E: Element + Pod>(value: FlexTensor, source: &FlexTensor) -> FlexTensor {
    let is_alike = value.layout().strides() == source.layout().strides();
    let range = match value.is_contiguous() || is_alike {
        true => memory(&value),
        false => None,
    };
    match range {
        Some(range) => own::<E>(value, range),
        None => value.to_contiguous(),
    }
}

/// A tensor whose values fill `range` of its memory, in memory of its own.
fn own<E: Element + Pod>(value: FlexTensor, range: Range<usize>) -> FlexTensor {
    if value.is_unique() {
        return value;
    }
    let copy = Bytes::from_elems(value.storage::<E>()[range].to_vec());
    let layout = value.layout();
    let layout = Layout::new(layout.shape().clone(), layout.strides().to_vec(), 0);
    FlexTensor::new(copy, layout, value.dtype())
}

fn add<'a, E, S>(
    pieces: &mut Vec<Piece<'a>>,
    value: &'a mut FlexTensor,
    source: &'a FlexTensor,
    weight: f64,
) where
    E: Lerp<S> + Element + Pod + Send,
    S: Element + Pod + Sync,
    Piece<'a>: From<(&'a mut [E], &'a [S], f64)>,
{
    let range = memory(value).expect("it was made to have no gaps");
    let is_alike = value.layout().strides() == source.layout().strides()
        || (value.is_contiguous() && source.is_contiguous());
    let values = source.storage::<S>();
    if is_alike && let Some(from) = memory(source) {
        let average = &mut value.storage_mut::<E>()[range];
        pieces.push((average, &values[from], weight).into());
        return;
    }
    // The one that differs in order is read index by index.
    let layout = source.layout().clone();
    let average = &mut value.storage_mut::<E>()[range];
    host::lerp_strided(average, values, strided(&layout), weight);
}

fn memory(tensor: &FlexTensor) -> Option<Range<usize>> {
    match tensor.layout().contiguous_offsets() {
        Some((start, end)) => Some(start..end),
        None => host::dense(strided(tensor.layout())),
    }
}

fn strided(layout: &Layout) -> host::Layout<'_> {
    host::Layout {
        shape: layout.shape(),
        strides: layout.strides(),
        offset: layout.start_offset(),
    }
}
