//! The average as a target network, which runs between updates, in training state or not.

use std::ops::Range;

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, DropoutConfig, Linear};
use burn::optim::{AdamConfig, GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};
use burn_ema::policy::BufferAction;
use burn_ema::{Decay, EmaConfig, EmaModel, Policy, Update};
use burn_ema_tests::allocator::{alone, live, peak, sees_tensors};
use burn_ema_tests::backend::{autodiff_device, device};
use burn_ema_tests::compare::{assert_close, assert_near, numbers};
use burn_ema_tests::large::{TEMPORARIES, TENSOR, WIDTH, layers};
use burn_ema_tests::models::{Net, Weights, batch};
use burn_ema_tests::snapshot::{assert_same, numbers_at, values};

fn halving<M: Module>(model: &M) -> EmaModel<M> {
    EmaConfig::new().with_decay(Decay::weight(0.5)).init(model)
}

/// A student after one optimizer step, and the teacher that it started as.
fn student_and_teacher() -> (Net, EmaModel<Net>) {
    let device = autodiff_device();
    let student = Net::new(&device);
    let teacher = halving(&student);
    let student = student.trained(0, &mut SgdConfig::new().init(), &device);
    (student, teacher)
}

/// One feature, whose running statistics start at mean 0 and variance 1, momentum 0.1.
fn norm() -> BatchNorm {
    BatchNormConfig::new(1).init(&autodiff_device())
}

/// A forward pass in training state.
fn observe(norm: &BatchNorm, batch: [[f32; 1]; 2]) {
    norm.forward(Tensor::<2>::from_data(batch, &autodiff_device()));
}

/// Mean 22 and variance 4: running mean 2.2 and running variance 1.3, at first.
const SOURCE: [[f32; 1]; 2] = [[20.0], [24.0]];
/// Mean 4 and variance 9: running mean 0.4 and running variance 1.8, at first.
const TARGET: [[f32; 1]; 2] = [[1.0], [7.0]];

/// Running mean and variance as stored, not brought up to date.
fn statistics(norm: &BatchNorm) -> Vec<f64> {
    [
        numbers(&norm.running_mean.value()),
        numbers(&norm.running_var.value()),
    ]
    .concat()
}

/// An average whose running statistics follow its own forward passes.
fn following(norm: &BatchNorm, interval: u64) -> EmaModel<BatchNorm> {
    EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_interval(interval)
        .with_policy(Policy::new().with_buffers(BufferAction::Ignore))
        .init(norm)
}

fn forward(layers: &[Linear], device: &Device) -> Tensor<2> {
    let input = Tensor::<2>::ones([1, WIDTH], device);
    layers.iter().fold(input, |x, layer| layer.forward(x))
}

#[test]
fn target_networks_are_no_copies_and_leave_updates_in_place() {
    let _alone = alone();
    if !sees_tensors("target_networks_are_no_copies_and_leave_updates_in_place") {
        return;
    }
    let layers = layers();
    let mut ema = EmaConfig::new().init(&layers);
    ema.update(&layers).unwrap();
    for _ in 0..3 {
        let made = peak(|| {
            ema.training_model();
            ema.model();
        });
        assert!(made < 0.05 * TENSOR, "{made} bytes");
        drop(forward(ema.training_model(), &autodiff_device()));
        drop(forward(ema.model(), &device()));

        let update = peak(|| assert!(ema.update(&layers).is_ok()));
        assert!(update < TEMPORARIES, "{update} bytes");
    }
}

/// A node of the graph left behind at each step would be hundreds of kilobytes.
#[test]
fn thousands_of_target_passes_leave_nothing_behind() {
    let _alone = alone();
    let (steps, allowed) = match sees_tensors("the tight bound of thousands_of_target_passes") {
        true => (1_000, 8 * 1024),
        false => (2_000, 512 * 1024),
    };
    let device = autodiff_device();
    let mut optim = AdamConfig::new().init();
    let mut student = Net::new(&device);
    let mut teacher = halving(&student);
    let mut train = |steps: Range<u32>| {
        for step in steps {
            let input = batch(step, &device);
            let target = teacher.training_model().forward(input.clone());
            // So that there is something to learn, and an end to it.
            let loss = (student.forward(input) - target * 0.5 - 1.0).square();
            let loss = loss.mean();
            let gradients = GradientsParams::from_grads(loss.backward(), &student);
            student = optim.step(0.01, student.clone(), gradients);
            teacher.update(&student).unwrap();
        }
        live()
    };
    let early = train(0..500);
    let late = train(500..500 + steps);
    let grown = late.saturating_sub(early);
    assert!(grown < allowed, "{grown} bytes more after {steps} passes");
}

