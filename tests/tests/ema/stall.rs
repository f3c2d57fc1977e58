//! EMAs whose updates are too small for their dtype: where they stop, and the three precisions in which they do not.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::store::ModuleRecord;
use burn::tensor::{DType, Device, Tensor};
use burn_ema::config::EmaPrecision;
use burn_ema::decay::Progress;
use burn_ema::plan::PlanAction;
use burn_ema::record::{Plain, Recorded};
use burn_ema::{Decay, EmaConfig, EmaModel, EmaSetConfig};
use burn_ema_tests::backend::{device, elsewhere, has_dtype};
use burn_ema_tests::compare::{assert_near, numbers};
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::numbers_at;

const STOCHASTIC: EmaPrecision = EmaPrecision::StochasticBf16 { seed: 7 };

fn model(numbers: &[f32]) -> Weights {
    Weights::new(numbers, &device())
}

fn config(precision: EmaPrecision) -> EmaConfig {
    EmaConfig::new()
        .with_decay(Decay::constant(0.9999))
        .with_precision(precision)
}

/// The precisions, without those that the device does not have.
fn precisions(test: &str, of: &[EmaPrecision]) -> Vec<EmaPrecision> {
    let is_there = |precision: &&EmaPrecision| match precision {
        EmaPrecision::F64 => has_dtype(DType::F64, test),
        EmaPrecision::StochasticBf16 { .. } => has_dtype(DType::BF16, test),
        _ => true,
    };
    of.iter().filter(is_there).copied().collect()
}

fn full(ema: &EmaModel<Weights>) -> Vec<f64> {
    numbers(&ema.full_precision_model().w.val())
}

fn mean_and_deviation(numbers: &[f64]) -> (f64, f64) {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let squares = numbers.iter().map(|number| (number - mean).powi(2));
    (mean, (squares.sum::<f64>() / count).sqrt())
}

/// What a record holds of an EMA, byte for byte.
fn recorded(ema: &EmaModel<Weights>) -> Vec<u8> {
    let bytes = ema.clone().into_record().into_bytes().unwrap();
    bytes.to_vec()
}

fn loaded(config: &EmaConfig, first: &Weights, record: &[u8]) -> EmaModel<Weights> {
    let record = ModuleRecord::from_bytes(burn::tensor::Bytes::from_bytes_vec(record.to_vec()));
    config.init(first).try_load_record(record.unwrap()).unwrap()
}

/// A source that stands at 1.001, one at 1.0001, and one that swings: an EMA in f32 that comes from 1 stops at 1.000404, does
/// not move, and is off; in every framework.
#[test]
fn hundred_thousand_small_updates_are_those_of_f64() {
    const UPDATES: u32 = 100_000;
    let of = precisions(
        "hundred_thousand_small_updates_are_those_of_f64",
        &[
            EmaPrecision::AtLeastF32,
            EmaPrecision::Compensated,
            EmaPrecision::F64,
        ],
    );
    let first = model(&[1.0, 1.0, 1.0]);
    let mut emas: Vec<_> = of
        .iter()
        .map(|precision| config(*precision).init(&first))
        .collect();
    let sources: Vec<[f32; 3]> = (0..16_u8)
        .map(|step| {
            [
                1.001,
                1.0001,
                1.0 + 0.01 * (f32::from(step) * 0.4).sin().abs(),
            ]
        })
        .collect();
    let models: Vec<Weights> = sources.iter().map(|source| model(source)).collect();
    let mut expected = [1.0_f64; 3];
    for update in 0..UPDATES {
        let step = update as usize % 16;
        for ema in &mut emas {
            ema.update(&models[step]).unwrap();
        }
        for (expected, source) in expected.iter_mut().zip(sources[step]) {
            *expected += (f64::from(source) - *expected) * (1.0 - 0.9999);
        }
    }
    for (precision, ema) in of.iter().zip(&emas) {
        let found = full(ema);
        match precision {
            EmaPrecision::AtLeastF32 => {
                assert_near(&found[..2], &[1.000404, 1.0], 1e-6);
                assert!(
                    (found[2] - expected[2]).abs() > 5e-5,
                    "{} and {}",
                    found[2],
                    expected[2]
                );
            }
            // Half a unit in the last place of f32.
            EmaPrecision::Compensated => assert_near(&found, &expected, 0.61e-7),
            _ => assert_near(&found, &expected, 1e-13),
        }
        // What is handed out is of the model's dtype.
        assert_eq!(ema.model().w.val().dtype(), DType::F32);
    }
}

