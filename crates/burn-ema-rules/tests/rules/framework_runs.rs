//! EMAs of other frameworks, and the presets that are to give the same. The tests of burn-ema run them on tensors.

use burn_ema_rules::presets::{
    Byol, Data2vec, Diffusers, Dino, EmaPytorch, Icefall, Ignite, Jepa, Keras, Lightly,
    MmdetExpMomentum, MmdetMeanTeacher, MmengineAnnealing, MmengineEma, MmengineSwa,
    MmpretrainCosine, MocoV3, Optax, OptaxIncremental, Preset, PytorchEma, TimmV2, TimmV3,
    TorchEma, TorchSwa,
};
use serde_json::Value;

/// What a framework makes of one number.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) preset: Box<dyn Preset>,
    pub(crate) initial: f64,
    /// The number after each step.
    pub(crate) seen: Vec<f64>,
    /// The EMA after each of the last steps, as far as it is known.
    pub(crate) emas: Vec<f64>,
    /// How far it may be off.
    pub(crate) tolerance: f64,
}

impl Run {
    /// Checks what the preset gives after each step. `rounding` is the error of the arithmetic, relative to the largest number.
    #[track_caller]
    pub(crate) fn assert_gives(&self, emas: &[f64], rounding: f64) {
        let last = &emas[emas.len() - self.emas.len()..];
        let largest = self.seen.iter().fold(0.0, |max, x| f64::max(max, x.abs()));
        let tolerance = self.tolerance + rounding * largest;
        for (back, (found, expected)) in last.iter().zip(&self.emas).enumerate() {
            let step = emas.len() - self.emas.len() + back + 1;
            assert!(
                (found - expected).abs() <= tolerance,
                "{}, step {step}: {found}, and not {expected}",
                self.name
            );
        }
    }
}

/// All that is known.
pub(crate) fn runs() -> Vec<Run> {
    let mut runs = recorded();
    runs.extend(mmagic());
    runs.extend(open_mmlab());
    runs.extend(teachers());
    runs.extend(documented());
    runs
}

/// The EMA that a framework had after each step, for a number that every run has passed through: [`value`].
pub(crate) fn recording(name: &str) -> Vec<f64> {
    let file: Value = serde_json::from_str(include_str!("frameworks.json")).unwrap();
    let emas = file["averages"][name].as_array();
    let emas = emas.unwrap_or_else(|| panic!("no recording of `{name}`"));
    emas.iter().map(|x| x.as_f64().unwrap()).collect()
}

pub(crate) fn value(step: usize) -> f64 {
    match step {
        0 => 0.3,
        step => (1.3 * step as f64).sin() + step as f64 / 10.0,
    }
}

