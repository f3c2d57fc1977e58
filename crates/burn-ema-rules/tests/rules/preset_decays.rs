//! The presets against the formulas of the frameworks, step by step.
//!
//! A formula here is written as the framework counts: by its calls, steps or images. What the settings of a preset do is
//! compared with it after each optimizer step: 0 is a copy, 1 is nothing, and all between is an average.

use burn_ema_rules::decay::{
    Clock, DecaySchedule, ImageRampUp, Progress, Ticks, gamma_of_sigma_rel,
};
use burn_ema_rules::presets::{
    Composer, D2go, Diffusers, Edm2Power, Edm2Traditional, EmaPytorch, Ignite, KarrasEma, Keras,
    LevanterEma, Lightning, Lookahead, Marian, MmagicRampUp, MmdetExpMomentum, MmengineAnnealing,
    MmengineEma, MmengineSwa, MmpretrainCosine, Nemo, Optax, OptaxIncremental, Preset, PytorchEma,
    Settings, StyleGan, TimmV2, TimmV3, TorchEma, TorchSwa, Torchvision, TrlSyncRef, Yolo,
};

use crate::simulation::kept as kept_by;

const STEPS: u64 = 3_000;

/// What settings do to the old EMA after each step.
fn kept(settings: &Settings, steps: u64) -> Vec<f64> {
    kept_by(settings.schedule(), &settings.decay, steps)
}

/// Compares with the formula of a framework, which is told how many steps were before; `None` where we do something else
/// on purpose.
#[track_caller]
fn assert_agrees(
    name: &str,
    preset: &impl Preset,
    tolerance: f64,
    formula: impl Fn(u64) -> Option<f64>,
) {
    let settings = preset.settings().unwrap();
    let ours = kept(&settings, STEPS);
    let differences = ours.iter().zip(0..).filter_map(|(ours, step)| {
        let theirs = formula(step)?;
        Some((ours - theirs).abs())
    });
    let largest = differences.fold(0.0, f64::max);
    println!("{name}: {largest:.1e} over {STEPS} steps");
    assert!(largest <= tolerance, "{name}: {largest:e}");
    assert_eq!(preset.decay().unwrap(), settings.decay, "{name}");
}

#[test]
fn mmengine() {
    // Counts calls from the one that is the first after the start.
    let calls = |begin: u64, step: u64| (step + 1).checked_sub(begin.max(1));
    for (interval, begin) in [(1, 0), (1, 5), (3, 0), (4, 7)] {
        let on_calls = move |average: fn(u64, u64) -> f64| {
            move |step: u64| {
                Some(match calls(begin, step) {
                    None | Some(0) => 0.0,
                    Some(call) if call % interval == 0 => average(call, interval),
                    Some(_) => 1.0,
                })
            }
        };
        let ema = MmengineEma {
            momentum: 0.1,
            interval,
            begin_iter: begin,
            update_buffers: false,
        };
        assert_agrees("mmengine EMA", &ema, 0.0, on_calls(|_, _| 1.0 - 0.1));

        let annealing = MmengineAnnealing {
            momentum: 0.01,
            gamma: 4.0,
            interval,
            begin_iter: begin,
            update_buffers: false,
        };
        let momentum = |call: u64, _| 1.0 - f64::max(0.01, 4.0 / (4.0 + call as f64));
        assert_agrees("mmengine annealing", &annealing, 0.0, on_calls(momentum));

        let swa = MmengineSwa {
            interval,
            begin_iter: begin,
            update_buffers: false,
        };
        let mean = |call: u64, interval| 1.0 - 1.0 / ((call / interval) as f64 + 1.0);
        assert_agrees("mmengine SWA", &swa, 2e-16, on_calls(mean));

        let cosine = MmpretrainCosine {
            momentum: 0.1,
            end_momentum: 0.02,
            max_iters: 5_000,
            interval,
            begin_iter: begin,
            update_buffers: false,
        };
        let momentum = |call: u64, _| {
            let share = ((std::f64::consts::PI * call as f64 / 5_000.0).cos() + 1.0) / 2.0;
            1.0 - (0.02 - (0.02 - 0.1) * share)
        };
        assert_agrees("mmpretrain cosine", &cosine, 1e-15, on_calls(momentum));

        let exponential = MmdetExpMomentum {
            momentum: 0.1,
            gamma: 200.0,
            interval,
            begin_iter: begin,
            update_buffers: false,
        };
        let momentum =
            |call: u64, _| 1.0 - ((1.0 - 0.1) * (-(1.0 + call as f64) / 200.0).exp() + 0.1);
        assert_agrees("mmdet exponential", &exponential, 1e-15, on_calls(momentum));

        // The half-life is corrected for the interval here, and not in mmagic.
        let ramp_up = MmagicRampUp {
            interval,
            begin_iter: begin,
            ..MmagicRampUp::default()
        };
        let beta = |call: u64, interval: u64| {
            let seen = (call + 1) as f64 * 32.0;
            let half_life = f64::min(10_000.0, 0.05 * seen);
            0.5_f64.powf(32.0 * interval as f64 / half_life)
        };
        assert_agrees("mmagic RampUp", &ramp_up, 1e-15, on_calls(beta));
    }
}

