//! The backend that the tests run on: `BURN_DEVICE`, or the default among those compiled in.

use burn::tensor::{DType, Device};

/// The device of the tests, without autodiff.
pub fn device() -> Device {
    Device::default()
}

/// The device of the tests, with autodiff.
pub fn autodiff_device() -> Device {
    Device::default().autodiff()
}

/// Whether the tests run on `flex`, whose f32 arithmetic is known to the bit.
pub fn is_flex() -> bool {
    format!("{:?}", Device::default()).contains("Flex")
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