#[test]
fn training_model_trains_nothing() {
    let _alone = alone();
    let (_, teacher) = student_and_teacher();
    for value in values(teacher.training_model()) {
        assert!(value.is_autodiff && !value.requires_grad, "{value:?}");
    }
}

#[test]
fn output_of_a_target_network_carries_no_graph() {
    let _alone = alone();
    let (_, teacher) = student_and_teacher();
    let output = teacher
        .training_model()
        .forward(batch(0, &autodiff_device()));
    assert!(!output.is_tracked() && !output.is_require_grad());

    let output = teacher.model().forward(batch(0, &device()));
    assert!(!output.is_tracked() && !output.is_autodiff());
}

#[test]
fn loss_against_the_teacher_has_gradients_of_the_student_only() {
    let _alone = alone();
    let (student, teacher) = student_and_teacher();
    let input = batch(1, &autodiff_device());
    let target = teacher.training_model().forward(input.clone());
    let loss = (student.forward(input) - target).square().mean();
    let mut gradients = loss.backward();
    // The teacher first: both have the same ids, and what is found is taken.
    let found = GradientsParams::from_module(&mut gradients, teacher.training_model());
    assert!(found.is_empty());
    // Four weights and biases, gamma and beta.
    let found = GradientsParams::from_module(&mut gradients, &student);
    assert_eq!(found.len(), 6);
}

/// The gradient of the student is the one that it would have with the teacher's output as plain numbers.
#[test]
fn teacher_is_a_constant_to_the_student() {
    let _alone = alone();
    let (student, teacher) = student_and_teacher();
    let device = autodiff_device();
    let input = batch(1, &device);
    let target = teacher.training_model().forward(input.clone());
    let data = target.clone().into_data();
    let gradient = |target: Tensor<2>| {
        let loss = (student.forward(input.clone()) - target).square().mean();
        let gradients = loss.backward();
        numbers(&student.first.weight.grad(&gradients).unwrap())
    };
    let actual = gradient(target);
    assert_near(&actual, &gradient(Tensor::from_data(data, &device)), 1e-6);
    assert!(actual.iter().any(|gradient| gradient.abs() > 1e-5));
}

#[test]
fn training_model_normalizes_with_the_batch_and_model_with_running_statistics() {
    let _alone = alone();
    let ema = halving(&norm());
    let output = |norm: &BatchNorm, device: &Device| {
        numbers(&norm.forward(Tensor::<2>::from_data(SOURCE, device)))
    };
    // Mean 22 and variance 4 of the batch; mean 0 and variance 1 at the start.
    let trained = output(ema.training_model(), &autodiff_device());
    let deviation = 4.00001_f64.sqrt();
    assert_near(&trained, &[-2.0 / deviation, 2.0 / deviation], 1e-6);

    let deviation = 1.00001_f64.sqrt();
    for device in [device(), autodiff_device()] {
        let validated = output(ema.model(), &device);
        assert_near(&validated, &[20.0 / deviation, 24.0 / deviation], 1e-6);
    }
}

#[test]
fn training_model_drops_out_and_model_does_not() {
    let _alone = alone();
    let source = (
        Weights::new(&[1.0], &autodiff_device()),
        DropoutConfig::new(0.5).init(),
    );
    let ema = halving(&source);
    let ones = Tensor::<1>::ones([10_000], &autodiff_device());
    let zeros = |output: Tensor<1>| numbers(&output).into_iter().filter(|x| *x == 0.0).count();

    let (_, dropout) = ema.training_model();
    let dropped = zeros(dropout.forward(ones.clone()));
    assert!((4_000..6_000).contains(&dropped), "{dropped} zeros");
    let (_, dropout) = ema.model();
    assert_eq!(zeros(dropout.forward(ones)), 0);
}

