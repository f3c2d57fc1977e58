//! The fused operation beside the same in Burn's tensor operations, and beside f64: over shapes, strides, dtypes and weights.

mod compensated;
mod stochastic;

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use burn_ema_kernels::{Average, all_finite, lerp, portable};
use burn_ema_tests::backend::{device, elsewhere, has_dtype};
use proptest::collection::vec;
use proptest::prelude::*;

/// How the values of a tensor lie in memory.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Straight,
    Transposed,
    /// Part of a larger tensor, with gaps between the rows.
    Cut,
    /// One row that stands for all.
    Repeated,
    /// From the last to the first.
    Flipped,
}

/// A matrix of random values.
#[derive(Clone, Debug)]
struct Matrix {
    lie: Lie,
    values: Vec<f64>,
}

const DTYPES: [(DType, DType); 9] = [
    (DType::F32, DType::F32),
    (DType::F64, DType::F64),
    (DType::F32, DType::F16),
    (DType::F32, DType::BF16),
    (DType::F16, DType::F16),
    (DType::BF16, DType::BF16),
    (DType::F64, DType::F32),
    (DType::F64, DType::F16),
    (DType::F64, DType::BF16),
];

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = Matrix> {
    let lie = prop_oneof![
        Just(Lie::Straight),
        Just(Lie::Transposed),
        Just(Lie::Cut),
        Just(Lie::Repeated),
        Just(Lie::Flipped)
    ];
    let value = prop_oneof![-2.0..2.0, -1e-3..1e-3, -1e4..1e4];
    (lie, vec(value, rows * columns)).prop_map(|(lie, values)| Matrix { lie, values })
}

/// A source, and averages that move towards it by their weights.
type Followed = (Matrix, Vec<(Matrix, f64)>);

fn case() -> impl Strategy<Value = ([usize; 2], Vec<Followed>)> {
    let sizes = prop_oneof![Just(0_usize), Just(1), Just(2), Just(7), Just(33)];
    (sizes.clone(), sizes).prop_flat_map(|(rows, columns)| {
        let weight = prop_oneof![Just(0.0), Just(1.0), 0.0..1.0, 1e-5..1e-2];
        let averages = vec((matrix(rows, columns), weight), 1..4);
        let sources = vec((matrix(rows, columns), averages), 1..4);
        (Just([rows, columns]), sources)
    })
}

fn tensor(matrix: &Matrix, [rows, columns]: [usize; 2], dtype: DType) -> Tensor<2> {
    let of = |values: Vec<f64>, shape: [usize; 2]| {
        Tensor::<2>::from_data(TensorData::new(values, shape), (&device(), dtype))
    };
    let values = &matrix.values;
    // Burn's CubeCL backends do not slice nothing.
    if rows * columns == 0 {
        return of(vec![], [rows, columns]);
    }
    match matrix.lie {
        Lie::Straight => of(values.clone(), [rows, columns]),
        Lie::Transposed => of(values.clone(), [columns, rows]).transpose(),
        Lie::Cut => {
            let mut padded = Vec::new();
            for row in values.chunks(columns) {
                padded.extend([f64::NAN, f64::NAN]);
                padded.extend(row);
            }
            of(padded, [rows, columns + 2]).slice([0..rows, 2..columns + 2])
        }
        Lie::Repeated => of(values[..columns].to_vec(), [1, columns]).expand([rows, columns]),
        Lie::Flipped => {
            let reversed = values.iter().rev().copied().collect();
            of(reversed, [rows, columns]).flip([0, 1])
        }
    }
}

fn numbers(tensor: Tensor<2>) -> Vec<f64> {
    tensor
        .cast(FloatDType::F32)
        .into_data()
        .iter::<f64>()
        .collect()
}

fn numbers_of(value: BridgeTensor) -> Vec<f64> {
    let tensor = Tensor::<2>::from_bridge(value);
    match tensor.dtype() {
        DType::F64 => tensor.into_data().iter::<f64>().collect(),
        _ => numbers(tensor),
    }
}

