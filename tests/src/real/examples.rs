//! The models of Burn's examples, small, and written anew from what they do.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::attention::{SeqLengthOption, generate_padding_mask};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Embedding, EmbeddingConfig, Gelu,
    LayerNorm, LayerNormConfig, LeakyRelu, LeakyReluConfig, Linear, LinearConfig,
};
use burn::optim::RmsPropConfig;
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Bool, Device, Int, Tensor};

use super::{Case, filled, tokens, wave};

fn cross_entropy(logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    let loss = CrossEntropyLossConfig::new().init(&logits.device());
    loss.forward(logits, classes)
}

/// Convolution, BatchNorm, activation.
#[derive(Module, Debug)]
pub struct ConvBlock {
    conv: Conv2d,
    norm: BatchNorm,
    activation: Gelu,
}

/// `mnist`: convolutions with BatchNorm, pooling, dropout, two linear layers.
#[derive(Module, Debug)]
pub struct Mnist {
    first: ConvBlock,
    second: ConvBlock,
    pool: AdaptiveAvgPool2d,
    dropout: Dropout,
    hidden: Linear,
    head: Linear,
    activation: Gelu,
}

impl Mnist {
    fn new(device: &Device) -> Self {
        let block = |channels| ConvBlock {
            conv: Conv2dConfig::new(channels, [3, 3]).init(device),
            norm: BatchNormConfig::new(channels[1]).init(device),
            activation: Gelu::new(),
        };
        let model = Self {
            first: block([1, 4]),
            second: block([4, 4]),
            pool: AdaptiveAvgPool2dConfig::new([2, 2]).init(),
            dropout: DropoutConfig::new(0.25).init(),
            hidden: LinearConfig::new(16, 8).with_bias(false).init(device),
            head: LinearConfig::new(8, 10).with_bias(false).init(device),
            activation: Gelu::new(),
        };
        filled(model, 61)
    }

    fn forward(&self, images: Tensor<3>) -> Tensor<2> {
        let mut hidden = images.unsqueeze_dim::<4>(1);
        for block in [&self.first, &self.second] {
            let normed = block.norm.forward(block.conv.forward(hidden));
            hidden = block.activation.forward(normed);
        }
        let hidden = self
            .dropout
            .forward(self.pool.forward(hidden).flatten::<2>(1, 3));
        let hidden = self.activation.forward(self.hidden.forward(hidden));
        self.head.forward(self.dropout.forward(hidden))
    }
}

/// The net for digits.
pub fn mnist() -> Case<Mnist> {
    Case::new(
        "example mnist",
        Mnist::new,
        |model, device| model.forward(wave([4, 8, 8], 0, device)),
        |model, step, device| {
            let logits = model.forward(wave([6, 8, 8], step, device));
            cross_entropy(logits, tokens([6], 10, step, device))
        },
    )
}

const WORDS: usize = 12;
const LENGTH: usize = 6;

/// `text-classification`: embeddings of tokens and positions, an encoder with a mask for padding, a linear layer.
#[derive(Module, Debug)]
pub struct TextClassification {
    encoder: TransformerEncoder,
    tokens: Embedding,
    positions: Embedding,
    output: Linear,
    classes: usize,
}

impl TextClassification {
    fn new(device: &Device) -> Self {
        let encoder = TransformerEncoderConfig::new(8, 16, 2, 2).with_norm_first(true);
        let model = Self {
            encoder: encoder.with_quiet_softmax(true).init(device),
            tokens: EmbeddingConfig::new(WORDS, 8).init(device),
            positions: EmbeddingConfig::new(LENGTH, 8).init(device),
            output: LinearConfig::new(8, 3).init(device),
            classes: 3,
        };
        filled(model, 62)
    }

