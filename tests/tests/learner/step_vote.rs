//! Optimizer steps that a model skips, as after an overflow in mixed precision.

use burn::module::{Module, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Tensor;
use burn::train::{InferenceStep, Learner, RegressionOutput, TrainOutput, TrainStep};
use burn_ema::{Decay, EmaConfig};
use burn_ema_tests::compare::numbers;
use burn_ema_tests::learner::device;
use burn_ema_tests::snapshot::numbers_at;
use burn_ema_train::{EmaExt, WithEma};

/// Its gradient is its input, with another sign. A gradient that is not finite is thrown away.
#[derive(Module, Debug)]
struct Scaled {
    w: Param<Tensor<1>>,
    took_step: bool,
}

impl Scaled {
    fn new() -> Self {
        Self {
            w: Param::from_tensor(Tensor::zeros([2], &device())),
            took_step: false,
        }
    }

    fn output(&self, input: Tensor<1>) -> RegressionOutput {
        let output: Tensor<1> = (self.w.val() * input).sum().neg();
        let row = output.clone().unsqueeze();
        RegressionOutput::new(output, row.clone(), row)
    }
}

impl TrainStep for Scaled {
    type Input = [f32; 2];
    type Output = RegressionOutput;

    fn step(&self, input: [f32; 2]) -> TrainOutput<RegressionOutput> {
        let output = self.output(Tensor::from_floats(input, &device()));
        TrainOutput::new(self, output.loss.backward(), output)
    }

    fn optimize(
        mut self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        let gradient = grads.get::<1>(self.w.id).unwrap();
        self.took_step = numbers(&gradient).iter().all(|number| number.is_finite());
        match self.took_step {
            true => optim.step(lr, self, grads),
            false => self,
        }
    }
}

impl InferenceStep for Scaled {
    type Input = [f32; 2];
    type Output = RegressionOutput;

    fn step(&self, input: [f32; 2]) -> RegressionOutput {
        self.output(Tensor::from_floats(input, &device()))
    }
}

const OVERFLOW: [f32; 2] = [f32::INFINITY, 1.0];

/// Steps of plain gradient descent at a learning rate of 1.
fn trained(model: WithEma<Scaled>, inputs: &[[f32; 2]]) -> WithEma<Scaled> {
    let mut learner = Learner::new(model, SgdConfig::new().init(), 1.0);
    for input in inputs {
        let output = learner.train_step(*input);
        learner.lr_step();
        learner.optimizer_step(output.grads);
    }
    learner.model()
}

fn halving() -> EmaConfig {
    EmaConfig::new().with_decay(Decay::constant(0.5))
}

fn votes(config: EmaConfig) -> WithEma<Scaled> {
    Scaled::new()
        .with_ema(config)
        .with_step_vote(|model| model.took_step)
}

fn state(model: &WithEma<Scaled>) -> (Vec<f64>, u64, u64) {
    let ema = model.ema().unwrap();
    (
        numbers_at(ema.model(), "w"),
        ema.num_steps(),
        ema.num_updates(),
    )
}

/// From [0, 0] halfway to [4, 8].
#[test]
fn step_that_is_skipped_moves_nothing() {
    let model = votes(halving());
    let monitor = model.monitor();
    let model = trained(model, &[[4.0, 8.0], OVERFLOW]);
    assert_eq!(numbers(&model.online().w.val()), [4.0, 8.0]);
    assert_eq!(state(&model), (vec![2.0, 4.0], 1, 1));
    assert_eq!(monitor.num_updates(), 1);
    // Nor does it if it comes first, and the next step goes on from there: halfway to [6, 6].
    let model = trained(
        votes(halving()),
        &[OVERFLOW, [4.0, 8.0], OVERFLOW, [2.0, -2.0]],
    );
    assert_eq!(numbers(&model.online().w.val()), [6.0, 6.0]);
    assert_eq!(state(&model), (vec![4.0, 5.0], 2, 2));
}

#[test]
fn step_that_is_skipped_is_an_update_without_a_vote() {
    let model = Scaled::new().with_ema(halving());
    let model = trained(model, &[[4.0, 8.0], OVERFLOW]);
    assert_eq!(state(&model), (vec![3.0, 6.0], 2, 2));
}

/// Copies at steps 1 and 2, an update at step 4.
#[test]
fn start_and_interval_do_not_count_steps_that_are_skipped() {
    let config = halving().with_start(2).with_interval(2);
    let steps = [
        [2.0, 2.0],
        OVERFLOW,
        [2.0, 2.0],
        OVERFLOW,
        OVERFLOW,
        [2.0, 2.0],
        [2.0, 2.0],
    ];
    let model = trained(votes(config), &steps);
    // From [4, 4] halfway to [8, 8].
    assert_eq!(state(&model), (vec![6.0, 6.0], 4, 1));
}

#[test]
fn vote_goes_with_clones_forks_and_side_by_side() {
    let model = votes(halving()).clone().fork(&device());
    assert_eq!(
        state(&trained(model, &[[4.0, 8.0], OVERFLOW])),
        (vec![2.0, 4.0], 1, 1)
    );

    let model = votes(halving()).side_by_side();
    let grads = |model: &Scaled, input| TrainStep::step(model, input).grads;
    let mut optim = SgdConfig::new().init();
    let first = grads(model.online(), [4.0, 8.0]);
    let model = model.optimize(&mut optim, 1.0.into(), first);
    let second = grads(model.online(), OVERFLOW);
    let model = model.optimize(&mut optim, 1.0.into(), second);
    let ema = model.ema().unwrap();
    assert_eq!(
        (numbers_at(ema.model(), "w"), ema.num_updates()),
        (vec![2.0, 4.0], 1)
    );
}
