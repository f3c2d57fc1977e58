//! Many tensors as one argument of a backend extension.

use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind,
    ExtensionType,
};
use burn::tensor::kind::BridgeTensor;

/// Averages and the sources that they move towards, all of one backend and on one device.
#[derive(Debug)]
pub struct Batch<B: Backend> {
    /// The values that averages move towards. They are only read.
    pub sources: Vec<FloatTensor<B>>,
    /// The averages, those of one source next to each other.
    pub averages: Vec<Member<B>>,
    /// What rounding has lost of each, if that is kept.
    pub compensations: Vec<FloatTensor<B>>,
    /// What the random bits of each are made of, if it is rounded stochastically.
    pub keys: Vec<u64>,
}

/// An average within a [`Batch`].
#[derive(Debug)]
pub struct Member<B: Backend> {
    /// Its value, of the shape of its source. It changes in place if nobody else holds it.
    pub value: FloatTensor<B>,
    /// Position of its source.
    pub source: usize,
    /// Share of the source in the new average.
    pub weight: f64,
}

// None of the tensors has autodiff, so the first speaks for all of them.
impl<B: Backend> ExtensionType<B> for Batch<B> {
    type Target = Batch<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        self.map(|tensor| DispatchTensor {
            kind: map_kind(BackendTensor::Float(tensor)),
            autodiff,
        })
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        target.map(|tensor| unwrap_kind(tensor).float())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.sources.first()
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.sources.first()
    }
}

impl<B: Backend> Batch<B> {
    fn map<C: Backend>(self, tensor: impl Fn(FloatTensor<B>) -> FloatTensor<C>) -> Batch<C> {
        let member = |member: Member<B>| Member {
            value: tensor(member.value),
            source: member.source,
            weight: member.weight,
        };
        Batch {
            averages: self.averages.into_iter().map(member).collect(),
            sources: self.sources.into_iter().map(&tensor).collect(),
            compensations: self.compensations.into_iter().map(&tensor).collect(),
            keys: self.keys,
        }
    }
}

impl Batch<Dispatch> {
    /// Of these sources, and of as many averages as are to come.
    pub(crate) fn of(sources: Vec<BridgeTensor>, averages: usize) -> Self {
        let sources = sources.into_iter();
        Self {
            sources: sources.map(|source| source.into_parts().1).collect(),
            averages: Vec::with_capacity(averages),
            compensations: Vec::new(),
            keys: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, value: BridgeTensor, source: usize, weight: f64) {
        self.averages.push(Member {
            value: value.into_parts().1,
            source,
            weight,
        });
    }
}
