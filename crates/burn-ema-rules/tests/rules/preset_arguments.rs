//! What presets accept, what they say otherwise, and what they say about buffers and write-back.

use burn_ema_rules::RulesError;
use burn_ema_rules::decay::Progress;
use burn_ema_rules::presets::{
    Buffers, Byol, Composer, D2go, Data2vec, Diffusers, Dino, Edm2Power, EmaPytorch, HandleBuffers,
    Icefall, Ignite, Jepa, KarrasEma, Keras, LevanterDecaySqrt, Lightly, Lightning, Lookahead,
    Marian, MmdetExpMomentum, MmdetMeanTeacher, MmengineEma, MmengineSwa, MmpretrainCosine, MocoV3,
    Nemo, Optax, OptaxIncremental, Preset, PytorchEma, Settings, StyleGan, TimmV2, TimmV3,
    TorchEma, TorchSwa, Torchvision, TrlSyncRef, WriteBackSettings, Yolo,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

type Result = std::result::Result<Settings, RulesError>;

/// Each preset whose argument is a decay.
fn of_decay(decay: f64) -> [(&'static str, Result); 16] {
    let timm = |use_warmup| TimmV3 {
        decay,
        use_warmup,
        ..TimmV3::default()
    };
    let diffusers = |use_ema_warmup| Diffusers {
        decay,
        use_ema_warmup,
        ..Diffusers::default()
    };
    let pytorch_ema = |use_num_updates| PytorchEma {
        decay,
        use_num_updates,
    };
    let d2go = |decay_warm_up_factor| D2go {
        decay,
        decay_warm_up_factor,
        ..D2go::default()
    };
    let smoothing = Some(decay);
    [
        (
            "TorchEma",
            TorchEma {
                decay,
                ..TorchEma::default()
            }
            .settings(),
        ),
        ("TimmV2", TimmV2 { decay }.settings()),
        ("TimmV3", timm(false).settings()),
        ("TimmV3", timm(true).settings()),
        ("Diffusers", diffusers(false).settings()),
        ("Diffusers", diffusers(true).settings()),
        (
            "EmaPytorch",
            EmaPytorch {
                beta: decay,
                ..EmaPytorch::default()
            }
            .settings(),
        ),
        (
            "Keras",
            Keras {
                ema_momentum: decay,
                ..Keras::default()
            }
            .settings(),
        ),
        ("Optax", Optax { decay }.settings()),
        (
            "Composer",
            Composer {
                smoothing,
                ..Composer::default()
            }
            .settings(),
        ),
        (
            "Nemo",
            Nemo {
                decay,
                ..Nemo::default()
            }
            .settings(),
        ),
        (
            "Yolo",
            Yolo {
                decay,
                ..Yolo::default()
            }
            .settings(),
        ),
        ("PytorchEma", pytorch_ema(false).settings()),
        ("PytorchEma", pytorch_ema(true).settings()),
        ("D2go", d2go(None).settings()),
        ("D2go", d2go(Some(10.0)).settings()),
    ]
}

/// torch, timm and the others take any share, and so do the presets.
#[test]
fn presets_accept_each_decay_that_the_framework_accepts() {
    for decay in [0.0, 1e-300, 0.0001, 0.3, 0.499, 0.5, 0.9999, 1.0] {
        for (name, settings) in of_decay(decay) {
            let settings = settings.unwrap_or_else(|error| panic!("{name}: {error}"));
            settings.validate().unwrap();
            let late = settings.decay.try_decay(Progress {
                updates: 10_000_000_000,
                interval: settings.interval,
            });
            let late = late.unwrap();
            assert!((late - decay).abs() < 1e-5, "{name}: {late} and {decay}");
        }
        let lightning = Lightning {
            decay,
            ..Lightning::default()
        };
        assert!(lightning.settings().is_ok());
        let torchvision = Torchvision {
            decay,
            ..Torchvision::default()
        };
        assert!(torchvision.settings().is_ok());
        let incremental = OptaxIncremental {
            step_size: decay,
            period: 1,
        };
        assert!(incremental.settings().is_ok());
    }
}

#[test]
fn presets_name_a_decay_that_is_no_share() {
    for decay in [-0.1, 1.000001, f64::NAN, f64::INFINITY] {
        for (name, settings) in of_decay(decay) {
            let message = settings.unwrap_err().to_string();
            assert!(message.starts_with(name), "{message}");
            assert!(message.contains("must be in [0, 1]"), "{message}");
        }
    }
}

/// timm ignores them.
#[test]
fn arguments_of_a_warm_up_that_is_off_are_not_checked() {
    let timm = TimmV3 {
        min_decay: 0.99999,
        warmup_power: -1.0,
        ..TimmV3::default()
    };
    assert!(timm.settings().is_ok());
    let diffusers = Diffusers {
        inv_gamma: 0.0,
        power: -1.0,
        ..Diffusers::default()
    };
    assert!(diffusers.settings().is_ok());
}

#[test]
fn mmengine_and_ignite_accept_or_reject_these() {
    for momentum in [10.0, -2.0, 3.0, 0.0, 1.0, f64::NAN] {
        let mmengine = MmengineEma {
            momentum,
            ..MmengineEma::default()
        }
        .settings();
        let ignite = Ignite {
            momentum,
            ..Ignite::default()
        }
        .settings();
        for refused in [mmengine, ignite] {
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("above 0 and below 1"), "{message}");
        }
    }
    // A warning there and here.
    let unusual = MmengineEma {
        momentum: 0.6,
        ..MmengineEma::default()
    };
    assert!(unusual.settings().is_ok());
}

#[test]
fn arguments_out_of_range_are_errors_by_name() {
    #[track_caller]
    fn refused(result: Result, part: &str) {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
    let min_above_max = Diffusers {
        decay: 0.9,
        min_decay: 0.95,
        ..Diffusers::default()
    };
    refused(min_above_max.settings(), "min must be in [0, max]");
    let certain = MmengineEma {
        momentum: 1.0,
        ..MmengineEma::default()
    };
    refused(certain.settings(), "momentum must be above 0 and below 1");
    refused(
        MmpretrainCosine::default().settings(),
        "max_iters must be finite and above 0, found 0",
    );
    let runs: [&dyn Preset; 6] = [
        &Byol::default(),
        &MocoV3::default(),
        &Dino::default(),
        &Lightly::default(),
        &Jepa::default(),
        &LevanterDecaySqrt {
            decay_steps: 0,
            ..LevanterDecaySqrt::default()
        },
    ];
    for run in runs {
        refused(run.settings(), "must be finite and above 0, found 0");
    }
    let beyond = Jepa {
        ema: [0.9, 1.1],
        iterations: 10,
    };
    refused(beyond.settings(), "ema[1] must be in [0, 1]");
    let nothing = Marian {
        ratio: 0.0,
        ..Marian::default()
    };
    refused(nothing.settings(), "ratio must be finite and above 0");
    let never = Lookahead {
        k: 0,
        ..Lookahead::default()
    };
    refused(never.settings(), "interval");
    let upwards = MmpretrainCosine {
        end_momentum: 1.5,
        max_iters: 10,
        ..MmpretrainCosine::default()
    };
    refused(upwards.settings(), "end_momentum must be in [0, 1]");
    let flat = MmdetExpMomentum {
        gamma: 0.0,
        ..MmdetExpMomentum::default()
    };
    refused(flat.settings(), "gamma must be finite and above 0");
    let still = MmdetMeanTeacher {
        momentum: 0.0,
        ..MmdetMeanTeacher::default()
    };
    refused(still.settings(), "momentum must be above 0 and below 1");
    let never = MmengineEma {
        interval: 0,
        ..MmengineEma::default()
    };
    refused(never.settings(), "interval");
    let both = KarrasEma {
        gamma: Some(3.0),
        ..KarrasEma::default()
    };
    refused(both.settings(), "one of sigma_rel and gamma");
    let no_images = StyleGan {
        batch_size: 0,
        ..StyleGan::default()
    };
    refused(
        no_images.settings(),
        "batch_size must be finite and above 0",
    );
    let backwards = Yolo {
        tau: -1.0,
        ..Yolo::default()
    };
    refused(backwards.settings(), "tau must be finite and above 0");
    let early = D2go {
        decay_warm_up_factor: Some(0.5),
        ..D2go::default()
    };
    refused(early.settings(), "factor must be finite and at least 1");
    let overwritten = Keras {
        ema_overwrite_frequency: Some(0),
        ..Keras::default()
    };
    refused(
        overwritten.settings(),
        "write_back: 0 steps between two write-backs",
    );
    let wide = Edm2Power { std: 0.3 };
    refused(wide.settings(), "sigma_rel must be above 0");
    let kept = Settings {
        write_back: Some(WriteBackSettings {
            every: 1,
            start: 0,
            keep: 1.0,
        }),
        ..TimmV2::default().settings().unwrap()
    };
    assert!(
        kept.validate()
            .unwrap_err()
            .to_string()
            .contains("below 1, found 1")
    );
}

/// Of frozen parameters and of buffers.
#[test]
fn presets_say_what_is_averaged() {
    let of = |preset: Result| {
        let settings = preset.unwrap();
        (settings.frozen_averaged, settings.buffers)
    };
    use Buffers::{Average, Copy, Ignore};
    assert_eq!(of(Composer::default().settings()), (false, Average));
    assert_eq!(of(D2go::default().settings()), (true, Average));
    let d2go = D2go {
        include_frozen: false,
        include_buffer: false,
        ..D2go::default()
    };
    assert_eq!(of(d2go.settings()), (false, Copy));
    assert_eq!(of(Diffusers::default().settings()), (false, Copy));
    assert_eq!(of(Edm2Power::default().settings()), (true, Copy));
    assert_eq!(of(EmaPytorch::default().settings()), (true, Average));
    assert_eq!(of(KarrasEma::default().settings()), (true, Average));
    for (handle_buffers, expected) in [
        (HandleBuffers::Copy, Copy),
        (HandleBuffers::Update, Average),
        (HandleBuffers::EmaTrain, Ignore),
    ] {
        let ignite = Ignite {
            handle_buffers,
            ..Ignite::default()
        };
        assert_eq!(of(ignite.settings()), (true, expected));
    }
    assert_eq!(of(Keras::default().settings()), (false, Copy));
    assert_eq!(of(Lightning::default().settings()), (true, Average));
    assert_eq!(of(MmdetExpMomentum::default().settings()), (true, Copy));
    for (skip_buffer, expected) in [(true, Ignore), (false, Average)] {
        let teacher = MmdetMeanTeacher {
            skip_buffer,
            ..MmdetMeanTeacher::default()
        };
        assert_eq!(of(teacher.settings()), (true, expected));
    }
    assert_eq!(of(MmengineEma::default().settings()), (true, Copy));
    for (update_buffers, expected) in [(true, Average), (false, Copy)] {
        let cosine = MmpretrainCosine {
            max_iters: 10,
            update_buffers,
            ..MmpretrainCosine::default()
        };
        assert_eq!(of(cosine.settings()), (true, expected));
    }
    assert_eq!(of(Nemo::default().settings()), (false, Copy));
    assert_eq!(of(Dino::v2(10).settings()), (true, Ignore));
    assert_eq!(of(Data2vec::default().settings()), (false, Copy));
    assert_eq!(of(Icefall::default().settings()), (true, Average));
    assert_eq!(of(TrlSyncRef::default().settings()), (true, Ignore));
    assert_eq!(of(Optax::default().settings()), (false, Copy));
    assert_eq!(of(PytorchEma::default().settings()), (false, Copy));
    assert_eq!(of(StyleGan::default().settings()), (true, Copy));
    assert_eq!(of(TimmV2::default().settings()), (true, Average));
    let timm = TimmV3 {
        exclude_buffers: true,
        ..TimmV3::default()
    };
    assert_eq!(of(timm.settings()), (true, Copy));
    assert_eq!(
        of(TorchSwa { use_buffers: true }.settings()),
        (true, Average)
    );
    assert_eq!(of(Torchvision::default().settings()), (true, Average));
    assert_eq!(of(Yolo::default().settings()), (true, Average));
    let keras = Keras {
        ema_overwrite_frequency: Some(50),
        ..Keras::default()
    };
    let expected = WriteBackSettings {
        every: 50,
        start: 0,
        keep: 0.0,
    };
    assert_eq!(keras.settings().unwrap().write_back, Some(expected));
}

#[test]
fn presets_and_settings_come_back_from_json() {
    #[track_caller]
    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T) {
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value);
    }
    round_trip(TimmV3 {
        warmup_power: 2.0 / 3.0,
        use_warmup: true,
        ..TimmV3::default()
    });
    round_trip(MmengineSwa::default());
    round_trip(MmpretrainCosine::default());
    round_trip(MmdetExpMomentum::default());
    round_trip(MmdetMeanTeacher::default());
    round_trip(Jepa::default());
    round_trip(Lookahead::default());
    round_trip(Ignite::default());
    round_trip(KarrasEma {
        sigma_rel: None,
        gamma: Some(6.94),
        update_every: 1,
    });
    round_trip(
        Keras {
            ema_overwrite_frequency: Some(3),
            ..Keras::default()
        }
        .settings()
        .unwrap(),
    );
    round_trip(Optax::default().settings().unwrap());
    // What a file leaves out has the default of the framework.
    let timm: TimmV3 = serde_json::from_str(r#"{ "decay": 0.99 }"#).unwrap();
    assert_eq!(
        timm,
        TimmV3 {
            decay: 0.99,
            ..TimmV3::default()
        }
    );
    let karras: KarrasEma = serde_json::from_str(r#"{ "gamma": 3.0 }"#).unwrap();
    assert!(karras.settings().is_ok());
    assert!(serde_json::from_str::<TimmV3>(r#"{ "decai": 0.99 }"#).is_err());
}
