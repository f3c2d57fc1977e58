//! An update goes through its source once.

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn_ema::config::NonFinite;
use burn_ema::{EmaConfig, EmaModel, EmaSetConfig};
use burn_ema_tests::backend::device;
use burn_ema_tests::counted::Counted;
use burn_ema_tests::models::Weights;

/// How often `work` goes through `source`.
fn walks<M: Module>(source: &Counted<M>, work: impl FnOnce()) -> usize {
    let counted = || source.visits() + source.valids();
    let before = counted();
    work();
    counted() - before
}

fn weights() -> Counted<Vec<Weights>> {
    let layer = |i| Weights::new(&[i as f32, 1.0], &device());
    Counted::new((0..3).map(layer).collect())
}

fn update<M: Module>(ema: &mut EmaModel<M>, source: &M) {
    ema.update(source).unwrap();
}

#[test]
fn update_goes_through_the_source_once() {
    let source = weights();
    let mut ema = EmaConfig::new().init(&source);
    assert_eq!(walks(&source, || update(&mut ema, &source)), 1);
    let mut guarded = EmaConfig::new()
        .with_non_finite(NonFinite::Error)
        .init(&source);
    assert_eq!(walks(&source, || update(&mut guarded, &source)), 1);
}

#[test]
fn several_emas_go_through_the_source_once() {
    let source = weights();
    let mut set = EmaSetConfig::new()
        .with("a", EmaConfig::new())
        .with("b", EmaConfig::new())
        .init(&source);
    let walks = walks(&source, || drop(set.update(&source).unwrap()));
    assert_eq!(walks, 1);
}

#[test]
fn nothing_due_needs_no_walk() {
    let source = weights();
    let mut ema = EmaConfig::new().with_interval(2).init(&source);
    assert_eq!(walks(&source, || update(&mut ema, &source)), 0);
}

/// Running statistics of the last forward pass are not shown until `valid` has been called.
#[test]
fn running_statistics_take_one_more_walk() {
    let norm: BatchNorm = BatchNormConfig::new(2).init(&device());
    let source = Counted::new(norm);
    let mut ema = EmaConfig::new().init(&source);
    assert_eq!(walks(&source, || update(&mut ema, &source)), 2);
}
