//! How a BatchNorm layer shows from outside.
//!
//! Burn's derive calls it `Struct:BatchNorm` and its fields by their names. Its momentum is private. A forward pass in training
//! mode makes `(1 - momentum) * old + momentum * new` of a statistic, so the momentum shows in what it makes of a known `old`.

use burn::tensor::DType;

/// How Burn's derive calls the layer.
pub(crate) const LAYER: &str = "Struct:BatchNorm";
/// Its flag, by which a frozen layer keeps its statistics.
pub(crate) const FLAG: &str = "training";
/// Its statistics.
pub(crate) const STATISTICS: [&str; 2] = ["running_mean", "running_var"];

/// A zero that no forward pass makes: `-0 + 0` is `+0`.
pub(crate) fn nothing() -> f64 {
    -0.0
}

/// Whether a forward pass has added to what was [nothing] before.
pub(crate) fn is_reached(value: f64) -> bool {
    value.to_bits() != nothing().to_bits()
}

/// A power of two, which is multiplied without rounding, that leaves room below infinity.
pub(crate) fn huge(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2.0_f64.powi(15),
        _ => 2.0_f64.powi(100),
    }
}

/// The decimal with the fewest digits among the numbers that are rounded to `x`, at most 1: `1 - momentum` before it
/// was rounded to the dtype of the statistics. That matters, for `momentum` is small against the rounding.
pub(crate) fn shortest(x: f64, epsilon: f64) -> f64 {
    // Half the distance of two numbers; those below 1 are `epsilon / 2` apart.
    let rounding = 0.5 * epsilon * x.min(0.5);
    let decimal = |digits: i32| {
        let scale = 10.0_f64.powi(digits);
        (x * scale).round() / scale
    };
    let is_source = |decimal: &f64| (decimal - x).abs() <= rounding && (*decimal < 1.0 || x == 1.0);
    (0..16).map(decimal).find(is_source).unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "flex")]
    #[test]
    fn burn_names_the_layer_and_its_fields_so() {
        use burn::module::{Flag, Module, ModuleVisitor, Param};
        use burn::nn::BatchNormConfig;
        use burn::tensor::{Device, Tensor};

        #[derive(Default)]
        struct Names {
            at: Vec<(String, String)>,
            seen: Vec<String>,
        }
        impl Names {
            fn see(&mut self) {
                let (name, container) = self.at.last().unwrap();
                if container == LAYER {
                    self.seen.push(name.clone());
                }
            }
        }
        impl ModuleVisitor for Names {
            fn enter_module(&mut self, name: &str, container: &str) {
                self.at.push((name.to_string(), container.to_string()));
            }
            fn exit_module(&mut self, _: &str, _: &str) {
                self.at.pop();
            }
            fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
                self.see();
            }
            fn visit_flag(&mut self, _: &Param<Flag>) {
                self.see();
            }
        }
        let mut names = Names::default();
        let norm = BatchNormConfig::new(1).init(&Device::flex());
        norm.visit(&mut names);
        for name in STATISTICS.into_iter().chain([FLAG]) {
            assert!(
                names.seen.iter().any(|seen| seen == name),
                "{name}: {:?}",
                names.seen
            );
        }
    }

    #[test]
    fn what_was_rounded_to_f32_is_found_again() {
        for momentum in [0.1, 0.01, 0.003, 0.0003, 0.25, 1.0, 0.0] {
            let retained: f64 = 1.0 - momentum;
            let rounded = f64::from(retained as f32);
            let found = shortest(rounded, f64::from(f32::EPSILON));
            assert!((found - retained).abs() < 1e-15, "{momentum}: {found}");
        }
        let third = f64::from((2.0_f64 / 3.0) as f32);
        let found = shortest(third, f64::from(f32::EPSILON));
        assert!((found - 2.0 / 3.0).abs() < f64::from(f32::EPSILON));
    }

    /// In bf16 the number below 1 is 0.99609375: a momentum of 0.003 is there, but its digits are not.
    #[test]
    fn what_is_below_1_is_not_taken_for_1() {
        let found = shortest(1.0 - 0.5_f64.powi(8), 0.5_f64.powi(7));
        assert!((found - 0.996).abs() < 1e-3 && found < 1.0, "{found}");
        assert_eq!(shortest(1.0, 0.5_f64.powi(7)), 1.0);
    }
}
