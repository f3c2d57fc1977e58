//! What an EMA says that it does to each tensor, and what frozen half-precision weights cost.

use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor};
use burn_ema::plan::{EmaPlan, PlanAction};
use burn_ema::policy::{BufferAction, Class};
use burn_ema::{Decay, EmaConfig, Policy};
use burn_ema_tests::backend::{device, has_dtype};
use burn_ema_tests::models::{Mixed, vector};
use burn_ema_tests::snapshot::numbers_at;

#[test]
fn plan_lists_every_tensor_before_training_and_after() {
    let model = Mixed::at(None, &device());
    let config = EmaConfig::new();
    let plan = config.plan(&model).unwrap();
    let listed = |plan: &EmaPlan| -> Vec<(String, Class, PlanAction, u64)> {
        let entries = plan.entries.iter();
        entries
            .map(|entry| (entry.path.clone(), entry.class, entry.action, entry.bytes))
            .collect()
    };
    let entry = |path: &str, class, action, bytes| (path.to_string(), class, action, bytes);
    let bool_bytes = plan.get("t").unwrap().bytes;
    assert_eq!(
        listed(&plan),
        [
            entry("a", Class::Trainable, PlanAction::Average, 8),
            entry("f", Class::Frozen, PlanAction::Copy, 8),
            entry("b", Class::Buffer, PlanAction::Average, 8),
            entry("n", Class::Discrete, PlanAction::Copy, 4),
            entry("t", Class::Discrete, PlanAction::Copy, bool_bytes),
        ]
    );
    assert_eq!(plan.bytes(PlanAction::Average), 16);
    assert_eq!(listed(&config.init(&model).plan()), listed(&plan));

    let policy = Policy::new().with_buffers(BufferAction::Reestimate);
    let plan = config.with_policy(policy).plan(&model).unwrap();
    assert_eq!(plan.get("b").unwrap().action, PlanAction::Reestimate);
}

#[test]
fn plan_prints_as_a_table_and_serializes() {
    let plan = EmaConfig::new().plan(&Mixed::at(None, &device())).unwrap();
    let table = plan.to_string();
    let first = table.lines().next().unwrap();
    assert!(first.starts_with("path  class"), "{table}");
    assert!(table.contains("a     trainable  average"), "{table}");
    assert!(
        table.ends_with("2 of 5 tensors are averaged, in 16 bytes"),
        "{table}"
    );
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<EmaPlan>(&json).unwrap(), plan);
}

/// LoRA on a frozen base in half precision: the base is copied, the factors are averaged in f32.
#[derive(Module, Debug)]
struct Adapted {
    base: Param<Tensor<1>>,
    factor: Param<Tensor<1>>,
}

impl Adapted {
    fn new(base: f32, factor: f32) -> Self {
        let half = |x: f32| Param::from_tensor(vector(&[x; 64], DType::BF16, &device()));
        Self {
            base: half(base).set_require_grad(false),
            factor: half(factor),
        }
    }
}

#[test]
fn frozen_half_precision_is_kept_as_it_is_and_what_is_averaged_is_f32() {
    let test = "frozen_half_precision_is_kept_as_it_is_and_what_is_averaged_is_f32";
    if !has_dtype(DType::BF16, test) {
        return;
    }
    let mut ema = EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .init(&Adapted::new(2.0, 0.0));
    for model in [Adapted::new(3.0, 1.0), Adapted::new(3.0, 2.0)] {
        ema.update(&model).unwrap();
    }
    let plan = ema.plan();
    let of = |path: &str| plan.get(path).unwrap().clone();
    assert_eq!((of("base").ema_dtype, of("base").bytes), (DType::BF16, 128));
    assert_eq!(
        (of("factor").ema_dtype, of("factor").bytes),
        (DType::F32, 256)
    );
    assert_eq!(ema.model().base.val().dtype(), DType::BF16);
    assert_eq!(numbers_at(ema.model(), "base")[0], 3.0);
    assert_eq!(numbers_at(&ema.full_precision_model(), "factor")[0], 1.25);
    // The record holds the base once, in half precision.
    let saved = ema.clone().into_record();
    let loaded = EmaConfig::new()
        .init(&Adapted::new(0.0, 0.0))
        .try_load_record(saved)
        .unwrap();
    assert_eq!(loaded.plan(), plan);
}
