//! Debiased schedules without closed form: cheap from update to update, and the same numbers in any order of calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn_ema_rules::decay::{Decay, DecaySchedule, Progress, TfRamp};
use burn_ema_rules::schedule::Schedule;
use proptest::prelude::*;

use crate::arbitrary;

fn at(updates: u64) -> Progress {
    Progress {
        updates,
        interval: 1,
    }
}

/// A schedule of the user's that counts its calls.
fn counting(decay: f64) -> (Decay, Arc<AtomicU64>) {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let schedule = Decay::custom("counting", move |_: Progress| {
        counted.fetch_add(1, Ordering::Relaxed);
        decay
    });
    (schedule, calls)
}

/// What a debiased decay was before anything was remembered.
fn without_memory(schedule: &Decay, at: Progress) -> f64 {
    let before = schedule.retained(Progress { updates: 0, ..at }, at.updates);
    let decay = schedule.decay(at);
    match decay * before {
        1.0 => 1.0,
        after => decay * (1.0 - before) / (1.0 - after),
    }
}

#[test]
fn consecutive_updates_take_two_calls_each() {
    for (first, interval) in [(0, 1), (1_000_000, 1), (1_000_000, 7)] {
        let (schedule, calls) = counting(0.999999);
        let debiased = schedule.debiased();
        let at = |updates| Progress { updates, interval };
        debiased.decay(at(first));
        let cold = calls.swap(0, Ordering::Relaxed);
        assert!(cold <= 131_073, "{cold} calls");
        for updates in first + 1..=first + 10_000 {
            debiased.decay(at(updates));
        }
        let warm = calls.load(Ordering::Relaxed);
        assert!(warm <= 20_000, "{warm} calls for 10,000 updates");
    }
}

#[test]
fn a_million_updates_take_a_few_calls_each() {
    let (schedule, calls) = counting(0.9999999);
    let debiased = schedule.debiased();
    for updates in 0..1_000_000 {
        debiased.decay(at(updates));
    }
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls <= 3_100_000, "{calls} calls");
}

#[test]
fn per_step_is_as_cheap_as_its_interval() {
    let (schedule, calls) = counting(0.9999999);
    let debiased = schedule.per_step().debiased();
    let at = |updates| Progress {
        updates,
        interval: 10,
    };
    debiased.decay(at(500));
    calls.store(0, Ordering::Relaxed);
    for updates in 501..1_501 {
        debiased.decay(at(updates));
    }
    let calls = calls.load(Ordering::Relaxed);
    assert!(
        calls <= 20_000,
        "{calls} calls for 1,000 updates of 10 steps"
    );
}

#[test]
fn profile_of_a_debiased_schedule_takes_a_few_calls_per_update() {
    let (schedule, calls) = counting(0.9999999);
    let profile = Schedule::default().profile(&schedule.debiased(), 200_000);
    assert_eq!(profile.unwrap().weights()[0], 0.0);
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls <= 700_000, "{calls} calls");
}

#[test]
fn results_are_bit_for_bit_those_without_memory() {
    let schedules: [Decay; 4] = [
        TfRamp::new(0.99999).into(),
        Decay::custom("waves", |at: Progress| {
            0.9999 + 0.0001 * (at.updates as f64).sin().abs()
        }),
        Decay::power_warmup(0.75).copy_first(0),
        Decay::custom("waves", |at: Progress| {
            0.9999 + 0.0001 * (at.updates as f64).sin().abs()
        })
        .per_step(),
    ];
    for schedule in schedules {
        let debiased = schedule.clone().debiased();
        for interval in [1, 3] {
            for updates in [
                0, 1, 2, 3, 20_000, 20_001, 5, 4, 4, 21_000, 21_845, 0, 21_844,
            ] {
                let at = Progress { updates, interval };
                let expected = without_memory(&schedule, at);
                let found = debiased.decay(at);
                assert_eq!(
                    found.to_bits(),
                    expected.to_bits(),
                    "{schedule:?} at {at:?}"
                );
            }
        }
    }
}

