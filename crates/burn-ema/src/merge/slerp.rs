//! Spherical interpolation.

use burn::module::Module;
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Float, Tensor};

use crate::burn_facts::rank;
use crate::error::EmaError;
use crate::merge::Merge;
use crate::merge::sum::{Sum, invalid};
use crate::model::config::EmaPrecision;
use crate::policy::Class;

/// Where two tensors point nearly the same way, or the opposite one, the sines would divide by nearly 0.
const MOST_COSINE: f64 = 0.9995;

impl Merge {
    /// The model at `t` in `[0, 1]` of the way from `a` to `b`, each parameter on the arc between the two (Shoemake 1985; as
    /// mergekit's `slerp`).
    ///
    /// With `w` the angle between a parameter of `a` and that of `b`, as vectors, it is `sin((1 - t) w) / sin w * a + sin(t w)
    /// / sin w * b`. Where the cosine of the angle is beyond 0.9995 in absolute value, and for buffers, it is the straight
    /// line.
    ///
    /// # Errors
    ///
    /// [`EmaError::Merge`] if `t` is out of its range, or models differ in structure or in what is trainable.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::merge::Merge;
    ///
    /// let linear = || LinearConfig::new(2, 1).init(&Default::default());
    /// let between = Merge::new().slerp(linear(), linear(), 0.25)?;
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn slerp<M: Module>(&self, a: M, b: M, t: f64) -> Result<M, EmaError> {
        if !(0.0..=1.0).contains(&t) {
            return invalid(format!("t must be in [0, 1], found {t}"));
        }
        let mut sum = Sum::of(&a, 1.0, &self.policy, self.precision)?;
        sum.blend(&b, |class, from, to| {
            let [of_from, of_to] = match class {
                Class::Buffer => [1.0 - t, t],
                _ => shares(&from, &to, t),
            };
            rank::add(rank::scale(from, of_from), rank::scale(to, of_to))
        })?;
        sum.into_model(&b, 1.0)
    }
}

/// How much of each of two tensors is in the one between them.
fn shares(from: &BridgeTensor, to: &BridgeTensor, t: f64) -> [f64; 2] {
    let norms = dot(from, from) * dot(to, to);
    let cosine = dot(from, to) / norms.sqrt();
    // Of nothing, or of zeros, there is no angle.
    if cosine.is_nan() || cosine.abs() > MOST_COSINE {
        return [1.0 - t, t];
    }
    let angle = cosine.acos();
    [((1.0 - t) * angle).sin(), (t * angle).sin()].map(|sine| sine / angle.sin())
}

fn dot(a: &BridgeTensor, b: &BridgeTensor) -> f64 {
    if a.shape().num_elements() == 0 {
        return 0.0;
    }
    // The square of a large f16 is none.
    let wide = |tensor: &BridgeTensor| {
        let dtype = EmaPrecision::AtLeastF32.of(tensor.dtype());
        rank::any::<Float>(rank::cast(tensor.clone(), dtype))
    };
    let (a, b) = (wide(a), wide(b));
    let sum: Tensor<1> = a.mul(b).sum();
    sum.into_data().iter::<f64>().sum()
}
