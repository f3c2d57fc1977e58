//! Several EMAs of one model: each is the one alone, and all of them take a step or none does.

use std::path::PathBuf;

use burn::config::{Config, config_to_json};
use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
use burn::optim::AdamWConfig;
use burn::tensor::{DType, Device};
use burn_ema::RulesError;
use burn_ema::config::{EmaPrecision, MissingEma, NonFinite};
use burn_ema::decay::{Annealing, ExponentialWarmup, ImageRampUp, LinearWarmup, Progress, TfRamp};
use burn_ema::policy::BufferAction;
use burn_ema::record::Content;
use burn_ema::write_back::WriteBack;
use burn_ema::{Decay, EmaConfig, EmaError, EmaModel, EmaSet, EmaSetConfig, Policy, Update};
use burn_ema_tests::backend::{autodiff_device, device, has_dtype};
use burn_ema_tests::counted::Counted;
use burn_ema_tests::folder::Folder;
use burn_ema_tests::models::{Mixed, Net, Weights};
use burn_ema_tests::snapshot::{assert_same, assert_same_values, numbers_at, values, with_numbers};
use proptest::collection::vec;
use proptest::prelude::*;

/// Weights and counters, without the ids, which differ from model to model.
fn stored<M: Module>(module: &M) -> Vec<String> {
    let values = values(module);
    values
        .iter()
        .map(|value| format!("{:?}", value.stored()))
        .collect()
}

/// The averages of a set, and each of them alone.
struct Both<M: Module> {
    set: EmaSet<M>,
    alone: Vec<EmaModel<M>>,
}

impl<M: Module> Both<M> {
    fn new(config: &EmaSetConfig, start: &M) -> Self {
        let averages = config.emas.iter();
        Self {
            set: config.init(start),
            alone: averages.map(|one| one.config.init(start)).collect(),
        }
    }

    /// A step of the set and then of those alone, which are equal bit for bit.
    #[track_caller]
    fn update(&mut self, source: &M) {
        let done = self.set.update(source).unwrap();
        let alone = self.alone.iter_mut();
        let expected: Vec<Update> = alone.map(|ema| ema.update(source).unwrap()).collect();
        assert_eq!(done, expected);
        for ((name, average), alone) in self.set.iter().zip(&self.alone) {
            assert_eq!(stored(average), stored(alone), "{name}");
        }
    }
}

/// Every rule, no two of them with the same start and interval.
fn every_rule() -> EmaSetConfig {
    let two_phases = |at: Progress| if at.updates < 5 { 0.5 } else { 0.75 };
    let rules: [(&str, Decay); 15] = [
        ("constant", Decay::constant(0.9)),
        ("weight", Decay::weight(0.3)),
        ("half-life", Decay::half_life(5.0)),
        ("power warm-up", Decay::power_warmup(0.75)),
        ("TensorFlow", TfRamp::new(0.9).into()),
        ("exponential", ExponentialWarmup::new(0.95, 6.0).into()),
        ("linear", LinearWarmup::new(0.25, 0.9, 7).into()),
        ("images", ImageRampUp::from_kimg(0.5, Some(0.1), 32).into()),
        ("annealing", Annealing::new(0.1, 4.0).into()),
        ("equal weights", Decay::equal_weights()),
        ("power function", Decay::sigma_rel(0.1)),
        ("custom", Decay::custom("two phases", two_phases)),
        ("per step", Decay::constant(0.9).per_step()),
        ("debiased", Decay::constant(0.9).debiased()),
        ("copy first", Decay::half_life(4.0).copy_first(2)),
    ];
    (0..)
        .zip(rules)
        .fold(EmaSetConfig::new(), |set, (i, (name, decay))| {
            let buffers = match i % 2 {
                0 => BufferAction::Copy,
                _ => BufferAction::Average,
            };
            let config = EmaConfig::new()
                .with_decay(decay)
                .with_start(i % 5)
                .with_interval(1 + i % 3)
                .with_policy(Policy::new().with_buffers(buffers));
            set.with(name, config)
        })
}

#[test]
fn each_ema_of_a_set_is_the_one_alone() {
    let device = device();
    let mut both = Both::new(&every_rule(), &Mixed::at(None, &device));
    for t in 0..40 {
        both.update(&Mixed::at(Some(t), &device));
    }
    for ((_, average), alone) in both.set.iter().zip(&both.alone) {
        assert_same_values(average.model(), alone.model());
    }
    let averages = both.set.iter();
    let mut found: Vec<f64> = averages
        .map(|(_, average)| numbers_at(average.model(), "a")[0])
        .collect();
    found.sort_by(f64::total_cmp);
    found.dedup();
    assert_eq!(found.len(), 15, "no two rules give the same: {found:?}");
}

