//! What a frozen base in half precision costs: nothing but its handle.

use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor};
use burn_ema::{Decay, EmaConfig, EmaModel};
use burn_ema_tests::allocator::{alone, live, peak, sees_tensors};
use burn_ema_tests::backend::{device, has_dtype};
use burn_ema_tests::large::WIDTH;

/// Two megabytes of frozen bf16, and a small adapter.
#[derive(Module, Debug)]
struct Adapted {
    base: Vec<Param<Tensor<2>>>,
    adapter: Param<Tensor<2>>,
}

impl Adapted {
    fn new(layers: usize) -> Self {
        let half = |rows: usize| {
            let tensor = Tensor::<2>::ones([rows, WIDTH], &device());
            Param::from_tensor(tensor.cast(DType::BF16))
        };
        Self {
            base: (0..layers)
                .map(|_| half(WIDTH).set_require_grad(false))
                .collect(),
            adapter: half(16),
        }
    }
}

fn ema(model: &Adapted) -> EmaModel<Adapted> {
    EmaConfig::new().with_decay(Decay::weight(0.5)).init(model)
}

/// Bytes that an EMA takes, and an update of it at its peak.
fn cost(model: &Adapted) -> (f64, f64) {
    let before = live();
    let mut ema = ema(model);
    ema.update(model).unwrap();
    let own = (live() - before) as f64;
    let update = peak(|| {
        ema.update(model).unwrap();
    });
    (own, update)
}

#[test]
fn frozen_half_precision_base_costs_no_copy_and_no_cast() {
    let _alone = alone();
    let test = "frozen_half_precision_base_costs_no_copy_and_no_cast";
    if !sees_tensors(test) || !has_dtype(DType::BF16, test) {
        return;
    }
    let base = 4.0 * (2 * WIDTH * WIDTH) as f64;
    let (with_base, alone) = (Adapted::new(4), Adapted::new(0));
    let (own, update) = cost(&with_base);
    let (own_alone, update_alone) = cost(&alone);
    println!(
        "EMA: {own} bytes with a base of {base} bytes, {own_alone} without; an update: {update} and {update_alone}"
    );
    // Handles and paths of four more tensors.
    assert!(own < own_alone + 0.01 * base, "{own} and {own_alone}");
    assert!(
        update < update_alone + 0.01 * base,
        "{update} and {update_alone}"
    );
    let record = ema(&with_base).into_record().into_bytes().unwrap();
    assert!((record.len() as f64) < 1.1 * base, "{}", record.len());
}
