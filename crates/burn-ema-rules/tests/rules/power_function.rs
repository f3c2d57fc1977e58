//! Widths, exponents and decays of the power function.

use burn_ema_rules::RulesError;
use burn_ema_rules::decay::{
    Decay, DecaySchedule, PowerFunction, Progress, gamma_of_sigma_rel, sigma_rel_of_gamma,
};

/// Karras et al. 2023, from the reference code of EDM2 and once more in f64.
#[test]
fn widths_and_exponents_of_the_power_function() {
    for (sigma_rel, gamma) in [
        (0.010, 96.9948978237),
        (0.015, 63.6589342317),
        (0.020, 46.9895821576),
        (0.030, 30.3173715769),
        (0.040, 21.9782497619),
        (0.05, 16.97219860230),
        (0.060, 13.6325312573),
        (0.070, 11.2449394479),
        (0.075, 10.2891164490),
        (0.085, 8.7133429115),
        (0.10, 6.93720393760),
        (0.13, 4.6035967815),
        (0.15, 3.5578687749),
        (0.20, 1.8262137799),
        (0.25, 0.7198239580),
        (0.28, 0.1693439938),
    ] {
        let found = gamma_of_sigma_rel(sigma_rel).unwrap();
        assert!((found - gamma).abs() < 1e-9, "{sigma_rel}: {found}");
        assert!((sigma_rel_of_gamma(found) - sigma_rel).abs() < 1e-15);
    }
    for (gamma, sigma_rel) in [
        (0.0, 0.28867513459),
        (1.0, 0.23570226040),
        (2.0, 0.19364916731),
        (3.0, 0.16329931619),
    ] {
        let found = sigma_rel_of_gamma(gamma);
        assert!((found - sigma_rel).abs() < 1e-11, "{gamma}: {found}");
    }
}

#[test]
fn decays_of_the_power_function() {
    for (sigma_rel, betas) in [
        (
            0.05,
            [
                (1, 0.0),
                (2, 3.888921e-06),
                (3, 6.84310053e-04),
                (4, 5.682981111e-03),
                (5, 1.8126501849e-02),
                (100, 0.834746968343),
                (1000, 0.982179506297),
            ],
        ),
        (
            0.10,
            [
                (1, 0.0),
                (2, 4.080031660e-03),
                (3, 4.0024670494e-02),
                (4, 0.101937920020),
                (5, 0.170139621829),
                (100, 0.923327242270),
                (1000, 0.992090272645),
            ],
        ),
    ] {
        let power = Decay::sigma_rel(sigma_rel);
        for (t, beta) in betas {
            // The time between updates is in the formula, so an interval changes nothing.
            for interval in [1, 7] {
                let decay = power.decay(Progress {
                    updates: t - 1,
                    interval,
                });
                let close = (decay - beta).abs() <= 1e-9 * beta + 5e-13;
                assert!(close, "{sigma_rel} at {t}: {decay}");
            }
        }
    }
}

#[test]
fn width_or_exponent_out_of_range_is_an_error() {
    let message = |sigma_rel: f64| gamma_of_sigma_rel(sigma_rel).unwrap_err().to_string();
    for sigma_rel in [0.0, -0.1, 0.289, 0.3, f64::NAN, 1e-300] {
        let found = message(sigma_rel);
        assert!(found.contains("above 0 and below 1/sqrt(12)"), "{found}");
    }
    for gamma in [-1.0, f64::NAN, f64::INFINITY] {
        let power = Decay::from(PowerFunction { gamma });
        assert!(matches!(
            power.validate(),
            Err(RulesError::InvalidDecay { .. })
        ));
    }
}
