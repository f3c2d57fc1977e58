//! Products of decays.

use burn_ema_rules::decay::{Decay, DecaySchedule, PowerWarmup, Progress};
use proptest::prelude::*;

use crate::arbitrary;

proptest! {
    #![proptest_config(arbitrary::config(512))]

    /// The closed forms of schedules agree with their decays, one by one.
    #[test]
    fn retained_is_the_product_of_decays(
        decay in arbitrary::decay(),
        interval in 1..6_u64,
        first in 0..20_u64,
        updates in 0..20_u64,
    ) {
        let at = |updates| Progress { updates, interval };
        let product: f64 = (first..first + updates).map(|n| decay.decay(at(n))).product();
        let retained = decay.retained(at(first), updates);
        prop_assert!((retained - product).abs() <= 1e-11, "{retained} and {product}");
    }

    /// With an update every few steps, a schedule per step keeps what updates at each step would.
    #[test]
    fn window_of_a_schedule_per_step_does_not_change_with_the_interval(
        decay in arbitrary::decay(),
        interval in 1..8_u64,
        updates in 0..10_u64,
    ) {
        let per_step = decay.clone().per_step();
        let at = Progress { updates, interval };
        let steps = updates * interval..(updates + 1) * interval;
        let each: f64 = steps
            .map(|updates| decay.decay(Progress { updates, interval: 1 }))
            .product();
        let found = per_step.decay(at);
        prop_assert!((found - each).abs() <= 1e-11, "{found} and {each}");
    }
}

/// An interval that no run reaches must not be counted out step by step.
#[test]
fn schedules_per_step_come_to_an_end_at_any_interval() {
    let at = Progress {
        updates: 1,
        interval: u64::MAX,
    };
    let never = || Decay::custom("never", |_: Progress| 1.0);
    assert_eq!(never().per_step().decay(at), 1.0);
    assert_eq!(never().per_step().debiased().decay(at), 1.0);
    let warmup = Decay::power_warmup(0.75).per_step();
    assert_eq!(warmup.decay(at), 0.0);
    let late = Progress {
        updates: u64::MAX,
        interval: 1,
    };
    assert_eq!(never().debiased().decay(late), 1.0);

    // Sampled products are close to counted ones.
    let warmup = PowerWarmup::new(0.75);
    let at = |updates| Progress {
        updates,
        interval: 1,
    };
    let counted: f64 = (0..100_000).map(|n| warmup.decay(at(1_000 + n)).ln()).sum();
    let sampled = warmup.retained(at(1_000), 100_000).ln();
    assert!(
        (sampled / counted - 1.0).abs() < 1e-4,
        "{sampled} and {counted}"
    );
}

#[test]
fn decay_outside_its_range_is_not_hidden_in_long_products_either() {
    let from = Progress {
        updates: 0,
        interval: 1,
    };
    for wrong in [1.5, -0.5, f64::NAN] {
        let schedule = Decay::custom("wrong", move |at: Progress| match at.updates {
            40_000..60_000 => wrong,
            _ => 0.999999,
        });
        for updates in [65_536, 65_537, 100_000, 1_000_000, 10_000_000] {
            let retained = schedule.retained(from, updates);
            assert!(retained.is_nan(), "{wrong} in {updates}: {retained}");
        }
        assert!(schedule.retained(from, 40_000).is_finite());
    }
}
