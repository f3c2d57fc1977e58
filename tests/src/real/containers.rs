//! What modules are put together with: options, enums, vectors, arrays, tuples, shared parameters, integers.

use burn::module::{Module, Param, ParamId, RunningState};
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Embedding, EmbeddingConfig, LayerNorm,
    LayerNormConfig, Linear, LinearConfig,
};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use super::transformer::next_token_loss;
use super::{Case, filled, tokens, wave};

const WIDTH: usize = 4;

fn error(output: Tensor<2>, step: u32, device: &Device) -> Tensor<1> {
    let shape = output.dims();
    (output - wave(shape, step + 90, device)).square().mean()
}

/// One matrix for the embedding and for the head, shared by a clone of the parameter.
#[derive(Module, Debug)]
pub struct Tied {
    embedding: Embedding,
    middle: Linear,
    head: Param<Tensor<2>>,
}

impl Tied {
    fn new(device: &Device) -> Self {
        let embedding = EmbeddingConfig::new(7, WIDTH).init(device);
        let model = Self {
            head: embedding.weight.clone(),
            embedding,
            middle: LinearConfig::new(WIDTH, WIDTH).init(device),
        };
        filled(model, 31).tied()
    }

    /// Shares the matrix again: an optimizer gives the gradient to the first that has the id.
    fn tied(mut self) -> Self {
        self.head = self.embedding.weight.clone();
        self
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let hidden = self.middle.forward(self.embedding.forward(ids)).tanh();
        let hidden: Tensor<2> = hidden.flatten(0, 1);
        hidden.matmul(self.head.val().transpose())
    }
}

/// The model with tied embeddings.
pub fn tied() -> Case<Tied> {
    Case {
        after_step: Tied::tied,
        ..Case::new(
            "tied embeddings",
            Tied::new,
            |model, device| model.forward(tokens([2, 5], 7, 0, device)),
            |model, step, device| {
                let ids = tokens([2, 6], 7, step, device);
                let logits = model.forward(ids.clone().narrow(1, 0, 5));
                next_token_loss(logits, ids.narrow(1, 1, 5))
            },
        )
    }
}

/// What a block may be.
#[allow(clippy::large_enum_variant)] // as in Burn's own enums of modules
#[derive(Module, Debug)]
pub enum Block {
    /// A layer alone.
    Linear(Linear),
    /// Layers together.
    Normed(Normed),
    /// Nothing that has parameters.
    Dropout(Dropout),
}

/// A layer and its norm.
#[derive(Module, Debug)]
pub struct Normed {
    linear: Linear,
    norm: BatchNorm,
}

impl Block {
    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Linear(linear) => linear.forward(input).tanh(),
            Self::Normed(Normed { linear, norm }) => norm.forward(linear.forward(input)),
            Self::Dropout(dropout) => dropout.forward(input),
        }
    }
}

/// Modules in every container that Burn has, with parameters and buffers of every kind.
#[derive(Module, Debug)]
pub struct Containers {
    present: Option<Linear>,
    absent: Option<BatchNorm>,
    parameter: Option<Param<Tensor<1>>>,
    no_parameter: Option<Param<Tensor<1>>>,
    blocks: Vec<Block>,
    none: Vec<Linear>,
    pair: [Linear; 2],
    tuple: (Linear, LayerNorm, Option<Linear>),
    nested: Vec<Option<[Block; 1]>>,
    convs: Vec<(Conv1d, usize)>,
    buffer: RunningState<Tensor<1>>,
    steps: Param<Tensor<1, Int>>,
    mask: Param<Tensor<1, Bool>>,
    constant: Tensor<1>,
    scale: f64,
    label: String,
}

impl Containers {
    fn new(device: &Device) -> Self {
        let linear = || LinearConfig::new(WIDTH, WIDTH).init(device);
        let normed = || {
            Block::Normed(Normed {
                linear: linear(),
                norm: BatchNormConfig::new(WIDTH).init(device),
            })
        };
        let steps = Tensor::from_data(TensorData::from([(1_i64 << 30) + 1, -7]), device);
        let mask = Tensor::from_data(TensorData::from([true, false, true, false]), device);
        let dropout = DropoutConfig::new(0.2).init();
        let conv = || (Conv1dConfig::new(1, 1, 1).init(device), 3);
        let model = Self {
            present: Some(linear()),
            absent: None,
            parameter: Some(Param::from_tensor(Tensor::zeros([WIDTH], device))),
            no_parameter: None,
            blocks: vec![Block::Linear(linear()), normed(), Block::Dropout(dropout)],
            none: Vec::new(),
            pair: [linear(), linear()],
            tuple: (linear(), LayerNormConfig::new(WIDTH).init(device), None),
            nested: vec![None, Some([normed()])],
            convs: vec![conv(), conv()],
            buffer: RunningState::new(Tensor::zeros([WIDTH], device)),
            steps: Param::initialized(ParamId::new(), steps),
            mask: Param::initialized(ParamId::new(), mask),
            constant: wave([WIDTH], 71, device),
            scale: 1.5,
            label: "kept".into(),
        };
        filled(model, 32)
    }

    fn run(&self, seed: u32, device: &Device) -> Tensor<2> {
        assert_eq!(self.label, "kept");
        let mut hidden = wave([5, WIDTH], seed, device);
        let layers = self.present.iter().chain(&self.none).chain(&self.pair);
        for layer in layers {
            hidden = layer.forward(hidden).tanh();
        }
        for block in &self.blocks {
            hidden = block.forward(hidden);
        }
        for block in self.nested.iter().flatten().flatten() {
            hidden = block.forward(hidden);
        }
        let mut sequence = hidden.unsqueeze_dim::<3>(1);
        for (conv, width) in &self.convs {
            sequence = conv.forward(sequence) * *width as f64;
        }
        let hidden = self
            .tuple
            .1
            .forward(self.tuple.0.forward(sequence.squeeze_dim(1)));
        let shift = self
            .parameter
            .as_ref()
            .map(Param::val)
            .expect("it is there");
        let shift = shift * self.constant.clone() + self.buffer.value();
        // Integers and booleans count too.
        let count = self.steps.val().float().narrow(0, 1, 1);
        let mask = self.mask.val().float();
        hidden + ((shift * mask + count / 10.0) * self.scale).unsqueeze()
    }

    /// A buffer and a counter that the training itself moves.
    fn counted(mut self) -> Self {
        self.buffer.update(self.buffer.value() * 0.5 + 0.25);
        self.steps = self.steps.map(|steps| steps + 1);
        self.mask = self.mask.map(|mask| mask.bool_not());
        self
    }
}

/// The model with every container.
pub fn containers() -> Case<Containers> {
    Case {
        after_step: Containers::counted,
        ..Case::new(
            "Option, enum, Vec, array, tuple, integers, booleans, plain tensor",
            Containers::new,
            |model, device| model.run(0, device),
            |model, step, device| error(model.run(step, device), step, device),
        )
    }
}

/// The same, trained with gradient checkpointing.
pub fn containers_checkpointing() -> Case<Containers> {
    Case {
        name: "Option, enum, Vec, array, tuple, checkpointing",
        checkpointing: true,
        ..containers()
    }
}
