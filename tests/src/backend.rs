//! The backend that the tests run on: `BURN_DEVICE`, or the default among those compiled in.

use std::sync::LazyLock;

use burn::tensor::{DType, Device, Tensor};

/// The device of the tests, without autodiff.
pub fn device() -> Device {
    Device::default()
}

/// The device of the tests, with autodiff.
pub fn autodiff_device() -> Device {
    Device::default().autodiff()
}

/// Whether the device is described by this word.
fn is(word: &str) -> bool {
    format!("{:?}", Device::default()).contains(word)
}

/// Whether the tests run on `flex`, whose f32 arithmetic is known to the bit.
pub fn is_flex() -> bool {
    is("Flex")
}

/// Whether the tests run on LibTorch.
pub fn is_libtorch() -> bool {
    is("LibTorch")
}

/// Whether the backend is one of CubeCL's: for a GPU, or what stands in for one.
pub fn is_cubecl() -> bool {
    is("Cube(")
}

/// Whether a training has the same bits whatever else the program does.
///
/// With Fusion it has not where multiplying and adding round once if they are done together: what is done together depends
/// on what else waits to be done. On an H100, trainings with an average beside them and without, and those that go on from
/// a record and those that were never stopped, then differ by a unit in the last place at first, and by up to 3e-4 where
/// products of matrices [round more](multiplies_in_tf32).
pub fn repeats_trainings() -> bool {
    static REPEATS: LazyLock<bool> = LazyLock::new(|| {
        let device = device();
        let factor = || Tensor::<1>::from_floats([1.0 + 1.0 / 4096.0], &device);
        let one = || Tensor::<1>::from_floats([1.0], &device);
        let together = factor() * factor() - one();
        let product = factor() * factor();
        device.sync().expect("the device works");
        let apart = product - one();
        together.into_data() == apart.into_data()
    });
    *REPEATS
}

/// Whether Burn may give products of f32 matrices to units that round their factors to TF32.
pub fn multiplies_in_tf32() -> bool {
    is("Cuda")
}

/// Whether the backend has a dtype. Says so on the test's output where it has not.
pub fn has_dtype(dtype: DType, test: &str) -> bool {
    let device = device();
    let has = device.supports_dtype(dtype);
    if !has {
        println!("SKIPPED {test}: {device:?} has no {dtype:?}");
    }
    has
}

/// Another device than [`device`], where there is one: `flex` beside the backend under test.
pub fn elsewhere() -> Device {
    #[cfg(feature = "flex")]
    return Device::flex();
    #[cfg(not(feature = "flex"))]
    return device();
}
