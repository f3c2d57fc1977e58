//! EMA weights in Burn's [`Learner`](burn::train::Learner), and in training loops with hooks.
//!
//! [`with_ema`](EmaExt::with_ema) wraps a model that the `Learner` can train, and gives one:
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
//! use burn_ema_train::EmaExt;
//!
//! # let device = Device::default().autodiff();
//! # let model = Model { linear: LinearConfig::new(2, 2).init(&device) };
//! # let optim = SgdConfig::new().init();
//! # let learning_rate = 0.1;
//! // Before: Learner::new(model, optim, learning_rate)
//! let config = EmaConfig::new().with_decay(Decay::constant(0.999));
//! let learner = Learner::new(model.with_ema(config), optim, learning_rate);
//! ```
//!
//! Training goes as before, bit for bit; validation, early stopping, the choice of the
//! best checkpoint and the result of the run see the EMA weights. Checkpoints hold both
//! sets of weights and the counters.
//!
//! | task | see |
//! |---|---|
//! | validate on the EMA or the online weights | [`WithEma::with_validation`], [`Validation`] |
//! | validate on both in one run | [`WithEma::side_by_side`], [`Online`] |
//! | keep several EMAs, choose one, show all | [`EmaSetConfig`](burn_ema::EmaSetConfig), [`WithEma::with_chosen`], [`WithEma::metric_of`] |
//! | validate on BEMA, a double EMA or the mean of a window | [`EmaSetConfig::with_bema`](burn_ema::EmaSetConfig::with_bema), `with_dema`, `with_window` |
//! | compute running statistics from data before validation | [`WithEma::with_reestimation`] |
//! | let training continue from the EMA now and then | [`WriteBack`](burn_ema::write_back::WriteBack) |
//! | take the EMA model from the result | [`WithEma::into_ema`] |
//! | watch decay, updates and distance on the dashboard | [`Monitor`] |
//! | skip the EMA update when the optimizer skipped its step | [`WithEma::with_step_vote`] |
//! | resume a run that had no EMA | [`MissingEma`](burn_ema::config::MissingEma) |
//! | write your own training loop | [`EmaModel`](burn_ema::EmaModel), no need for this crate |
//! | keep EMA copies of submodules in a model, as mmagic's GANs do | [`hook`] |

pub mod hook;
mod learner;
mod metrics;

pub use learner::{BothModels, EmaExt, OneModel, Validation, WithEma};
pub use metrics::compared::{Averaged, AveragedInput, Compared, Online, OnlineInput};
pub use metrics::monitor::{Monitor, MonitorMetric};