/// The distance of two neighbours of `size` in a dtype. That of the largest number on the way counts: where `average` and
/// `source` nearly cancel out, no order of operations keeps more.
fn ulp(size: f64, dtype: DType) -> f64 {
    let (digits, smallest) = match dtype {
        DType::F64 => (52, -1022),
        DType::F32 => (23, -126),
        DType::F16 => (10, -14),
        DType::BF16 => (7, -126),
        other => unreachable!("{other:?}"),
    };
    let exponent = (size.abs().log2().floor() as i32).max(smallest);
    2.0_f64.powi(exponent - digits)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn fused_is_portable_to_an_ulp_and_f64_to_two((shape, sources) in case(), dtypes in any::<prop::sample::Selector>()) {
        let supports = |(average, source): &(DType, DType)| {
            // Averages of half precision have no kernel, and Burn's Fusion now and then (in 5 of 100 runs) reads a transposed
            // tensor of f16 in the order that it has in memory.
            let is_sound = cfg!(not(feature = "fusion")) || average.size() >= 4;
            is_sound && device().supports_dtype(*average) && device().supports_dtype(*source)
        };
        let (of_average, of_source) = dtypes.select(DTYPES.into_iter().filter(supports));
        let mut given = Vec::new();
        let mut averages = Vec::new();
        let mut expected = Vec::new();
        for (source, followers) in &sources {
            let source = tensor(source, shape, of_source);
            let position = given.len();
            given.push(source.clone().into_bridge());
            for (average, weight) in followers {
                let average = tensor(average, shape, of_average);
                let before = numbers_of(average.clone().into_bridge());
                // What another holds stays what it is.
                let held = (position % 2 == 0).then(|| (average.clone(), before.clone()));
                let apart = tensor_like(&average);
                let portable = match *weight {
                    0.0 => apart.into_bridge(),
                    1.0 => portable::cast(source.clone().into_bridge(), of_average),
                    _ if before.is_empty() => apart.into_bridge(),
                    weight => portable::lerp(apart.into_bridge(), source.clone().into_bridge(), weight),
                };
                let from = numbers_of(source.clone().cast(match of_average {
                    DType::F64 => FloatDType::F64,
                    _ => FloatDType::F32,
                }).into_bridge());
                expected.push((before, from, *weight, numbers_of(portable), held));
                averages.push(Average { value: average.into_bridge(), source: position, weight: *weight });
            }
        }
        let updated = lerp(given, averages);
        prop_assert_eq!(updated.len(), expected.len());
        for (value, (before, from, weight, portable, held)) in updated.into_iter().zip(expected) {
            prop_assert_eq!(value.dtype(), of_average);
            prop_assert_eq!(value.shape().to_vec(), shape.to_vec());
            let found = numbers_of(value);
            for index in 0..found.len() {
                let (old, from) = (before[index], from[index]);
                let largest = old.abs().max(from.abs()).max((from - old).abs());
                let ulp = ulp(largest, of_average);
                let off = (found[index] - portable[index]).abs();
                prop_assert!(off <= ulp, "{} is not {}", found[index], portable[index]);
                let weight = match of_average {
                    DType::F64 => weight,
                    _ => f64::from(weight as f32),
                };
                let exact = old + (from - old) * weight;
                prop_assert!((found[index] - exact).abs() <= 2.0 * ulp, "{} is not {exact}", found[index]);
            }
            if let Some((tensor, before)) = held {
                prop_assert_eq!(numbers_of(tensor.into_bridge()), before);
            }
        }
    }
}

/// The same values in other memory.
fn tensor_like(tensor: &Tensor<2>) -> Tensor<2> {
    Tensor::from_data(tensor.to_data(), (&device(), tensor.dtype()))
}

fn line(values: Vec<f32>) -> Tensor<1> {
    Tensor::from_data(TensorData::from(values.as_slice()), &device())
}

