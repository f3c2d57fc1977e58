//! Weights that are saved in another layout than they live in.
//!
//! A record holds a `Col`-layout weight as `on_save` makes it, transposed, and compares that shape with the parameter to
//! load into: with the shape as saved if the parameter is lazy, but as it lives if it is initialized. So Burn does not
//! load such a record into an initialized layer.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// A parameter that records accept, and that `f` may replace. Its layout stays what it is.
pub(crate) fn in_saved_shape<const D: usize>(
    param: Param<Tensor<D>>,
    f: impl FnOnce(Param<Tensor<D>>) -> Param<Tensor<D>>,
) -> Param<Tensor<D>> {
    let shape = param.transform_for_save().base().shape();
    if shape == param.base().shape() {
        return f(param);
    }
    let device = param.lazy_device();
    let trainable = Module::train(param.clone()).is_require_grad();
    let (id, value, layout) = param.consume();
    let (load, save) = (layout.clone(), layout.clone());
    let init = move |device: &burn::tensor::Device, _: bool| value.to_device(device);
    let lazy = Param::uninitialized(id, init, device, trainable, shape)
        .load_mapper(move |tensor| load.on_load(tensor))
        .save_mapper(move |tensor| save.on_save(tensor));
    // The original layout, not closures around it: each pass would add one more.
    let (id, value, _) = f(lazy).consume();
    Param::from_mapped_value(id, value, layout)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig, LinearLayout};
    use burn::tensor::Device;

    #[test]
    fn burn_does_not_load_a_col_layout_weight_that_is_initialized() {
        let layer = || -> Linear {
            LinearConfig::new(2, 3)
                .with_layout(LinearLayout::Col)
                .init(&Device::flex())
        };
        let record = layer().into_record();
        let initialized = layer().valid();
        assert!(
            initialized.try_load_record(record).is_err(),
            "Burn loads it now: `in_saved_shape` is not needed any more"
        );
    }
}