    /// Sentences of different lengths, padded with 0.
    fn batch(seed: u32, device: &Device) -> (Tensor<2, Int>, Tensor<2, Bool>) {
        let ids: Vec<usize> = tokens([4 * LENGTH], WORDS - 1, seed, device)
            .into_data()
            .iter::<i64>()
            .map(|id| id as usize + 1)
            .collect();
        let sentences = ids.chunks(LENGTH).enumerate();
        let sentences = sentences.map(|(index, ids)| ids[..LENGTH - index].to_vec());
        let length = SeqLengthOption::Fixed(LENGTH);
        let padded = generate_padding_mask(0, sentences.collect(), length, device);
        (padded.tensor, padded.mask)
    }

    fn run(&self, seed: u32, device: &Device) -> Tensor<2> {
        let (ids, mask) = Self::batch(seed, device);
        let [batch, length] = ids.dims();
        let places = Tensor::<1, Int>::arange(0..length as i64, device);
        let places = places.reshape([1, length]).repeat_dim(0, batch);
        let hidden = (self.positions.forward(places) + self.tokens.forward(ids)) / 2.0;
        let input = TransformerEncoderInput::new(hidden).mask_pad(mask);
        let logits = self.output.forward(self.encoder.forward(input));
        logits.narrow(1, 0, 1).reshape([batch, self.classes])
    }
}

/// The classifier of sentences.
pub fn text_classification() -> Case<TextClassification> {
    Case::new(
        "example text-classification",
        TextClassification::new,
        |model, device| model.run(0, device),
        |model, step, device| cross_entropy(model.run(step, device), tokens([4], 3, step, device)),
    )
}

/// An LSTM cell of its own: two matrices for all gates, norms of input, state and cell, dropout.
#[derive(Module, Debug)]
pub struct Cell {
    width: usize,
    input: Linear,
    state: Linear,
    norm_input: LayerNorm,
    norm_state: LayerNorm,
    norm_cell: LayerNorm,
    dropout: Dropout,
}

impl Cell {
    fn new(from: usize, width: usize, device: &Device) -> Self {
        let norm = |width| LayerNormConfig::new(width).init(device);
        Self {
            width,
            input: LinearConfig::new(from, 4 * width).init(device),
            state: LinearConfig::new(width, 4 * width).init(device),
            norm_input: norm(4 * width),
            norm_state: norm(4 * width),
            norm_cell: norm(width),
            dropout: DropoutConfig::new(0.1).init(),
        }
    }

    /// The states after each of `inputs`.
    fn forward(&self, inputs: &[Tensor<2>]) -> Vec<Tensor<2>> {
        let [batch, _] = inputs[0].dims();
        let mut cell = Tensor::<2>::zeros([batch, self.width], &inputs[0].device());
        let mut state = cell.clone();
        let mut states = Vec::new();
        for input in inputs {
            let gates = self.norm_input.forward(self.input.forward(input.clone()))
                + self.norm_state.forward(self.state.forward(state));
            let [enter, forget, candidate, leave]: [Tensor<2>; 4] =
                gates.chunk(4, 1).try_into().expect("four gates");
            cell = sigmoid(forget) * cell + sigmoid(enter) * candidate.tanh();
            state = sigmoid(leave) * self.norm_cell.forward(cell.clone()).tanh();
            state = self.dropout.forward(state);
            states.push(state.clone());
        }
        states
    }
}

/// Cells on top of each other.
#[derive(Module, Debug)]
pub struct Stacked {
    layers: Vec<Cell>,
}

impl Stacked {
    fn forward(&self, mut inputs: Vec<Tensor<2>>) -> Vec<Tensor<2>> {
        for layer in &self.layers {
            inputs = layer.forward(&inputs);
        }
        inputs
    }
}

/// `modern-lstm`: stacked cells in one or two directions, dropout, a linear layer.
#[derive(Module, Debug)]
pub struct ModernLstm {
    forward: Stacked,
    reverse: Option<Stacked>,
    dropout: Dropout,
    head: Linear,
}