/// By the frameworks themselves, which `tests/golden/peers.py` ran.
fn recorded() -> Vec<Run> {
    let mut runs = Vec::new();
    let mut add = |name: &str, preset: Box<dyn Preset>, tolerance| {
        let emas = recording(name);
        runs.push(Run {
            name: name.into(),
            preset,
            initial: value(0),
            seen: (1..=emas.len()).map(value).collect(),
            emas,
            tolerance,
        });
    };
    let mut exact = |name: &str, preset: Box<dyn Preset>| add(name, preset, 1e-13);

    let ema = TorchEma {
        decay: 0.9,
        use_buffers: false,
    };
    exact("torch_ema", Box::new(ema));
    exact("torch_swa", Box::<TorchSwa>::default());

    exact("timm_v2", Box::new(TimmV2 { decay: 0.9 }));
    let v3 = TimmV3 {
        decay: 0.9,
        ..TimmV3::default()
    };
    exact("timm_v3", Box::new(v3));
    let warmup = TimmV3 {
        use_warmup: true,
        warmup_gamma: 2.0,
        warmup_power: 0.75,
        ..v3
    };
    exact("timm_v3_warmup", Box::new(warmup));
    let late = TimmV3 {
        min_decay: 0.3,
        update_after_step: 7,
        use_warmup: true,
        ..v3
    };
    exact("timm_v3_late", Box::new(late));

    let ramp = Diffusers {
        decay: 0.8,
        ..Diffusers::default()
    };
    exact("diffusers", Box::new(ramp));
    let warmup = Diffusers {
        use_ema_warmup: true,
        inv_gamma: 2.0,
        power: 0.75,
        ..ramp
    };
    exact("diffusers_warmup", Box::new(warmup));
    let late = Diffusers {
        min_decay: 0.3,
        update_after_step: 7,
        ..ramp
    };
    exact("diffusers_late", Box::new(late));

    for interval in [1, 3] {
        let ema = MmengineEma {
            momentum: 0.1,
            interval,
            ..MmengineEma::default()
        };
        exact(&format!("mmengine_ema_{interval}"), Box::new(ema));
        let annealing = MmengineAnnealing {
            momentum: 0.05,
            gamma: 4.0,
            interval,
            ..MmengineAnnealing::default()
        };
        exact(
            &format!("mmengine_annealing_{interval}"),
            Box::new(annealing),
        );
        let swa = MmengineSwa {
            interval,
            ..MmengineSwa::default()
        };
        exact(&format!("mmengine_swa_{interval}"), Box::new(swa));
    }

    let constant = Ignite {
        momentum: 0.1,
        ..Ignite::default()
    };
    exact("ignite", Box::new(constant));
    let warmup = Ignite {
        momentum_warmup: Some(0.4),
        warmup_iters: 12,
        ..constant
    };
    exact("ignite_warmup", Box::new(warmup));
    let every_third = Ignite {
        every: 3,
        ..constant
    };
    exact("ignite_every_3", Box::new(every_third));

    let ramp = PytorchEma {
        decay: 0.9,
        use_num_updates: true,
    };
    exact("pytorch_ema", Box::new(ramp));
    let constant = PytorchEma {
        use_num_updates: false,
        ..ramp
    };
    exact("pytorch_ema_constant", Box::new(constant));
    exact("optax", Box::new(Optax { decay: 0.9 }));
    let incremental = OptaxIncremental {
        step_size: 0.25,
        period: 1,
    };
    exact("optax_incremental", Box::new(incremental));

    // It computes its decay in f32.
    let mut in_f32 = |name: &str, preset: EmaPytorch| add(name, Box::new(preset), 1e-6);
    let ema = EmaPytorch {
        beta: 0.9,
        update_after_step: 20,
        update_every: 10,
        ..EmaPytorch::default()
    };
    in_f32("ema_pytorch", ema);
    let odd = EmaPytorch {
        update_after_step: 5,
        update_every: 3,
        power: 0.75,
        min_value: 0.2,
        ..ema
    };
    in_f32("ema_pytorch_odd", odd);
    runs
}

/// `a[0]` of the model in mmagic's test of its hook, after each iteration.
fn mmagic() -> Vec<Run> {
    let run = |name: &str, preset: Box<dyn Preset>, emas: &[f64]| Run {
        name: format!("mmagic, {name}"),
        preset,
        initial: 1.0,
        seen: (0..emas.len()).map(|t| 1.0 + t as f64 / 2.0).collect(),
        emas: emas.to_vec(),
        tolerance: 1e-14,
    };
    let ema = MmengineEma {
        momentum: 0.1,
        begin_iter: 5,
        ..MmengineEma::default()
    };
    let annealing = |interval| {
        Box::new(MmengineAnnealing {
            momentum: 0.1,
            gamma: 4.0,
            interval,
            ..MmengineAnnealing::default()
        })
    };
    let swa = |interval| {
        Box::new(MmengineSwa {
            interval,
            ..MmengineSwa::default()
        })
    };
    let (third, sixth) = (13.0 / 7.0, 2.714285714285714);
    vec![
        run(
            "EMA from 5",
            Box::new(ema),
            &[1.0, 1.5, 2.0, 2.5, 3.0, 3.05, 3.145, 3.2805, 3.45245],
        ),
        run(
            "annealing",
            annealing(1),
            &[1.0, 1.4, 1.8, 2.2, 2.6, 3.0, 3.4, 3.8],
        ),
        run(
            "annealing every 3",
            annealing(3),
            &[1.0, 1.0, 1.0, third, third, third, sixth],
        ),
        run("SWA", swa(1), &[1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5]),
        run(
            "SWA every 3",
            swa(3),
            &[1.0, 1.0, 1.0, 1.75, 1.75, 1.75, 2.5],
        ),
    ]
}