/// Beyond 65,536 updates products are of samples, and from block to block exact.
#[test]
fn late_results_are_close_to_those_of_the_whole_product() {
    let decay = |updates: u64| 1.0 - 1.0 / (updates as f64 + 1e5);
    let schedule = Decay::custom("mean", move |at: Progress| decay(at.updates));
    let debiased = schedule.debiased();
    let mut before = 1.0;
    for updates in 0..400_000 {
        if updates % 1_000 == 0 {
            let after = before * decay(updates);
            let expected = decay(updates) * (1.0 - before) / (1.0 - after);
            let found = debiased.decay(at(updates));
            assert!(
                (found - expected).abs() <= 1e-9,
                "{updates}: {found} and {expected}"
            );
        }
        before *= decay(updates);
    }
}

#[test]
fn no_trace_of_the_first_weights_is_left_late_either() {
    let (schedule, _) = counting(0.99999);
    let profile = Schedule::default().profile(&schedule.debiased(), 300_000);
    assert_eq!(profile.unwrap().weights()[0], 0.0);
}

proptest! {
    #![proptest_config(arbitrary::config(128))]

    /// Also across blocks, with changes of the interval, and in clones.
    #[test]
    fn results_do_not_depend_on_earlier_calls(
        mut order in proptest::collection::vec((0..200_000_u64, 1..3_u64), 1..6),
        near in 131_060..131_085_u64,
    ) {
        order.extend([(near, 1), (near + 1, 1), (65_536, 1), (65_537, 1), (near, 1)]);
        let schedule = || Decay::custom("slow", |at: Progress| 1.0 - 1e-6 / (1.0 + at.updates as f64 / 1e5));
        let debiased = schedule().debiased();
        for (updates, interval) in order {
            let at = Progress { updates, interval };
            let fresh = schedule().debiased().decay(at);
            prop_assert_eq!(debiased.decay(at).to_bits(), fresh.to_bits(), "{:?}", at);
            prop_assert_eq!(debiased.clone().decay(at).to_bits(), fresh.to_bits());
        }
    }
}

#[test]
fn threads_share_one_schedule() {
    fn is_shared<T: Send + Sync>(_: &T) {}
    let ramp = || Decay::from(TfRamp::new(0.9999));
    let debiased = ramp().debiased();
    let Decay::Debiased(shared) = &debiased else {
        panic!("{debiased:?}");
    };
    is_shared(shared);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for updates in (thread * 100..3_000).step_by(7) {
                    let found = shared.decay(at(updates));
                    assert_eq!(
                        found.to_bits(),
                        without_memory(&ramp(), at(updates)).to_bits()
                    );
                }
            });
        }
    });
}

#[test]
fn what_is_remembered_is_in_no_file_and_in_no_comparison() {
    let asked = Decay::from(TfRamp::new(0.9999)).debiased();
    let fresh = asked.clone();
    asked.decay(at(100));
    assert_eq!(asked, fresh);
    assert_eq!(format!("{asked:?}"), format!("{fresh:?}"));
    let json = serde_json::to_string(&asked).unwrap();
    assert_eq!(json, serde_json::to_string(&fresh).unwrap());
    let loaded: Decay = serde_json::from_str(&json).unwrap();
    assert_eq!(loaded, asked);
    assert_eq!(loaded.decay(at(101)), asked.decay(at(101)));
    let flat = serde_json::to_string(&Decay::constant(0.9).debiased()).unwrap();
    assert_eq!(flat, r#"{"Debiased":{"Constant":{"decay":0.9}}}"#);
}

#[test]
fn nan_is_not_hidden() {
    let wrong = Decay::custom("wrong", |at: Progress| match at.updates {
        3 => 1.5,
        _ => 0.9,
    });
    let debiased = wrong.debiased();
    for updates in [4, 5, 70_000] {
        let decay = debiased.decay(at(updates));
        assert!(decay.is_nan(), "{updates}: {decay}");
    }
    assert!(debiased.decay(at(2)).is_finite());
    let message = debiased.try_decay(at(5)).unwrap_err().to_string();
    assert!(
        message.starts_with(r#"Decay::custom("wrong").debiased(): decay must be"#),
        "{message}"
    );
}
