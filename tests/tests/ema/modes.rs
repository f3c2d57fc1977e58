//! The EMA model behaves as its model does now, not as it did when the EMA was created.

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use burn_ema::plan::PlanAction;
use burn_ema::policy::{BufferAction, Class};
use burn_ema::{Decay, EmaConfig, EmaError, EmaModel, Policy, Update};
use burn_ema_tests::backend::autodiff_device;
use burn_ema_tests::compare::{assert_close, assert_near, numbers};
use burn_ema_tests::models::{Net, Weights};
use burn_ema_tests::snapshot::numbers_at;

fn halving<M: Module>(model: &M) -> EmaModel<M> {
    EmaConfig::new().with_decay(Decay::weight(0.5)).init(model)
}

fn batches() -> [Tensor<2>; 1] {
    [Tensor::from_data(
        [[1.0, 0.0], [3.0, 2.0]],
        &autodiff_device(),
    )]
}

fn run(net: &Net, batch: &Tensor<2>) {
    net.forward(batch.clone());
}

/// The paths of what trains.
fn trained<M: Module>(module: &M) -> Vec<String> {
    #[derive(Default)]
    struct Trained {
        path: Vec<String>,
        found: Vec<String>,
    }
    impl ModuleVisitor for Trained {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.found.push(self.path.join("."));
            }
        }
    }
    let mut trained = Trained::default();
    module.visit(&mut trained);
    trained.found
}

#[test]
fn batch_norm_that_was_frozen_at_init_is_estimated_once_it_is_not() {
    let net = Net::new(&autodiff_device());
    let norm = || ParamGroup::from_regex(r"^norm\.").unwrap();
    let frozen = net.freeze_group(norm());
    let mut ema = halving(&frozen);
    let error = ema.reestimate(batches(), run).unwrap_err();
    assert_eq!(error, EmaError::NothingToReestimate);

    let thawed = frozen.unfreeze_group(norm());
    ema.update(&thawed).unwrap();
    let before = numbers_at(ema.model(), "norm.running_mean");
    assert_eq!(ema.reestimate(batches(), run).unwrap(), 1);
    assert_ne!(numbers_at(ema.model(), "norm.running_mean"), before);
}

#[test]
fn batch_norm_that_is_frozen_later_keeps_its_statistics() {
    let net = Net::new(&autodiff_device());
    let mut ema = halving(&net);
    ema.update(&net).unwrap();
    let frozen = net.freeze();
    ema.update(&frozen).unwrap();
    let before = numbers_at(ema.model(), "norm.running_mean");
    let error = ema.reestimate(batches(), run).unwrap_err();
    assert_eq!(error, EmaError::NothingToReestimate);
    assert_eq!(numbers_at(ema.model(), "norm.running_mean"), before);
}

/// Statistics of the batch `[1, 3]` are 2 and 1, so it becomes `[-1, 1]`; by the initial ones (0 and 1) it stays.
#[test]
fn teacher_normalizes_as_its_student_does() {
    let device = autodiff_device();
    let norm: BatchNorm = burn::nn::BatchNormConfig::new(1).init(&device);
    let mut ema = halving(&norm);
    let batch = || Tensor::<2>::from_data([[1.0], [3.0]], &device);
    let output = |ema: &EmaModel<BatchNorm>| numbers(&ema.training_model().forward(batch()));
    assert_near(&output(&ema), &[-1.0, 1.0], 1e-4);
    let frozen = norm.freeze();
    ema.update(&frozen).unwrap();
    assert_near(&output(&ema), &[1.0, 3.0], 1e-4);
    ema.update(&frozen.unfreeze()).unwrap();
    assert_near(&output(&ema), &[-1.0, 1.0], 1e-4);
}

#[test]
fn model_that_is_taken_out_trains_what_its_model_trains_now() {
    let net = Net::new(&autodiff_device());
    let first = ParamGroup::from_regex(r"^first\.").unwrap();
    let last = ParamGroup::from_regex(r"^last\.").unwrap();
    let net = net.freeze_group(first.clone());
    let mut ema = halving(&net);
    assert_eq!(trained(&ema.clone().into_model().train()), trained(&net));
    let net = net.unfreeze_group(first).freeze_group(last);
    ema.update(&net).unwrap();
    let now = trained(&ema.into_model().train());
    assert_eq!(now, trained(&net));
    assert!(now.contains(&"first.weight".to_string()));
    assert!(!now.contains(&"last.weight".to_string()));
}

/// GAN loops freeze the generator while the discriminator trains.
#[test]
fn parameter_that_is_frozen_for_a_while_stays_averaged() {
    let weights = |x: f32| Weights::new(&[x], &autodiff_device());
    let mut ema = halving(&weights(4.0));
    let frozen = weights(8.0).no_grad();
    let update = ema.update(&frozen).unwrap();
    assert_eq!(
        update,
        Update::Averaged {
            decay: 0.5,
            averaged: 1,
            copied: 0
        }
    );
    assert_close(&ema.model().w.val(), &[6.0]);
    assert_eq!(ema.plan().entries[0].class, Class::Trainable);

    // The same of a run that is resumed while it is frozen.
    let record = ema.into_record();
    let mut resumed = halving(&weights(0.0).no_grad()).load_record(record);
    resumed.update(&frozen).unwrap();
    assert_close(&resumed.model().w.val(), &[7.0]);
}

#[test]
fn parameter_that_is_unfrozen_is_averaged_from_then_on() {
    let weights = |x: f32| Weights::new(&[x], &autodiff_device());
    let mut ema = halving(&weights(4.0).no_grad());
    assert_eq!(ema.plan().entries[0].action, PlanAction::Copy);
    ema.update(&weights(8.0).no_grad()).unwrap();
    assert_close(&ema.model().w.val(), &[8.0]);
    ema.update(&weights(16.0)).unwrap();
    assert_close(&ema.model().w.val(), &[12.0]);
    assert_eq!(ema.plan().entries[0].action, PlanAction::Average);
}

#[test]
fn statistics_that_are_left_alone_follow_a_teacher_with_checkpointing() {
    let device = autodiff_device().gradient_checkpointing();
    let net = Net::new(&device);
    let policy = Policy::new().with_buffers(BufferAction::Ignore);
    let mut ema = EmaConfig::new().with_policy(policy).init(&net);
    let batch = Tensor::from_data([[1.0, 0.0], [3.0, 2.0]], &device);
    ema.training_model().forward(batch);
    ema.update(&net).unwrap();
    let moved = numbers_at(ema.model(), "norm.running_mean");
    assert!(moved.iter().any(|mean| *mean != 0.0), "{moved:?}");
}
