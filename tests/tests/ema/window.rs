//! Means of a window of the last updates.

use burn::module::Module;
use burn_ema::config::NonFinite;
use burn_ema::decay::RestartedMean;
use burn_ema::merge::Merge;
use burn_ema::window::{Window, WindowModel};
use burn_ema::{EmaConfig, EmaModel};
use burn_ema_tests::backend::{device, elsewhere};
use burn_ema_tests::models::{Mixed, Weights};
use burn_ema_tests::snapshot::{assert_same_values, numbers_at};
use proptest::prelude::*;

const SEEN: [f32; 8] = [2.0, 4.0, 3.0, 5.0, 8.0, 6.0, 7.0, 9.0];

fn model(x: f32) -> Weights {
    Weights::new(&[x], &device())
}

fn new(window: Window) -> WindowModel<Weights> {
    WindowModel::try_new(&model(1.0), window, &EmaConfig::new()).unwrap()
}

fn number(window: &WindowModel<Weights>) -> f64 {
    numbers_at(&window.model().unwrap(), "w")[0]
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 2e-6, "{found} is not {expected}");
}

/// `ModelAverage` with a rate of 0.5 and windows of 2 to 3: the number of updates in the mean, and the mean.
#[test]
fn blocks_are_those_of_paddle() {
    let paddle = Window {
        min_average_window: 2,
        max_average_window: 3,
        average_window_rate: 0.5,
    };
    let mut window = new(paddle);
    assert_eq!((window.num_averaged(), number(&window)), (0, 1.0));
    for (x, (count, mean)) in SEEN.into_iter().zip([
        (1, 2.0),
        (2, 3.0),
        (3, 3.0),
        (2, 4.0),
        (3, 16.0 / 3.0),
        (4, 5.5),
        (3, 7.0),
        (4, 7.5),
    ]) {
        window.update(&model(x)).unwrap();
        assert_eq!(window.num_averaged(), count);
        assert_near(number(&window), mean);
    }
    assert_eq!(window.num_updates(), 8);
}

/// `OLMo-core` with a window of 3 at steps 4 and 8, of an EMA that was resumed in each of them.
#[test]
fn window_that_begins_anew_goes_on_in_the_middle() {
    let mean = RestartedMean {
        window: 3,
        every: 4,
    };
    let config = || EmaConfig::new().with_decay(mean.into());
    let mut ema = config().init(&model(1.0));
    let expected = [1.0, 4.0, 3.5, 4.0, 4.0, 6.0, 6.5, 22.0 / 3.0];
    for (x, expected) in SEEN.into_iter().zip(expected) {
        ema.update(&model(x)).unwrap();
        assert_near(numbers_at(ema.model(), "w")[0], expected);
        let fresh: EmaModel<Weights> = config().init(&model(-7.0));
        ema = fresh.load_record(ema.into_record());
    }
}

/// LAWA: of the files of the last three checkpoints, loaded one after the other.
#[test]
fn mean_of_the_last_checkpoints_comes_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |step: usize| folder.path().join(format!("{step}.bpk"));
    let expected = [2.0, 3.0, 3.0, 4.0, 16.0 / 3.0, 19.0 / 3.0, 7.0, 22.0 / 3.0];
    for (step, (x, expected)) in SEEN.into_iter().zip(expected).enumerate() {
        model(x).save_file(file(step)).unwrap();
        let last = step.saturating_sub(2)..=step;
        let models = last.map(|step| model(0.0).try_load_file(file(step)).unwrap());
        let mean = Merge::new().uniform(models).unwrap();
        assert_near(numbers_at(&mean, "w")[0], expected);
    }
}