/// Its warm-up, and then the smoothing, by words of a batch.
#[test]
fn marian() {
    let marian = Marian::default();
    assert_agrees("Marian", &marian, 1e-15, |step| {
        let b = step as f64;
        Some(1.0 - f64::max(1e-4, 1.0 - (b + 1.0) / (b + 10.0)))
    });
    let decay = marian.decay().unwrap();
    for (batches, weight) in [
        (0, 0.9),
        (1, 0.818181818182),
        (10, 0.45),
        (1_000, 0.00891089108911),
        (100_000, 0.0001),
    ] {
        let found = 1.0
            - decay.decay(Progress {
                updates: batches,
                interval: 1,
            });
        assert!((found - weight).abs() < 1e-12, "{batches}: {found}");
    }
    let eightfold = Marian {
        exponential_smoothing: 0.01,
        ratio: 8.0,
    };
    let decay = eightfold.decay().unwrap();
    let late = decay.decay(Progress {
        updates: 10_000_000,
        interval: 1,
    });
    assert!((late - 0.922744694428).abs() < 1e-12, "{late}");
}

/// What nothing but a weight and an interval is.
#[test]
fn levanter_trl_and_lookahead() {
    let levanter = LevanterEma { beta: 0.99 };
    assert_agrees("Levanter", &levanter, 0.0, |_| Some(0.99));
    let every = |steps: u64, weight: f64| {
        move |step: u64| {
            Some(match (step + 1) % steps {
                0 => 1.0 - weight,
                _ => 1.0,
            })
        }
    };
    assert_agrees("TRL", &TrlSyncRef::default(), 0.0, every(512, 0.6));
    assert_agrees("Lookahead", &Lookahead::default(), 0.0, every(6, 0.5));
}

#[test]
fn torch_and_what_builds_on_it() {
    let first_is_a_copy = |decay: f64| {
        move |step: u64| {
            Some(match step {
                0 => 0.0,
                _ => decay,
            })
        }
    };
    let ema = TorchEma {
        decay: 0.99,
        ..TorchEma::default()
    };
    assert_agrees("torch EMA", &ema, 0.0, first_is_a_copy(0.99));
    let keras = Keras::default();
    assert_agrees("Keras", &keras, 0.0, first_is_a_copy(0.99));
    let swa = TorchSwa::default();
    let mean = |step: u64| Some(1.0 - 1.0 / (step as f64 + 1.0));
    assert_agrees("torch SWA", &swa, 2e-16, mean);

    for (decay, ema_steps, batch_size, epochs) in
        [(0.99998, 32, 128, 600), (0.9, 5, 64, 10), (0.999, 1, 2, 3)]
    {
        let torchvision = Torchvision {
            decay,
            ema_steps,
            batch_size,
            world_size: 8,
            epochs,
            lr_warmup_steps: 0,
        };
        let adjust = 8.0 * batch_size as f64 * ema_steps as f64 / epochs as f64;
        let adjusted = 1.0 - f64::min(1.0, (1.0 - decay) * adjust);
        assert_agrees("torchvision", &torchvision, 2e-16, |step| {
            Some(match step {
                0 => 0.0,
                step if step % ema_steps == 0 => adjusted,
                _ => 1.0,
            })
        });
    }

    for (every, start) in [(1, 0), (5, 10), (4, 10), (7, 0)] {
        let lightning = Lightning {
            decay: 0.9,
            update_every_n_steps: every,
            update_starting_at_step: start,
            use_buffers: true,
        };
        let due = |step: u64| step >= start && step.is_multiple_of(every);
        let first = (0..).find(|step| due(*step)).unwrap();
        // Before the first update there the average is old, here it is a copy.
        assert_agrees("Lightning", &lightning, 0.0, |step| {
            match (step.checked_sub(first)?, due(step)) {
                (0, _) => Some(0.0),
                (_, true) => Some(0.9),
                (_, false) => Some(1.0),
            }
        });
    }
}

