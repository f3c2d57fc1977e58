//! Transformers: Burn's encoder and decoder, and decoder-only ones with plain tensors of positions.

use burn::module::Module;
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::transformer::{
    TransformerDecoder, TransformerDecoderConfig, TransformerDecoderInput, TransformerEncoder,
    TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{
    Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    PositionalEncoding, PositionalEncodingConfig, RmsNorm, RmsNormConfig, RotaryEncoding,
    RotaryEncodingConfig, SwiGlu, SwiGluConfig,
};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor};

use super::{Case, filled, tokens, wave};

const WIDTH: usize = 8;
const HEADS: usize = 2;
const VOCABULARY: usize = 11;

fn rows(output: Tensor<3>) -> Tensor<2> {
    output.flatten(0, 1)
}

/// Burn's encoder as it comes, in training with dropout.
pub fn encoder() -> Case<TransformerEncoder> {
    fn run(model: &TransformerEncoder, seed: u32, device: &Device) -> Tensor<2> {
        let input = TransformerEncoderInput::new(wave([2, 5, WIDTH], seed, device));
        let mask = generate_autoregressive_mask(2, 5, device);
        rows(model.forward(input.mask_attn(mask)))
    }
    Case::new(
        "TransformerEncoder",
        |device| {
            filled(
                TransformerEncoderConfig::new(WIDTH, 16, HEADS, 2).init(device),
                1,
            )
        },
        |model, device| run(model, 0, device),
        |model, step, device| {
            (run(model, step, device) - wave([10, WIDTH], step + 90, device))
                .square()
                .mean()
        },
    )
}

/// Burn's encoder with `norm_first`.
pub fn encoder_norm_first() -> Case<TransformerEncoder> {
    Case {
        name: "TransformerEncoder (norm first)",
        make: |device| {
            let config = TransformerEncoderConfig::new(WIDTH, 16, HEADS, 1).with_norm_first(true);
            filled(config.init(device), 2)
        },
        ..encoder()
    }
}

/// Burn's decoder.
pub fn decoder() -> Case<TransformerDecoder> {
    fn run(model: &TransformerDecoder, seed: u32, device: &Device) -> Tensor<2> {
        let target = wave([2, 4, WIDTH], seed, device);
        let memory = wave([2, 5, WIDTH], seed + 50, device);
        let mask = generate_autoregressive_mask(2, 4, device);
        let input = TransformerDecoderInput::new(target, memory).target_mask_attn(mask);
        rows(model.forward(input))
    }
    Case::new(
        "TransformerDecoder",
        |device| {
            filled(
                TransformerDecoderConfig::new(WIDTH, 16, HEADS, 2).init(device),
                3,
            )
        },
        |model, device| run(model, 0, device),
        |model, step, device| {
            (run(model, step, device) - wave([8, WIDTH], step + 90, device))
                .square()
                .mean()
        },
    )
}