/// After 500,000 updates of a mean at 1, and 100,000 more at 1.02, the mean is 1.00333. In f32 it is 1.
#[test]
fn mean_of_many_updates_still_moves() {
    const BEFORE: u64 = 500_000;
    const THEN: u32 = 20_000;
    for precision in [EmaPrecision::AtLeastF32, EmaPrecision::Compensated] {
        let config = EmaConfig::new()
            .with_decay(Decay::equal_weights())
            .with_precision(precision);
        let mut ema = config.init(&model(&[1.0]));
        let progress = Progress {
            updates: BEFORE,
            interval: 1,
        };
        ema.resume_from(&model(&[1.0]), progress).unwrap();
        let source = model(&[1.02]);
        for _ in 0..THEN {
            ema.update(&source).unwrap();
        }
        let share = f64::from(THEN) / (BEFORE as f64 + f64::from(THEN));
        let expected = match precision {
            EmaPrecision::Compensated => 1.0 + 0.02 * share,
            _ => 1.0,
        };
        assert_near(&full(&ema), &[expected], 0.61e-7);
    }
}

/// From 1 to 2 in 4,000 updates, for three weights: known values of bf16 rounded to the nearest, of f32, and of the mean and
/// deviation of 4,096 elements that are rounded stochastically.
#[test]
fn bf16_that_is_rounded_stochastically_moves_without_bias() {
    const ELEMENTS: usize = 4_096;
    if !has_dtype(
        DType::BF16,
        "bf16_that_is_rounded_stochastically_moves_without_bias",
    ) {
        return;
    }
    let half = |number: f32, elements: usize| {
        Weights::of_dtype(&vec![number; elements], DType::BF16, &device())
    };
    for (weight, exact, nearest, single, deviation) in [
        (1e-2, 2.0, 1.609, 1.999994, 0.0),
        (1e-3, 1.981721, 1.0, 1.981720, 0.012),
        (1e-4, 1.329693, 1.0, 1.329694, 0.041),
    ] {
        let config = |precision: EmaPrecision| {
            EmaConfig::new()
                .with_decay(Decay::weight(weight))
                .with_precision(precision)
        };
        let mut stochastic = config(STOCHASTIC).init(&half(1.0, ELEMENTS));
        let mut same = config(EmaPrecision::SameAsModel).init(&half(1.0, 1));
        let mut wide = config(EmaPrecision::AtLeastF32).init(&half(1.0, 1));
        let (many, one) = (half(2.0, ELEMENTS), half(2.0, 1));
        for _ in 0..4_000 {
            stochastic.update(&many).unwrap();
            same.update(&one).unwrap();
            wide.update(&one).unwrap();
        }
        assert_near(&full(&same), &[nearest], 1e-3);
        assert_near(&full(&wide), &[single], 5e-6);
        assert_eq!(
            stochastic.full_precision_model().w.val().dtype(),
            DType::BF16
        );
        let (mean, found) = mean_and_deviation(&full(&stochastic));
        // Five deviations of a mean.
        let off = (mean - exact).abs();
        assert!(off < 1e-5 + 5.0 * deviation / 64.0, "{mean} is not {exact}");
        let off = (found - deviation).abs();
        assert!(off <= 0.06 * deviation, "{found} is not {deviation}");
    }
}