#[test]
fn timm_ema_pytorch_and_diffusers() {
    let v2 = TimmV2::default();
    assert_agrees("timm V2", &v2, 0.0, |_| Some(0.9999));

    let curve = |s: f64, inv_gamma: f64, power: f64| 1.0 - (1.0 + s / inv_gamma).powf(-power);
    for (after, min, use_warmup) in [
        (0, 0.0, false),
        (0, 0.0, true),
        (100, 0.3, true),
        (100, 0.3, false),
    ] {
        let v3 = TimmV3 {
            decay: 0.99,
            min_decay: min,
            update_after_step: after,
            use_warmup,
            warmup_gamma: 2.0,
            warmup_power: 0.75,
            exclude_buffers: false,
        };
        let get_decay = |step: u64, otherwise: &dyn Fn(f64) -> f64| {
            // Both systems are told the number of the step that was taken.
            let step = step + 1;
            match step.saturating_sub(after + 1) {
                0 => 0.0,
                s => match use_warmup {
                    true => curve(s as f64, 2.0, 0.75).clamp(min, 0.99),
                    false => otherwise(s as f64),
                },
            }
        };
        assert_agrees("timm V3", &v3, 0.0, |step| Some(get_decay(step, &|_| 0.99)));

        let diffusers = Diffusers {
            decay: 0.99,
            min_decay: min,
            update_after_step: after,
            use_ema_warmup: use_warmup,
            inv_gamma: 2.0,
            power: 0.75,
        };
        let ramp = |s: f64| ((1.0 + s) / (10.0 + s)).clamp(min, 0.99);
        assert_agrees("diffusers", &diffusers, 0.0, |step| {
            Some(get_decay(step, &ramp))
        });
    }
    // Its first calls: a copy, then 2/11 or 0.3700.
    let first = |use_ema_warmup| {
        let preset = Diffusers {
            use_ema_warmup,
            ..Diffusers::default()
        };
        kept(&preset.settings().unwrap(), 2)
    };
    assert_eq!(first(false), [0.0, 2.0 / 11.0]);
    assert_eq!(first(true)[0], 0.0);
    assert!((first(true)[1] - 0.3700394750525634).abs() < 1e-15);

    for (every, after) in [(10, 100), (1, 0), (7, 20), (3, 0), (10, 5)] {
        let preset = EmaPytorch {
            beta: 0.99,
            update_after_step: after,
            update_every: every,
            min_value: 0.2,
            ..EmaPytorch::default()
        };
        assert_agrees("ema-pytorch", &preset, 0.0, |step| {
            // The curve sees the step after it was incremented.
            let epoch = (step + 1).saturating_sub(after + 1);
            Some(match (step, step % every, step <= after) {
                (0, ..) => 0.0,
                (_, 0, true) => 0.0,
                (_, 0, false) => curve(epoch as f64, 1.0, 2.0 / 3.0).clamp(0.2, 0.99),
                _ => 1.0,
            })
        });
    }
}

/// It is frozen once its copies are over.
#[test]
fn beta_of_one_freezes_ema_pytorch() {
    let preset = EmaPytorch {
        beta: 1.0,
        update_after_step: 25,
        ..EmaPytorch::default()
    };
    assert_agrees("ema-pytorch, frozen", &preset, 0.0, |step| {
        Some(match (step % 10, step <= 25) {
            (0, true) => 0.0,
            _ => 1.0,
        })
    });
}

/// The decay alone goes with the start of the settings, in the hook as well as here.
#[test]
fn decays_alone_count_from_the_start_of_their_settings() {
    let starts = [
        MmengineEma::default().settings(),
        MmengineAnnealing::default().settings(),
        MmengineSwa::default().settings(),
        MmagicRampUp::default().settings(),
        EmaPytorch::default().settings(),
        Lightning::default().settings(),
        Torchvision::default().settings(),
    ];
    for settings in starts {
        assert_eq!(settings.unwrap().start, 1);
    }
    let (m, first) = (
        0.02,
        Progress {
            updates: 0,
            interval: 1,
        },
    );
    let annealing = MmengineAnnealing {
        momentum: m,
        gamma: 4.0,
        ..MmengineAnnealing::default()
    };
    // The call after the copy.
    assert_eq!(annealing.decay().unwrap().decay(first), 1.0 - 4.0 / 5.0);
}

