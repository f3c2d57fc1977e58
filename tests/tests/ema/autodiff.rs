//! The average is no part of what is trained: no graph, no gradient, no id of a live parameter.

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, SgdConfig};
use burn_ema::policy::Action;
use burn_ema::{Decay, EmaConfig, EmaModel, Policy};
use burn_ema_tests::backend::{autodiff_device, device};
use burn_ema_tests::compare::{assert_close, numbers};
use burn_ema_tests::models::{Mixed, Net, Weights, batch};
use burn_ema_tests::snapshot::{assert_same, assert_same_values, ids, values};

fn halving<M: Module>(model: &M) -> EmaModel<M> {
    EmaConfig::new().with_decay(Decay::weight(0.5)).init(model)
}

#[test]
fn ema_of_a_trained_model_is_never_tracked() {
    let device = autodiff_device();
    let mut optim = SgdConfig::new().init();
    let mut net = Net::new(&device);
    let mut ema = halving(&net);
    for step in 0..50 {
        net = net.trained(step, &mut optim, &device);
        ema.update(&net).unwrap();
    }
    for value in [
        values(ema.model()),
        values(&ema),
        values(&ema.full_precision_model()),
    ]
    .concat()
    {
        assert!(!value.is_autodiff && !value.requires_grad, "{value:?}");
    }
    assert!(!ema.devices().iter().any(|device| device.is_autodiff()));
    let output = ema
        .model()
        .forward(batch(0, &burn_ema_tests::backend::device()));
    assert!(!output.is_autodiff());
}

#[test]
fn copied_ema_is_never_tracked() {
    let net = Net::new(&autodiff_device());
    let mut ema = EmaConfig::new().with_start(5).init(&net);
    ema.update(&net).unwrap();
    ema.copy_from(&net).unwrap();
    for value in [values(ema.model()), values(&ema)].concat() {
        assert!(!value.is_autodiff && !value.requires_grad, "{value:?}");
    }
}