/// 300 007 numbers: more than a piece of work, and no multiple of a vector.
#[test]
fn long_tensors_are_updated_to_the_last_number() {
    let length = 300_007;
    let source: Vec<f32> = (0..length).map(|i| (i % 1013) as f32 / 7.0).collect();
    let average: Vec<f32> = (0..length).map(|i| (i % 509) as f32 / -3.0).collect();
    let weights = [0.25, 0.001];
    let averages = weights.map(|weight| Average {
        value: line(average.clone()).into_bridge(),
        source: 0,
        weight,
    });
    let updated = lerp(vec![line(source.clone()).into_bridge()], averages.into());
    for (value, weight) in updated.into_iter().zip(weights) {
        let found = Tensor::<1>::from_bridge(value).into_data();
        for ((found, old), from) in found.iter::<f64>().zip(&average).zip(&source) {
            let (old, from) = (f64::from(*old), f64::from(*from));
            let exact = old + (from - old) * weight;
            let ulp = ulp(old.abs().max(from), DType::F32);
            assert!((found - exact).abs() <= 2.0 * ulp, "{found} is not {exact}");
        }
    }
}

#[test]
fn long_half_precision_is_read_as_it_is() {
    for dtype in [FloatDType::F16, FloatDType::BF16] {
        if !has_dtype(dtype.into(), "long_half_precision_is_read_as_it_is") {
            continue;
        }
        // Numbers that half precision has.
        let source: Vec<f32> = (0..300_007).map(|i| (i % 127) as f32 / 8.0).collect();
        let average = Average {
            value: line(vec![1.0; source.len()]).into_bridge(),
            source: 0,
            weight: 0.5,
        };
        let given = line(source.clone()).cast(dtype).into_bridge();
        let updated = lerp(vec![given], vec![average]).remove(0);
        assert_eq!(updated.dtype(), DType::F32);
        let found = Tensor::<1>::from_bridge(updated).into_data();
        let exact = source.iter().map(|from| f64::from((from + 1.0) / 2.0));
        assert!(found.iter::<f64>().eq(exact), "{dtype:?}");
    }
}

