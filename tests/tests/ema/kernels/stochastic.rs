//! Averages that are rounded stochastically: the same bits everywhere, and no bias.

use burn::tensor::{DType, FloatDType, Tensor, TensorData};
use burn_ema_kernels::{StochasticAverage, lerp_stochastic, portable, random_key};
use burn_ema_tests::backend::{device, has_dtype};
use proptest::prelude::*;

use super::{case, line, numbers, numbers_of, tensor, tensor_like};

/// As f32 that holds numbers of bf16, which every device has, and as bf16 where the device has it.
fn dtypes() -> Vec<(DType, DType)> {
    let all = [DType::F32, DType::BF16].into_iter().flat_map(|average| {
        let sources = [DType::F32, DType::F16, DType::BF16, DType::F64];
        sources.map(|source| (average, source))
    });
    let is_there = |(average, source): &(DType, DType)| {
        device().supports_dtype(*average) && device().supports_dtype(*source)
    };
    all.filter(is_there).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn fused_is_portable_to_the_bit((shape, sources) in case(), key in any::<u64>(), dtypes_at in any::<prop::sample::Selector>()) {
        let (of_average, of_source) = dtypes_at.select(dtypes());
        let (mut given, mut averages, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (source, followers) in &sources {
            let source = tensor(source, shape, of_source);
            let position = given.len();
            for (average, weight) in followers {
                let value = in_bf16(tensor(average, shape, of_average));
                let key = key.wrapping_add(averages.len() as u64);
                let held = (position % 2 == 0).then(|| (value.clone(), numbers(value.clone())));
                let apart = tensor_like(&value).into_bridge();
                let portable = match *weight {
                    1.0 => in_bf16(source.clone().cast(FloatDType::from(of_average))).into_bridge(),
                    weight if weight != 0.0 && shape.iter().product::<usize>() != 0 => {
                        portable::lerp_stochastic(apart, source.clone().into_bridge(), weight, key)
                    }
                    _ => apart,
                };
                expected.push((numbers_of(portable), held));
                averages.push(StochasticAverage { value: value.into_bridge(), source: position, weight: *weight, key });
            }
            given.push(source.into_bridge());
        }
        for (value, (portable, held)) in lerp_stochastic(given, averages).into_iter().zip(expected) {
            prop_assert_eq!(value.dtype(), of_average);
            prop_assert_eq!(value.shape().to_vec(), shape.to_vec());
            prop_assert_eq!(numbers_of(value), portable);
            if let Some((tensor, before)) = held {
                prop_assert_eq!(numbers(tensor), before);
            }
        }
    }
}

/// The nearest numbers of bf16, in the dtype that the tensor has.
fn in_bf16(tensor: Tensor<2>) -> Tensor<2> {
    let dtype = tensor.dtype();
    let nearest = tensor.into_data().convert_dtype(DType::BF16);
    Tensor::from_data(nearest.convert_dtype(DType::F32), (&device(), dtype))
}

fn moved(value: Tensor<1>, source: Tensor<1>, weight: f64, key: u64) -> Tensor<1> {
    let average = StochasticAverage {
        value: value.into_bridge(),
        source: 0,
        weight,
        key,
    };
    Tensor::from_bridge(lerp_stochastic(vec![source.into_bridge()], vec![average]).remove(0))
}

fn read(tensor: Tensor<1>) -> Vec<f64> {
    numbers_of(tensor.into_bridge())
}

/// Of 1 + 2^-10 an eighth goes to 1 + 2^-7, and the rest to 1: these elements and no others, on every backend and in every
/// release, for a run must go on as it began.
#[test]
fn the_bits_are_those_of_the_hash() {
    let source = line(vec![1.0 + 0.5_f32.powi(9); 65_536]);
    let key = random_key(1, 2, "weight");
    let numbers = read(moved(line(vec![1.0; 65_536]), source, 0.5, key));
    let up: Vec<usize> = (0..numbers.len())
        .filter(|at| numbers[*at] != 1.0)
        .collect();
    assert!(up.iter().all(|at| numbers[*at] == 1.0078125));
    // Worked out apart from the library.
    assert_eq!(up.len(), 8_135);
    assert_eq!(up[..8], [12, 17, 18, 26, 28, 32, 36, 40]);
}

/// 300 007 numbers: more than a piece of work, and no multiple of a vector.
#[test]
fn long_tensors_are_updated_to_the_last_number() {
    let first = line((0..300_007).map(|i| (i % 127) as f32 / -8.0).collect());
    for dtype in [DType::F32, DType::BF16] {
        if !has_dtype(dtype, "long_tensors_are_updated_to_the_last_number") {
            continue;
        }
        let source = line((0..300_007).map(|i| (i % 1013) as f32 / 7.0).collect());
        let apart: Tensor<1> = Tensor::from_data(first.to_data(), (&device(), dtype));
        let portable = portable::lerp_stochastic(
            apart.clone().into_bridge(),
            source.clone().into_bridge(),
            1e-3,
            77,
        );
        let found = read(moved(apart, source, 1e-3, 77));
        assert_eq!(found, numbers_of(portable), "{dtype:?}");
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    let value = line(vec![1.0, f32::NAN, f32::INFINITY, 1.0, 1.0]);
    let source = line(vec![2.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    for key in 0..20 {
        let numbers = read(moved(value.clone(), source.clone(), 0.25, key));
        assert_eq!(numbers[0], 1.25);
        assert!(numbers[1].is_nan() && numbers[2].is_nan() && numbers[4].is_nan());
        assert_eq!(numbers[3], f64::NEG_INFINITY);
    }
}

#[test]
#[should_panic(expected = "must be of bf16 or f32, found F64")]
fn an_average_of_another_dtype_is_an_error() {
    let dtype = DType::F64;
    if !has_dtype(dtype, "an_average_of_another_dtype_is_an_error") {
        panic!("must be of bf16 or f32, found F64");
    }
    let value: Tensor<1> = Tensor::from_data(TensorData::from([1.0_f32]), (&device(), dtype));
    moved(value.clone(), value, 0.5, 0);
}