#[test]
fn gans_and_diffusion() {
    let half_life = |decay_in: f64, images: f64| match images > 0.0 {
        true => 0.5_f64.powf(decay_in / images),
        false => 0.0,
    };
    let stylegan = StyleGan {
        batch_size: 64,
        ..StyleGan::default()
    };
    assert_agrees("StyleGAN", &stylegan, 1e-15, |step| {
        let seen = step as f64 * 64.0;
        Some(half_life(64.0, f64::min(10_000.0, seen * 0.05)))
    });
    // Its default is a ramp without an end.
    for halflife_mimg in [Some(0.1), None] {
        let traditional = Edm2Traditional {
            halflife_mimg,
            ..Edm2Traditional::default()
        };
        let longest = halflife_mimg.map_or(f64::INFINITY, |millions| millions * 1e6);
        assert_agrees("EDM2 traditional", &traditional, 1e-15, |step| {
            let seen = (step + 1) as f64 * 2048.0;
            Some(half_life(2048.0, f64::min(longest, seen * 0.09)))
        });
    }
    let power = Edm2Power { std: 0.1 };
    let exponent = gamma_of_sigma_rel(0.1).unwrap() + 1.0;
    assert_agrees("EDM2 power", &power, 5e-15, |step| {
        let (batch, after) = (2048.0, (step + 1) as f64 * 2048.0);
        Some((1.0 - batch / after).powf(exponent))
    });
}

#[test]
fn the_others() {
    let composer = Composer {
        update_interval: 10,
        ..Composer::default()
    };
    assert_agrees("Composer", &composer, 1e-15, |step| {
        Some(match (step + 1) % 10 {
            0 => 2.0_f64.powf(-10.0 / 1000.0),
            _ => 1.0,
        })
    });
    assert_agrees("NeMo", &Nemo::default(), 0.0, |_| Some(0.999));
    for every in [1, 3] {
        let ignite = Ignite {
            momentum: 0.01,
            momentum_warmup: Some(0.2),
            warmup_iters: 50,
            every,
            ..Ignite::default()
        };
        assert_agrees("Ignite", &ignite, 2e-16, |step| {
            let event = (step + 1) / every;
            let line = 0.2 + (0.01 - 0.2) * (event.max(1) - 1) as f64 / 49.0;
            Some(match (step + 1) % every {
                0 => 1.0 - line.max(0.01),
                _ => 1.0,
            })
        });
    }
    let yolo = Yolo::default();
    assert_agrees("YOLO", &yolo, 2e-16, |step| {
        Some(0.9999 * (1.0 - (-((step + 1) as f64) / 2000.0).exp()))
    });
    let pytorch_ema = PytorchEma::default();
    let ramp = |factor: f64, step: u64| {
        let updates = (step + 1) as f64;
        (1.0 + updates) / (factor + updates)
    };
    assert_agrees("pytorch_ema", &pytorch_ema, 0.0, |step| {
        Some(ramp(10.0, step).min(0.995))
    });
    let d2go = D2go {
        decay_warm_up_factor: Some(25.0),
        ..D2go::default()
    };
    assert_agrees("d2go", &d2go, 0.0, |step| Some(ramp(25.0, step).min(0.999)));
    let optax = Optax { decay: 0.99 };
    assert_agrees("optax", &optax, 1e-13, |step| {
        // The share of the old average in m / (1 - decay^count).
        let count = step as i32 + 1;
        let corrected = |count| 1.0 - 0.99_f64.powi(count);
        Some(0.99 * corrected(count - 1) / corrected(count))
    });
    let incremental = OptaxIncremental {
        step_size: 0.25,
        period: 4,
    };
    assert_agrees("optax incremental", &incremental, 0.0, |step| {
        Some(match (step + 1) % 4 {
            0 => 0.75,
            _ => 1.0,
        })
    });
}