/// The mean of 256 elements, against a recursion in f64.
#[test]
fn hundred_thousand_stochastic_updates_are_those_of_f64_in_the_mean() {
    const ELEMENTS: usize = 256;
    if !has_dtype(DType::BF16, "hundred_thousand_stochastic_updates") {
        return;
    }
    let mut ema = config(STOCHASTIC).init(&model(&[1.0; ELEMENTS]));
    let sources = [0.9, 1.6];
    let models = sources.map(|source: f32| model(&[source; ELEMENTS]));
    let mut expected = 1.0;
    for update in 0..100_000 {
        ema.update(&models[update % 2]).unwrap();
        expected += (f64::from(sources[update % 2]) - expected) * 1e-4;
    }
    let (mean, deviation) = mean_and_deviation(&full(&ema));
    // Up to 0.29 / sqrt(1 - decay) of the distance of two neighbours.
    assert!(deviation < 0.29 * 2.0_f64.powi(-7) / 1e-2, "{deviation}");
    let off = (mean - expected).abs();
    assert!(off < 5.0 * deviation / 16.0, "{mean} is not {expected}");
    // Of f32 weights it takes half of the memory of the model.
    assert_eq!(ema.plan().bytes(PlanAction::Average), 2 * ELEMENTS as u64);
}

/// Another backend, or another release, must give these very numbers.
#[test]
fn random_bits_are_the_same_everywhere() {
    if !has_dtype(DType::BF16, "random_bits_are_the_same_everywhere") {
        return;
    }
    let mut ema = EmaConfig::new()
        .with_decay(Decay::weight(0.125))
        .with_precision(STOCHASTIC)
        .init(&model(&[1.0; 20]));
    for _ in 0..5 {
        ema.update(&model(&[1.5; 20])).unwrap();
    }
    assert_eq!(
        full(&ema),
        AFTER_FIVE.map(|steps| 1.0 + f64::from(steps) / 128.0)
    );
}

/// Worked out apart from the library, in steps of `1 / 128` above 1.
const AFTER_FIVE: [u8; 20] = [
    30, 30, 31, 31, 31, 31, 31, 32, 31, 32, 32, 31, 32, 31, 31, 32, 31, 31, 31, 31,
];

#[test]
fn another_seed_and_another_tensor_have_other_bits() {
    if !has_dtype(
        DType::BF16,
        "another_seed_and_another_tensor_have_other_bits",
    ) {
        return;
    }
    let ema = |seed| {
        let config = config(EmaPrecision::StochasticBf16 { seed }).with_decay(Decay::weight(0.1));
        let two = |number: f32| (model(&[number; 64]), model(&[number; 64]));
        let mut ema = config.init(&two(1.0));
        ema.update(&two(1.01)).unwrap();
        let (first, second) = ema.full_precision_model();
        [first, second].map(|weights| numbers(&weights.w.val()))
    };
    let ([first, second], [of_other_seed, _]) = (ema(1), ema(2));
    assert_eq!(first, ema(1)[0]);
    assert_ne!(first, second);
    assert_ne!(first, of_other_seed);
}

#[test]
fn record_in_the_middle_changes_no_bit() {
    let of = precisions(
        "record_in_the_middle_changes_no_bit",
        &[EmaPrecision::F64, EmaPrecision::Compensated, STOCHASTIC],
    );
    for precision in of {
        let config = config(precision).with_start(2);
        let first = model(&[1.0, -2.0, 3.0]);
        let (mut whole, mut parts) = (config.init(&first), config.init(&first));
        for step in 0..20_u8 {
            let source = model(&[1.0, 2.0, 3.0].map(|x: f32| (f32::from(step) * x).sin()));
            whole.update(&source).unwrap();
            parts.update(&source).unwrap();
            parts = loaded(&config, &model(&[-7.0; 3]), &recorded(&parts));
        }
        assert_eq!(recorded(&whole), recorded(&parts), "{precision:?}");
        let json = burn::config::config_to_json(&config);
        let config = EmaConfig::load_binary(json.as_bytes()).unwrap();
        assert_eq!(config.precision, precision);
    }
}

