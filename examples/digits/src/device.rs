//! The backend by name.

use std::panic::{self, AssertUnwindSafe};

use burn::tensor::{Device, Tensor};

use crate::error::DigitsError;

type MakeDevice = fn() -> Device;

/// What is compiled in: cargo feature, and the device that it stands for.
#[allow(
    deprecated,
    reason = "ndarray and LibTorch are deprecated in Burn 0.22, and still run"
)]
fn compiled() -> Vec<(&'static str, MakeDevice)> {
    vec![
        #[cfg(feature = "flex")]
        ("flex", || Device::flex()),
        #[cfg(feature = "ndarray")]
        ("ndarray", || Device::ndarray()),
        #[cfg(feature = "tch")]
        ("tch", || Device::libtorch()),
        #[cfg(feature = "wgpu")]
        ("wgpu", || Device::wgpu(Default::default())),
        #[cfg(feature = "vulkan")]
        ("vulkan", || Device::vulkan(Default::default())),
        #[cfg(feature = "metal")]
        ("metal", || Device::metal(Default::default())),
        #[cfg(feature = "webgpu")]
        ("webgpu", || Device::webgpu(Default::default())),
        #[cfg(feature = "cuda")]
        ("cuda", || Device::cuda(0)),
        #[cfg(feature = "rocm")]
        ("rocm", || Device::rocm(0)),
        #[cfg(feature = "cpu")]
        ("cpu", || Device::cpu()),
    ]
}

/// The device called `name`, or Burn's default for `default`, after a small computation on it.
///
/// # Errors
///
/// If its backend is not compiled in, or has no driver or hardware here.
pub fn find(name: &str) -> Result<Device, DigitsError> {
    let compiled = compiled();
    let make = if name == "default" {
        Device::default
    } else {
        match compiled.iter().find(|(known, _)| *known == name) {
            Some((_, make)) => *make,
            None => {
                let names: Vec<_> = compiled.iter().map(|(known, _)| *known).collect();
                return Err(DigitsError::Device(format!(
                    "--device {name}: this build has {}; add a backend with `--features {name}` if \
                     Burn has it",
                    names.join(", ")
                )));
            }
        }
    };
    works(make).ok_or_else(|| {
        DigitsError::Device(format!(
            "--device {name}: the backend is compiled in but finds no driver or hardware here"
        ))
    })
}

/// The device, if it can compute. Without a driver, backends panic.
fn works(make: MakeDevice) -> Option<Device> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let device = make();
        let two = Tensor::<1>::ones([2], &device).sum().into_data();
        (two.iter::<f32>().next() == Some(2.0)).then_some(device)
    }));
    panic::set_hook(hook);
    result.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_is_not_compiled_in_is_an_error_with_its_name() {
        let error = find("abacus").unwrap_err().to_string();
        assert!(error.contains("--device abacus"), "{error}");
        assert!(find("default").is_ok());
    }
}
