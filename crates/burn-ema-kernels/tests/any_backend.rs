//! What holds on every backend, also on one that only the user's `burn` enables:
//! `cargo test -p burn-ema-kernels --no-default-features --features burn/ndarray --test any_backend`.

use burn::tensor::{DType, Device, FloatDType, Tensor};
use burn_ema_kernels::{Average, all_finite, lerp};

fn tensor(values: [f32; 4]) -> Tensor<1> {
    Tensor::from_floats(values, &Device::default())
}

fn values(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[test]
fn emas_move_and_whoever_holds_an_old_one_keeps_it() {
    let source = tensor([1.0, 2.0, -3.0, 4.0]);
    let held = tensor([0.0, 4.0, 1.0, 4.0]);
    let average = |value: Tensor<1>, weight| Average {
        value: value.into_bridge(),
        source: 0,
        weight,
    };
    let averages = vec![
        average(held.clone(), 0.25),
        average(tensor([8.0; 4]), 0.0),
        average(tensor([f32::NAN; 4]), 1.0),
        average(tensor([0.0, 4.0, 1.0, 4.0]), 0.5),
    ];
    let moved = lerp(vec![source.clone().into_bridge()], averages);
    let moved: Vec<_> = moved
        .into_iter()
        .map(|value| values(Tensor::from_bridge(value)))
        .collect();
    let expected = [
        [0.25, 3.5, 0.0, 4.0],
        [8.0; 4],
        [1.0, 2.0, -3.0, 4.0],
        [0.5, 3.0, -1.0, 4.0],
    ];
    assert_eq!(moved, expected);
    assert_eq!(values(held), [0.0, 4.0, 1.0, 4.0]);
    assert_eq!(values(source), [1.0, 2.0, -3.0, 4.0]);
}

#[test]
fn half_precision_moves_emas_of_any_dtype() {
    let device = Device::default();
    for half in [FloatDType::F16, FloatDType::BF16] {
        if !device.supports_dtype(DType::from(half)) {
            println!("SKIPPED {half:?}: {device:?} has none");
            continue;
        }
        for wide in [FloatDType::F32, half] {
            let average = Average {
                value: tensor([0.0, 4.0, 1.0, 4.0]).cast(wide).into_bridge(),
                source: 0,
                weight: 0.5,
            };
            let source = tensor([1.0, 2.0, -3.0, 4.0]).cast(half).into_bridge();
            let moved = lerp(vec![source], vec![average]).remove(0);
            assert_eq!(moved.dtype(), DType::from(wide));
            let moved = Tensor::<1>::from_bridge(moved).cast(FloatDType::F32);
            assert_eq!(values(moved), [0.5, 3.0, -1.0, 4.0], "{half:?} to {wide:?}");
        }
    }
}

#[test]
fn a_number_that_is_not_finite_is_seen() {
    let finite = tensor([1.0; 4]).into_bridge();
    assert!(all_finite(&[finite.clone(), finite.clone()]));
    let infinite = tensor([1.0, f32::NEG_INFINITY, 1.0, 1.0]).into_bridge();
    assert!(!all_finite(&[finite, infinite]));
}