/// By the formulas of a framework, to twelve digits, for weights of 1 and then 2, 4, 3, 5, 8, 6, 7, 9.
fn by_formula(name: &str, preset: Box<dyn Preset>, emas: [f64; 8]) -> Run {
    Run {
        name: name.into(),
        preset,
        initial: 1.0,
        seen: vec![2.0, 4.0, 3.0, 5.0, 8.0, 6.0, 7.0, 9.0],
        emas: emas.to_vec(),
        tolerance: 1e-11,
    }
}

/// Momentum teachers, whose decay goes from 0.9 to 1 in 8 updates (data2vec: to 0.99 in 5), and means.
fn teachers() -> Vec<Run> {
    let cosine = [
        1.1,
        1.37896253221,
        1.5173267349,
        1.7580984661,
        2.0701935428,
        2.19149027448,
        2.26190926904,
        2.28755459986,
    ];
    let byol = Byol {
        base_target_ema: 0.9,
        max_steps: 8,
    };
    let moco = MocoV3 {
        moco_m: 0.9,
        iterations: 8,
    };
    let dino = Dino {
        momentum_teacher: 0.9,
        iterations: 8,
        ..Dino::default()
    };
    let below_1 = Dino {
        final_momentum_teacher: 0.98,
        ..dino
    };
    let lightly = Lightly {
        start_value: 0.9,
        max_steps: 8,
        ..Lightly::default()
    };
    let jepa = Jepa {
        ema: [0.9, 1.0],
        iterations: 8,
    };
    let data2vec = Data2vec {
        ema_decay: 0.9,
        ema_end_decay: 0.99,
        ema_anneal_end_step: 5,
    };
    vec![
        by_formula("BYOL", Box::new(byol), cosine),
        by_formula("MoCo v3", Box::new(moco), cosine),
        by_formula("DINO", Box::new(dino), cosine),
        by_formula(
            "DINO to 0.98",
            Box::new(below_1),
            [
                1.1,
                1.38117002577,
                1.52408725032,
                1.78584898417,
                2.15869804512,
                2.33037605774,
                2.47847658406,
                2.62876390883,
            ],
        ),
        by_formula(
            "lightly",
            Box::new(lightly),
            [
                1.1,
                1.37564048585,
                1.50749704113,
                1.72097994009,
                1.96507027268,
                2.04102988224,
                2.06558450348,
                2.06558450348,
            ],
        ),
        by_formula(
            "I-JEPA",
            Box::new(jepa),
            [
                1.1,
                1.35375,
                1.47721875,
                1.69739257813,
                2.01252294922,
                2.16205333862,
                2.28300200516,
                2.36696448009,
            ],
        ),
        by_formula(
            "data2vec",
            Box::new(data2vec),
            [
                1.082,
                1.268752,
                1.348389408,
                1.45063450458,
                1.51612815953,
                1.56096687793,
                1.61535720916,
                1.68920363706,
            ],
        ),
        by_formula(
            "icefall",
            Box::new(Icefall { average_period: 1 }),
            [2.0, 3.0, 3.0, 3.5, 4.4, 14.0 / 3.0, 5.0, 5.5],
        ),
    ]
}

