//! Models of which no EMA can be created.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::module::{Module, Param, ParamGroup};
use burn::tensor::{Tensor, TensorData};
use burn_ema::policy::Action;
use burn_ema::{EmaConfig, EmaError, Policy};
use burn_ema_tests::learner::{Net, batches, device, drive, learner, values};
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::numbers_at;
use burn_ema_train::EmaExt;

#[derive(Module, Debug)]
struct TooHigh {
    low: Weights,
    high: Param<Tensor<9>>,
}

fn too_high() -> TooHigh {
    let data = TensorData::new(vec![1.0_f32], [1; 9]);
    TooHigh {
        low: Weights::new(&[3.0], &device()),
        high: Param::from_tensor(Tensor::from_data(data, &device())),
    }
}

/// Whether Fusion is compiled in, which has no tensors of that rank.
fn is_skipped(test: &str) -> bool {
    let is_skipped = cfg!(feature = "fusion");
    if is_skipped {
        println!("SKIPPED {test}: Fusion makes no such tensor");
    }
    is_skipped
}

const REASON: &str = "`high` has rank 9: Burn trains and stores tensors of rank 1 to 8";

#[test]
fn loading_into_a_model_of_too_high_rank_is_an_error() {
    if is_skipped("loading_into_a_model_of_too_high_rank_is_an_error") {
        return;
    }
    let model = too_high().with_ema(EmaConfig::new());
    let record = Weights::new(&[1.0], &device()).into_record();
    let error = model
        .clone()
        .try_load_record(record)
        .unwrap_err()
        .to_string();
    assert!(error.ends_with(REASON), "{error}");
    assert_eq!(model.ema().unwrap_err().to_string(), REASON);
}

#[test]
fn record_of_a_model_of_too_high_rank_holds_what_burn_stores_of_it() {
    if is_skipped("record_of_a_model_of_too_high_rank_holds_what_burn_stores_of_it") {
        return;
    }
    let model = || too_high().with_ema(EmaConfig::new());
    let plain = || Weights::new(&[0.0], &device());
    // Burn's records may panic at such a rank themselves; with an EMA it is no other.
    let burns = catch_unwind(AssertUnwindSafe(|| too_high().into_record()));
    let ours = catch_unwind(AssertUnwindSafe(|| model().into_record()));
    assert_eq!(ours.is_ok(), burns.is_ok());
    // What is stored is the rest.
    let low = ParamGroup::from_regex("^low").unwrap();
    let record = model().into_record_group(low);
    let Low { low } = Low { low: plain() }.load_record(record);
    assert_eq!(numbers_at(&low, "w"), [3.0]);
}

#[derive(Module, Debug)]
struct Low {
    low: Weights,
}

/// An override that matches nothing is another reason.
#[test]
fn record_of_a_model_without_an_ema_holds_the_online_weights_only() {
    let group = ParamGroup::from_regex("^typo").unwrap();
    let policy = Policy::new().with_override(group, Action::Ignore);
    let model = || Net::new(0.0, &device()).with_ema(EmaConfig::new().with_policy(policy.clone()));
    let error = model().ema().unwrap_err();
    assert!(
        matches!(error, EmaError::UnmatchedOverride { .. }),
        "{error}"
    );
    let record = model().into_record();
    let loaded = Net::new(3.0, &device()).try_load_record(record).unwrap();
    assert_eq!(values(&loaded), values(&Net::new(0.0, &device())));

    let record = Net::new(0.0, &device()).into_record();
    let message = model().try_load_record(record).unwrap_err().to_string();
    assert!(message.ends_with(&error.to_string()), "{message}");

    // The first step says it.
    let mut learner = learner(model());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        drive(&mut learner, &batches(0..4, 4, &device()));
    }));
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(message, format!("the EMA cannot be updated: {error}"));
}
