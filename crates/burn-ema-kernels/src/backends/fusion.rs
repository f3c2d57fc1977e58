//! Fusion: a batch waits in its stream as one operation, which the wrapped backend runs.

use std::marker::PhantomData;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_fusion::custom::{
    CustomOpIr, HandleContainer, Operation, OperationIr, StreamId, TensorIr,
};
use burn_fusion::{ExecutionError, Fusion, FusionBackend, FusionRuntime};

use super::cube::MAX_TENSORS;
use super::cube::queue::is_worth_a_call;
use crate::{Batch, GuardOps, LerpOps, Member};

impl<B: FusionBackend + LerpOps> LerpOps for Fusion<B> {
    fn lerp_batch(batch: Batch<Self>) -> Vec<FloatTensor<Self>> {
        // What goes into one launch goes through the stream together: the device works while the rest is on its way.
        let parts = batch.parts(MAX_TENSORS).into_iter();
        parts.flat_map(register).collect()
    }
}

fn register<B: FusionBackend + LerpOps>(batch: Batch<Fusion<B>>) -> Vec<FloatTensor<Fusion<B>>> {
    let client = batch.sources[0].client.clone();
    let first_value = batch.sources.len();
    let mut links = Vec::with_capacity(batch.averages.len());
    // In this order `execute` takes them: of a tensor that is here twice, the last may be marked as its last use.
    let mut inputs: Vec<TensorIr> = batch
        .sources
        .into_iter()
        .map(|source| source.into_ir())
        .collect();
    for average in batch.averages {
        links.push((average.source, average.weight));
        inputs.push(average.value.into_ir());
    }
    let output = |value: &TensorIr| {
        let id = client.create_empty_handle();
        TensorIr::uninit(id, value.shape.clone(), value.dtype)
    };
    let outputs: Vec<TensorIr> = inputs[first_value..].iter().map(output).collect();
    let desc = CustomOpIr::new("burn_ema::lerp", &inputs, &outputs);
    let operation = Lerp::<B> {
        desc: desc.clone(),
        links,
        backend: PhantomData,
    };
    let bytes = |value: &TensorIr| value.shape.num_elements() * value.dtype.size();
    let is_long = is_worth_a_call(desc.outputs.iter().map(bytes).sum());
    let updated = client.register(StreamId::current(), OperationIr::Custom(desc), operation);
    if is_long {
        client.flush_queue();
    }
    updated
}

#[derive(Debug)]
struct Lerp<B> {
    /// Its inputs are the sources, then the values of the averages.
    desc: CustomOpIr,
    /// Source and weight of each average.
    links: Vec<(usize, f64)>,
    backend: PhantomData<B>,
}

impl<B: FusionBackend + LerpOps> Operation<B::FusionRuntime> for Lerp<B> {
    fn execute(
        &self,
        handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        let mut sources = inputs::<B>(&self.desc, handles);
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
        for (output, value) in self.desc.outputs.iter().zip(updated) {
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
        let found = TensorIr::uninit(client.create_empty_handle(), Shape::new([1]), DType::U32);
        let desc = CustomOpIr::new("burn_ema::non_finite", &inputs, &[found]);
        let operation = NonFinite::<B> {
            desc: desc.clone(),
            backend: PhantomData,
        };
        let outputs = client.register(StreamId::current(), OperationIr::Custom(desc), operation);
        let found = outputs.into_iter().next();
        found.expect("there is one output")
    }
}

#[derive(Debug)]
struct NonFinite<B> {
    desc: CustomOpIr,
    backend: PhantomData<B>,
}

impl<B: FusionBackend + GuardOps> Operation<B::FusionRuntime> for NonFinite<B> {
    fn execute(
        &self,
        handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        let found = B::non_finite(Batch {
            sources: inputs::<B>(&self.desc, handles),
            averages: Vec::new(),
        });
        handles.register_int_tensor::<B>(&self.desc.outputs[0].id, found);
        Ok(())
    }
}

/// The inputs of an operation, all of which are floats.
fn inputs<B: FusionBackend>(
    desc: &CustomOpIr,
    handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
) -> Vec<FloatTensor<B>> {
    let inputs = desc.inputs.iter();
    inputs
        .map(|tensor| handles.get_float_tensor::<B>(tensor))
        .collect()
}