/// The set comes first at each step, so the running statistics that it sees are not yet up to date.
#[test]
fn each_ema_of_a_trained_network_is_the_one_alone() {
    let device = autodiff_device();
    let mut optim = AdamWConfig::new().init();
    let mut net = Net::new(&device);
    let mut both = Both::new(&every_rule(), &net);
    for step in 0..40 {
        net = net.trained(step, &mut optim, &device);
        both.update(&net);
    }
    for ((_, average), alone) in both.set.iter().zip(&both.alone) {
        assert_same_values(average.model(), alone.model());
    }
}

fn rule() -> impl Strategy<Value = Decay> {
    let plain = prop_oneof![
        (0.5_f64..=1.0).prop_map(Decay::constant),
        (0.0_f64..=1.0).prop_map(Decay::weight),
        (0.1_f64..100.0).prop_map(Decay::half_life),
        (0.1_f64..2.0).prop_map(Decay::power_warmup),
        (0.5_f64..=1.0).prop_map(|max| Decay::from(TfRamp::new(max))),
        (0.5_f64..=1.0, 0.1_f64..50.0)
            .prop_map(|(max, tau)| Decay::from(ExponentialWarmup::new(max, tau))),
        (0.0_f64..=1.0, 0.5_f64..=1.0, 0..20_u64)
            .prop_map(|(from, to, updates)| Decay::from(LinearWarmup::new(from, to, updates))),
        (0.01_f64..0.5, 0.1_f64..10.0)
            .prop_map(|(weight, gamma)| Decay::from(Annealing::new(weight, gamma))),
        Just(Decay::equal_weights()),
        (0.01_f64..0.28).prop_map(Decay::sigma_rel),
    ];
    (plain, 0..4_u8).prop_map(|(rule, change)| match change {
        0 => rule,
        1 => rule.per_step(),
        2 => rule.debiased(),
        _ => rule.copy_first(2),
    })
}

fn average() -> impl Strategy<Value = EmaConfig> {
    (rule(), 0..6_u64, 1..5_u64).prop_map(|(decay, start, interval)| {
        EmaConfig::new()
            .with_decay(decay)
            .with_start(start)
            .with_interval(interval)
    })
}

fn numbers() -> impl Strategy<Value = Vec<f32>> {
    vec(-100.0_f32..100.0, 4)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_emas_of_a_set_are_those_alone(
        averages in vec(average(), 1..6),
        initial in numbers(),
        seen in vec(numbers(), 1..30),
    ) {
        let name = |i: usize| format!("average {i}");
        let named = (0..)
            .zip(averages)
            .fold(EmaSetConfig::new(), |set, (i, config)| set.with(name(i), config));
        let mut both = Both::new(&named, &Weights::new(&initial, &device()));
        for numbers in &seen {
            both.update(&Weights::new(numbers, &device()));
        }
    }
}

/// How often `update` visits its source.
fn visits(update: impl FnOnce(&Counted<Mixed>)) -> usize {
    let source = Counted::new(Mixed::at(Some(1), &device()));
    update(&source);
    source.visits()
}

/// How often an update of a single average visits its source.
fn visits_of_one() -> usize {
    let mut ema = EmaConfig::new().init(&Counted::new(Mixed::at(None, &device())));
    let visits = visits(|source| {
        ema.update(source).unwrap();
    });
    assert!(visits > 0);
    visits
}

#[test]
fn update_of_a_set_visits_the_source_as_often_as_that_of_one_ema() {
    let start = Counted::new(Mixed::at(None, &device()));
    let mut set = EmaSetConfig::new()
        .with("plain", EmaConfig::new())
        .with("careful", EmaConfig::new().with_non_finite(NonFinite::Skip))
        .with("late", EmaConfig::new().with_start(9))
        .init(&start);
    let visits = visits(|source| {
        set.update(source).unwrap();
    });
    assert_eq!(visits, visits_of_one());
}

#[test]
fn source_is_not_visited_when_no_ema_is_due() {
    let start = Counted::new(Mixed::at(None, &device()));
    let every = |interval: u64| EmaConfig::new().with_interval(interval);
    let mut set = EmaSetConfig::new()
        .with("second", every(2))
        .with("third", every(3))
        .with("fourth", every(4))
        .init(&start);
    let step = |_| {
        visits(|source| {
            set.update(source).unwrap();
        })
    };
    let found: Vec<usize> = (1..=8).map(step).collect();
    // One is due at steps 2, 3, 4, 6 and 8.
    let expected = [0, 1, 1, 1, 0, 1, 0, 1].map(|due| due * visits_of_one());
    assert_eq!(found, expected);
}