#[test]
fn target_passes_are_forgotten_at_the_next_update_by_default() {
    let _alone = alone();
    let source = norm();
    let mut ema = halving(&source);
    observe(ema.training_model(), TARGET);
    assert_near(&statistics(ema.model()), &[0.0, 1.0], 0.0);
    assert_eq!(numbers_at(&ema, "ema_weights.running_mean"), [0.0]);

    observe(&source, SOURCE);
    ema.update(&source).unwrap();
    // Halfway from 0 to 2.2 and from 1 to 1.3.
    assert_near(&statistics(ema.model()), &[1.1, 1.15], 1e-6);
    assert_near(&statistics(ema.training_model()), &[1.1, 1.15], 1e-6);
}

#[test]
fn target_passes_do_not_count_where_statistics_are_copied() {
    let _alone = alone();
    let source = norm();
    let config = EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_policy(Policy::new().with_buffers(BufferAction::Copy));
    let mut ema = config.init(&source);
    observe(ema.training_model(), TARGET);
    assert_eq!(numbers_at(&ema, "ema_weights.running_mean"), [0.0]);
    observe(&source, SOURCE);
    ema.update(&source).unwrap();
    assert_near(&statistics(ema.model()), &[2.2, 1.3], 1e-6);
    assert_near(&statistics(ema.training_model()), &[2.2, 1.3], 1e-6);
}

#[test]
fn target_passes_move_ignored_statistics_at_the_next_update() {
    let _alone = alone();
    let source = norm();
    let mut ema = following(&source, 1);
    observe(&source, SOURCE);
    observe(ema.training_model(), TARGET);
    ema.update(&source).unwrap();
    // 0.1 * 4 and 0.9 + 0.1 * 9.
    assert_near(&statistics(ema.model()), &[0.4, 1.8], 1e-6);

    // 0.9 * 0.4 + 0.1 * 4 and 0.9 * 1.8 + 0.1 * 9, and the same once more.
    observe(ema.training_model(), TARGET);
    observe(ema.training_model(), TARGET);
    ema.update(&source).unwrap();
    assert_near(&statistics(ema.model()), &[1.084, 3.168], 1e-6);

    // Without a pass they stay.
    ema.update(&source).unwrap();
    assert_near(&statistics(ema.model()), &[1.084, 3.168], 1e-6);
}

#[test]
fn ignored_statistics_survive_steps_at_which_nothing_is_due() {
    let _alone = alone();
    let source = norm();
    let mut ema = following(&source, 2);
    observe(ema.training_model(), TARGET);
    assert_eq!(ema.update(&source).unwrap(), Update::Waiting);
    observe(ema.training_model(), TARGET);
    ema.update(&source).unwrap();
    // 0.9 * 0.4 + 0.1 * 4 and 0.9 * 1.8 + 0.1 * 9.
    assert_near(&statistics(ema.model()), &[0.76, 2.52], 1e-6);
}

#[test]
fn ignored_statistics_are_in_a_record_before_the_next_update() {
    let _alone = alone();
    let ema = following(&norm(), 1);
    observe(ema.training_model(), TARGET);
    assert_near(&numbers_at(&ema, "ema_weights.running_mean"), &[0.4], 1e-6);
    let record = ema.into_record();
    let loaded = following(&norm(), 1).load_record(record);
    assert_near(&statistics(loaded.model()), &[0.4, 1.8], 1e-6);
}

#[test]
fn ignored_statistics_are_in_a_clone_that_then_goes_its_own_way() {
    let _alone = alone();
    let source = norm();
    let mut ema = following(&source, 1);
    observe(ema.training_model(), TARGET);
    let mut clone = ema.clone();
    assert_near(&statistics(clone.model()), &[0.4, 1.8], 1e-6);

    observe(clone.training_model(), TARGET);
    for average in [&mut ema, &mut clone] {
        average.update(&source).unwrap();
    }
    assert_near(&statistics(ema.model()), &[0.4, 1.8], 1e-6);
    assert_near(&statistics(clone.model()), &[0.76, 2.52], 1e-6);
}