impl ModernLstm {
    fn new(is_bidirectional: bool, device: &Device) -> Self {
        let stacked = || Stacked {
            layers: vec![Cell::new(2, 4, device), Cell::new(4, 4, device)],
        };
        let directions = if is_bidirectional { 2 } else { 1 };
        let model = Self {
            forward: stacked(),
            reverse: is_bidirectional.then(stacked),
            dropout: DropoutConfig::new(0.1).init(),
            head: LinearConfig::new(4 * directions, 1).init(device),
        };
        filled(model, 63)
    }

    fn run(&self, seed: u32, device: &Device) -> Tensor<2> {
        let sequence = wave([3, 5, 2], seed, device);
        let mut inputs: Vec<Tensor<2>> = (0..5)
            .map(|place| sequence.clone().narrow(1, place, 1).squeeze_dim(1))
            .collect();
        let last = |states: Vec<Tensor<2>>| states.into_iter().last().expect("five states");
        let mut hidden = last(self.forward.forward(inputs.clone()));
        if let Some(reverse) = &self.reverse {
            inputs.reverse();
            hidden = Tensor::cat(vec![hidden, last(reverse.forward(inputs))], 1);
        }
        self.head.forward(self.dropout.forward(hidden))
    }
}

/// The LSTM, in both directions.
pub fn modern_lstm() -> Case<ModernLstm> {
    let case = Case::new(
        "example modern-lstm (bidirectional)",
        |device| ModernLstm::new(true, device),
        |model, device| model.run(0, device),
        |model, step, device| {
            (model.run(step, device) - wave([3, 1], step + 90, device))
                .square()
                .mean()
        },
    );
    // A norm divides what little the cells hold.
    Case {
        tolerance: 2e-4,
        ..case
    }
}

/// The LSTM, in one direction.
pub fn modern_lstm_forward() -> Case<ModernLstm> {
    Case {
        name: "example modern-lstm (one direction)",
        make: |device| ModernLstm::new(false, device),
        ..modern_lstm()
    }
}

/// A linear layer, a norm where there is one, a leaky ReLU.
#[derive(Module, Debug)]
pub struct LinearBlock {
    linear: Linear,
    norm: Option<BatchNorm>,
    activation: LeakyRelu,
}

impl LinearBlock {
    fn new(from: usize, to: usize, has_norm: bool, device: &Device) -> Self {
        let norm = || BatchNormConfig::new(to).with_epsilon(0.8).init(device);
        Self {
            linear: LinearConfig::new(from, to).init(device),
            norm: has_norm.then(norm),
            activation: LeakyReluConfig::new().with_negative_slope(0.2).init(),
        }
    }

    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let hidden = self.linear.forward(input);
        let hidden = match &self.norm {
            Some(norm) => norm.forward(hidden),
            None => hidden,
        };
        self.activation.forward(hidden)
    }
}

const LATENT: usize = 4;
const PIXELS: usize = 9;

/// `wgan`'s generator: linear blocks, all but the first with BatchNorm, and an output in `[-1, 1]`.
#[derive(Module, Debug)]
pub struct Generator {
    blocks: [LinearBlock; 3],
    output: Linear,
}

impl Generator {
    fn new(device: &Device) -> Self {
        let model = Self {
            blocks: [
                LinearBlock::new(LATENT, 6, false, device),
                LinearBlock::new(6, 8, true, device),
                LinearBlock::new(8, 8, true, device),
            ],
            output: LinearConfig::new(8, PIXELS).init(device),
        };
        filled(model, 64)
    }

    fn forward(&self, noise: Tensor<2>) -> Tensor<2> {
        let forward = |hidden, block: &LinearBlock| block.forward(hidden);
        let hidden = self.blocks.iter().fold(noise, forward);
        self.output.forward(hidden).tanh()
    }
}

/// `wgan`'s critic.
#[derive(Module, Debug)]
pub struct Discriminator {
    blocks: (LinearBlock, LinearBlock),
    output: Linear,
}