fn weights(numbers: &[f32]) -> Weights {
    Weights::new(numbers, &device())
}

fn halving(non_finite: NonFinite) -> EmaConfig {
    EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_non_finite(non_finite)
}

#[test]
fn ema_that_takes_nan_as_an_error_keeps_the_others_from_changing() {
    let mut set = EmaSetConfig::new()
        .with("skips", halving(NonFinite::Skip))
        .with("takes", halving(NonFinite::Propagate))
        .with("refuses", halving(NonFinite::Error))
        .init(&weights(&[0.0]));
    set.update(&weights(&[4.0])).unwrap();
    let before = values(&set);
    let error = set.update(&weights(&[f32::NAN])).unwrap_err();
    assert!(matches!(&error, EmaError::NonFinite { path } if path == "w"));
    assert_same(&values(&set), &before);

    set.update(&weights(&[6.0])).unwrap();
    for (name, average) in set.iter() {
        assert_eq!(numbers_at(average.model(), "w"), [4.0], "{name}");
        let counters = [average.num_steps(), average.num_updates()];
        assert_eq!((counters, average.num_skipped()), ([2, 2], 0), "{name}");
    }
}

#[test]
fn each_ema_treats_nan_in_its_own_way() {
    let mut set = EmaSetConfig::new()
        .with("skips", halving(NonFinite::Skip))
        .with("takes", halving(NonFinite::Propagate))
        .with("waits", halving(NonFinite::Error).with_interval(3))
        .init(&weights(&[0.0]));
    set.update(&weights(&[4.0])).unwrap();
    let done = set.update(&weights(&[f32::NAN])).unwrap();
    let averaged = Update::Averaged {
        decay: 0.5,
        averaged: 1,
        copied: 0,
    };
    assert_eq!(done, [Update::Skipped, averaged, Update::Waiting]);
    let number = |name: &str| numbers_at(set.ema(name).unwrap().model(), "w")[0];
    assert_eq!(number("skips"), 2.0);
    assert!(number("takes").is_nan());
    assert_eq!(number("waits"), 0.0);
    assert_eq!(set.ema("skips").unwrap().num_skipped(), 1);
    assert_eq!(set.ema("takes").unwrap().num_skipped(), 0);

    assert!(set.update(&weights(&[f32::NAN])).is_err(), "it is due now");
}

/// `b` is a buffer.
#[test]
fn only_what_an_ema_averages_itself_stops_it() {
    let copying = || Policy::new().with_buffers(BufferAction::Copy);
    let mut set = EmaSetConfig::new()
        .with("copies", halving(NonFinite::Skip).with_policy(copying()))
        .with("averages", halving(NonFinite::Skip))
        .with(
            "copies too",
            halving(NonFinite::Skip).with_policy(copying()),
        )
        .init(&Mixed::at(None, &device()));
    let bad = with_numbers(Mixed::at(Some(1), &device()), "b", &[f32::NAN, 1.0]);
    let averaged = Update::Averaged {
        decay: 0.5,
        averaged: 1,
        copied: 4,
    };
    let done = set.update(&bad).unwrap();
    assert_eq!(done, [averaged, Update::Skipped, averaged]);
}

#[test]
fn source_of_another_structure_leaves_all_emas_as_they_are() {
    let list = |x: f32, lengths: &[usize]| -> Vec<Weights> {
        let lengths = lengths.iter();
        lengths.map(|length| weights(&vec![x; *length])).collect()
    };
    let good = [1_usize, 2];
    let mut set = EmaSetConfig::new()
        .with("halving", halving(NonFinite::Propagate))
        .with("waiting", EmaConfig::new().with_interval(5))
        .with("copying", EmaConfig::new().with_start(5))
        .init(&list(0.0, &good));
    set.update(&list(4.0, &good)).unwrap();
    let before = values(&set);
    let longer: &[usize] = &[1, 2, 1];
    let shorter: &[usize] = &[1];
    let wider: &[usize] = &[1, 3];
    for (lengths, path) in [(longer, "`2.w`"), (shorter, "`1.w`"), (wider, "`1.w`")] {
        let bad = list(8.0, lengths);
        let error = set.update(&bad).unwrap_err().to_string();
        assert!(error.starts_with(path), "{error}");
        assert!(set.copy_from(&bad).is_err());
        assert_same(&values(&set), &before);
    }

    set.update(&list(6.0, &good)).unwrap();
    let number = |name: &str| numbers_at(set.ema(name).unwrap().model(), "0.w")[0];
    assert_eq!(
        ["halving", "waiting", "copying"].map(number),
        [4.0, 0.0, 6.0]
    );
}