#[test]
fn many_small_tensors_are_each_updated_by_their_own_source() {
    let lengths = (0..300).map(|i| 1 + i * 7 % 300);
    let (mut sources, mut averages, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for (position, length) in lengths.enumerate() {
        let number = position as f32;
        sources.push(line(vec![number; length]).into_bridge());
        // One to three averages of it.
        for weight in &[0.25, 0.5, 0.75][..1 + position % 3] {
            averages.push(Average {
                value: line(vec![-number; length]).into_bridge(),
                source: position,
                weight: *weight,
            });
            expected.push(vec![f64::from(number) * (2.0 * weight - 1.0); length]);
        }
    }
    for (value, expected) in lerp(sources, averages).into_iter().zip(expected) {
        let found = Tensor::<1>::from_bridge(value).into_data();
        assert_eq!(found.iter::<f64>().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn sources_on_several_devices_are_told_apart() {
    let other = elsewhere();
    if other == device() {
        println!("SKIPPED sources_on_several_devices_are_told_apart: there is one device");
        return;
    }
    let on = |device: &Device, number: f32| Tensor::<1>::full([3], number, device).into_bridge();
    let average = |device: &Device, number, source| Average {
        value: on(device, number),
        source,
        weight: 0.5,
    };
    let here = device();
    let sources = vec![
        on(&here, 1.0),
        on(&other, 2.0),
        on(&here, 3.0),
        on(&other, 4.0),
    ];
    let averages = vec![
        average(&here, 0.0, 0),
        average(&here, 1.0, 0),
        average(&other, 0.0, 1),
        average(&here, 1.0, 2),
        average(&other, 2.0, 3),
    ];
    let moved = lerp(sources, averages).into_iter();
    let moved: Vec<f64> = moved
        .map(|value| {
            let data = Tensor::<1>::from_bridge(value).into_data();
            data.iter::<f64>().sum::<f64>() / 3.0
        })
        .collect();
    assert_eq!(moved, [0.5, 1.0, 1.0, 2.0, 3.0]);
}

/// At weight 1 the formula would give 0 and NaN.
#[test]
fn weight_of_one_copies_and_of_nothing_keeps() {
    let source = line(vec![1.2345, 2.0]);
    let average = |weight| Average {
        value: line(vec![1e8, f32::NAN]).into_bridge(),
        source: 0,
        weight,
    };
    // The last weight is 1 in f32.
    let averages = vec![average(1.0), average(0.0), average(1.0 - 1e-9)];
    let updated = lerp(vec![source.into_bridge()], averages);
    let numbers = |value: &BridgeTensor| {
        let data = Tensor::<1>::from_bridge(value.clone()).into_data();
        data.try_to_vec::<f32>().unwrap()
    };
    assert_eq!(numbers(&updated[0]), [1.2345, 2.0]);
    assert_eq!(numbers(&updated[2]), [1.2345, 2.0]);
    assert_eq!(numbers(&updated[1])[0], 1e8);
    assert!(numbers(&updated[1])[1].is_nan());
}

#[test]
fn scalars_and_nothing_are_tensors_too() {
    let scalar = |number: f32| line(vec![number]).into_bridge();
    let nothing = || Tensor::<2>::zeros([0, 3], &device()).into_bridge();
    let average = |value, source| Average {
        value,
        source,
        weight: 0.5,
    };
    let sources = vec![scalar(3.0), nothing()];
    let updated = lerp(
        sources,
        vec![average(scalar(1.0), 0), average(nothing(), 1)],
    );
    let found = Tensor::<1>::from_bridge(updated[0].clone()).into_data();
    assert_eq!(found.iter::<f64>().collect::<Vec<_>>(), [2.0]);
    assert_eq!(updated[1].shape().to_vec(), [0, 3]);
    assert!(lerp(vec![], vec![]).is_empty());
}

#[test]
fn ema_that_is_its_source_stays_what_it_is() {
    let values = vec![0.1, -7.7, 1e30, 1e-40];
    let tensor = line(values.clone()).into_bridge();
    let average = Average {
        value: tensor.clone(),
        source: 0,
        weight: 0.3,
    };
    let updated = lerp(vec![tensor], vec![average]).remove(0);
    let found = Tensor::<1>::from_bridge(updated).into_data();
    assert_eq!(found.try_to_vec::<f32>().unwrap()[..3], values[..3]);
}

#[test]
fn emas_that_share_memory_part_ways() {
    let first = line(vec![0.0, 4.0]);
    let second = line(vec![8.0, 8.0]);
    let average = |tensor: &Tensor<1>, source, weight| Average {
        value: tensor.clone().into_bridge(),
        source,
        weight,
    };
    let sources = vec![first.clone().into_bridge(), second.clone().into_bridge()];
    let averages = vec![
        average(&second, 0, 0.5),
        average(&second, 0, 0.25),
        average(&first, 1, 0.5),
        average(&second, 1, 0.5),
    ];
    let numbers = |tensor: Tensor<1>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
    let moved = lerp(sources, averages).into_iter();
    let moved: Vec<_> = moved
        .map(|value| numbers(Tensor::from_bridge(value)))
        .collect();
    assert_eq!(moved, [[4.0, 6.0], [6.0, 7.0], [4.0, 6.0], [8.0, 8.0]]);
    assert_eq!(numbers(first), [0.0, 4.0]);
    assert_eq!(numbers(second), [8.0, 8.0]);
}

/// Each way to lie in memory, in ranks that the matrices above do not have.
#[test]
fn tensors_of_any_rank_are_updated_as_they_lie() {
    let base = |shift: f32| {
        let values = (0..120).map(|i| i as f32 + shift).collect();
        line(values).reshape([2, 3, 4, 5])
    };
    let ways: [fn(Tensor<4>) -> Tensor<4>; 5] = [
        |tensor| tensor,
        |tensor| tensor.permute([3, 1, 0, 2]),
        |tensor| tensor.flip([1, 3]),
        |tensor| tensor.slice([0..2, 1..3, 0..4, 1..4]),
        |tensor| tensor.narrow(0, 0, 1).expand([2, 3, 4, 5]),
    ];
    for (first, of_average) in ways.iter().enumerate() {
        for (second, of_source) in ways.iter().enumerate() {
            let (average, source) = (of_average(base(0.0)), of_source(base(7.0)));
            if average.dims() != source.dims() {
                continue;
            }
            let numbers = |tensor: &Tensor<4>| tensor.to_data().iter::<f64>().collect::<Vec<_>>();
            let (old, from) = (numbers(&average), numbers(&source));
            let expected: Vec<f64> = old.iter().zip(&from).map(|(a, b)| (a + b) / 2.0).collect();
            let average = Average {
                value: average.into_bridge(),
                source: 0,
                weight: 0.5,
            };
            let moved = lerp(vec![source.clone().into_bridge()], vec![average]).remove(0);
            let moved = Tensor::<4>::from_bridge(moved);
            assert_eq!(numbers(&moved), expected, "{first} towards {second}");
            // And again, in place by now.
            let average = Average {
                value: moved.into_bridge(),
                source: 0,
                weight: 0.5,
            };
            let moved = lerp(vec![source.into_bridge()], vec![average]).remove(0);
            let expected: Vec<f64> = expected
                .iter()
                .zip(&from)
                .map(|(a, b)| (a + b) / 2.0)
                .collect();
            assert_eq!(
                numbers(&Tensor::from_bridge(moved)),
                expected,
                "{first} towards {second}, again"
            );
        }
    }
    let stepped = |shift: f32| line((0..60).map(|i| i as f32 + shift).collect()).flip([0]);
    let average = Average {
        value: stepped(0.0).into_bridge(),
        source: 0,
        weight: 0.5,
    };
    let moved = lerp(vec![stepped(2.0).into_bridge()], vec![average]).remove(0);
    let moved = Tensor::<1>::from_bridge(moved).into_data();
    assert!(
        moved
            .iter::<f64>()
            .eq((0..60).rev().map(|i| f64::from(i) + 1.0))
    );
}

#[test]
#[should_panic(expected = "of one shape")]
fn another_shape_is_an_error() {
    let average = Average {
        value: line(vec![1.0; 4]).into_bridge(),
        source: 0,
        weight: 0.5,
    };
    lerp(vec![line(vec![1.0; 2]).into_bridge()], vec![average]);
}

#[test]
fn one_number_that_is_not_finite_is_seen_wherever_it_is() {
    let bad = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for length in [1, 1023, 100_003] {
        let mut values = vec![f32::MAX; length];
        assert!(all_finite(&[line(values.clone()).into_bridge()]));
        for bad in bad {
            for position in [0, length / 2, length - 1] {
                values[position] = bad;
                let seen = all_finite(&[line(values.clone()).into_bridge()]);
                assert!(!seen, "{bad} at {position} of {length}");
                values[position] = f32::MIN;
            }
        }
    }
}

#[test]
fn one_tensor_of_many_that_is_not_finite_is_seen() {
    let tensors: Vec<_> = (0..70)
        .map(|i| line(vec![i as f32; 1 + i * 37 % 300]).into_bridge())
        .chain([Tensor::<2>::zeros([0, 3], &device()).into_bridge()])
        .collect();
    assert!(all_finite(&tensors));
    assert!(all_finite(&[]));
    for position in 0..tensors.len() {
        let mut tensors = tensors.clone();
        tensors[position] = line(vec![0.0, 1.0, f32::NEG_INFINITY]).into_bridge();
        assert!(!all_finite(&tensors), "{position}");
    }
}

#[test]
fn numbers_of_every_dtype_are_looked_at() {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        if !has_dtype(dtype, "numbers_of_every_dtype_are_looked_at") {
            continue;
        }
        let largest = match dtype {
            DType::F16 => 65504.0,
            DType::F64 => 1e300,
            _ => 1e38,
        };
        let seen = |number: f64| {
            let data = TensorData::new(vec![1.0, -largest, number, 0.0, 1e-7], [5]);
            all_finite(&[Tensor::<1>::from_data(data, (&device(), dtype)).into_bridge()])
        };
        assert!(seen(largest), "{dtype:?}");
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!seen(number), "{number} of {dtype:?}");
        }
    }
}

/// So large that several threads share the work.
#[test]
fn large_tensors_that_lie_in_another_order_are_updated() {
    let (rows, columns) = (311, 401);
    let numbers = |factor: f32| (0..rows * columns).map(|i| i as f32 * factor).collect();
    let source = line(numbers(2.0)).reshape([columns, rows]).transpose();
    let average = Average {
        value: line(numbers(4.0)).reshape([rows, columns]).into_bridge(),
        source: 0,
        weight: 0.5,
    };
    let moved = lerp(vec![source.into_bridge()], vec![average]).remove(0);
    let moved = Tensor::<2>::from_bridge(moved).into_data();
    let expected = (0..rows * columns).map(|i| {
        let (row, column) = (i / columns, i % columns);
        2.0 * i as f64 + (column * rows + row) as f64
    });
    assert!(moved.iter::<f64>().eq(expected));
}

/// What lies between the values of a tensor is not its own.
#[test]
fn only_the_values_of_a_tensor_are_looked_at() {
    let rows = 5;
    for (columns, kept) in [(3, 2), (6, 5), (8, 4), (12, 8), (9, 1)] {
        let cut = |bad: Option<usize>| {
            let number = |i| match (i / columns * kept + i % columns, i % columns < kept) {
                (at, true) if Some(at) == bad => f32::INFINITY,
                (at, true) => at as f32,
                (_, false) => f32::NAN,
            };
            let whole = line((0..rows * columns).map(number).collect());
            whole.reshape([rows, columns]).slice([0..rows, 0..kept])
        };
        let finite = cut(None);
        let flipped = finite.clone().flip([0, 1]);
        let tensors = [finite.clone(), finite.transpose(), flipped].map(Tensor::into_bridge);
        assert!(all_finite(&tensors), "{kept} of {columns}");
        for bad in 0..rows * kept {
            let cut = cut(Some(bad));
            let is_seen = !all_finite(&[cut.clone().into_bridge()])
                && !all_finite(&[cut.transpose().into_bridge()]);
            assert!(is_seen, "{bad} of {kept} of {columns}");
        }
    }
}

/// Fusion's tensors have no memory until they are needed.
#[cfg(all(
    any(
        feature = "wgpu",
        feature = "vulkan",
        feature = "cuda",
        feature = "cpu"
    ),
    not(feature = "fusion")
))]
#[test]
fn emas_on_cubecl_stay_in_their_memory_unless_it_is_shared() {
    use burn::backend::{BackendTensor, DispatchTensorKind};

    let memory = |tensor: &BridgeTensor| match &tensor.as_parts().1.kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => {
            Some(tensor.handle.memory.clone().binding().id())
        }
        _ => None,
    };
    let matrix = |number: f32| Tensor::<2>::full([40, 24], number, &device());
    // Both row by row, and both column by column.
    let ways: [fn(Tensor<2>) -> Tensor<2>; 2] = [|tensor| tensor, Tensor::transpose];
    for way in ways {
        let (average, source) = (way(matrix(1.0)), way(matrix(3.0)));
        let moved = |value: BridgeTensor| {
            let average = Average {
                value,
                source: 0,
                weight: 0.5,
            };
            lerp(vec![source.clone().into_bridge()], vec![average]).remove(0)
        };
        let value = average.into_bridge();
        let Some(before) = memory(&value) else {
            println!("SKIPPED averages_on_cubecl_stay_in_their_memory: not on it");
            return;
        };
        let value = moved(value);
        assert_eq!(memory(&value), Some(before));
        let held = value.clone();
        let value = moved(value);
        assert_eq!(memory(&held), Some(before));
        assert_ne!(memory(&value), Some(before));
    }
}
