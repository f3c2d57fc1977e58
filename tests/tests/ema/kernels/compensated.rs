//! Averages with compensation: the kernels beside Burn's tensor operations, to the bit, and beside f64.

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, FloatDType, Tensor};
use burn_ema_kernels::{CompensatedAverage, lerp_compensated, portable};
use burn_ema_tests::backend::{device, elsewhere, has_dtype};
use proptest::prelude::*;

use super::{case, line, matrix, numbers_of, tensor, tensor_like};

const DTYPES: [(DType, DType); 5] = [
    (DType::F32, DType::F32),
    (DType::F32, DType::F16),
    (DType::F32, DType::BF16),
    (DType::F64, DType::F64),
    (DType::F64, DType::F32),
];

fn bits(tensor: &BridgeTensor) -> Vec<u64> {
    let numbers = numbers_of(tensor.clone()).into_iter();
    // A compensation of -0 is one of 0.
    numbers.map(|number| (number + 0.0).to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn fused_is_portable_to_the_bit(
        (shape, sources) in case(),
        lost in matrix(33, 33),
        dtypes in any::<prop::sample::Selector>(),
    ) {
        let supports = |(average, source): &(DType, DType)| {
            device().supports_dtype(*average) && device().supports_dtype(*source)
        };
        let (of_average, of_source) = dtypes.select(DTYPES.into_iter().filter(supports));
        let lost = super::Matrix {
            lie: lost.lie,
            values: lost.values.iter().map(|value| value * 1e-9).collect(),
        };
        let (mut given, mut averages, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (source, followers) in &sources {
            let source = tensor(source, shape, of_source);
            let position = given.len();
            for (average, weight) in followers {
                let value = tensor(average, shape, of_average);
                let compensation = tensor(&part(&lost, shape), shape, of_average);
                let held = (position % 2 == 0).then(|| (value.clone(), numbers_of(value.clone().into_bridge())));
                let portable = match *weight {
                    1.0 => (source.clone().cast(FloatDType::from(of_average)).into_bridge(), value.zeros_like().into_bridge()),
                    weight if weight != 0.0 && shape.iter().product::<usize>() != 0 => portable::lerp_compensated(
                        tensor_like(&value).into_bridge(),
                        tensor_like(&compensation).into_bridge(),
                        source.clone().into_bridge(),
                        weight,
                    ),
                    _ => (tensor_like(&value).into_bridge(), tensor_like(&compensation).into_bridge()),
                };
                expected.push((portable, held));
                averages.push(CompensatedAverage {
                    value: value.into_bridge(),
                    compensation: compensation.into_bridge(),
                    source: position,
                    weight: *weight,
                });
            }
            given.push(source.into_bridge());
        }
        let moved = lerp_compensated(given, averages);
        prop_assert_eq!(moved.len(), expected.len());
        for ((value, compensation), (portable, held)) in moved.into_iter().zip(expected) {
            prop_assert_eq!(value.dtype(), of_average);
            prop_assert_eq!(value.shape().to_vec(), shape.to_vec());
            prop_assert_eq!(bits(&value), bits(&portable.0));
            prop_assert_eq!(bits(&compensation), bits(&portable.1));
            if let Some((tensor, before)) = held {
                prop_assert_eq!(numbers_of(tensor.into_bridge()), before);
            }
        }
    }
}

/// As many values of a matrix as a shape has.
fn part(matrix: &super::Matrix, shape: [usize; 2]) -> super::Matrix {
    super::Matrix {
        lie: matrix.lie,
        values: matrix.values[..shape.iter().product()].to_vec(),
    }
}

fn followed(
    source: impl Fn(usize) -> Tensor<1>,
    first: Tensor<1>,
    weight: f64,
    updates: usize,
) -> (Tensor<1>, Tensor<1>) {
    let mut value = first.clone().into_bridge();
    let mut compensation = first.zeros_like().into_bridge();
    for update in 0..updates {
        let average = CompensatedAverage {
            value,
            compensation,
            source: 0,
            weight,
        };
        let moved = lerp_compensated(vec![source(update).into_bridge()], vec![average]);
        (value, compensation) = moved.into_iter().next().unwrap();
    }
    (
        Tensor::from_bridge(value),
        Tensor::from_bridge(compensation),
    )
}

fn numbers(tensor: Tensor<1>) -> Vec<f64> {
    numbers_of(tensor.into_bridge())
}

/// Value and compensation together have twice the digits: of 1 + 1e-9 the second has what the first cannot hold.
#[test]
fn value_and_compensation_together_are_the_average_in_f64() {
    let sources = [1.0_f32, 2.0, -3.0, 0.3];
    let weight = f64::from(1e-5_f32);
    let mut exact = [1.0_f64; 4];
    for update in 0..200 {
        for (index, exact) in exact.iter_mut().enumerate() {
            *exact += (f64::from(sources[(index + update) % 4]) - *exact) * weight;
        }
    }
    let source = |update: usize| line((0..4).map(|i| sources[(i + update) % 4]).collect());
    let (value, compensation) = followed(source, line(vec![1.0; 4]), weight, 200);
    let together = numbers(value).into_iter().zip(numbers(compensation));
    for ((value, compensation), exact) in together.zip(exact) {
        let found = value + compensation;
        assert!((found - exact).abs() < 2e-11, "{found} is not {exact}");
        assert!((value - exact).abs() < 6e-8, "{value} is not {exact}");
    }
}

/// So a value that stands does not change in its last digit for ever.
#[test]
fn an_average_that_is_its_source_stays_what_it_is() {
    let values = vec![0.1, -7.7, 1e30, 0.0];
    let (value, compensation) = followed(|_| line(values.clone()), line(values.clone()), 0.3, 5);
    let expected: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
    assert_eq!(numbers(value), expected);
    assert_eq!(numbers(compensation), [0.0; 4]);
}

/// 300 007 numbers: more than a piece of work, and no multiple of a vector.
#[test]
fn long_tensors_of_each_dtype_are_updated_to_the_last_number() {
    for dtype in [FloatDType::F32, FloatDType::F16, FloatDType::BF16] {
        if !has_dtype(
            dtype.into(),
            "long_tensors_of_each_dtype_are_updated_to_the_last_number",
        ) {
            continue;
        }
        let source = line((0..300_007).map(|i| (i % 127) as f32 / 8.0).collect()).cast(dtype);
        let first = line((0..300_007).map(|i| (i % 509) as f32 / -3.0).collect());
        let lost = first.clone() * 1e-9;
        let average = CompensatedAverage {
            value: tensor_in_other_memory(&first).into_bridge(),
            compensation: tensor_in_other_memory(&lost).into_bridge(),
            source: 0,
            weight: 1e-3,
        };
        let expected = portable::lerp_compensated(
            first.into_bridge(),
            lost.into_bridge(),
            source.clone().into_bridge(),
            1e-3,
        );
        let moved = lerp_compensated(vec![source.into_bridge()], vec![average]).remove(0);
        let numbers = |tensor: BridgeTensor| numbers(Tensor::from_bridge(tensor));
        assert_eq!(numbers(moved.0), numbers(expected.0), "{dtype:?}");
        assert_eq!(numbers(moved.1), numbers(expected.1), "{dtype:?}");
    }
}

fn tensor_in_other_memory(tensor: &Tensor<1>) -> Tensor<1> {
    Tensor::from_data(tensor.to_data(), (&device(), tensor.dtype()))
}

#[test]
fn many_small_tensors_are_each_updated_by_their_own_source() {
    let (mut sources, mut averages) = (Vec::new(), Vec::new());
    for position in 0..100 {
        let length = 1 + position * 7 % 300;
        sources.push(line(vec![position as f32; length]).into_bridge());
        for weight in &[0.25, 0.5, 0.75][..1 + position % 3] {
            averages.push(CompensatedAverage {
                value: line(vec![-(position as f32); length]).into_bridge(),
                compensation: line(vec![0.0; length]).into_bridge(),
                source: position,
                weight: *weight,
            });
        }
    }
    let expected: Vec<_> = averages
        .iter()
        .map(|average| average.source as f64 * (2.0 * average.weight - 1.0))
        .collect();
    for ((value, _), expected) in lerp_compensated(sources, averages)
        .into_iter()
        .zip(expected)
    {
        let numbers = numbers(Tensor::from_bridge(value));
        assert_eq!(numbers, vec![expected; numbers.len()]);
    }
}

#[test]
fn sources_on_several_devices_are_told_apart() {
    let other = elsewhere();
    if other == device() {
        println!("SKIPPED sources_on_several_devices_are_told_apart: there is one device");
        return;
    }
    let (mut sources, mut averages) = (Vec::new(), Vec::new());
    for (position, device) in [device(), other.clone(), device(), other]
        .iter()
        .enumerate()
    {
        let full = |number: f32| Tensor::<1>::full([3], number, device).into_bridge();
        sources.push(full(position as f32));
        averages.push(CompensatedAverage {
            value: full(2.0),
            compensation: full(0.0),
            source: position,
            weight: 0.5,
        });
    }
    let moved = lerp_compensated(sources, averages).into_iter();
    let moved: Vec<f64> = moved
        .map(|(value, _)| numbers(Tensor::from_bridge(value))[1])
        .collect();
    assert_eq!(moved, [1.0, 1.5, 2.0, 2.5]);
}

#[test]
#[should_panic(expected = "of one dtype")]
fn a_compensation_of_another_dtype_is_an_error() {
    let value = line(vec![1.0]);
    let dtype = match device().supports_dtype(DType::F64) {
        true => FloatDType::F64,
        false => FloatDType::F16,
    };
    let average = CompensatedAverage {
        compensation: value.clone().cast(dtype).into_bridge(),
        value: value.clone().into_bridge(),
        source: 0,
        weight: 0.5,
    };
    lerp_compensated(vec![value.into_bridge()], vec![average]);
}

/// The first average is in the memory of the second source, and nobody else holds that: it must not move there while the
/// second average looks.
#[test]
fn an_average_that_shares_memory_with_a_source_leaves_it_alone() {
    let source = line(vec![4.0; 70_000]);
    let averages = vec![
        CompensatedAverage {
            value: source.clone().into_bridge(),
            compensation: line(vec![0.0; 70_000]).into_bridge(),
            source: 0,
            weight: 0.5,
        },
        CompensatedAverage {
            value: line(vec![0.0; 70_000]).into_bridge(),
            compensation: line(vec![0.0; 70_000]).into_bridge(),
            source: 1,
            weight: 0.5,
        },
    ];
    let sources = vec![line(vec![0.0; 70_000]).into_bridge(), source.into_bridge()];
    for (value, _) in lerp_compensated(sources, averages) {
        assert_eq!(numbers(Tensor::from_bridge(value)), vec![2.0; 70_000]);
    }
}

#[test]
#[should_panic(expected = "an average and its compensation must be of one shape")]
fn a_compensation_of_another_shape_is_an_error() {
    let value = line(vec![1.0]);
    let average = CompensatedAverage {
        compensation: line(vec![0.0; 2]).into_bridge(),
        value: value.clone().into_bridge(),
        source: 0,
        weight: 0.5,
    };
    lerp_compensated(vec![value.into_bridge()], vec![average]);
}