/// An EMA at 1 after so many updates of a quarter of a unit in the last place: the second is seen.
fn compensated(updates: u32) -> EmaModel<Weights> {
    let mut ema = config(EmaPrecision::Compensated).init(&model(&[1.0]));
    for _ in 0..updates {
        ema.update(&model(&[SLIGHTLY_MORE])).unwrap();
    }
    ema
}

const SLIGHTLY_MORE: f32 = 1.0003;

/// How many such updates it takes until an EMA at 1 moves: one less for each that is in its compensation.
fn updates_to_move(mut ema: EmaModel<Weights>) -> u32 {
    let mut updates = 0;
    while full(&ema) == [1.0] {
        ema.update(&model(&[SLIGHTLY_MORE])).unwrap();
        updates += 1;
        assert!(updates < 10, "the EMA stalls");
    }
    updates
}

#[test]
fn compensation_is_part_of_the_record_of_what_is_averaged() {
    let record = compensated(1).into_record();
    let error = Vec::<Weights>::new().try_load_record(record).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("ema_compensations.w"), "{error}");

    // A frozen parameter has none, so LoRA pays for its adapters only.
    let trained = model(&[1.0]);
    let frozen = Weights {
        w: trained.w.clone().set_require_grad(false),
    };
    let mut ema = config(EmaPrecision::Compensated).init(&(trained.clone(), frozen.clone()));
    ema.update(&(model(&[1.001]), frozen)).unwrap();
    assert_eq!(ema.plan().get("0.w").unwrap().bytes, 8);
    assert_eq!(ema.plan().get("1.w").unwrap().bytes, 4);
    let error = Vec::<Weights>::new()
        .try_load_record(ema.into_record())
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("ema_compensations.0.w") && !error.contains("ema_compensations.1"),
        "{error}"
    );
}

/// A record without compensations is one in which nothing is lost; with them, it is not for an EMA that keeps none.
#[test]
fn records_go_over_to_a_compensated_ema_and_say_what_is_lost_on_the_way_back() {
    let plain = config(EmaPrecision::AtLeastF32);
    let kept = config(EmaPrecision::Compensated);
    let record = plain.init(&model(&[1.0])).into_record();
    let ema = kept.init(&model(&[5.0])).try_load_record(record).unwrap();
    assert_eq!(updates_to_move(ema), 2);

    let record = compensated(1).into_record();
    let error = plain
        .init(&model(&[5.0]))
        .try_load_record(record.clone())
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("compensation for `w`") && error.contains("precision AtLeastF32"),
        "{error}"
    );
    let ema = plain
        .init(&model(&[5.0]))
        .try_load_record(record.allow_unused(true))
        .unwrap();
    assert_eq!((full(&ema)[0], ema.num_updates()), (1.0, 1));
}

#[test]
fn sets_keep_the_compensations_of_each_ema() {
    let first = model(&[1.0]);
    let set = |second: EmaPrecision| {
        EmaSetConfig::new()
            .with("plain", config(EmaPrecision::AtLeastF32))
            .with("kept", config(second))
            .init(&first)
    };
    let source = model(&[SLIGHTLY_MORE]);
    let of_both = || set(EmaPrecision::Compensated);
    let (mut whole, mut parts) = (of_both(), of_both());
    for _ in 0..50 {
        whole.update(&source).unwrap();
        parts.update(&source).unwrap();
        parts = of_both().try_load_record(parts.into_record()).unwrap();
    }
    for name in ["plain", "kept"] {
        let [whole, parts] = [&whole, &parts].map(|set| recorded(set.ema(name).unwrap()));
        assert_eq!(whole, parts, "{name}");
    }
    assert_eq!(full(whole.ema("plain").unwrap()), [1.0]);
    let kept = full(whole.ema("kept").unwrap());
    assert_eq!(kept, full(&compensated(50)));
    assert_near(&kept, &[1.0 + 3e-4 * 50e-4], 0.61e-7);
    // The other way round, the set says what would be lost.
    let plain = set(EmaPrecision::AtLeastF32);
    let error = plain.try_load_record(parts.into_record()).unwrap_err();
    assert!(
        error.to_string().contains("compensation for `w`"),
        "{error}"
    );
}