/// mmpretrain and mmdetection.
fn open_mmlab() -> Vec<Run> {
    let cosine = MmpretrainCosine {
        momentum: 0.1,
        max_iters: 8,
        ..MmpretrainCosine::default()
    };
    let exponential = MmdetExpMomentum {
        momentum: 0.1,
        gamma: 2.0,
        ..MmdetExpMomentum::default()
    };
    let teacher = MmdetMeanTeacher {
        momentum: 0.1,
        interval: 2,
        ..MmdetMeanTeacher::default()
    };
    vec![
        by_formula(
            "CosineEMA",
            Box::new(cosine),
            [
                2.0,
                2.19238795325,
                2.26132195333,
                2.45065819142,
                2.72812528184,
                2.82911440538,
                2.89019561074,
                2.91344966906,
            ],
        ),
        by_formula(
            "ExpMomentumEMA",
            Box::new(exponential),
            [
                2.0,
                2.86218299411,
                2.90364071223,
                3.36861688119,
                4.17390556231,
                4.43833930583,
                4.76412528041,
                5.25753722894,
            ],
        ),
        by_formula(
            "MeanTeacherHook",
            Box::new(teacher),
            [1.0, 1.3, 1.3, 1.67, 1.67, 2.103, 2.103, 2.7927],
        ),
    ]
}

/// From the documentation and the tests of the frameworks.
fn documented() -> Vec<Run> {
    let run = |name: &str, preset: Box<dyn Preset>, initial, seen: &[f64], emas: &[f64]| Run {
        name: name.into(),
        preset,
        initial,
        seen: seen.to_vec(),
        emas: emas.to_vec(),
        tolerance: 1e-14,
    };
    let ignite = |every| {
        Box::new(Ignite {
            momentum: 0.5,
            every,
            ..Ignite::default()
        })
    };
    let keras = Keras {
        ema_momentum: 0.9,
        ..Keras::default()
    };
    let optax = Run {
        // As many digits as are documented.
        tolerance: 1e-10,
        ..run(
            "optax, debiased",
            Box::new(Optax { decay: 0.9 }),
            -3.0,
            &[5.0, 7.0],
            &[5.0, 6.0526315789],
        )
    };
    let incremental = OptaxIncremental {
        step_size: 0.5,
        period: 1,
    };
    let small = MmengineEma {
        momentum: 0.0001,
        ..MmengineEma::default()
    };
    let torch = TorchEma {
        decay: 0.75,
        use_buffers: false,
    };
    let seen = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0];
    // torch's own test: `sum p_i decay^(N - i - 1) (1 - decay if i > 0 else 1)`.
    let terms = seen.iter().enumerate().map(|(i, p)| {
        let share = if i > 0 { 0.25 } else { 1.0 };
        p * 0.75_f64.powi((seen.len() - i - 1) as i32) * share
    });
    let of_torch: f64 = terms.sum();
    let mean = seen.iter().sum::<f64>() / seen.len() as f64;
    let mut runs = vec![
        // A weight that grows by 1 in each of 4 iterations.
        run("ignite", ignite(1), 1.0, &[2.0, 3.0, 4.0, 5.0], &[4.0625]),
        run(
            "ignite, every 2",
            ignite(2),
            1.0,
            &[2.0, 3.0, 4.0, 5.0],
            &[3.5],
        ),
        // Two steps of SGD at a rate of 0.1 on half the square of a weight of 1.
        run("Keras", Box::new(keras), 1.0, &[0.9, 0.81], &[0.891]),
        optax,
        run("optax, half", Box::new(incremental), 1.0, &[2.0], &[1.5]),
        run(
            "mmengine, small",
            Box::new(small),
            3.0,
            &[3.0, 5.0],
            &[0.9999 * 3.0 + 0.0001 * 5.0],
        ),
        run("torch EMA", Box::new(torch), 100.0, &seen, &[of_torch]),
        run(
            "torch SWA",
            Box::<TorchSwa>::default(),
            100.0,
            &seen,
            &[mean],
        ),
    ];
    for decay in [0.995, 0.9, 0.0, 1.0] {
        let preset = PytorchEma {
            decay,
            use_num_updates: false,
        };
        runs.push(run(
            &format!("pytorch_ema at {decay}"),
            Box::new(preset),
            0.0,
            &[1.0],
            &[1.0 - decay],
        ));
    }
    runs
}
