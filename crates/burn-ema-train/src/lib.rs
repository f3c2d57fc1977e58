//! Weight averaging in Burn's [`Learner`](burn::train::Learner), and in training loops with hooks.
//!
//! [`EmaLearner`] wraps a model that the `Learner` can train, and is one itself:
//!
//! ```
//! # use burn::{module::Module, nn::{Linear, LinearConfig}, optim::{ModuleOptimizer, SgdConfig}};
//! # use burn::{tensor::{Device, Tensor}, train::{InferenceStep, Learner, RegressionOutput, TrainOutput, TrainStep}};
//! # #[derive(Module, Debug)]
//! # struct Model { linear: Linear }
//! # impl TrainStep for Model {
//! #     type Input = Tensor<2>;
//! #     type Output = RegressionOutput;
//! #     fn step(&self, item: Tensor<2>) -> TrainOutput<RegressionOutput> {
//! #         let output = self.linear.forward(item.clone());
//! #         let loss = output.clone().square().mean();
//! #         TrainOutput::new(self, loss.backward(), RegressionOutput::new(loss, output, item))
//! #     }
//! # }
//! # impl InferenceStep for Model {
//! #     type Input = Tensor<2>;
//! #     type Output = RegressionOutput;
//! #     fn step(&self, item: Tensor<2>) -> RegressionOutput {
//! #         let output = self.linear.forward(item.clone());
//! #         RegressionOutput::new(output.clone().square().mean(), output, item)
//! #     }
//! # }
//! use burn_ema::{Decay, EmaConfig};
//! use burn_ema_train::EmaLearner;
//!
//! # let device = Device::default().autodiff();
//! # let model = Model { linear: LinearConfig::new(2, 2).init(&device) };
//! # let optim = SgdConfig::new().init();
//! # let learning_rate = 0.1;
//! // Before: Learner::new(model, optim, learning_rate)
//! let config = EmaConfig::new().with_decay(Decay::constant(0.999));
//! let learner = Learner::new(EmaLearner::new(model, config), optim, learning_rate);
//! ```
//!
//! From then on training goes as before, to the bit, and validation, early stopping, the choice of the
//! best checkpoint and the result of the training see the averaged weights. Checkpoints hold both
//! sets of weights and the counters.
//!
//! | to | see |
//! |---|---|
//! | validate on the averaged or the online weights | [`EmaLearner::with_validation`], [`Validation`] |
//! | validate on both in one run | [`EmaLearner::side_by_side`], [`Online`] |
//! | keep several averages, choose one, show all | [`EmaSetConfig`](burn_ema::EmaSetConfig), [`EmaLearner::with_chosen`], [`EmaLearner::metric_of`] |
//! | compute running statistics from data before validation | [`EmaLearner::with_reestimation`] |
//! | let training go on from the average now and then | [`Switch`](burn_ema::Switch) |
//! | take the averaged model from the result | [`EmaLearner::into_ema`] |
//! | watch decay, updates and distance on the dashboard | [`Monitor`] |
//! | resume a training that had no average | [`PlainRecord`](burn_ema::PlainRecord) |
//! | write a training loop by hand | [`EmaModel`](burn_ema::EmaModel), no need for this crate |
//! | keep averaged twins of networks in a model, as mmagic's GANs do | [`hook`] |

mod handle;
pub mod hook;
mod learner;
mod monitor;
mod record;
mod reestimation;
mod side_by_side;

pub use learner::{EmaLearner, OneModel, Validation};
pub use monitor::{Monitor, MonitorMetric};
pub use side_by_side::{Averaged, AveragedInput, BothModels, Compared, Online, OnlineInput};
