//! Validation on averaged and online weights in one run.

use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn::train::metric::{
    AccuracyInput, Adaptor, BleuInput, CerInput, ConfusionStatsInput, HammingScoreInput, LossInput,
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericEntry, PerplexityInput,
    RougeLInput, SerializedEntry, TopKAccuracyInput, WerInput,
};
use burn::train::{InferenceStep, ItemLazy, LearnerModel};

use crate::EmaLearner;

/// Validation on both sets of weights: see [`EmaLearner::side_by_side`].
#[derive(Clone, Copy, Debug)]
pub struct BothModels;

/// The outputs of one validation step on both sets of weights.
///
/// Burn's metrics see the averaged ones; a metric in [`Online`] sees the online ones. For a metric
/// input of your own, forward it: `fn adapt(&self) -> MyInput { self.ema.adapt() }` in an
/// `impl Adaptor<MyInput> for Compared<MyOutput>`.
#[derive(Clone, Debug)]
pub struct Compared<O> {
    /// Output of the averaged model.
    pub ema: O,
    /// Output of the model that is trained.
    pub online: O,
}

impl<O: ItemLazy> ItemLazy for Compared<O> {
    fn sync(self) -> Result<Self, burn::tensor::ExecutionError> {
        Ok(Self {
            ema: self.ema.sync()?,
            online: self.online.sync()?,
        })
    }
}

impl<M: LearnerModel> InferenceStep for EmaLearner<M, BothModels>
where
    <M as InferenceStep>::Input: Clone,
{
    type Input = <M as InferenceStep>::Input;
    type Output = Compared<<M as InferenceStep>::Output>;

    fn step(&self, item: Self::Input) -> Self::Output {
        Compared {
            ema: self.on_average(|averaged| InferenceStep::step(averaged, item.clone())),
            online: InferenceStep::step(self.online(), item),
        }
    }
}

/// Lets Burn's metrics see the averaged weights.
macro_rules! show_ema {
    ($($input:ty),* $(,)?) => {
        $(impl<O: Adaptor<$input>> Adaptor<$input> for Compared<O> {
            fn adapt(&self) -> $input {
                self.ema.adapt()
            }
        })*
    };
}

// One by one: an implementation for all inputs would collide with Burn's for `()`.
show_ema!(
    AccuracyInput,
    BleuInput,
    CerInput,
    ConfusionStatsInput,
    HammingScoreInput,
    LossInput,
    PerplexityInput,
    RougeLInput,
    TopKAccuracyInput,
    WerInput,
);

/// A metric over the online weights, named `… (online)`, beside one over the averaged weights.
///
/// # Example
///
/// ```
/// use burn::train::metric::{LossMetric, Metric};
/// use burn_ema_train::Online;
///
/// // training.metric_valid_numeric(Online::new(LossMetric::new()))
/// assert_eq!(*Online::new(LossMetric::new()).name(), "Loss (online)");
/// ```
#[derive(Clone, Debug)]
pub struct Online<Me> {
    metric: Me,
    name: MetricName,
}

/// The input of a metric in [`Online`].
#[derive(Clone, Debug)]
pub struct OnlineInput<I>(I);

impl<O: Adaptor<I>, I> Adaptor<OnlineInput<I>> for Compared<O> {
    fn adapt(&self) -> OnlineInput<I> {
        OnlineInput(self.online.adapt())
    }
}

impl<Me: Metric> Online<Me> {
    /// The same metric over the online weights.
    pub fn new(metric: Me) -> Self {
        let name = Arc::new(format!("{} (online)", metric.name()));
        Self { metric, name }
    }
}

impl<Me: Metric> Metric for Online<Me> {
    type Input = OnlineInput<Me::Input>;

    fn update(
        &mut self,
        item: &Self::Input,
        metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.metric.update(&item.0, metadata)
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        self.metric.compute()
    }

    fn clear(&mut self) {
        self.metric.clear();
    }

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn description(&self) -> Option<String> {
        self.metric.description()
    }

    fn attributes(&self) -> MetricAttributes {
        self.metric.attributes()
    }
}

impl<Me: Numeric> Numeric for Online<Me> {
    fn value(&self) -> Option<NumericEntry> {
        self.metric.value()
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.metric.running_value()
    }

    fn final_value(&self) -> NumericEntry {
        self.metric.final_value()
    }
}