#[test]
fn resumed_window_goes_on_bit_for_bit() {
    let paddle = Window {
        min_average_window: 2,
        max_average_window: 5,
        average_window_rate: 0.4,
    };
    let config = EmaConfig::new().with_start(3).with_interval(2);
    let config = config.with_non_finite(NonFinite::Skip);
    let new = |x| WindowModel::try_new(&model(x), paddle, &config).unwrap();
    let (mut whole, mut parts) = (new(1.0), new(1.0));
    for step in 0..60_u16 {
        let x = match step {
            // Before the start, and later.
            1 | 30..34 => f32::NAN,
            step => (f32::from(step) * 0.7).sin(),
        };
        whole.update(&model(x)).unwrap();
        parts.update(&model(x)).unwrap();
        parts = new(-7.0).load_record(parts.into_record());
        assert_same_values(&parts.model().unwrap(), &whole.model().unwrap());
        assert_eq!(parts.num_averaged(), whole.num_averaged());
    }
    assert_eq!((parts.num_steps(), parts.num_updates()), (60, 26));
}

/// Buffers are averaged with the parameters, the rest is that of the last update.
#[test]
fn classes_are_those_of_an_update() {
    let mixed = |t| Mixed::at(t, &device());
    let mut window = WindowModel::try_new(&mixed(None), Window::of(2), &EmaConfig::new()).unwrap();
    for t in 1..=5 {
        window.update(&mixed(Some(t))).unwrap();
    }
    let mean = window.model().unwrap();
    assert_eq!(window.num_averaged(), 3);
    // 1 + t/2 and 2 + t for t of 3, 4 and 5.
    assert_near(numbers_at(&mean, "a")[0], 3.0);
    assert_near(numbers_at(&mean, "b")[0], 6.0);
    let last = mixed(Some(5));
    for path in ["f", "n", "t"] {
        assert_eq!(numbers_at(&mean, path), numbers_at(&last, path), "{path}");
    }
}

#[test]
fn window_is_kept_elsewhere_and_begins_anew() {
    let mut window = new(Window::of(2)).with_device(&elsewhere());
    for x in SEEN {
        window.update(&model(x)).unwrap();
    }
    assert_near(number(&window), 8.0);
    let mean = window.model().unwrap();
    assert_eq!(mean.w.val().device(), elsewhere());
    window.restart(&model(3.0)).unwrap();
    assert_eq!((window.num_averaged(), number(&window)), (0, 3.0));
    window.update(&model(5.0)).unwrap();
    assert_eq!((window.num_averaged(), number(&window)), (1, 5.0));
}

#[test]
fn windows_that_are_none_are_errors() {
    let message = |min, max, rate| {
        let window = Window {
            min_average_window: min,
            max_average_window: max,
            average_window_rate: rate,
        };
        let made = WindowModel::try_new(&model(1.0), window, &EmaConfig::new());
        made.unwrap_err().to_string()
    };
    for (found, expected) in [
        (message(0, 3, 0.5), "found 0 and 3"),
        (message(4, 3, 0.5), "found 4 and 3"),
        (
            message(1, 3, -0.5),
            "must be finite and at least 0, found -0.5",
        ),
        (
            message(1, 3, f64::NAN),
            "must be finite and at least 0, found NaN",
        ),
    ] {
        assert!(found.contains(expected), "{found}");
    }
    let mut window = new(Window::of(2));
    let other = Weights::new(&[1.0, 2.0], &device());
    assert!(window.update(&other).is_err() && window.restart(&other).is_err());
    assert_eq!(window.num_steps(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Of at least the last `length` updates, and at most twice as many.
    #[test]
    fn mean_is_that_of_the_last_updates(length in 1..6_u64, seen in prop::collection::vec(-9.0..9.0_f32, 1..40)) {
        let mut window = new(Window::of(length));
        for (step, x) in seen.iter().enumerate() {
            window.update(&model(*x)).unwrap();
            let count = window.num_averaged() as usize;
            prop_assert!(count >= (length as usize).min(step + 1) && count <= 2 * length as usize);
            let last = &seen[step + 1 - count..=step];
            let expected = last.iter().copied().map(f64::from).sum::<f64>() / count as f64;
            let found = number(&window);
            prop_assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
        }
    }
}
