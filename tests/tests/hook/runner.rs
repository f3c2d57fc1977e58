//! The list of hooks: order, moments, errors.

use std::sync::{Arc, Mutex};

use burn::config::Config;
use burn_ema_tests::backend::device;
use burn_ema_tests::models::Weights;
use burn_ema_tests::runner::{Loop, Paired};
use burn_ema_tests::snapshot::numbers_at;
use burn_ema_train::hook::{EmaHook, EmaHookConfig, Hook, HookResult, Hooks, Priority, Runner};

type Log = Arc<Mutex<Vec<String>>>;

struct Scribe {
    name: &'static str,
    priority: Priority,
    fails: bool,
    log: Log,
}

impl Scribe {
    fn write(&self, moment: &str, iter: u64) -> HookResult {
        let line = format!("{} {moment} {iter}", self.name);
        self.log.lock().unwrap().push(line);
        match self.fails {
            true => Err(format!("{} failed", self.name).into()),
            false => Ok(()),
        }
    }
}

impl<R: Runner> Hook<R> for Scribe {
    fn priority(&self) -> Priority {
        self.priority
    }

    fn before_run(&mut self, runner: &mut R) -> HookResult {
        self.write("before_run", runner.iter())
    }

    fn before_train_epoch(&mut self, runner: &mut R) -> HookResult {
        self.write("before_train_epoch", runner.iter())
    }

    fn before_train_iter(&mut self, runner: &mut R, batch: usize) -> HookResult {
        self.write(&format!("before_train_iter {batch}"), runner.iter())
    }

    fn after_train_iter(&mut self, runner: &mut R, batch: usize) -> HookResult {
        self.write(&format!("after_train_iter {batch}"), runner.iter())
    }

    fn after_train_epoch(&mut self, runner: &mut R) -> HookResult {
        self.write("after_train_epoch", runner.iter())
    }

    fn after_run(&mut self, runner: &mut R) -> HookResult {
        self.write("after_run", runner.iter())
    }
}

fn scribe(name: &'static str, priority: Priority, log: &Log) -> Scribe {
    Scribe {
        name,
        priority,
        fails: false,
        log: log.clone(),
    }
}

fn run() -> Loop<Weights> {
    Loop::new(Weights::new(&[1.0], &device()))
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

#[test]
fn hooks_are_called_by_priority_and_then_in_the_order_of_their_coming() {
    let log = Log::default();
    let mut hooks = Hooks::new()
        .with(scribe("last", Priority::LOWEST, &log))
        .with(scribe("a", Priority::NORMAL, &log))
        .with(scribe("early", Priority(20), &log))
        .with(scribe("b", Priority::default(), &log));
    hooks.add(scribe("first", Priority::HIGHEST, &log));
    hooks.before_run(&mut run()).unwrap();
    let order = ["first", "early", "a", "b", "last"].map(|name| format!("{name} before_run 0"));
    assert_eq!(taken(&log), order);
}

#[test]
fn every_moment_reaches_the_hooks() {
    let log = Log::default();
    let mut hooks = Hooks::new().with(scribe("x", Priority::NORMAL, &log));
    let mut run = run();
    hooks.before_run(&mut run).unwrap();
    hooks.before_train_epoch(&mut run).unwrap();
    hooks.before_train_iter(&mut run, 7).unwrap();
    hooks.after_train_iter(&mut run, 7).unwrap();
    run.iter += 1;
    hooks.after_train_epoch(&mut run).unwrap();
    hooks.after_run(&mut run).unwrap();
    assert_eq!(
        taken(&log),
        [
            "x before_run 0",
            "x before_train_epoch 0",
            "x before_train_iter 7 0",
            "x after_train_iter 7 0",
            "x after_train_epoch 1",
            "x after_run 1",
        ]
    );
}

#[test]
fn error_stops_at_its_hook_and_comes_back() {
    let log = Log::default();
    let failing = Scribe {
        fails: true,
        ..scribe("b", Priority::NORMAL, &log)
    };
    let mut hooks = Hooks::new()
        .with(scribe("a", Priority::NORMAL, &log))
        .with(failing)
        .with(scribe("c", Priority::NORMAL, &log));
    let error = hooks.after_train_iter(&mut run(), 3).unwrap_err();
    assert_eq!(error.to_string(), "b failed");
    assert_eq!(
        taken(&log),
        ["a after_train_iter 3 0", "b after_train_iter 3 0"]
    );
}

#[test]
fn hook_is_added_with_another_priority_than_its_own() {
    let log = Log::default();
    let mut hooks = Hooks::new()
        .with(scribe("a", Priority::NORMAL, &log))
        .with(scribe("b", Priority::LOW, &log));
    hooks.add_at(Priority::VERY_HIGH, scribe("first", Priority::LOWEST, &log));
    hooks.add_at(Priority::NORMAL, scribe("after a", Priority::HIGHEST, &log));
    hooks.add_at(Priority(65), scribe("before b", Priority::HIGHEST, &log));
    hooks.before_run(&mut run()).unwrap();
    let order = ["first", "a", "after a", "before b", "b"];
    assert_eq!(
        taken(&log),
        order.map(|name| format!("{name} before_run 0"))
    );
    let shown = format!("{hooks:?}");
    assert_eq!(
        shown,
        "[Priority(10), Priority(50), Priority(50), Priority(65), Priority(70)]"
    );
}

/// What the EMA copy is when this hook is called.
struct Look(Arc<Mutex<Vec<f64>>>);

impl Hook<Loop<Paired<Weights>>> for Look {
    fn after_train_iter(&mut self, runner: &mut Loop<Paired<Weights>>, _: usize) -> HookResult {
        let seen = numbers_at(runner.model(), "net_ema.w")[0];
        self.0.lock().unwrap().push(seen);
        Ok(())
    }
}

/// The EMA copy goes from 0 halfway to 4, before or after a hook of priority `NORMAL`, which came first.
#[test]
fn priority_of_the_ema_hook_is_that_of_its_configuration() {
    let seen = |config: EmaHookConfig| {
        let seen = Arc::default();
        let weights = |x: f32| Weights::new(&[x], &device());
        let mut run = Loop::new(Paired {
            net: weights(4.0),
            net_ema: weights(0.0),
            other: weights(0.0),
        });
        let config = config.with_interval(1).with_momentum(0.5);
        let hook = EmaHook::new(config).unwrap();
        let mut hooks = Hooks::new().with(Look(Arc::clone(&seen))).with(hook);
        hooks.before_run(&mut run).unwrap();
        run.run_to(1, &mut hooks, |_, _| {}).unwrap();
        let seen = seen.lock().unwrap();
        seen[0]
    };
    let config = || EmaHookConfig::new("net_ema");
    assert_eq!(seen(config()), 0.0);
    assert_eq!(seen(config().with_priority(Priority::LOW)), 0.0);
    assert_eq!(seen(config().with_priority(Priority::VERY_HIGH)), 2.0);
    let json = br#"{ "type": "ExponentialMovingAverageHook", "module_keys": "net_ema", "priority": "VERY_HIGH" }"#;
    assert_eq!(seen(EmaHookConfig::load_binary(json).unwrap()), 2.0);
}
