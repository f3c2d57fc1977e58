//! BEMA against its three published implementations.

use burn_ema_rules::bema::Bema;
use burn_ema_rules::decay::Progress;
use burn_ema_rules::schedule::Phase;

/// The weights after each step, after 1 before the first.
const SEEN: [f64; 8] = [2.0, 4.0, 3.0, 5.0, 8.0, 6.0, 7.0, 9.0];

/// EMA and BEMA after each step.
fn run(bema: &Bema) -> Vec<(f64, f64)> {
    let (schedule, decay) = (bema.schedule(), bema.decay());
    let (mut first, mut ema, mut updates) = (1.0, 1.0, 0);
    let after = |(step, online): (u64, f64)| {
        match schedule.phase(step) {
            Phase::Copy => (first, ema) = (online, online),
            Phase::Update => {
                let at = Progress {
                    updates,
                    interval: bema.update_freq,
                };
                let decay = decay.try_decay(at).unwrap();
                ema = decay * ema + (1.0 - decay) * online;
                updates += 1;
            }
            _ => {}
        }
        (ema, ema + bema.correction(step) * (online - first))
    };
    (1..).zip(SEEN).map(after).collect()
}

#[track_caller]
fn assert_run(bema: &Bema, steps: &[usize], expected: &[(f64, f64)]) {
    let found = run(bema);
    for (step, (ema, corrected)) in steps.iter().zip(expected) {
        let (found_ema, found_corrected) = found[step - 1];
        assert!((found_ema - ema).abs() < 1e-10, "{step}: {found_ema}");
        assert!(
            (found_corrected - corrected).abs() < 1e-10,
            "{step}: {found_corrected}"
        );
    }
}

/// The reference has 11 digits, or 12.
#[test]
fn paper_and_trl_at_every_step() {
    let bema = Bema {
        update_freq: 1,
        ..Bema::trl()
    };
    let expected = [
        (1.30151134458, 1.92055526526),
        (2.08049792038, 3.90559094606),
        (2.33552191238, 3.53292762346),
        (3.04763363513, 5.40721188455),
        (4.32632913216, 8.39900444623),
        (4.74474684912, 7.61649273661),
        (5.29172608168, 8.69628979571),
        (6.1657746264, 10.6535952082),
    ];
    assert_run(&bema, &[1, 2, 3, 4, 5, 6, 7, 8], &expected);
}

/// TRL shows 1 until step 3, its weights from before the burn-in; and between updates its last average.
#[test]
fn trl_with_a_burn_in_and_an_interval() {
    let bema = Bema {
        update_after: 2,
        update_freq: 2,
        ..Bema::trl()
    };
    let expected = [
        (4.26726124191, 4.85715580427),
        (4.70044593143, 5.84914428643),
        (5.71386054409, 8.5187484077),
    ];
    assert_run(&bema, &[4, 6, 8], &expected);
    // Here it is the online weights until then.
    assert_run(&bema, &[1, 2], &[(2.0, 2.0), (4.0, 4.0)]);
}

#[test]
fn online_callback_waits_for_its_lag() {
    let bema = Bema {
        lag: 3,
        update_freq: 1,
        ..Bema::online()
    };
    let expected = [
        (2.0, 3.0),
        (4.0, 7.0),
        (3.0, 5.0),
        (4.41421356237, 7.89641581556),
        (6.48446832739, 12.1036592597),
        (6.2422341637, 10.03152558),
        (6.5811173479, 10.92979533),
        (7.56862205545, 13.1592390056),
    ];
    assert_run(&bema, &[1, 2, 3, 4, 5, 6, 7, 8], &expected);
}

/// By its formula.
#[test]
fn offline_script_counts_from_its_start() {
    let bema = Bema {
        lag: 3,
        multiplier: 2.0,
        update_after: 2,
        min_ema_multiplier: 0.34,
        ..Bema::offline()
    };
    let (first, mut ema) = (SEEN[1], SEEN[1]);
    let found = run(&bema);
    for step in 3..=8_u32 {
        let time = f64::from(step) - 2.0 + 3.0;
        let beta = (1.0 + 2.0 * time).powf(-0.5).max(0.34);
        let online = SEEN[step as usize - 1];
        ema = (1.0 - beta) * ema + beta * online;
        let corrected = ema + (1.0 + 2.0 * time).powf(-0.2) * (online - first);
        let (found_ema, found_corrected) = found[step as usize - 1];
        assert!((found_ema - ema).abs() < 1e-13);
        assert!((found_corrected - corrected).abs() < 1e-13);
    }
}

#[test]
fn multiplier_of_the_online_callback_is_a_factor() {
    let bema = Bema {
        multiplier: 0.5,
        lag: 0,
        update_freq: 1,
        ..Bema::online()
    };
    let at = |updates| Progress {
        updates,
        interval: 1,
    };
    let weight = 1.0 - bema.decay().try_decay(at(7)).unwrap();
    assert!((weight - 0.5 * 9.0_f64.powf(-0.5)).abs() < 1e-15);
    assert!((bema.correction(8) - 0.5 * 9.0_f64.powf(-0.2)).abs() < 1e-15);
    // A weight is at most 1, a correction is not.
    let eager = Bema {
        multiplier: 2.0,
        lag: 5,
        ..bema
    };
    assert_eq!(eager.decay().try_decay(at(0)).unwrap(), 0.0);
    assert_eq!(eager.correction(3), 2.0);
}

#[test]
fn profile_is_that_of_the_reference() {
    let bema = Bema {
        update_freq: 1,
        ..Bema::trl()
    };
    let expected = [
        -0.476239615774,
        0.0365781965651,
        0.0492334215313,
        0.0654562344067,
        0.0860814376701,
        0.112108985089,
        0.144732077404,
        0.185369429989,
        0.796679833119,
    ];
    let profile = bema.profile(8).unwrap();
    for (found, expected) in profile.weights().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
    }
    assert!((profile.weights().iter().sum::<f64>() - 1.0).abs() < 1e-14);
    // The correction outweighs the lag.
    assert!(profile.mean_age() < 0.0);
}

#[test]
fn numbers_out_of_their_range_are_errors() {
    for (bema, expected) in [
        (
            Bema {
                ema_power: 0.0,
                ..Bema::trl()
            },
            "ema_power must be finite and above 0",
        ),
        (
            Bema {
                bias_power: f64::NAN,
                ..Bema::trl()
            },
            "bias_power must be finite and above 0",
        ),
        (
            Bema {
                multiplier: -1.0,
                ..Bema::online()
            },
            "multiplier must be finite and above 0",
        ),
        (
            Bema {
                lag: 0,
                ..Bema::trl()
            },
            "lag must be at least 1 for TRL, found 0",
        ),
        (
            Bema {
                min_ema_multiplier: 2.0,
                ..Bema::offline()
            },
            "min_ema_multiplier must be in [0, 1]",
        ),
        (
            Bema {
                update_freq: 0,
                ..Bema::trl()
            },
            "interval",
        ),
    ] {
        let error = bema.validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(bema.profile(3).is_err());
    }
    assert!(
        Bema {
            lag: 0,
            ..Bema::online()
        }
        .validate()
        .is_ok()
    );
    let json = serde_json::to_string(&Bema::offline()).unwrap();
    assert_eq!(
        serde_json::from_str::<Bema>(&json).unwrap(),
        Bema::offline()
    );
}
