//! Running on the EMA weights.

use burn::module::Module;

use crate::model::EmaModel;
use crate::model::exchange::Swapped;

impl<M: Module> EmaModel<M> {
    /// The EMA model in inference mode: no autodiff, dropout off, BatchNorm on its running statistics, in the dtypes of the
    /// model, so that it runs wherever the model does.
    ///
    /// This is free after the first call since the last update, and copies no tensor (half-precision
    /// ones are rounded from the EMA, so they are new). Later updates never change it or a clone
    /// of it; while a clone is alive they copy what it holds instead of working in place. (On Burn's
    /// CubeCL backends, where `into_data` reads late, the next update copies even if no clone is alive.)
    /// In Burn a clone shares BatchNorm's running statistics with the original, and moving or loading the clone changes both:
    /// for a model to move, train or load into, take `ema.clone().into_model()`.
    ///
    /// # Panics
    ///
    /// If an earlier [`update`](Self::update) panicked.
    pub fn model(&self) -> &M {
        self.handed_out.get_or_init(|| self.fresh_model())
    }

    /// The EMA model in training mode, but for gradients: on an autodiff device, with dropout on and BatchNorm on the
    /// statistics of the batch, and no parameter that requires a gradient. Layers that are frozen in the model are frozen here.
    ///
    /// For target networks that are to see what the online network sees: the teacher of a mean teacher (Tarvainen
    /// and Valpola 2017, arXiv:1703.01780), of BYOL or of DINO. For a target network in inference mode take
    /// [`model`](Self::model). Either way the output carries no graph, as long as the input has none, and once the
    /// borrow has ended the next update works in place (except on CubeCL: see [`model`](Self::model)).
    ///
    /// BatchNorm's forward passes in this mode move running statistics of the model. The EMA takes those over
    /// where its [`Policy`](crate::Policy) says [`Ignore`](crate::policy::BufferAction::Ignore) of buffers, so that
    /// they follow the EMA model's own activations (Ignite's `handle_buffers="ema_train"`), and forgets them at
    /// the next update otherwise. [`model`](Self::model) shows them after the next update.
    ///
    /// # Panics
    ///
    /// If an earlier [`update`](Self::update) panicked.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ema::{Decay, EmaConfig};
    ///
    /// let device = Device::default().autodiff();
    /// let student = LinearConfig::new(2, 1).init(&device);
    /// let mut teacher = EmaConfig::new().with_decay(Decay::constant(0.99)).init(&student);
    ///
    /// let batch = Tensor::<2>::ones([4, 2], &device);
    /// let target = teacher.training_model().forward(batch.clone());
    /// let loss = (student.forward(batch) - target).square().mean();
    /// let gradients = loss.backward(); // of the student only
    /// teacher.update(&student)?;
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn training_model(&self) -> &M {
        self.in_training.get_or_init(|| {
            let dtype = |place| self.model_dtype(place);
            self.store.training_model(&self.plan.places, dtype)
        })
    }

    /// The EMA model, as [`model`](Self::model), without the EMA. It shares no state with any other model.
    ///
    /// # Panics
    ///
    /// If an earlier [`update`](Self::update) panicked.
    #[must_use]
    pub fn into_model(self) -> M {
        self.fresh_model()
    }

    /// [`into_model`](Self::into_model), of an EMA that stays.
    pub(crate) fn fresh_model(&self) -> M {
        let dtype = |place| self.model_dtype(place);
        self.settled().model(&self.plan.places, dtype)
    }

    /// The EMA model in the dtypes of the EMA: f32 where averaged parameters of the model are f16 or bf16 (with
    /// [`EmaPrecision::AtLeastF32`](crate::config::EmaPrecision::AtLeastF32)).
    ///
    /// # Panics
    ///
    /// If an earlier [`update`](Self::update) panicked.
    #[must_use]
    pub fn full_precision_model(&self) -> M {
        self.settled().full_precision_model(&self.plan.places)
    }

    /// Puts the EMA weights into `model` until the returned guard is dropped.
    ///
    /// For code that needs the EMA weights in a place of its own; elsewhere [`model`](Self::model)
    /// is simpler. The guard gives back what was there, also when the code in between panics or
    /// returns early. It dereferences to a model in inference mode, and changes to that are lost.
    ///
    /// # Panics
    ///
    /// If an earlier [`update`](Self::update) panicked.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ema::EmaConfig;
    ///
    /// let mut model = LinearConfig::new(2, 1).init(&Device::default());
    /// let ema = EmaConfig::new().init(&model);
    /// let output = {
    ///     let averaged = ema.swap_into(&mut model);
    ///     averaged.forward(Tensor::<2>::ones([1, 2], &Device::default()))
    /// }; // `model` has its own weights again
    /// ```
    pub fn swap_into<'a>(&self, model: &'a mut M) -> Swapped<'a, M> {
        Swapped::new(model, self.fresh_model())
    }

    /// Runs `evaluate` with the EMA weights in `model`: [`swap_into`](Self::swap_into) around a
    /// function. `model` has its own weights again when this returns, also after an error or a panic.
    ///
    /// # Panics
    ///
    /// If an earlier [`update`](Self::update) panicked.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ema::EmaConfig;
    ///
    /// let mut model = LinearConfig::new(2, 1).init(&Device::default());
    /// let ema = EmaConfig::new().init(&model);
    /// let score = ema.evaluate_in(&mut model, |averaged| {
    ///     let output = averaged.forward(Tensor::<2>::ones([1, 2], &Device::default()));
    ///     output.into_data().to_vec::<f32>().map(|score| score[0])
    /// })?;
    /// # Ok::<(), burn::tensor::DataError>(())
    /// ```
    #[doc(alias = "average_parameters")]
    pub fn evaluate_in<T>(&self, model: &mut M, evaluate: impl FnOnce(&M) -> T) -> T {
        evaluate(&self.swap_into(model))
    }
}
