//! Plain tensor fields follow the weights: to another device, into gradient checkpointing, and when they are renewed.

use burn::module::{Module, Param};
use burn::nn::{PositionalEncoding, PositionalEncodingConfig};
use burn::tensor::{Device, Tensor};
use burn_ema::exchange::Swapped;
use burn_ema::post_hoc::{PowerProfile, combine, reconstruct};
use burn_ema::{Decay, EmaConfig, EmaModel, EmaSetConfig};
use burn_ema_tests::backend::{autodiff_device, device, elsewhere};
use burn_ema_tests::compare::{assert_close, numbers};

/// `w * x + shift`, with a shift that is no parameter.
#[derive(Module, Debug)]
struct Shifted {
    w: Param<Tensor<1>>,
    shift: Tensor<1>,
}

impl Shifted {
    fn new(w: f32, shift: f32, device: &Device) -> Self {
        Self {
            w: Param::from_tensor(Tensor::from_floats([w], device)),
            shift: Tensor::from_floats([shift], device),
        }
    }

    fn forward(&self, x: Tensor<1>) -> Tensor<1> {
        self.w.val() * x + self.shift.clone()
    }
}

fn halving() -> EmaConfig {
    EmaConfig::new().with_decay(Decay::weight(0.5))
}

/// Another device than that of the model, where there is one.
fn two_devices(test: &str) -> Option<(Device, Device)> {
    let (here, there) = (device(), elsewhere());
    if here == there {
        println!("SKIPPED {test}: there is one device only");
        return None;
    }
    Some((here, there))
}

/// Asserts that everything of `model` is on `device`, and that it runs there: `w * 2 + shift`.
#[track_caller]
fn assert_runs(model: &Shifted, device: &Device, expected: f64) {
    assert_eq!(model.devices(), std::slice::from_ref(device));
    let output = model.forward(Tensor::from_floats([2.0], device));
    assert_close(&output, &[expected]);
}

#[test]
fn pinned_and_moved_emas_run_where_they_are() {
    let Some((here, there)) = two_devices("pinned_and_moved_emas_run_where_they_are") else {
        return;
    };
    let model = Shifted::new(3.0, 10.0, &here);
    let moved: [(&str, EmaModel<Shifted>); 4] = [
        ("init_on", halving().init_on(&model, &there)),
        ("with_device", halving().init(&model).with_device(&there)),
        ("to_device", halving().init(&model).to_device(&there)),
        ("fork", halving().init(&model).fork(&there)),
    ];
    for (how, ema) in moved {
        println!("{how}");
        assert_eq!(ema.devices(), std::slice::from_ref(&there));
        assert_runs(ema.model(), &there, 16.0);
        assert_runs(&ema.full_precision_model(), &there, 16.0);
        let mut place = model.clone();
        let swapped: Swapped<'_, Shifted> = ema.swap_into(&mut place);
        assert_runs(&swapped, &there, 16.0);
        drop(swapped);
        let input = Tensor::from_floats([2.0], &there.clone().autodiff());
        assert_close(
            &ema.training_model().forward(input).without_autodiff(),
            &[16.0],
        );
        assert_runs(&ema.into_model(), &there, 16.0);
    }
}

#[test]
fn ema_follows_its_model_to_another_device_and_back() {
    let Some((here, there)) = two_devices("ema_follows_its_model_to_another_device_and_back")
    else {
        return;
    };
    let mut ema = halving().init(&Shifted::new(2.0, 10.0, &here));
    ema.update(&Shifted::new(4.0, 10.0, &there)).unwrap();
    assert_runs(ema.model(), &there, 16.0); // 3 * 2 + 10
    ema.update(&Shifted::new(3.0, 10.0, &here)).unwrap();
    assert_runs(ema.model(), &here, 16.0);
    // Moved away, it returns with the next update.
    let mut ema = ema.to_device(&there);
    ema.update(&Shifted::new(3.0, 10.0, &here)).unwrap();
    assert_runs(ema.model(), &here, 16.0);
}

#[test]
fn set_and_post_hoc_are_on_one_device() {
    let Some((here, there)) = two_devices("set_and_post_hoc_are_on_one_device") else {
        return;
    };
    let set = EmaSetConfig::new()
        .with("a", halving())
        .with("b", halving());
    let set = set.init_on(&Shifted::new(3.0, 10.0, &here), &there);
    for (_, ema) in set.iter() {
        assert_runs(ema.model(), &there, 16.0);
    }
    let profile = |time, width| PowerProfile::new(time, width).unwrap();
    let stored = [profile(20.0, 0.05), profile(40.0, 0.05)];
    let reconstruction = reconstruct(&stored, profile(40.0, 0.07)).unwrap();
    let models = [
        Shifted::new(3.0, 10.0, &there),
        Shifted::new(3.0, 10.0, &here),
    ];
    let combined = combine(&reconstruction, models).unwrap();
    assert_eq!(combined.devices(), std::slice::from_ref(&here));
    let output = combined.forward(Tensor::from_floats([2.0], &here));
    assert!((numbers(&output)[0] - 16.0).abs() < 1e-4);
}

#[test]
fn teacher_with_positional_encoding_runs_with_gradient_checkpointing() {
    let device = autodiff_device().gradient_checkpointing();
    let encoding: PositionalEncoding = PositionalEncodingConfig::new(4).init(&device);
    #[derive(Module, Debug)]
    struct Net {
        encoding: PositionalEncoding,
        scale: Param<Tensor<1>>,
    }
    let net = Net {
        encoding,
        scale: Param::from_tensor(Tensor::from_floats([2.0], &device)),
    };
    let forward = |net: &Net| {
        let input = Tensor::<3>::ones([1, 2, 4], &device);
        net.encoding.forward(input) * net.scale.val().reshape([1, 1, 1])
    };
    let mut ema = halving().init(&net);
    ema.update(&net).unwrap();
    let (teacher, student) = (forward(ema.training_model()), forward(&net));
    assert_eq!(numbers(&teacher), numbers(&student));
    // The student's graph is its own.
    let gradients = (student - teacher).square().sum().backward();
    assert!(net.scale.val().grad(&gradients).is_some());
}

#[test]
fn checkpointing_that_begins_after_init_is_followed() {
    let plain = Shifted::new(3.0, 10.0, &autodiff_device());
    let mut ema = halving().init(&plain);
    let device = autodiff_device().gradient_checkpointing();
    ema.update(&Shifted::new(3.0, 10.0, &device)).unwrap();
    let output = ema
        .training_model()
        .forward(Tensor::from_floats([2.0], &device));
    assert_close(&output.without_autodiff(), &[16.0]);
}

/// A constant that the program replaces.
#[test]
fn copying_renews_plain_tensors() {
    let mut ema = halving().init(&Shifted::new(3.0, 10.0, &device()));
    let changed = Shifted::new(3.0, 20.0, &device());
    ema.copy_from(&changed).unwrap();
    assert_runs(ema.model(), &device(), 26.0);
    ema.restart(&Shifted::new(1.0, 0.0, &device())).unwrap();
    assert_runs(ema.model(), &device(), 2.0);
}
