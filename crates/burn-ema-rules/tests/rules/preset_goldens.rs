//! The numbers of the presets against EMAs of the frameworks.

use burn_ema_rules::presets::{KarrasEma, Preset};

use crate::framework_runs::{recording, runs, value};
use crate::simulation;

/// The EMA after each step.
fn emas(preset: &dyn Preset, initial: f64, seen: &[f64]) -> Vec<f64> {
    let settings = preset.settings().unwrap();
    simulation::emas(settings.schedule(), &settings.decay, initial, seen)
}

#[test]
fn frameworks_have_our_emas() {
    for run in runs() {
        let ours = emas(&*run.preset, run.initial, &run.seen);
        run.assert_gives(&ours, 4.0 * f64::EPSILON);
    }
}

/// Its formula leaves the interval out, so the EMA stays near the first weights; ours comes close to the last.
#[test]
fn karras_ema_of_ema_pytorch_is_defective_and_ours_is_not() {
    let theirs = recording("karras_every_10");
    let preset = KarrasEma {
        update_every: 10,
        ..KarrasEma::default()
    };
    let steps = theirs.len();
    let seen: Vec<f64> = (1..=steps).map(value).collect();
    let ours = emas(&preset, value(0), &seen);
    // The number grows by a tenth a step, from 0.1 to 6; the mean of the profile is at 0.947 of the run.
    let (last, theirs) = (ours[steps - 1], theirs[steps - 1]);
    assert!((last - value(60)).abs() < 0.7, "{last}");
    assert!((theirs - value(60)).abs() > 1.5, "{theirs}");
}
