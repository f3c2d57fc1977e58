//! Who goes through a module.
//!
//! Optimizers use visitors and mappers, as records do. They look at every float for a gradient or a state by its id, map each of
//! them at every step, and L-BFGS expects a gradient for each. An EMA that is a field of the trained module must be in its records
//! and unseen by its optimizer.
//! The type of the visitor is all that tells them apart, and its name all that can be asked without more bounds.

/// Whether a visitor or mapper of type `V` belongs to Burn's optimizers (steps, gradients, their devices and their
/// accumulation).
pub(crate) fn is_of_optimizer<V>() -> bool {
    std::any::type_name::<V>().starts_with("burn_optim::")
}

/// Whether a visitor of type `V` makes a record, or looks for what is to be in one, or a mapper loads one.
pub(crate) fn is_of_record<V>() -> bool {
    const OF_BURN: &str = "burn_core::store::";
    let name = std::any::type_name::<V>();
    // Walks of this crate pass on those of Burn.
    let is_ours = name.starts_with("burn_ema::record::");
    let is_for_record = || name.contains(OF_BURN) || name.contains("record::content::");
    name.starts_with(OF_BURN) || (is_ours && is_for_record())
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::{GradientsAccumulator, GradientsParams, SgdConfig};
    use burn::tensor::{Device, Tensor};
    use std::sync::Mutex;

    /// What was called, and whether an optimizer or a record did.
    static SEEN: Mutex<Vec<(&str, bool, bool)>> = Mutex::new(Vec::new());

    fn note<V>(what: &'static str) {
        let seen = (what, is_of_optimizer::<V>(), is_of_record::<V>());
        SEEN.lock().unwrap().push(seen);
    }

    #[derive(Clone, Debug)]
    struct Noted(Linear);

    impl Module for Noted {
        fn collect_devices(&self, devices: Devices) -> Devices {
            self.0.collect_devices(devices)
        }
        fn fork(self, device: &Device) -> Self {
            Self(self.0.fork(device))
        }
        fn to_device(self, device: &Device) -> Self {
            Self(self.0.to_device(device))
        }
        fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
            note::<V>("visit");
            self.0.visit(visitor);
        }
        fn map<V: ModuleMapper>(self, mapper: &mut V) -> Self {
            note::<V>("map");
            Self(self.0.map(mapper))
        }
        fn train(self) -> Self {
            Self(self.0.train())
        }
        fn valid(&self) -> Self {
            Self(self.0.valid())
        }
        fn materialize(self) -> Self {
            Self(self.0.materialize())
        }
    }

    fn seen(work: impl FnOnce()) -> Vec<(&'static str, bool, bool)> {
        SEEN.lock().unwrap().clear();
        work();
        std::mem::take(&mut *SEEN.lock().unwrap())
    }

    #[test]
    fn optimizers_are_told_from_records() {
        let device = Device::flex().autodiff();
        let module = Noted(LinearConfig::new(2, 1).init(&device));
        let loss = module.0.forward(Tensor::<2>::ones([1, 2], &device)).sum();
        let gradients = loss.backward();
        let mut params = None;
        let of_gradients = seen(|| params = Some(GradientsParams::from_grads(gradients, &module)));
        assert_eq!(of_gradients, [("visit", true, false)]);
        let params = params.unwrap();
        let accumulated = seen(|| {
            let mut accumulator = GradientsAccumulator::new();
            accumulator.accumulate(&module, GradientsParams::new());
        });
        assert_eq!(accumulated, [("visit", true, false)]);
        let step = seen(|| drop(SgdConfig::new().init().step(0.1, module.clone(), params)));
        assert_eq!(step, [("map", true, false)]);
        let mut record = None;
        assert_eq!(
            seen(|| record = Some(module.clone().into_record())),
            [("visit", false, true)]
        );
        assert_eq!(
            seen(|| drop(module.load_record(record.unwrap()))),
            [("map", false, true)]
        );
    }
}
