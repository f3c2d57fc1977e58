//! The warning about a momentum that is probably a decay. A process of its own, for it has one logger.

use std::sync::Mutex;

use burn::config::Config;
use burn_ema_tests::models::Weights;
use burn_ema_train::hook::{EmaHook, EmaHookConfig};
use log::{LevelFilter, Log, Metadata, Record};

static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

impl Log for Listener {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{}: {}", record.level(), record.args());
        SAID.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

#[test]
fn momentum_above_one_half_is_warned_of() {
    log::set_logger(&Listener).unwrap();
    log::set_max_level(LevelFilter::Warn);
    let said = |momentum: f64| {
        SAID.lock().unwrap().clear();
        let config = EmaHookConfig::new("generator_ema").with_momentum(momentum);
        // From a file as well as from code.
        let json = burn::config::config_to_json(&config);
        let config = EmaHookConfig::load_binary(json.as_bytes()).unwrap();
        EmaHook::<Weights>::new(config).unwrap();
        SAID.lock().unwrap().clone()
    };
    assert!(said(0.001).is_empty());
    assert!(said(0.5).is_empty());
    assert_eq!(
        said(0.875),
        [
            "WARN: EmaHook: momentum 0.875 is the weight of the *new* value, and is usually much \
             smaller. If 0.875 is a decay, the weight of the old one, write momentum 0.125"
        ]
    );
}
