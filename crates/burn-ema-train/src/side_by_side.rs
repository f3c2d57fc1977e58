//! Validation on several sets of weights in one run.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::TensorReadError;
use burn::train::metric::{
    AccuracyInput, Adaptor, BleuInput, CerInput, ConfusionStatsInput, HammingScoreInput, LossInput,
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericEntry, PerplexityInput,
    RougeLInput, SerializedEntry, TopKAccuracyInput, WerInput,
};
use burn::train::{InferenceStep, ItemLazy, LearnerModel};
use burn_ema::EmaError;

use crate::EmaLearner;

/// Validation on all sets of weights: see [`EmaLearner::side_by_side`].
#[derive(Clone, Copy, Debug)]
pub struct BothModels;

/// The outputs of one validation step on all sets of weights.
///
/// Burn's metrics see those of the average that was [chosen](EmaLearner::with_chosen); a metric in [`Online`] sees the
/// online ones, and one in [`Averaged`] those of any average. For a metric input of your own, forward it: `fn adapt(&self) -> MyInput { self.ema.adapt() }` in an
/// `impl Adaptor<MyInput> for Compared<MyOutput>`.
#[derive(Clone, Debug)]
pub struct Compared<O> {
    /// Output of the averaged model: that of the chosen average.
    pub ema: O,
    /// Name of that average: empty for the only one.
    pub chosen: String,
    /// Output of the model that is trained.
    pub online: O,
    /// Outputs of the other averaged models, with the names of their averages.
    pub others: Vec<(String, O)>,
}

impl<O: ItemLazy> ItemLazy for Compared<O> {
    fn sync(self) -> Result<Self, burn::tensor::ExecutionError> {
        let others = self.others.into_iter();
        Ok(Self {
            ema: self.ema.sync()?,
            chosen: self.chosen,
            online: self.online.sync()?,
            others: others
                .map(|(name, output)| Ok((name, output.sync()?)))
                .collect::<Result<_, _>>()?,
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
            chosen: self.chosen_name(),
            others: self.on_others(|averaged| InferenceStep::step(averaged, item.clone())),
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
    metric: Named<Me>,
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
        Self {
            metric: Named::new(metric, "online"),
        }
    }
}

/// A metric over the weights of one of several averages, named `… (name)`. Made by [`EmaLearner::metric_of`].
#[derive(Clone, Debug)]
pub struct Averaged<Me> {
    metric: Named<Me>,
    average: String,
}

/// The input of a metric in [`Averaged`]: that of each average, with its name.
#[derive(Clone, Debug)]
pub struct AveragedInput<I>(Vec<(String, I)>);

impl<O: Adaptor<I>, I> Adaptor<AveragedInput<I>> for Compared<O> {
    fn adapt(&self) -> AveragedInput<I> {
        let chosen = [(&self.chosen, &self.ema)].into_iter();
        let others = self.others.iter().map(|(name, output)| (name, output));
        let inputs = chosen.chain(others);
        AveragedInput(
            inputs
                .map(|(name, output)| (name.clone(), output.adapt()))
                .collect(),
        )
    }
}

impl<M: Module, V> EmaLearner<M, V> {
    /// The same metric over the weights of the average called `name`, for
    /// `metric_valid_numeric`; the learner has to validate [side by side](Self::side_by_side).
    ///
    /// # Errors
    ///
    /// If there is no such average.
    ///
    /// # Example
    ///
    /// ```
    /// # use burn::{module::Module, nn::{Linear, LinearConfig}};
    /// # let model = LinearConfig::new(2, 2).init(&Default::default());
    /// use burn::train::metric::{LossMetric, Metric};
    /// use burn_ema::{Decay, EmaConfig, EmaSetConfig};
    /// use burn_ema_train::EmaLearner;
    ///
    /// let averages = EmaSetConfig::new()
    ///     .with("fast", EmaConfig::new().with_decay(Decay::half_life(100.0)))
    ///     .with("slow", EmaConfig::new().with_decay(Decay::half_life(2_000.0)));
    /// let learner = EmaLearner::new(model, averages).with_chosen("slow").side_by_side();
    /// // training.metric_valid_numeric(learner.metric_of("fast", LossMetric::new())?)
    /// assert_eq!(*learner.metric_of("fast", LossMetric::new())?.name(), "Loss (fast)");
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn metric_of<Me: Metric>(&self, name: &str, metric: Me) -> Result<Averaged<Me>, EmaError> {
        self.monitor().of(name)?;
        Ok(Averaged {
            metric: Named::new(metric, name),
            average: name.to_string(),
        })
    }
}

/// A metric under another name.
#[derive(Clone, Debug)]
struct Named<Me> {
    metric: Me,
    name: MetricName,
}

impl<Me: Metric> Named<Me> {
    fn new(metric: Me, suffix: &str) -> Self {
        let name = Arc::new(format!("{} ({suffix})", metric.name()));
        Self { metric, name }
    }
}

/// Makes `$Wrapper` the metric in it, over the input that `$of` picks out of `$Input`.
macro_rules! delegate {
    ($Wrapper:ident, $Input:ident, $of:expr) => {
        impl<Me: Metric> Metric for $Wrapper<Me> {
            type Input = $Input<Me::Input>;

            fn update(
                &mut self,
                item: &Self::Input,
                metadata: &MetricMetadata,
            ) -> Result<SerializedEntry, TensorReadError> {
                let item = $of(&*self, item);
                self.metric.metric.update(item, metadata)
            }

            fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
                self.metric.metric.compute()
            }

            fn clear(&mut self) {
                self.metric.metric.clear();
            }

            fn name(&self) -> MetricName {
                self.metric.name.clone()
            }

            fn description(&self) -> Option<String> {
                self.metric.metric.description()
            }

            fn attributes(&self) -> MetricAttributes {
                self.metric.metric.attributes()
            }
        }

        impl<Me: Numeric> Numeric for $Wrapper<Me> {
            fn value(&self) -> Option<NumericEntry> {
                self.metric.metric.value()
            }

            fn running_value(&self) -> Option<NumericEntry> {
                self.metric.metric.running_value()
            }

            fn final_value(&self) -> NumericEntry {
                self.metric.metric.final_value()
            }
        }
    };
}

delegate!(Online, OnlineInput, online_input);
delegate!(Averaged, AveragedInput, averaged_input);

fn online_input<'a, Me, I>(_metric: &Online<Me>, item: &'a OnlineInput<I>) -> &'a I {
    &item.0
}

fn averaged_input<'a, Me, I>(metric: &Averaged<Me>, item: &'a AveragedInput<I>) -> &'a I {
    let mut inputs = item.0.iter();
    let input = inputs.find(|(name, _)| *name == metric.average);
    let (_, input) = input.expect("a metric is given the outputs of the learner that made it");
    input
}
