//! The EMA model that is taken out of a wrapper shares no state with the wrapper.

use burn::module::Module;
use burn::tensor::Device;
use burn::train::InferenceStep;
use burn_ema::policy::BufferAction;
use burn_ema::{Decay, EmaConfig, Policy};
use burn_ema_tests::backend::elsewhere;
use burn_ema_tests::learner::{
    Net, assert_same, batch, batches, device, difference, drive, learner, values,
};
use burn_ema_train::{EmaExt, WithEma};

/// A validation snapshot that has run an inference step, and so has made its EMA model.
fn validated(config: EmaConfig) -> WithEma<Net> {
    let mut learner = learner(Net::new(0.0, &device()).with_ema(config));
    drive(&mut learner, &batches(0..12, 4, &device()));
    let snapshot = learner.model().valid();
    InferenceStep::step(&snapshot, batch(&[1, 2], &device().inner()));
    snapshot
}

fn constant() -> EmaConfig {
    EmaConfig::new().with_decay(Decay::constant(0.5))
}

fn policies() -> [EmaConfig; 3] {
    [
        BufferAction::Average,
        BufferAction::Copy,
        BufferAction::Ignore,
    ]
    .map(|buffers| constant().with_policy(Policy::new().with_buffers(buffers)))
}

#[test]
fn loading_into_the_taken_model_does_not_reach_the_wrapper() {
    for config in policies() {
        let wrapper = validated(config);
        let before = values(&wrapper.try_into_ema().unwrap());
        let other = Net::new(5.0, &device().inner());
        let taken = wrapper
            .try_into_ema()
            .unwrap()
            .load_record(other.into_record());
        assert!(difference(&values(&taken), &before) > 0.1);
        assert_same(
            &values(&wrapper.try_into_ema().unwrap()),
            &before,
            "the next model taken",
        );
        assert_same(&values(wrapper.ema().unwrap().model()), &before, "the EMA");
    }
}

/// Shows something where `elsewhere` is another device, as with the feature `ndarray`.
#[test]
fn moving_the_taken_model_does_not_reach_the_wrapper() {
    let wrapper = validated(constant());
    let here: Device = device().inner();
    let moved = wrapper.try_into_ema().unwrap().to_device(&elsewhere());
    assert_eq!(moved.devices(), [elsewhere()]);
    assert_eq!(wrapper.try_into_ema().unwrap().devices(), [here]);
}
