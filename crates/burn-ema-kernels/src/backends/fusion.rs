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
        queued(batch, "burn_ema::lerp", B::lerp_batch)
    }

    fn lerp_compensated(batch: Batch<Self>) -> Vec<FloatTensor<Self>> {
        queued(batch, "burn_ema::lerp_compensated", B::lerp_compensated)
    }

    fn lerp_stochastic(batch: Batch<Self>) -> Vec<FloatTensor<Self>> {
        queued(batch, "burn_ema::lerp_stochastic", B::lerp_stochastic)
    }
}

/// Puts a batch into the queue, where `lerp` will do it.
fn queued<B: FusionBackend + LerpOps>(
    batch: Batch<Fusion<B>>,
    name: &'static str,
    lerp: LerpFn<B>,
) -> Vec<FloatTensor<Fusion<B>>> {
    let Some(source) = batch.sources.first() else {
        return Vec::new();
    };
    let client = source.client.clone();
    // In this order `execute` takes them: of a tensor that is here twice, the last may be marked as its last use.
    let most = batch.sources.len() + batch.averages.len() + batch.compensations.len();
    let mut inputs = Vec::with_capacity(most);
    inputs.extend(batch.sources.into_iter().map(|source| source.into_ir()));
    let mut outputs = Vec::with_capacity(batch.averages.len() + batch.compensations.len());
    let mut links = Vec::with_capacity(batch.averages.len());
    let mut bytes = 0;
    let mut add = |value: FloatTensor<Fusion<B>>| {
        let value = value.into_ir();
        let id = client.create_empty_handle();
        bytes += value.shape.num_elements() * value.dtype.size();
        outputs.push(TensorIr::uninit(id, value.shape.clone(), value.dtype));
        inputs.push(value);
    };
    for average in batch.averages {
        links.push((average.source, average.weight));
        add(average.value);
    }
    batch.compensations.into_iter().for_each(add);
    let desc = CustomOpIr::new(name, &inputs, &outputs);
    let operation = Lerp::<B> {
        inputs,
        outputs,
        links,
        keys: batch.keys,
        lerp,
    };
    let updated = client.register(StreamId::current(), OperationIr::Custom(desc), operation);
    if queue::is_long(bytes) {
        client.flush_queue();
    }
    updated
}

type LerpFn<B> = fn(Batch<B>) -> Vec<FloatTensor<B>>;

#[derive(Debug)]
struct Lerp<B: FusionBackend> {
    /// The sources, then the values of the averages, then their compensations.
    inputs: Vec<TensorIr>,
    /// The values, then the compensations.
    outputs: Vec<TensorIr>,
    /// Source and weight of each average.
    links: Vec<(usize, f64)>,
    keys: Vec<u64>,
    lerp: LerpFn<B>,
}

impl<B: FusionBackend + LerpOps> Operation<B::FusionRuntime> for Lerp<B> {
    fn execute(
        &self,
        handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        let mut sources = floats::<B>(&self.inputs, handles);
        let mut values = sources.split_off(sources.len() - self.outputs.len());
        let compensations = values.split_off(self.links.len());
        let links = self.links.iter();
        let averages: Vec<Member<B>> = links
            .zip(values)
            .map(|(&(source, weight), value)| Member {
                value,
                source,
                weight,
            })
            .collect();
        let updated = (self.lerp)(Batch {
            sources,
            averages,
            compensations,
            keys: self.keys.clone(),
        });
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
            compensations: Vec::new(),
            keys: Vec::new(),
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
