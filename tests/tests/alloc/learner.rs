//! What an average costs in memory while Burn's learner trains.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Distribution, Tensor};
use burn::train::{InferenceStep, LearnerModel, RegressionOutput, TrainOutput, TrainStep};
use burn_ema::{Decay, EmaConfig};
use burn_ema_tests::allocator::{alone, peak, sees_tensors};
use burn_ema_tests::learner::{Batch, device, drive, learner, mean_squared_error};
use burn_ema_train::EmaExt;

const WIDTH: usize = 1000;
const LAYERS: usize = 4;

/// About four million parameters in tensors of four megabytes.
#[derive(Module, Debug)]
struct Wide {
    layers: Vec<Linear>,
}

impl Wide {
    fn new() -> Self {
        let layer = |_| LinearConfig::new(WIDTH, WIDTH).init(&device());
        Self {
            layers: (0..LAYERS).map(layer).collect(),
        }
    }

    fn output(&self, batch: Batch) -> RegressionOutput {
        let layers = self.layers.iter();
        let output = layers.fold(batch.inputs, |hidden, layer| layer.forward(hidden).tanh());
        mean_squared_error(output, batch.targets)
    }
}

impl TrainStep for Wide {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        let output = self.output(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Wide {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        self.output(batch)
    }
}

fn batch() -> Batch {
    let random = || Tensor::random([2, WIDTH], Distribution::Default, &device());
    Batch {
        inputs: random(),
        targets: random(),
    }
}

/// The peak of a training of 24 steps, with a validation after every 8.
fn training_peak<M>(make: impl FnOnce() -> M) -> f64
where
    M: LearnerModel + TrainStep<Input = Batch> + InferenceStep<Input = Batch>,
{
    peak(|| {
        let mut learner = learner(make());
        for _ in 0..3 {
            drive(&mut learner, &vec![batch(); 8]);
            let model = learner.model().valid();
            let inputs = Batch {
                inputs: batch().inputs.without_autodiff(),
                targets: batch().targets.without_autodiff(),
            };
            drop(InferenceStep::step(&model, inputs));
        }
    })
}

#[test]
fn an_ema_costs_its_own_size_and_nothing_else() {
    let _alone = alone();
    if !sees_tensors("an_ema_costs_its_own_size_and_nothing_else") {
        return;
    }
    let config = || EmaConfig::new().with_decay(Decay::constant(0.9));
    // The first run pays for what stays: threads, caches.
    training_peak(Wide::new);
    let plain = training_peak(Wide::new);
    let ema = training_peak(|| Wide::new().with_ema(config()));
    let shadow = (4 * Wide::new().num_params()) as f64;
    let cost = (ema - plain) / shadow;
    let mega = |bytes: f64| bytes / 1e6;
    println!(
        "peak of a training: {:.2} MB without, {:.2} MB with an average of {:.2} MB: {cost:.3} of it",
        mega(plain),
        mega(ema),
        mega(shadow),
    );
    assert!(
        plain > 3.0 * shadow,
        "the measure misses weights, gradients or optimizer state"
    );
    assert!(cost > 0.9, "the measure misses the average");
    assert!(cost <= 1.1, "{cost} times the size of the average");

    // Forks that are never trained hold nothing of their own, as those of Burn's workers.
    let mut learner = learner(Wide::new().with_ema(config()));
    drive(&mut learner, &vec![batch(); 3]);
    let mut forks = Vec::new();
    let forked = peak(|| forks.extend((0..20).map(|_| learner.model().fork(&device()))));
    println!("20 forks that are not trained: {:.2} MB", mega(forked));
    assert!(forked < 0.1 * shadow);

    // With a fork alive the next update has to leave its average alone, and copies it once.
    let first = peak(|| drive(&mut learner, &vec![batch(); 3]));
    drop(forks);
    let alone = peak(|| drive(&mut learner, &vec![batch(); 3]));
    println!(
        "3 more steps: {:.2} MB with the forks alive, {:.2} MB without",
        mega(first),
        mega(alone),
    );
    assert!(
        first - alone < 2.2 * shadow,
        "more than one copy of both sets of weights"
    );
}