/// The error of next-token predictions.
pub(crate) fn next_token_loss(logits: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<1> {
    let targets: Tensor<1, Int> = ids.flatten(0, 1);
    let loss = burn::nn::loss::CrossEntropyLossConfig::new().init(&logits.device());
    loss.forward(logits, targets)
}

/// A block as in Llama: RMS norm, attention with rotary positions, SwiGLU.
#[derive(Module, Debug)]
pub struct RotaryBlock {
    norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm_inner: RmsNorm,
    gate: SwiGlu,
    down: Linear,
}

/// A decoder-only transformer whose positions are plain tensors in a [`RotaryEncoding`].
#[derive(Module, Debug)]
pub struct RotaryDecoder {
    embedding: Embedding,
    rotary: RotaryEncoding,
    blocks: Vec<RotaryBlock>,
    norm: RmsNorm,
    head: Linear,
}

impl RotaryBlock {
    fn new(device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        Self {
            norm: RmsNormConfig::new(WIDTH).init(device),
            query: linear(WIDTH, WIDTH),
            key: linear(WIDTH, WIDTH),
            value: linear(WIDTH, WIDTH),
            output: linear(WIDTH, WIDTH),
            norm_inner: RmsNormConfig::new(WIDTH).init(device),
            gate: SwiGluConfig::new(WIDTH, 2 * WIDTH).init(device),
            down: linear(2 * WIDTH, WIDTH),
        }
    }

    fn forward(&self, input: Tensor<3>, rotary: &RotaryEncoding) -> Tensor<3> {
        let [batch, length, _] = input.dims();
        let heads = |tensor: Tensor<3>| {
            let split = tensor.reshape([batch, length, HEADS, WIDTH / HEADS]);
            split.swap_dims(1, 2)
        };
        let normed = self.norm.forward(input.clone());
        let query = rotary.forward(heads(self.query.forward(normed.clone())));
        let key = rotary.forward(heads(self.key.forward(normed.clone())));
        let value = heads(self.value.forward(normed));
        let scores = query.matmul(key.swap_dims(2, 3)) / ((WIDTH / HEADS) as f64).sqrt();
        let mask = generate_autoregressive_mask(batch, length, &scores.device());
        let scores = scores.mask_fill(mask.unsqueeze_dim::<4>(1), -1e4);
        let mixed = softmax(scores, 3).matmul(value).swap_dims(1, 2);
        let mixed = mixed.reshape([batch, length, WIDTH]);
        let hidden = input + self.output.forward(mixed);
        let inner = self.gate.forward(self.norm_inner.forward(hidden.clone()));
        hidden + self.down.forward(inner)
    }
}

impl RotaryDecoder {
    fn new(device: &Device) -> Self {
        let model = Self {
            embedding: EmbeddingConfig::new(VOCABULARY, WIDTH).init(device),
            rotary: RotaryEncodingConfig::new(6, WIDTH / HEADS).init(device),
            blocks: (0..2).map(|_| RotaryBlock::new(device)).collect(),
            norm: RmsNormConfig::new(WIDTH).init(device),
            head: LinearConfig::new(WIDTH, VOCABULARY)
                .with_bias(false)
                .init(device),
        };
        filled(model, 4)
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let mut hidden = self.embedding.forward(ids);
        for block in &self.blocks {
            hidden = block.forward(hidden, &self.rotary);
        }
        rows(self.head.forward(self.norm.forward(hidden)))
    }
}

/// The decoder-only transformer with rotary positions.
pub fn rotary() -> Case<RotaryDecoder> {
    Case::new(
        "decoder-only, RotaryEncoding",
        RotaryDecoder::new,
        |model, device| model.forward(tokens([2, 5], VOCABULARY, 0, device)),
        |model, step, device| {
            let ids = tokens([2, 6], VOCABULARY, step, device);
            let logits = model.forward(ids.clone().narrow(1, 0, 5));
            next_token_loss(logits, ids.narrow(1, 1, 5))
        },
    )
}

/// The same, trained with gradient checkpointing.
pub fn rotary_checkpointing() -> Case<RotaryDecoder> {
    Case {
        name: "decoder-only, RotaryEncoding, checkpointing",
        checkpointing: true,
        ..rotary()
    }
}

/// A decoder-only transformer whose positions are a plain tensor that is added.
#[derive(Module, Debug)]
pub struct PositionalDecoder {
    embedding: Embedding,
    positions: PositionalEncoding,
    layers: TransformerEncoder,
    norm: LayerNorm,
    head: Linear,
}

impl PositionalDecoder {
    fn new(device: &Device) -> Self {
        let positions = PositionalEncodingConfig::new(WIDTH).with_max_sequence_size(6);
        let model = Self {
            embedding: EmbeddingConfig::new(VOCABULARY, WIDTH).init(device),
            positions: positions.init(device),
            layers: TransformerEncoderConfig::new(WIDTH, 16, HEADS, 1).init(device),
            norm: LayerNormConfig::new(WIDTH).init(device),
            head: LinearConfig::new(WIDTH, VOCABULARY).init(device),
        };
        filled(model, 5)
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let [batch, length] = ids.dims();
        let mask = generate_autoregressive_mask(batch, length, &ids.device());
        let hidden = self.positions.forward(self.embedding.forward(ids));
        let input = TransformerEncoderInput::new(hidden).mask_attn(mask);
        let hidden = self.layers.forward(input);
        rows(self.head.forward(self.norm.forward(hidden)))
    }
}

/// The decoder-only transformer with sinusoidal positions.
pub fn positional() -> Case<PositionalDecoder> {
    Case::new(
        "decoder-only, PositionalEncoding",
        PositionalDecoder::new,
        |model, device| model.forward(tokens([2, 5], VOCABULARY, 0, device)),
        |model, step, device| {
            let ids = tokens([2, 6], VOCABULARY, step, device);
            let logits = model.forward(ids.clone().narrow(1, 0, 5));
            next_token_loss(logits, ids.narrow(1, 1, 5))
        },
    )
}

/// The same, trained with gradient checkpointing.
pub fn positional_checkpointing() -> Case<PositionalDecoder> {
    Case {
        name: "decoder-only, PositionalEncoding, checkpointing",
        checkpointing: true,
        ..positional()
    }
}
