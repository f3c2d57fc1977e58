//! Linear layers in another layout.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, LinearLayout, SwiGlu, SwiGluConfig};
use burn::tensor::{Device, Tensor};

use super::{Case, filled, wave};

/// Layers that are saved transposed.
#[derive(Module, Debug)]
pub struct Columns {
    first: Linear,
    gate: SwiGlu,
    last: Linear,
}

impl Columns {
    fn new(device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).with_layout(LinearLayout::Col);
        let gate = SwiGluConfig::new(4, 6).with_bias(true);
        let model = Self {
            first: linear(3, 4).init(device),
            gate: gate.with_layout(LinearLayout::Col).init(device),
            last: linear(6, 2).init(device),
        };
        filled(model, 41)
    }

    fn run(&self, seed: u32, device: &Device) -> Tensor<2> {
        let hidden = self.first.forward(wave([5, 3], seed, device)).tanh();
        self.last.forward(self.gate.forward(hidden))
    }
}

/// The model with column layouts.
pub fn columns() -> Case<Columns> {
    let case = Case::new(
        "SwiGlu and Linear, LinearLayout::Col",
        Columns::new,
        |model, device| model.run(0, device),
        |model, step, device| {
            (model.run(step, device) - wave([5, 2], step + 90, device))
                .square()
                .mean()
        },
    );
    Case {
        is_transposed: true,
        ..case
    }
}

/// Layers whose parameters are lazy: nobody has looked at them when the EMA is made.
pub fn lazy() -> Case<Linear> {
    fn run(model: &Linear, seed: u32, device: &Device) -> Tensor<2> {
        model.forward(wave([5, 3], seed, device))
    }
    Case::new(
        "Linear, lazy parameters",
        |device| {
            let initializer = burn::nn::Initializer::Constant { value: 0.25 };
            let config = LinearConfig::new(3, 2).with_layout(LinearLayout::Col);
            config.with_initializer(initializer).init(device)
        },
        |model, device| run(model, 0, device),
        |model, step, device| {
            (run(model, step, device) - wave([5, 2], step + 90, device))
                .square()
                .mean()
        },
    )
}
