//! Weighted means: how much a step counts, by its learning rate.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::module::Module;
use burn_ema::{Decay, EmaConfig};
use burn_ema_tests::learner::{LEARNING_RATE, Net, batches, device, drive, learner};
use burn_ema_tests::snapshot::numbers_at;
use burn_ema_train::{EmaExt, WithEma};

fn mean() -> EmaConfig {
    EmaConfig::new().with_decay(Decay::equal_weights())
}

fn trained(model: WithEma<Net>, steps: usize) -> WithEma<Net> {
    let mut learner = learner(model);
    drive(&mut learner, &batches(0..4 * steps, 4, &device()));
    learner.model()
}

/// The first three steps count 1, 2 and 3 times the learning rate.
#[test]
fn steps_count_as_the_function_says() {
    let (net, trace) = Net::new(0.0, &device()).traced();
    let model = net.with_ema(mean());
    let model = model.with_update_weight(|rate, step| rate * (step + 1) as f64);
    let model = trained(model, 3);

    let steps = trace.steps();
    let found = numbers_at(&model.try_into_ema().unwrap(), "head.weight");
    for (index, found) in found.iter().enumerate() {
        let at = |step: usize| f64::from(steps[step]["head.weight"][index]);
        let expected = (at(0) + 2.0 * at(1) + 3.0 * at(2)) / 6.0;
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
    }
    // The sum is in the checkpoint: 6 times the rate, so the next step has a weight of 4 in 10.
    let loaded = Net::new(3.0, &device()).with_ema(mean());
    let loaded = loaded.with_update_weight(|rate, step| rate * (step + 1) as f64);
    let loaded = loaded.try_load_record(model.into_record()).unwrap();
    let ema = loaded.ema().unwrap();
    let next = ema.current_decay();
    let sum = 6.0 * LEARNING_RATE;
    assert!((next - sum / (sum + 1.0)).abs() < 1e-12, "{next}");
}

#[test]
fn ema_that_is_no_mean_stops_the_first_step() {
    let model = Net::new(0.0, &device()).with_ema(EmaConfig::new());
    let model = model.with_update_weight(|rate, _| rate);
    let outcome = catch_unwind(AssertUnwindSafe(|| trained(model, 1)));
    let panic = outcome.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("`Decay::equal_weights`"), "{message}");
}
