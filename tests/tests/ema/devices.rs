//! An average on another device than its source.
//!
//! With the backend under test and `flex` in one build, the average of the one lives on the other.

use burn::module::Module;
use burn::tensor::Device;
use burn_ema::config::NonFinite;
use burn_ema::{Decay, EmaConfig, EmaModel};
use burn_ema_tests::backend::{autodiff_device, device, elsewhere};
use burn_ema_tests::models::{Mixed, Net, Weights};
use burn_ema_tests::snapshot::{numbers_at, values};

fn config() -> EmaConfig {
    EmaConfig::new().with_decay(Decay::weight(0.5))
}

fn assert_lives_on<M: Module>(ema: &EmaModel<M>, device: &Device) {
    for module in [ema.devices(), ema.model().devices()] {
        assert_eq!(module, vec![device.clone()]);
    }
}

fn assert_is_average_of_iteration_3(ema: &EmaModel<Mixed>) {
    assert_eq!(numbers_at(ema.model(), "a"), [1.75, 1.625]);
    assert_eq!(numbers_at(ema.model(), "f"), [13.0, -16.0]);
    assert_eq!(numbers_at(ema.model(), "n"), [4.0]);
    assert_eq!(numbers_at(ema.model(), "t"), [1.0]);
}

#[test]
fn ema_lives_where_its_source_does() {
    let mut ema = config().init(&Mixed::at(None, &device()));
    assert_lives_on(&ema, &device());
    assert_eq!(ema.device(), None);

    // And goes with it.
    ema.update(&Mixed::at(Some(3), &elsewhere())).unwrap();
    assert_lives_on(&ema, &elsewhere());
    assert_is_average_of_iteration_3(&ema);
}

#[test]
fn ema_can_be_kept_elsewhere_from_the_start() {
    for source in [device(), autodiff_device()] {
        let mut ema = config()
            .try_init_on(&Mixed::at(None, &source), &elsewhere())
            .unwrap();
        assert_eq!(ema.device(), Some(elsewhere()));
        assert_lives_on(&ema, &elsewhere());
        ema.update(&Mixed::at(Some(3), &source)).unwrap();
        assert_lives_on(&ema, &elsewhere());
        assert_is_average_of_iteration_3(&ema);
        ema.copy_from(&Mixed::at(Some(2), &source)).unwrap();
        assert_lives_on(&ema, &elsewhere());
    }
}

/// Some backends fetch values that go to another device when somebody looks at them: by then the optimizer may have
/// written over them.
#[test]
fn ema_kept_elsewhere_does_not_move_with_its_source() {
    let source = Weights::new(&[1.0, 2.0], &device());
    let ema = config().try_init_on(&source, &elsewhere()).unwrap();
    // In place, as nobody else holds it.
    let stepped = source.w.into_value().add_scalar(5.0);
    assert_eq!(
        stepped.into_data().iter::<f64>().collect::<Vec<_>>(),
        [6.0, 7.0]
    );
    assert_eq!(numbers_at(ema.model(), "w"), [1.0, 2.0]);
}

/// An autodiff device is where a user trains; an average is never tracked.
#[test]
fn ema_kept_on_an_autodiff_device_is_not_tracked() {
    let elsewhere = elsewhere().autodiff();
    let mut ema = config()
        .try_init_on(&Mixed::at(None, &device()), &elsewhere)
        .unwrap();
    ema.update(&Mixed::at(Some(3), &device())).unwrap();
    assert!(!ema.device().unwrap().is_autodiff());
    for value in [values(&ema), values(ema.model())].concat() {
        assert!(!value.is_autodiff && !value.requires_grad, "{value:?}");
    }
}

#[test]
fn ema_can_be_sent_elsewhere_in_the_middle() {
    let mut ema = config().init(&Mixed::at(None, &device()));
    ema.update(&Mixed::at(Some(3), &device())).unwrap();
    let mut ema = ema.with_device(&elsewhere());
    assert_lives_on(&ema, &elsewhere());
    assert_is_average_of_iteration_3(&ema);
    // `a` is [1 + t/2, 2 - t/4].
    ema.update(&Mixed::at(Some(1), &device())).unwrap();
    assert_lives_on(&ema, &elsewhere());
    assert_eq!(numbers_at(ema.model(), "a"), [1.625, 1.6875]);

    // As any module, it goes where it is told.
    let ema = ema.to_device(&device());
    assert_lives_on(&ema, &device());
    assert_eq!(ema.device(), Some(device()));
}

#[test]
fn distance_and_guard_work_across_devices() {
    let config = config().with_non_finite(NonFinite::Error);
    let source = Net::new(&autodiff_device());
    let mut ema = config.try_init_on(&source, &elsewhere()).unwrap();
    ema.update(&source).unwrap();
    assert_eq!(ema.relative_distance(&source).unwrap(), 0.0);
}

#[test]
fn ema_elsewhere_resumes_there() {
    let make = || {
        config()
            .try_init_on(&Mixed::at(None, &device()), &elsewhere())
            .unwrap()
    };
    let mut ema = make();
    ema.update(&Mixed::at(Some(3), &device())).unwrap();
    let mut resumed = make().load_record(ema.into_record());
    assert_lives_on(&resumed, &elsewhere());
    assert_is_average_of_iteration_3(&resumed);
    resumed.update(&Mixed::at(Some(1), &device())).unwrap();
    assert_lives_on(&resumed, &elsewhere());
    assert_eq!(numbers_at(resumed.model(), "a"), [1.625, 1.6875]);
}