impl Discriminator {
    fn new(device: &Device) -> Self {
        let model = Self {
            blocks: (
                LinearBlock::new(PIXELS, 8, false, device),
                LinearBlock::new(8, 6, false, device),
            ),
            output: LinearConfig::new(6, 1).init(device),
        };
        filled(model, 65)
    }

    fn forward(&self, images: Tensor<2>) -> Tensor<2> {
        let hidden = self.blocks.1.forward(self.blocks.0.forward(images));
        self.output.forward(hidden)
    }

    /// Keeps the critic smooth, as `wgan` does after each of its steps.
    fn clipped(self) -> Self {
        struct Clip;
        impl ModuleMapper for Clip {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                param.map(|weights| {
                    let requires_grad = weights.is_require_grad();
                    let clipped = weights.clamp(-0.4, 0.4).detach();
                    clipped.set_require_grad(requires_grad)
                })
            }
        }
        self.map(&mut Clip)
    }
}

/// The generator, against a critic that stands still.
pub fn generator() -> Case<Generator> {
    Case {
        optimizer: || RmsPropConfig::new().init(),
        ..Case::new(
            "example wgan (generator)",
            Generator::new,
            |model, device| model.forward(wave([5, LATENT], 0, device)),
            |model, step, device| {
                let critic = Discriminator::new(device).no_grad();
                let fake = model.forward(wave([6, LATENT], step, device));
                -critic.forward(fake).mean()
            },
        )
    }
}

/// The critic, with its weights clipped after each step.
pub fn discriminator() -> Case<Discriminator> {
    Case {
        optimizer: || RmsPropConfig::new().init(),
        after_step: Discriminator::clipped,
        unmoved: &["output.bias"], // the two terms of the loss have it both
        ..Case::new(
            "example wgan (discriminator)",
            Discriminator::new,
            |model, device| model.forward(wave([5, PIXELS], 0, device)),
            |model, step, device| {
                let noise = wave([6, LATENT], step, device);
                let fake = Generator::new(device).forward(noise).detach();
                let real = wave([6, PIXELS], step + 40, device) + 0.5;
                (model.forward(fake) - model.forward(real)).mean()
            },
        )
    }
}

/// `dqn-agent`'s network: what each action is worth in a state.
#[derive(Module, Debug)]
pub struct Agent {
    first: Linear,
    second: Linear,
    output: Linear,
}

/// Numbers that describe a state.
const STATE: usize = 4;

/// How much of itself the agent's target network takes from the agent at each step.
pub const TAU: f64 = 0.005;

impl Agent {
    fn new(device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let model = Self {
            first: linear(STATE, 16),
            second: linear(16, 16),
            output: linear(16, 2),
        };
        filled(model, 66)
    }

    /// `[batch, 4]` to `[batch, 2]`.
    pub fn forward(&self, states: Tensor<2>) -> Tensor<2> {
        let hidden = relu(self.first.forward(states));
        self.output.forward(relu(self.second.forward(hidden)))
    }

    /// The error of the agent, whose target network says what the next states are worth.
    pub fn temporal_difference(&self, target: &Self, step: u32, device: &Device) -> Tensor<1> {
        let inner = device.clone().without_autodiff();
        let next = target.forward(wave([8, STATE], step + 500, &inner));
        let reward = wave([8, 1], step + 700, &inner);
        let wanted = Tensor::from_inner(next.max_dim(1) * 0.99 + reward);
        let actions = tokens([8], 2, step, device).unsqueeze_dim::<2>(1);
        let found = self
            .forward(wave([8, STATE], step, device))
            .gather(1, actions);
        (found - wanted).square().mean()
    }
}

/// The agent, with its target network as the EMA.
pub fn agent() -> Case<Agent> {
    Case {
        decay: 1.0 - TAU,
        ..Case::new(
            "example dqn-agent",
            Agent::new,
            |model, device| model.forward(wave([5, STATE], 0, device)),
            |model, step, device| {
                let inner = Agent::new(&device.clone().without_autodiff());
                model.temporal_difference(&inner, step, device)
            },
        )
    }
}