#[test]
fn copy_makes_every_ema_equal_to_the_source_and_leaves_the_counters() {
    let mut both = Both::new(&every_rule(), &Mixed::at(None, &device()));
    both.update(&Mixed::at(Some(1), &device()));
    let source = Mixed::at(Some(9), &device());
    both.set.copy_from(&source).unwrap();
    for ((_, average), alone) in both.set.iter().zip(&both.alone) {
        assert_same_values(average.model(), &source);
        assert_eq!(average.num_steps(), 1);
        assert_eq!(average.num_updates(), alone.num_updates());
    }
}

#[test]
fn ema_that_says_so_is_written_back() {
    let mut set = EmaSetConfig::new()
        .with("halving", halving(NonFinite::Propagate))
        .with(
            "switching",
            EmaConfig::new()
                .with_decay(Decay::weight(0.25))
                .with_write_back(WriteBack::every(2)),
        )
        .init(&weights(&[0.0]));
    let mut model = weights(&[4.0]);
    set.update(&model).unwrap();
    assert!(!set.write_back_if_due(&mut model).unwrap());
    assert_eq!(numbers_at(&model, "w"), [4.0]);

    // From 1 a quarter of the way to 9.
    model = model.with(&[9.0]);
    set.update(&model).unwrap();
    assert!(set.write_back_if_due(&mut model).unwrap());
    assert_eq!(numbers_at(&model, "w"), [3.0]);
    let halving = set.ema("halving").unwrap();
    assert_eq!(numbers_at(halving.model(), "w"), [5.5]);

    // Once in a step, whatever is handed in.
    let mut longer = weights(&[7.0, 8.0]);
    assert!(!set.write_back_if_due(&mut longer).unwrap());

    // From 3 a quarter of the way to 7, and then to 8. An error changes nothing, and is no write-back.
    set.update(&weights(&[7.0])).unwrap();
    set.update(&weights(&[8.0])).unwrap();
    let error = set.write_back_if_due(&mut longer).unwrap_err();
    assert!(matches!(error, EmaError::ShapeMismatch { .. }), "{error}");
    assert_eq!(numbers_at(&longer, "w"), [7.0, 8.0]);
    assert!(set.write_back_if_due(&mut model).unwrap());
    assert_eq!(numbers_at(&model, "w"), [5.0]);
}

/// Gives `decay` at update 2, counted from 0, and halves otherwise.
fn overshooting(decay: f64) -> EmaConfig {
    let rule = move |at: Progress| if at.updates == 2 { decay } else { 0.5 };
    EmaConfig::new().with_decay(Decay::custom("overshooting", rule))
}

const NO_DECAYS: [f64; 4] = [1.5, -0.25, f64::NAN, f64::INFINITY];