/// Compensations follow their weights, and are of no use once these are replaced.
#[test]
fn compensation_goes_where_its_ema_goes() {
    assert_eq!(updates_to_move(compensated(0)), 2);
    let after = |change: &dyn Fn(EmaModel<Weights>) -> EmaModel<Weights>| {
        updates_to_move(change(compensated(1)))
    };
    assert_eq!(after(&|ema| ema.clone()), 1);
    assert_eq!(after(&|ema| ema.to_device(&device())), 1);
    if elsewhere() != device() {
        assert_eq!(after(&|ema| ema.to_device(&elsewhere())), 1);
        assert_eq!(after(&|ema| ema.with_device(&elsewhere())), 1);
    }
    assert_eq!(
        after(&|mut ema| {
            let adopted = ema.adopt(&model(&[9.0])).unwrap();
            assert_eq!(adopted.kept, ["w"]);
            ema
        }),
        1
    );
    assert_eq!(after(&|ema| ema.materialize()), 1);
    // A copy of the model has lost nothing, also if it shares the memory of the EMA.
    assert_eq!(
        after(&|mut ema| {
            let handed_out = ema.model().clone();
            ema.restart(&handed_out).unwrap();
            ema
        }),
        2
    );
    assert_eq!(
        after(&|mut ema| {
            ema.copy_from(&model(&[1.0])).unwrap();
            ema
        }),
        2
    );
    assert_eq!(
        after(&|mut ema| {
            ema.restart(&model(&[1.0])).unwrap();
            ema
        }),
        2
    );
}

/// A model that is handed out, a clone, or a record that is read late must not see what an update does to the memory.
#[test]
fn what_was_handed_out_stays_what_it_was() {
    let mut ema = compensated(3);
    let (record, clone) = (ema.clone().into_record(), ema.clone());
    let model_before = ema.model().clone();
    let before = (recorded(&clone), numbers_at(&model_before, "w"));
    for _ in 0..5 {
        ema.update(&model(&[1.001])).unwrap();
    }
    let found = loaded(
        &config(EmaPrecision::Compensated),
        &model(&[4.0]),
        &record.into_bytes().unwrap(),
    );
    assert_eq!(recorded(&found), before.0);
    assert_eq!(recorded(&clone), before.0);
    assert_eq!(numbers_at(&model_before, "w"), before.1);
}

/// An EMA that is a field of a module is in the records of the module.
#[test]
fn compensation_of_an_ema_within_a_module_is_in_its_record() {
    let record = (model(&[0.0]), compensated(1)).into_record();
    let fresh = (model(&[1.0]), compensated(0));
    let (_, ema) = fresh.clone().try_load_record(record.clone()).unwrap();
    assert_eq!(updates_to_move(ema), 1);
    // As the Learner loads its online model.
    let loaded = Recorded(Plain(fresh)).try_load_record(record);
    let Recorded(Plain((_, ema))) = loaded.unwrap();
    assert_eq!(updates_to_move(ema), 1);
}

#[test]
fn half_precision_models_are_averaged_with_compensation() {
    for dtype in [DType::F16, DType::BF16] {
        if !has_dtype(
            dtype,
            "half_precision_models_are_averaged_with_compensation",
        ) {
            continue;
        }
        let half = |number: f32| Weights::of_dtype(&[number], dtype, &device());
        let mut ema = config(EmaPrecision::Compensated).init(&half(1.0));
        for _ in 0..10_000 {
            ema.update(&half(1.0078125)).unwrap();
        }
        let expected = 1.0078125 - 0.0078125 * 0.9999_f64.powi(10_000);
        assert_near(&full(&ema), &[expected], 0.61e-7);
        assert_eq!(ema.model().w.val().dtype(), dtype);
    }
}