#[test]
fn ignored_statistics_are_in_a_model_that_is_taken_out() {
    let _alone = alone();
    let ema = following(&norm(), 1);
    observe(ema.training_model(), TARGET);
    assert_near(&statistics(&ema.full_precision_model()), &[0.4, 1.8], 1e-6);
    assert_near(&statistics(&ema.into_model()), &[0.4, 1.8], 1e-6);
}

#[test]
fn source_does_not_see_target_passes() {
    let _alone = alone();
    let source = norm();
    for mut ema in [halving(&source), following(&source, 1)] {
        observe(ema.training_model(), TARGET);
        ema.update(&source).unwrap();
        observe(ema.training_model(), TARGET);
        ema.update(&source).unwrap();
        assert_near(&statistics(&source.valid()), &[0.0, 1.0], 0.0);
    }
}

#[test]
fn target_network_that_is_kept_does_not_change_with_the_next_update() {
    let _alone = alone();
    let (student, mut teacher) = student_and_teacher();
    let kept = [teacher.model().clone(), teacher.training_model().clone()];
    let before = kept.each_ref().map(values);
    teacher.update(&student).unwrap();
    for (kept, before) in kept.iter().zip(&before) {
        assert_same(&values(kept), before);
    }
    assert_ne!(
        values(teacher.model()),
        before[0],
        "the update did something"
    );
}

#[test]
fn target_network_that_is_kept_and_run_after_the_update_does_not_reach_the_ema() {
    let _alone = alone();
    let source = norm();
    let mut ema = following(&source, 1);
    let kept = ema.training_model().clone();
    ema.update(&source).unwrap();
    observe(&kept, TARGET);
    ema.update(&source).unwrap();
    assert_near(&statistics(ema.model()), &[0.0, 1.0], 0.0);
}

/// Lillicrap et al. 2015, as in most DQN code since: `target = tau * online + (1 - tau) * target`.
#[test]
fn polyak_updates_follow_the_closed_form() {
    let _alone = alone();
    let tau: f64 = 0.005;
    let device = autodiff_device();
    let online = Weights::new(&[0.0, 2.0], &device);
    let mut ema = EmaConfig::new()
        .with_decay(Decay::weight(tau))
        .init(&online);
    let seen = [[1.0, -3.0], [4.0, 0.5], [-2.0, 8.0]];
    for numbers in seen {
        let output = ema.training_model().w.val() * 2.0;
        assert!(!output.is_tracked());
        ema.update(&online.with(&numbers)).unwrap();
    }
    let kept: f64 = 1.0 - tau;
    let expected = [0, 1].map(|i| {
        let start = [0.0, 2.0][i] * kept.powi(3);
        let ages = seen.iter().rev().zip(0..);
        let terms = ages.map(|(numbers, age)| tau * kept.powi(age) * f64::from(numbers[i]));
        start + terms.sum::<f64>()
    });
    assert_near(&numbers(&ema.model().w.val()), &expected, 1e-6);
}

#[test]
fn hard_updates_of_a_target_network_are_copies() {
    let _alone = alone();
    let config = EmaConfig::new()
        .with_decay(Decay::weight(1.0))
        .with_interval(3);
    let online = Weights::new(&[0.0], &autodiff_device());
    let mut ema = config.init(&online);
    for (step, expected) in (1..=7).zip([0.0, 0.0, 3.0, 3.0, 3.0, 6.0, 6.0]) {
        ema.update(&online.with(&[step as f32])).unwrap();
        assert_close(&ema.training_model().w.val(), &[expected]);
    }
}

/// Burn does not mix tensors with and without gradient checkpointing.
#[test]
fn training_model_runs_on_a_device_with_gradient_checkpointing() {
    let _alone = alone();
    let device = Device::default().autodiff().gradient_checkpointing();
    let norm = BatchNormConfig::new(1).init(&device);
    let ema = halving(&norm);
    let batch = Tensor::<2>::from_data([[1.0], [3.0]], &device);
    let output = ema.training_model().forward(batch);
    assert_near(&numbers(&output), &[-1.0, 1.0], 1e-4);
}
