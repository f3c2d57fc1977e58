//! Fusion: a batch waits in its stream as one operation, which the wrapped backend runs.

use std::marker::PhantomData;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_fusion::custom::{
    CustomOpIr, HandleContainer, Operation, OperationIr, StreamId, TensorId, TensorIr,
};
use burn_fusion::{ExecutionError, Fusion, FusionBackend, FusionRuntime};

use super::cube::queue;
use crate::batch::{Batch, Member};
use crate::ops::{GuardOps, LerpOps};

impl<B: FusionBackend + LerpOps> LerpOps for Fusion<B> {
    fn lerp_batch(batch: Batch<Self>) -> Vec<FloatTensor<Self>> {
        let Some(source) = batch.sources.first() else {
            return Vec::new();
        };
        let client = source.client.clone();
        // In this order `execute` takes them: of a tensor that is here twice, the last may be marked as its last use.
        let mut inputs = Vec::with_capacity(batch.sources.len() + batch.averages.len());
        inputs.extend(batch.sources.into_iter().map(|source| source.into_ir()));
        let mut outputs = Vec::with_capacity(batch.averages.len());
        let mut links = Vec::with_capacity(batch.averages.len());
        let mut bytes = 0;
        for average in batch.averages {
            links.push((average.source, average.weight));
            let value = average.value.into_ir();
            let id = client.create_empty_handle();
            bytes += value.shape.num_elements() * value.dtype.size();
            outputs.push(TensorIr::uninit(id, value.shape.clone(), value.dtype));
            inputs.push(value);
        }
        let desc = CustomOpIr::new("burn_ema::lerp", &inputs, &outputs);
        let operation = Lerp::<B> {
            inputs,
            outputs,
            links,
            backend: PhantomData,
        };
        let updated = client.register(StreamId::current(), OperationIr::Custom(desc), operation);
        if queue::is_long(bytes) {
            client.flush_queue();
        }
        updated
    }
}

#[derive(Debug)]
struct Lerp<B> {
    /// The sources, then the values of the averages.
    inputs: Vec<TensorIr>,
    outputs: Vec<TensorIr>,
    /// Source and weight of each average.
    links: Vec<(usize, f64)>,
    backend: PhantomData<B>,
}

impl<B: FusionBackend + LerpOps> Operation<B::FusionRuntime> for Lerp<B> {
    fn execute(
        &self,
        handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        let mut sources = floats::<B>(&self.inputs, handles);
        let values = sources.split_off(sources.len() - self.links.len());
        let links = self.links.iter();
        let averages: Vec<Member<B>> = links
            .zip(values)
            .map(|(&(source, weight), value)| Member {
                value,
                source,
                weight,
            })
            .collect();
        let updated = B::lerp_batch(Batch { sources, averages });
        for (output, value) in self.outputs.iter().zip(updated) {
            handles.register_float_tensor::<B>(&output.id, value);
        }
        Ok(())
    }
}

impl<B: FusionBackend + GuardOps> GuardOps for Fusion<B> {
    fn non_finite(batch: Batch<Self>) -> IntTensor<Self> {
        let client = batch.sources[0].client.clone();
        let sources = batch.sources.into_iter();
        let inputs: Vec<TensorIr> = sources.map(|source| source.into_ir()).collect();
        let found = client.create_empty_handle();
        let output = TensorIr::uninit(found, Shape::new([1]), DType::U32);
        let desc = CustomOpIr::new("burn_ema::non_finite", &inputs, &[output]);
        let operation = NonFinite::<B> {
            inputs,
            found,
            backend: PhantomData,
        };
        let outputs = client.register(StreamId::current(), OperationIr::Custom(desc), operation);
        let found = outputs.into_iter().next();
        found.expect("there is one output")
    }
}

#[derive(Debug)]
struct NonFinite<B> {
    inputs: Vec<TensorIr>,
    found: TensorId,
    backend: PhantomData<B>,
}

impl<B: FusionBackend + GuardOps> Operation<B::FusionRuntime> for NonFinite<B> {
    fn execute(
        &self,
        handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        let found = B::non_finite(Batch {
            sources: floats::<B>(&self.inputs, handles),
            averages: Vec::new(),
        });
        handles.register_int_tensor::<B>(&self.found, found);
        Ok(())
    }
}

/// The inputs of an operation, all of which are floats.
fn floats<B: FusionBackend>(
    inputs: &[TensorIr],
    handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
) -> Vec<FloatTensor<B>> {
    let inputs = inputs.iter();
    inputs
        .map(|tensor| handles.get_float_tensor::<B>(tensor))
        .collect()
}
