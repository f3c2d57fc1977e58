//! Recurrent layers, each with a linear head.

use burn::module::{Module, ModuleDisplay};
use burn::nn::{
    BiGru, BiGruConfig, BiLstm, BiLstmConfig, BiRnn, BiRnnConfig, Gru, GruConfig, Linear,
    LinearConfig, Lstm, LstmConfig, Rnn, RnnConfig,
};
use burn::tensor::{Device, Tensor};

use super::{Case, filled, wave};

const INPUT: usize = 3;
const HIDDEN: usize = 4;

/// A recurrent layer and its head.
#[derive(Module, Debug)]
pub struct Recurrent<L: Module> {
    layer: L,
    head: Linear,
}

/// `[batch, length, INPUT]` to `[batch, length, hidden]`.
trait Layer: Module + ModuleDisplay {
    const HIDDEN: usize;
    fn new(device: &Device) -> Self;
    fn run(&self, input: Tensor<3>) -> Tensor<3>;
}

macro_rules! layer {
    ($layer:ty, $hidden:expr, $config:expr, $run:expr) => {
        impl Layer for $layer {
            const HIDDEN: usize = $hidden;
            fn new(device: &Device) -> Self {
                $config.init(device)
            }
            fn run(&self, input: Tensor<3>) -> Tensor<3> {
                let run: fn(&Self, Tensor<3>) -> Tensor<3> = $run;
                run(self, input)
            }
        }
    };
}

layer!(
    Lstm,
    HIDDEN,
    LstmConfig::new(INPUT, HIDDEN, true),
    |layer, input| layer.forward(input, None).0
);
layer!(
    BiLstm,
    2 * HIDDEN,
    BiLstmConfig::new(INPUT, HIDDEN, true),
    |layer, input| layer.forward(input, None).0
);
layer!(
    Gru,
    HIDDEN,
    GruConfig::new(INPUT, HIDDEN, true),
    |layer, input| layer.forward(input, None)
);
layer!(
    BiGru,
    2 * HIDDEN,
    BiGruConfig::new(INPUT, HIDDEN, true),
    |layer, input| layer.forward(input, None).0
);
layer!(
    Rnn,
    HIDDEN,
    RnnConfig::new(INPUT, HIDDEN, true),
    |layer, input| layer.forward(input, None).0
);
layer!(
    BiRnn,
    2 * HIDDEN,
    BiRnnConfig::new(INPUT, HIDDEN, true),
    |layer, input| layer.forward(input, None).0
);

fn run<L: Layer>(model: &Recurrent<L>, seed: u32, device: &Device) -> Tensor<2> {
    let hidden = model.layer.run(wave([2, 5, INPUT], seed, device));
    model.head.forward(hidden).flatten(0, 1)
}

fn case<L: Layer>(name: &'static str) -> Case<Recurrent<L>> {
    Case::new(
        name,
        |device| {
            let model = Recurrent {
                layer: L::new(device),
                head: LinearConfig::new(L::HIDDEN, 2).init(device),
            };
            filled(model, 11)
        },
        |model, device| run(model, 0, device),
        |model, step, device| {
            (run(model, step, device) - wave([10, 2], step + 90, device))
                .square()
                .mean()
        },
    )
}

/// An LSTM.
pub fn lstm() -> Case<Recurrent<Lstm>> {
    case("Lstm")
}

/// An LSTM in which the input gate is made of the forget gate, which is `None`.
pub fn lstm_coupled() -> Case<Recurrent<Lstm>> {
    Case {
        name: "Lstm (input forget)",
        make: |device| {
            let config = LstmConfig::new(INPUT, HIDDEN, true).with_input_forget(true);
            let model = Recurrent {
                layer: config.init(device),
                head: LinearConfig::new(HIDDEN, 2).init(device),
            };
            filled(model, 12)
        },
        ..case("")
    }
}

/// A bidirectional LSTM.
pub fn bilstm() -> Case<Recurrent<BiLstm>> {
    case("BiLstm")
}

/// A GRU.
pub fn gru() -> Case<Recurrent<Gru>> {
    case("Gru")
}

/// A bidirectional GRU.
pub fn bigru() -> Case<Recurrent<BiGru>> {
    case("BiGru")
}

/// A plain recurrent layer.
pub fn rnn() -> Case<Recurrent<Rnn>> {
    case("Rnn")
}

/// A plain bidirectional one.
pub fn birnn() -> Case<Recurrent<BiRnn>> {
    case("BiRnn")
}