/// The gradients of a network's `first.weight` and `norm.gamma`, the average being updated at `when`.
fn gradients(when: impl Fn(&'static str, &Net)) -> Vec<Vec<f64>> {
    let device = autodiff_device();
    let net = Net::new(&device);
    when("before forward", &net);
    let loss = net.loss(0, &device);
    when("before backward", &net);
    let gradients = loss.backward();
    when("after backward", &net);
    vec![
        numbers(&net.first.weight.grad(&gradients).unwrap()),
        numbers(&net.norm.gamma.grad(&gradients).unwrap()),
    ]
}

#[test]
fn gradients_of_the_source_are_the_same_with_and_without_an_ema() {
    let without = gradients(|_, _| {});
    for moment in ["before forward", "before backward", "after backward"] {
        let with = gradients(|now, net| {
            if now == moment {
                let mut ema = halving(net);
                ema.update(net).unwrap();
                ema.update(net).unwrap();
            }
        });
        assert_eq!(with, without, "updated {moment}");
    }
}

#[test]
fn source_stays_a_leaf_that_requires_its_gradient() {
    let source = Mixed::at(Some(1), &autodiff_device());
    let before = values(&source);
    let mut ema = halving(&source);
    ema.update(&source).unwrap();
    assert_eq!(values(&source), before);
    assert!(source.a.is_require_grad() && !source.f.is_require_grad());
}

#[test]
fn model_has_the_ids_of_its_source_and_the_ema_has_its_own() {
    let net = Net::new(&autodiff_device());
    let mut ema = halving(&net);
    ema.update(&net).unwrap();
    assert_eq!(ids(ema.model()), ids(&net));
    assert_eq!(ids(&ema.clone().into_model()), ids(&net));

    let (own, sources) = (ids(&ema), ids(&net));
    // Progress, and what was trained, have ids too.
    assert_eq!(own.len(), sources.len() + 2);
    assert!(own.iter().all(|id| !sources.contains(id)));
}

#[derive(Module, Debug)]
struct Both {
    net: Net,
    ema: EmaModel<Net>,
}

fn both() -> Both {
    let net = Net::new(&autodiff_device());
    let ema = halving(&net);
    Both { net, ema }
}

/// `both` after one step of an optimizer that would change any parameter it took for its own.
fn stepped(both: Both) -> Both {
    let gradients = both.net.loss(0, &autodiff_device()).backward();
    let gradients = GradientsParams::from_grads(gradients, &both);
    let mut optim = AdamWConfig::new().with_weight_decay(0.5).init();
    optim.step(0.1, both, gradients)
}

#[track_caller]
fn assert_changes_the_net_only(both: Both) {
    let (net, ema) = (values(&both.net.first), values(&both.ema));
    let stepped = stepped(both);
    assert_ne!(values(&stepped.net.first), net);
    assert_same(&values(&stepped.ema), &ema);
    assert_eq!(ids(stepped.ema.model()), ids(&stepped.net));
    for value in values(&stepped.ema) {
        assert!(!value.is_autodiff && !value.requires_grad, "{value:?}");
    }
}

#[test]
fn optimizer_that_sees_the_ema_changes_the_net_only() {
    assert_changes_the_net_only(both());
}

#[test]
fn optimizer_that_sees_the_ema_changes_the_net_only_after_validation_and_back() {
    assert_changes_the_net_only(both().valid().train());
    assert_changes_the_net_only(both().unfreeze());
}

#[test]
fn ema_beside_the_net_can_be_updated_after_the_optimizer_step() {
    let mut both = stepped(both());
    let before = numbers(&both.ema.model().first.weight.val());
    both.ema.update(&both.net).unwrap();
    let after = numbers(&both.ema.model().first.weight.val());
    let net = numbers(&both.net.first.weight.val());
    for ((before, after), net) in before.iter().zip(&after).zip(&net) {
        assert!((after - (before + net) / 2.0).abs() < 1e-6, "{after}");
    }
}

#[test]
fn gradients_of_the_net_are_taken_from_beside_the_ema() {
    let both = both();
    let gradients = both.net.loss(0, &autodiff_device()).backward();
    let gradients = GradientsParams::from_grads(gradients, &both);
    assert!(gradients.get::<2>(both.net.first.weight.id).is_some());
    // Four weights and biases, gamma and beta.
    assert_eq!(gradients.len(), 6);
}

#[test]
fn frozen_ema_of_a_frozen_net_changes_nothing_else() {
    // `freeze` maps flags and parameters; the average is in validation state before and after.
    let both = both();
    let before = values(&both.ema);
    let frozen = both.freeze();
    assert_same(&values(&frozen.ema), &before);
    assert!(!frozen.net.first.weight.is_require_grad());
}

#[test]
fn ema_can_be_taken_of_a_model_without_autodiff() {
    let mut ema = halving(&Weights::new(&[0.0], &device()));
    ema.update(&Weights::new(&[4.0], &device())).unwrap();
    assert_close(&ema.model().w.val(), &[2.0]);
}

#[test]
fn ema_follows_a_source_from_training_to_validation_state() {
    let net = Mixed::at(Some(1), &autodiff_device());
    let mut ema = halving(&Mixed::at(None, &autodiff_device()));
    ema.update(&net.valid()).unwrap();
    // `a` [1, 2] and [1.5, 1.75] are averaged: it is trainable in either state. `f` is copied.
    assert_close(&ema.model().a.val(), &[1.25, 1.875]);
    assert_close(&ema.model().f.val(), &[11.0, -12.0]);
}

#[test]
fn averaged_model_can_be_trained_on() {
    let device = autodiff_device();
    let model = halving(&Mixed::at(Some(1), &device)).into_model().train();
    assert!(model.a.is_require_grad() && !model.f.is_require_grad());
    let gradients = (model.a.val() * 2.0).sum().backward();
    assert_close(&model.a.grad(&gradients).unwrap(), &[2.0, 2.0]);
}

#[test]
fn ignored_parameters_hold_no_graph_either() {
    let net = Net::new(&autodiff_device());
    let policy = Policy::new().with_trainable(Action::Ignore);
    let ema = EmaConfig::new().with_policy(policy).init(&net);
    assert_same_values(&ema.model().first, &net.valid().first);
    assert!(values(&ema).iter().all(|value| !value.is_autodiff));
}
