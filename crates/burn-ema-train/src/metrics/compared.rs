//! Metrics over several sets of weights in one run.

use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn::train::ItemLazy;
use burn::train::metric::{
    AccuracyInput, Adaptor, BleuInput, CerInput, ConfusionStatsInput, HammingScoreInput, LossInput,
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericEntry, PerplexityInput,
    RougeLInput, SerializedEntry, TopKAccuracyInput, WerInput,
};

/// The outputs of one validation step on all sets of weights.
///
/// Burn's metrics see those of the EMA that was [chosen](crate::WithEma::with_chosen); a metric in [`Online`] sees the
/// online ones, and one in [`Averaged`] those of any EMA. (Image metrics such as PSNR and SSIM need the feature `vision`.) For
/// your own metric input, forward it: `fn adapt(&self) -> MyInput { self.ema.adapt() }` in an
/// `impl Adaptor<MyInput> for Compared<MyOutput>`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Compared<O> {
    /// Output of the EMA model: that of the chosen EMA.
    pub ema: O,
    /// Name of that EMA: empty for the only one.
    pub chosen: String,
    /// Output of the online model.
    pub online: O,
    /// Outputs of the other EMA models, with the names of their EMAs.
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

/// Lets Burn's metrics see the EMA weights.
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

#[cfg(feature = "vision")]
mod vision {
    use super::Compared;
    use burn::train::metric::Adaptor;
    use burn::train::metric::vision::{DiceInput, MsSsimInput, PsnrInput, SsimInput};

    show_ema!(MsSsimInput, PsnrInput, SsimInput);

    impl<O: Adaptor<DiceInput<D>>, const D: usize> Adaptor<DiceInput<D>> for Compared<O> {
        fn adapt(&self) -> DiceInput<D> {
            self.ema.adapt()
        }
    }
}

/// A metric over the online weights, named `… (online)`, beside one over the EMA weights.
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

/// A metric over the weights of one of several EMAs, named `… (name)`. Made by
/// [`WithEma::metric_of`](crate::WithEma::metric_of).
#[derive(Clone, Debug)]
pub struct Averaged<Me> {
    metric: Named<Me>,
    ema: String,
}

/// The input of a metric in [`Averaged`]: that of each EMA, with its name.
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

impl<Me: Metric> Averaged<Me> {
    /// The same metric over the weights of the EMA called `name`; the only EMA has an empty name, which does not show.
    pub(crate) fn new(name: &str, metric: Me) -> Self {
        Self {
            metric: Named::new(metric, name),
            ema: name.to_string(),
        }
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
        let name = match suffix {
            "" => metric.name(),
            suffix => Arc::new(format!("{} ({suffix})", metric.name())),
        };
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
    let input = inputs.find(|(name, _)| *name == metric.ema);
    let (_, input) = input.expect("a metric is given the outputs of the learner that made it");
    input
}
