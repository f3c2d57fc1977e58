//! Running on the averaged weights.

use burn::module::Module;

use crate::scope::Swapped;
use crate::{EmaModel, autodiff};

impl<M: Module> EmaModel<M> {
    /// The averaged model in validation state: no autodiff, dropout off, BatchNorm on its running
    /// statistics, dtypes of the source, so that it runs wherever the source does.
    ///
    /// This is free after the first call since the last update, and copies no tensor (half-precision
    /// ones are rounded from the average, and so made anew). Later updates never change it or a clone
    /// of it; while a clone is alive they copy what it holds instead of working in place. (On Burn's
    /// CubeCL backends, where `into_data` reads late, the next update copies even if no clone is alive.)
    /// As ever in Burn a clone shares BatchNorm's running statistics; for a model to train or to load
    /// into, take `ema.clone().into_model()`.
    pub fn model(&self) -> &M {
        self.handed_out.get_or_init(|| self.settled().model())
    }

    /// The averaged model as it is when it trains, but for what the optimizer does: on an autodiff device, with
    /// dropout on and BatchNorm on the statistics of the batch, and no parameter that requires a gradient.
    ///
    /// For target networks that are to see what the online network sees: the teacher of a mean teacher (Tarvainen
    /// and Valpola 2017, arXiv:1703.01780), of BYOL or of DINO. Where they are to run as in validation, take
    /// [`model`](Self::model). Either way the output carries no graph, as long as the input has none, and once the
    /// borrow has ended the next update works in place (but for CubeCL: see [`model`](Self::model)).
    ///
    /// BatchNorm's forward passes in this state move running statistics of the model. Those are taken over by
    /// the average where its [`Policy`](crate::Policy) says [`Ignore`](crate::Action::Ignore) of buffers, so that
    /// they follow the averaged model's own activations (Ignite's `handle_buffers="ema_train"`), and forgotten at
    /// the next update otherwise. [`model`](Self::model) shows them after the next update.
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
            let shadow = self.settled();
            autodiff::in_training(&shadow.model(), shadow.strategy())
        })
    }

    /// The averaged model, as [`model`](Self::model), without the average. It shares no state with any
    /// other model.
    pub fn into_model(self) -> M {
        self.settled().model()
    }

    /// The averaged model in the dtypes of the average: f32 where the source is f16 or bf16.
    pub fn full_precision_model(&self) -> M {
        self.settled().full_precision_model()
    }

    /// Puts the averaged weights into `model` until the returned guard is dropped.
    ///
    /// For code that needs the averaged weights in a place of its own; elsewhere [`model`](Self::model)
    /// is simpler. The guard gives back what was there, also when the code in between panics or
    /// returns early. What it derefs to is in validation state, and changes to it are lost.
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
        Swapped::new(model, self.settled().model())
    }

    /// Runs `evaluate` with the averaged weights in the place of `model`: [`swap_into`](Self::swap_into) around a
    /// function. `model` has its own weights again when this returns, also after an error or a panic.
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
    pub fn evaluate_in<T>(&self, model: &mut M, evaluate: impl FnOnce(&M) -> T) -> T {
        evaluate(&self.swap_into(model))
    }
}