#[test]
fn double_precision_models_are_averaged_with_compensation_in_f64() {
    if !has_dtype(
        DType::F64,
        "double_precision_models_are_averaged_with_compensation_in_f64",
    ) {
        return;
    }
    let double = |number: f64| Weights {
        w: Param::from_tensor(Tensor::from_data([number], (&device(), DType::F64))),
    };
    let mut ema = config(EmaPrecision::Compensated).init(&double(1.0));
    for _ in 0..100 {
        ema.update(&double(1.0 + 1e-13)).unwrap();
    }
    // Each update is 1e-17, of which f64 holds none at 1.
    let moved = full(&ema)[0] - 1.0;
    assert!((moved - 1e-15).abs() < 1.2e-16, "{moved:e}");
}

#[test]
fn device_without_the_dtype_is_an_error_before_training() {
    for (precision, dtype) in [(EmaPrecision::F64, DType::F64), (STOCHASTIC, DType::BF16)] {
        let said = format!("`w` is to be kept as {dtype:?}");
        let config = config(precision);
        let made = config.try_init(&model(&[1.0]));
        if device().supports_dtype(dtype) {
            assert!(made.is_ok());
            continue;
        }
        let error = made.unwrap_err().to_string();
        assert!(error.contains(&said), "{error}");
        // It may be kept where there is one.
        if elsewhere().supports_dtype(dtype) {
            assert!(config.try_init_on(&model(&[1.0]), &elsewhere()).is_ok());
            // Nor may the model move from there to here.
            let there = |number: f32| Weights::new(&[number], &elsewhere());
            let mut ema = config.init(&there(1.0));
            let error = ema.update(&model(&[2.0])).unwrap_err().to_string();
            assert!(error.contains(&said), "{error}");
            assert!(ema.update(&there(2.0)).is_ok());
        }
    }
}

/// Nothing changes at a decay of 1, and a longer interval with a lower decay loses less.
#[test]
fn stalling_is_told_from_the_weight_of_an_update() {
    let below = |decay: Decay, updates| {
        let config = EmaConfig::new().with_decay(decay);
        config.stalls_below(DType::F32, updates).unwrap()
    };
    let half_unit = 2.0_f64.powi(-24);
    assert_eq!(below(Decay::weight(0.5), 0), 2.0 * half_unit);
    assert_eq!(below(Decay::constant(1.0), 7), 0.0);
    assert_eq!(below(Decay::equal_weights(), 0), half_unit);
    assert_near(
        &[below(Decay::equal_weights(), 9_999)],
        &[1e4 * half_unit],
        1e-12,
    );
    let tenth = EmaConfig::new().with_decay(Decay::half_life(10_000.0));
    let each = tenth.stalls_below(DType::F32, 0).unwrap();
    let tenth = tenth.with_interval(10).stalls_below(DType::F32, 0).unwrap();
    assert!(tenth < 0.11 * each);
}

/// What is said is where an EMA at 1.0004 stands when its source is at 1.001.
#[test]
fn stalling_is_told_for_each_precision() {
    let below =
        |precision: EmaPrecision, model: DType| config(precision).stalls_below(model, 0).unwrap();
    let left = (f64::from(1.001_f32) - 1.000404) / 1.000404;
    assert_near(
        &[below(EmaPrecision::AtLeastF32, DType::F32)],
        &[left],
        1e-3,
    );
    assert!(below(EmaPrecision::F64, DType::F32) < 2e-12);
    assert!(below(EmaPrecision::Compensated, DType::BF16) < 1e-10);
    assert_eq!(
        below(STOCHASTIC, DType::BF16),
        below(EmaPrecision::AtLeastF32, DType::F32)
    );
    assert_near(
        &[below(EmaPrecision::SameAsModel, DType::BF16)],
        &[2.0_f64.powi(-8) / 1e-4],
        1e-9,
    );
}

/// The compensation is kept where the EMA is.
#[test]
fn pinned_ema_is_compensated_as_one_beside_its_model() {
    let other: Device = elsewhere();
    let mut pinned = config(EmaPrecision::Compensated).init_on(&model(&[1.0]), &other);
    for _ in 0..1_000 {
        pinned.update(&model(&[SLIGHTLY_MORE])).unwrap();
    }
    let here = compensated(1_000);
    assert_eq!(full(&pinned), full(&here));
}