#[track_caller]
fn assert_names_the_rule(error: &EmaError) {
    assert!(matches!(
        error,
        EmaError::Rules(RulesError::InvalidDecay { .. })
    ));
    let message = error.to_string();
    for part in ["decay must be in [0, 1]", "update 2", "overshooting"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn rule_that_gives_no_decay_stops_the_update_and_leaves_no_trace() {
    for decay in NO_DECAYS {
        let mut ema = overshooting(decay).init(&weights(&[0.0]));
        ema.update(&weights(&[4.0])).unwrap();
        ema.update(&weights(&[4.0])).unwrap();
        let before = values(&ema);
        assert_names_the_rule(&ema.update(&weights(&[4.0])).unwrap_err());
        assert_same(&values(&ema), &before);
        assert_eq!(numbers_at(ema.model(), "w"), [3.0]);
    }
}

#[test]
fn rule_that_gives_no_decay_leaves_the_other_emas_as_they_are() {
    for decay in NO_DECAYS {
        let mut set = EmaSetConfig::new()
            .with("good", halving(NonFinite::Propagate))
            .with("bad", overshooting(decay))
            .init(&weights(&[0.0]));
        set.update(&weights(&[4.0])).unwrap();
        set.update(&weights(&[4.0])).unwrap();
        let before = values(&set);
        assert_names_the_rule(&set.update(&weights(&[4.0])).unwrap_err());
        assert_same(&values(&set), &before);
    }
}

/// A file that is gone with its folder at the end of the test.
fn file() -> (Folder, PathBuf) {
    let folder = Folder::temporary();
    let file = folder.path().join("averages.bpk");
    (folder, file)
}

fn fast_and_slow() -> EmaSetConfig {
    let fast = EmaConfig::new()
        .with_decay(Decay::power_warmup(0.75))
        .with_non_finite(NonFinite::Skip);
    let slow = EmaConfig::new()
        .with_decay(TfRamp::new(0.9).into())
        .with_start(2)
        .with_interval(3)
        .with_non_finite(NonFinite::Skip);
    EmaSetConfig::new().with("fast", fast).with("slow", slow)
}

fn source(t: u16) -> Mixed {
    let source = Mixed::at(Some(t), &device());
    match t {
        // Both averages are due then, and skip it.
        7 => with_numbers(source, "a", &[f32::NAN, 0.0]),
        _ => source,
    }
}

fn averaged_until(t: u16) -> EmaSet<Mixed> {
    let mut set = fast_and_slow().init(&Mixed::at(None, &device()));
    for t in 0..t {
        set.update(&source(t)).unwrap();
    }
    set
}

fn counters<M: Module>(ema: &EmaModel<M>) -> [u64; 3] {
    [ema.num_steps(), ema.num_updates(), ema.num_skipped()]
}

#[test]
fn set_that_is_saved_and_loaded_goes_on_bit_for_bit() {
    for stop in [0, 1, 2, 4, 8, 11] {
        let mut uninterrupted = averaged_until(stop);
        let (_folder, file) = file();
        uninterrupted.clone().save_file(&file).unwrap();
        let fresh = fast_and_slow().init(&Mixed::at(Some(40), &device()));
        let mut resumed = fresh.try_load_file(&file).unwrap();
        assert_same_values(&resumed, &uninterrupted);

        for t in stop..stop + 9 {
            let done = resumed.update(&source(t)).unwrap();
            assert_eq!(done, uninterrupted.update(&source(t)).unwrap());
            assert_same_values(&resumed, &uninterrupted);
        }
        for ((_, one), (_, other)) in resumed.iter().zip(uninterrupted.iter()) {
            assert_same_values(one.model(), other.model());
            assert_eq!(counters(one), counters(other));
        }
    }
    let set = averaged_until(11);
    // Steps 1 to 7 and 9 to 11; steps 5 and 11.
    assert_eq!(counters(set.ema("fast").unwrap()), [11, 10, 1]);
    assert_eq!(counters(set.ema("slow").unwrap()), [11, 2, 1]);
}

#[test]
fn record_holds_each_ema_and_its_counters_under_its_name() {
    let config = EmaSetConfig::new()
        .with("fast", EmaConfig::new())
        .with("slow", EmaConfig::new());
    let set = config.init(&weights(&[1.0]));
    let values = values(&set);
    let paths: Vec<&str> = values.iter().map(|value| value.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "fast.ema_weights.w",
            "fast.ema_progress",
            "fast.ema_trained",
            "slow.ema_weights.w",
            "slow.ema_progress",
            "slow.ema_trained"
        ]
    );
    let saved = set.into_record();
    assert_eq!(Content::of(&saved).emas(), ["fast", "slow"]);
}

#[test]
fn set_in_another_module_is_saved_and_loaded_with_it() {
    let config = EmaSetConfig::new()
        .with("half", halving(NonFinite::Propagate))
        .with("copy", EmaConfig::new().with_start(9));
    let both = |x: f32| (weights(&[x]), config.init(&weights(&[0.0])));
    let (net, mut averages) = both(4.0);
    averages.update(&net).unwrap();
    let saved = (net, averages).into_record();
    assert_eq!(Content::of(&saved).emas(), ["1.copy", "1.half"]);

    let (net, averages) = both(-1.0).try_load_record(saved).unwrap();
    assert_eq!(numbers_at(&net, "w"), [4.0]);
    let number = |name: &str| numbers_at(averages.ema(name).unwrap().model(), "w")[0];
    assert_eq!(["half", "copy"].map(number), [2.0, 4.0]);
}

#[test]
fn record_with_an_ema_less_or_more_is_an_error_that_names_it() {
    let fast = EmaSetConfig::new().with("fast", EmaConfig::new());
    let both = fast.clone().with("slow", EmaConfig::new());
    let start = weights(&[1.0]);

    let saved = fast.init(&start).into_record();
    let refused = both.init(&start).try_load_record(saved).unwrap_err();
    let message = refused.to_string();
    let expected = EmaError::MissingEmaOf {
        name: "slow".into(),
        known: vec!["fast".into()],
    };
    assert!(message.contains(&expected.to_string()), "{message}");
    assert!(message.contains("no EMA called `slow`"), "{message}");

    // Nor is one left out that nobody asked for.
    let saved = both.init(&start).into_record();
    let refused = fast.init(&start).try_load_record(saved).unwrap_err();
    let expected = EmaError::UnusedEmas {
        names: vec!["slow".into()],
    };
    let message = refused.to_string();
    assert!(message.contains(&expected.to_string()), "{message}");
    assert!(message.contains("also has the EMAs `slow`"), "{message}");
}

#[test]
fn record_without_emas_is_an_error_unless_every_ema_starts_from_it() {
    let start = Mixed::at(None, &device());
    let plain = Mixed::at(Some(9), &device());
    let refused = |config: &EmaSetConfig| {
        let set = config.init(&start);
        let error = set.try_load_record(plain.clone().into_record());
        error.unwrap_err().to_string()
    };
    let mut config = fast_and_slow();
    for average in 0..2 {
        let error = refused(&config);
        assert!(
            error.contains("the record has weights but no EMA"),
            "{error}"
        );
        assert!(
            error.contains("with_missing_ema(MissingEma::StartFromWeights)"),
            "{error}"
        );
        config.emas[average].config.missing_ema = MissingEma::StartFromWeights;
    }

    let set = config.init(&start);
    let mut set = set.try_load_record(plain.clone().into_record()).unwrap();
    for (name, average) in set.iter() {
        assert_same_values(average.model(), &plain);
        assert_eq!(counters(average), [0; 3], "{name}");
    }
    // As if made from that model.
    let mut made = config.init(&plain);
    for t in 10..20 {
        let done = set.update(&source(t)).unwrap();
        assert_eq!(done, made.update(&source(t)).unwrap());
    }
    assert_same_values(&set, &made);
}

#[test]
fn set_of_one_ema_without_a_name_has_the_record_of_that_ema() {
    let config = EmaConfig::new()
        .with_decay(Decay::power_warmup(0.75))
        .with_start(1)
        .with_interval(2);
    let start = Mixed::at(None, &device());
    let mut set = EmaSetConfig::from(config.clone()).init(&start);
    let mut ema = config.init(&start);
    for t in 0..6 {
        set.update(&source(t)).unwrap();
        ema.update(&source(t)).unwrap();
    }
    assert_eq!(values(&set), values(&ema), "ids too");

    let fresh = Mixed::at(Some(40), &device());
    let mut set_of_ema = EmaSetConfig::from(config.clone())
        .init(&fresh)
        .load_record(ema.clone().into_record());
    let mut ema_of_set = config.init(&fresh).load_record(set.into_record());
    for t in 8..14 {
        ema.update(&source(t)).unwrap();
        set_of_ema.update(&source(t)).unwrap();
        ema_of_set.update(&source(t)).unwrap();
        assert_same_values(&set_of_ema, &ema);
        assert_same_values(&ema_of_set, &ema);
    }
    assert_same_values(set_of_ema.first().model(), ema.model());
}

fn named(names: &[&str]) -> EmaSetConfig {
    let names = names.iter();
    names.fold(EmaSetConfig::new(), |set, name| {
        set.with(*name, EmaConfig::new())
    })
}

#[track_caller]
fn assert_refused(config: &EmaSetConfig, reason: &str) {
    let error = config.try_init(&weights(&[1.0])).unwrap_err();
    assert!(error.to_string().contains(reason), "{error}");
    assert!(config.validate().is_err());
}

#[test]
fn name_that_cannot_tell_emas_apart_is_an_error() {
    assert_refused(
        &named(&["a", "b", "a"]),
        "two EMAs are called `a`: give each its own name",
    );
    let dot = "cannot be the name of an EMA, which is part of paths: write a name without dots and slashes";
    assert_refused(&named(&["a", ""]), &format!("`` {dot}"));
    assert_refused(&named(&["", ""]), "`` ");
    for name in ["b.c", "a/b", "a\\b"] {
        assert_refused(&named(&["a", name]), &format!("`{name}` {dot}"));
        assert_refused(&named(&[name]), &format!("`{name}` {dot}"));
    }
    for good in [
        &["a", "b"][..],
        &["with space", "with_space", "a-b_c1"],
        &["online"],
        &["a"],
        &[""],
    ] {
        assert!(named(good).validate().is_ok(), "{good:?}");
    }
}

#[test]
fn set_of_no_emas_is_an_error() {
    assert_refused(&EmaSetConfig::new(), "add one with `with(name, config)`");
}

#[test]
fn second_write_back_is_an_error() {
    let switching = || EmaConfig::new().with_write_back(WriteBack::every(2));
    let one = EmaSetConfig::new().with("a", switching());
    assert!(one.validate().is_ok());
    let two = one.with("b", EmaConfig::new()).with("c", switching());
    assert_refused(
        &two,
        "several EMAs have a `write_back`, but the online model can follow only one",
    );
}

#[test]
fn ema_that_is_not_valid_is_an_error_among_others() {
    let config = named(&["a"]).with("b", EmaConfig::new().with_interval(0));
    assert_refused(
        &config,
        "EmaConfig::interval: 0 steps between two updates: write at least 1",
    );
}

#[test]
fn unknown_name_is_an_error_that_lists_the_names() {
    let mut set = averaged_until(3);
    let expected = "no EMA is called `medium`: the names are `fast`, `slow`";
    let error = set.ema("medium").unwrap_err();
    assert_eq!(error.to_string(), expected);
    let error = set.ema_mut("medium").unwrap_err();
    assert_eq!(error.to_string(), expected);
    let error = set.clone().into_ema("medium").unwrap_err();
    assert_eq!(error.to_string(), expected);

    assert_eq!(set.names().collect::<Vec<_>>(), ["fast", "slow"]);
    let slow = set.ema("slow").unwrap();
    assert_eq!(counters(slow), [3, 0, 0]);
    assert_same_values(&set.clone().into_ema("slow").unwrap(), slow);
    assert_eq!(counters(set.first()), [3, 3, 0]);
}

#[test]
fn ema_that_is_changed_alone_leaves_the_others_as_they_are() {
    let mut set = averaged_until(5);
    let fast = values(set.ema("fast").unwrap());
    let nine = source(9);
    set.ema_mut("slow").unwrap().copy_from(&nine).unwrap();
    assert_same(&values(set.ema("fast").unwrap()), &fast);
    assert_same_values(set.ema("slow").unwrap().model(), &nine);
}

#[test]
fn configuration_survives_json() {
    let config = every_rule();
    let json = config_to_json(&config);
    let loaded = EmaSetConfig::load_binary(json.as_bytes()).unwrap();
    assert_eq!(config_to_json(&loaded), json);
    assert!(loaded.names().eq(config.names()));
    for (loaded, saved) in loaded.emas.iter().zip(&config.emas) {
        match &saved.config.decay {
            // A file cannot hold a function.
            Decay::Custom(_) => assert!(loaded.config.validate().is_err()),
            decay => assert_eq!(&loaded.config.decay, decay),
        }
    }
    let error = loaded.validate().unwrap_err().to_string();
    assert!(
        error.contains("the decay schedule `two phases` is a function"),
        "{error}"
    );
    assert_eq!(
        config_to_json(&config.init(&weights(&[1.0])).config()),
        json
    );
}

#[test]
fn emas_of_a_half_precision_source_are_those_alone() {
    for dtype in [DType::F16, DType::BF16] {
        if !has_dtype(dtype, "emas_of_a_half_precision_source_are_those_alone") {
            continue;
        }
        let half = |x: f32| Weights::of_dtype(&[x, -0.3 * x], dtype, &device());
        let thirds = EmaConfig::new().with_decay(Decay::weight(0.3));
        let config = EmaSetConfig::new()
            .with("slow", EmaConfig::new())
            .with("fast", thirds.clone())
            .with("narrow", thirds.with_precision(EmaPrecision::SameAsModel));
        let mut both = Both::new(&config, &half(1.0));
        for step in 1_u8..20 {
            both.update(&half(f32::from(step)));
        }
        let dtypes = ["slow", "fast", "narrow"].map(|name| {
            let average = both.set.ema(name).unwrap();
            assert_eq!(average.model().w.val().dtype(), dtype);
            average.full_precision_model().w.val().dtype()
        });
        assert_eq!(dtypes, [DType::F32, DType::F32, dtype]);
    }
}

/// A module that shows its values in another order after each traversal by a mapper, as one over a hash map may.
#[derive(Clone, Debug)]
struct Shuffled {
    values: Vec<(&'static str, Weights)>,
}

impl Shuffled {
    fn of(numbers: [f32; 5]) -> Self {
        let names = ["a", "b", "c", "d", "e"];
        let values = names.into_iter().zip(numbers);
        Self {
            values: values.map(|(name, x)| (name, weights(&[x]))).collect(),
        }
    }

    fn each(self, change: impl FnMut((&'static str, Weights)) -> (&'static str, Weights)) -> Self {
        Self {
            values: self.values.into_iter().map(change).collect(),
        }
    }
}

impl Module for Shuffled {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for (name, value) in &self.values {
            visitor.enter_module(name, "Map");
            value.visit(visitor);
            visitor.exit_module(name, "Map");
        }
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        let mut mapped = self.each(|(name, value)| {
            mapper.enter_module(name, "Map");
            let value = value.map(mapper);
            mapper.exit_module(name, "Map");
            (name, value)
        });
        mapped.values.rotate_left(1);
        mapped
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.values[0].1.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.each(|(name, value)| (name, value.fork(device)))
    }

    fn to_device(self, device: &Device) -> Self {
        self.each(|(name, value)| (name, value.to_device(device)))
    }

    fn train(self) -> Self {
        self.each(|(name, value)| (name, value.train()))
    }

    fn valid(&self) -> Self {
        self.clone().each(|(name, value)| (name, value.valid()))
    }

    fn materialize(self) -> Self {
        self.each(|(name, value)| (name, value.materialize()))
    }
}

#[test]
fn values_are_paired_by_path_in_every_ema_whatever_their_order() {
    let config = EmaConfig::new().with_decay(Decay::weight(0.5));
    let config = named_configs(&["one", "two", "three"], &config);
    let mut set = config.init(&Shuffled::of([0.0; 5]));
    // Loading puts the values of an average into another order each time.
    let two = set.ema_mut("two").unwrap();
    *two = two.clone().load_record(two.clone().into_record());
    set.update(&Shuffled::of([2.0, 4.0, 6.0, 8.0, 10.0]))
        .unwrap();
    for (name, average) in set.iter() {
        let paths = ["a.w", "b.w", "c.w", "d.w", "e.w"];
        for (path, expected) in paths.into_iter().zip([1.0, 2.0, 3.0, 4.0, 5.0]) {
            assert_eq!(
                numbers_at(average.model(), path),
                [expected],
                "{path} of {name}"
            );
        }
    }
}

fn named_configs(names: &[&str], config: &EmaConfig) -> EmaSetConfig {
    let add = |set: EmaSetConfig, name: &&str| set.with(*name, config.clone());
    names.iter().fold(EmaSetConfig::new(), add)
}

#[test]
fn record_of_an_ema_without_a_name_is_an_error_for_emas_with_names() {
    let model = weights(&[1.0]);
    let mut ema = EmaConfig::new().init(&model);
    ema.update(&model).unwrap();
    let config = EmaConfig::new().with_missing_ema(MissingEma::StartFromWeights);
    let set = named_configs(&["fast", "slow"], &config).init(&model);
    let record = ema.into_record();
    let error = set
        .clone()
        .try_load_record(record.clone())
        .unwrap_err()
        .to_string();
    let expected = "the record also has the EMAs one without a name: add them to the configuration, or leave them out";
    assert!(error.contains(expected), "{error}");
    let loaded = set.try_load_record(record.allow_unused(true)).unwrap();
    assert_eq!(counters(loaded.ema("fast").unwrap()), [0; 3]);

    let strict = fast_and_slow().init(&model);
    let mut ema = EmaConfig::new().init(&model);
    ema.update(&model).unwrap();
    let error = strict
        .try_load_record(ema.into_record())
        .unwrap_err()
        .to_string();
    let expected = "the record has no EMA called `fast`, its EMAs are one without a name: use one of these names, or";
    assert!(error.contains(expected), "{error}");
}

/// A model with its averages as a field, which Burn's derive asks to be displayed.
#[derive(Module, Debug)]
struct Holder {
    model: Weights,
    averages: EmaSet<Weights>,
}

#[test]
fn set_is_a_field_of_a_derived_module() {
    let model = weights(&[1.0, 2.0]);
    let averages = fast_and_slow().init(&model);
    let holder = Holder { model, averages };
    let shown = holder.to_string();
    assert!(
        shown.contains("EmaSet") && shown.contains("slow"),
        "{shown}"
    );
    let paths: Vec<String> = values(&holder)
        .into_iter()
        .map(|value| value.path)
        .collect();
    assert!(
        paths.contains(&"averages.fast.ema_weights.w".to_string()),
        "{paths:?}"
    );
}

#[test]
fn ema_of_another_model_is_an_error_among_others() {
    let mut set = fast_and_slow().init(&weights(&[1.0, 2.0]));
    let config = EmaConfig::new();
    *set.ema_mut("slow").unwrap() = config.init(&weights(&[1.0, 2.0, 3.0]));
    let before: Vec<_> = set.iter().map(|(_, average)| stored(average)).collect();
    let error = set.update(&weights(&[5.0, 6.0])).unwrap_err().to_string();
    assert!(error.contains("`w` has shape"), "{error}");
    assert!(set.copy_from(&weights(&[5.0, 6.0])).is_err());
    let after: Vec<_> = set.iter().map(|(_, average)| stored(average)).collect();
    assert_eq!(after, before);
}