/// The betas of mmagic's `RampUpEMA`, by its count of calls from 0, with the defaults of the constructor.
#[test]
fn ramp_up_has_the_betas_of_mmagic() {
    let ramp = ImageRampUp {
        clock: Clock {
            ticks: Ticks::Steps,
            inclusive: true,
            offset: 0,
        },
        ..ImageRampUp::from_kimg(10.0, Some(0.05), 32)
    };
    for (steps, beta) in [
        (0, 9.5367431640625e-07),
        (1, 9.765625e-04),
        (2, 0.0098431332),
        (3, 0.03125),
        (9, 0.25),
        (99, 0.8705505633),
        (999, 0.9862327045),
        (6249, 0.9977843871238888),
        (1_000_000, 0.9977843871238888),
    ] {
        let decay = ramp.decay(Progress {
            updates: steps,
            interval: 1,
        });
        assert!((decay - beta).abs() <= 1e-9 * beta, "{steps}: {decay}");
    }
}

/// With an interval of 4 mmagic decays by one batch, so that the half-life is 4 times what was asked for.
#[test]
fn ramp_up_keeps_its_half_life_at_any_interval_where_mmagic_does_not() {
    let late = |interval| {
        let preset = MmagicRampUp {
            interval,
            ..MmagicRampUp::default()
        };
        let decay = preset.decay().unwrap().decay(Progress {
            updates: 100_000,
            interval,
        });
        // In images.
        32.0 * interval as f64 * 0.5_f64.ln() / decay.ln()
    };
    assert!((late(1) - 10_000.0).abs() < 1e-6);
    assert!((late(4) - 10_000.0).abs() < 1e-6);
    let mmagic: f64 = 0.5_f64.powf(32.0 / 10_000.0);
    let half_life = 32.0 * 4.0 * 0.5_f64.ln() / mmagic.ln();
    assert!((half_life - 40_000.0).abs() < 1e-6);
}

#[test]
fn composer_has_its_smoothing() {
    let decay = |half_life: f64, interval| {
        let preset = Composer {
            half_life,
            update_interval: interval,
            ..Composer::default()
        };
        let at = Progress {
            updates: 3,
            interval,
        };
        preset.decay().unwrap().decay(at)
    };
    assert!((decay(1000.0, 1) - 0.9993070929904525).abs() < 1e-15);
    assert!((decay(1000.0, 10) - 0.9930924954370359).abs() < 1e-15);
    assert!((decay(10.0, 1) - 0.9330329915368074).abs() < 1e-15);
}

/// The mean time of what is averaged, as a share of the run.
fn mean_time(decays: &[(u64, f64)], steps: u64) -> f64 {
    let mut mean = 0.0;
    for (time, decay) in decays {
        mean = decay * mean + (1.0 - decay) * *time as f64;
    }
    mean / steps as f64
}

/// ema-pytorch's `KarrasEMA` leaves `update_every` out: both facts.
#[test]
fn power_function_has_its_mean_at_any_interval_where_ema_pytorch_has_not() {
    let steps = 10_000;
    for (sigma_rel, right, defective) in [
        (0.05, 0.947, [(1, 0.947), (10, 0.642), (100, 0.151)]),
        (0.10, 0.888, [(1, 0.888), (10, 0.442), (100, 0.073)]),
    ] {
        let gamma = gamma_of_sigma_rel(sigma_rel).unwrap();
        assert!(((gamma + 1.0) / (gamma + 2.0) - right).abs() < 1e-3);
        for (update_every, theirs) in defective {
            let preset = KarrasEma {
                sigma_rel: Some(sigma_rel),
                gamma: None,
                update_every,
            };
            let settings = preset.settings().unwrap();
            let profile = settings
                .schedule()
                .profile(&settings.decay, steps / update_every);
            let profile = profile.unwrap();
            let ours = 1.0 - profile.mean_age() / steps as f64;
            // An update every 100 steps of 10 000 is as coarse as that.
            let coarse = update_every as f64 / steps as f64;
            assert!(
                (ours - right).abs() < 1e-3 + coarse,
                "{update_every}: {ours}"
            );

            let beta = |step: u64| (1.0 - 1.0 / (step as f64 + 2.0)).powf(1.0 + gamma);
            let calls = (0..steps).filter(|step| step % update_every == 0);
            let decays: Vec<(u64, f64)> = calls.map(|step| (step, beta(step))).collect();
            let found = mean_time(&decays, steps);
            assert!((found - theirs).abs() < 2e-3, "{update_every}: {found}");
        }
    }
}
