//! What the dashboard and the logs can show of an average.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::tensor::TensorReadError;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use burn_ema::{EmaError, EmaSet};

/// The average as it was after the last optimizer step, or in the checkpoint that was loaded since, and
/// metrics that show it. Of several averages it shows the first, and [`of`](Self::of) another.
///
/// The dashboard handles a step while training is already at a later one, so what a metric shows can
/// be a few steps ahead of the loss beside it.
///
/// # Example
///
/// ```
/// # use burn::{module::Module, nn::{Linear, LinearConfig}};
/// # let model = LinearConfig::new(2, 2).init(&Default::default());
/// use burn_ema::EmaConfig;
/// use burn_ema_train::EmaLearner;
///
/// let learner = EmaLearner::new(model, EmaConfig::new());
/// let monitor = learner.monitor();
/// // training
/// //     .metric_train_numeric(monitor.decay())
/// //     .metric_train_numeric(monitor.updates())
/// //     .metric_train_numeric(monitor.distance(50));
/// assert_eq!(monitor.num_updates(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Monitor {
    states: Arc<Mutex<Vec<State>>>,
    /// Position of the average that is shown.
    average: usize,
}

#[derive(Clone, Debug, Default)]
struct State {
    name: String,
    decay: f64,
    updates: u64,
    skipped: u64,
    distance: Option<f64>,
    /// Number of optimizer steps from one measurement of the distance to the next.
    distance_interval: Option<u64>,
}

impl Monitor {
    pub(crate) fn of_averages<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let state = |name: &str| State {
            name: name.to_string(),
            ..State::default()
        };
        Self {
            states: Arc::new(Mutex::new(names.map(state).collect())),
            average: 0,
        }
    }

    /// What there is to show of the average called `name`, in metrics called `EMA decay (name)` and so on.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn of(&self, name: &str) -> Result<Self, EmaError> {
        Ok(Self {
            average: self.find(name)?,
            ..self.clone()
        })
    }

    /// The position of the average called `name`.
    pub(crate) fn find(&self, name: &str) -> Result<usize, EmaError> {
        let states = self.lock();
        let position = states.iter().position(|state| state.name == name);
        position.ok_or_else(|| EmaError::UnknownAverage {
            name: name.to_string(),
            known: states.iter().map(|state| state.name.clone()).collect(),
        })
    }

    /// The metric `EMA decay`: the decay of the next average.
    pub fn decay(&self) -> MonitorMetric {
        MonitorMetric::new("EMA decay", 6, self, |state| Some(state.decay))
    }

    /// The metric `EMA updates`: the number of averages so far.
    pub fn updates(&self) -> MonitorMetric {
        MonitorMetric::new("EMA updates", 0, self, |state| Some(state.updates as f64))
    }

    /// The metric `EMA skipped`: the number of steps left out because the online weights were not
    /// finite, with [`NonFinite::Skip`](burn_ema::NonFinite::Skip).
    pub fn skipped(&self) -> MonitorMetric {
        MonitorMetric::new("EMA skipped", 0, self, |state| Some(state.skipped as f64))
    }

    /// The metric `EMA distance`: `|online - ema| / |online|` over everything that is averaged,
    /// measured once in `interval` optimizer steps. A measurement reads both sets of weights and waits
    /// for the device.
    ///
    /// # Panics
    ///
    /// If `interval` is 0.
    pub fn distance(&self, interval: u64) -> MonitorMetric {
        assert!(interval > 0, "an interval of 0 steps");
        self.lock()[self.average].distance_interval = Some(interval);
        MonitorMetric::new("EMA distance", 6, self, |state| state.distance)
    }

    /// The decay of the next average; 0 before training has begun.
    pub fn current_decay(&self) -> f64 {
        self.lock()[self.average].decay
    }

    /// The number of averages so far.
    pub fn num_updates(&self) -> u64 {
        self.lock()[self.average].updates
    }

    /// The last [distance](Self::distance) that was measured.
    pub fn last_distance(&self) -> Option<f64> {
        self.lock()[self.average].distance
    }

    /// Shows the counters of `averages`.
    pub(crate) fn show<M: Module>(&self, averages: &EmaSet<M>) {
        for (state, (_, average)) in self.lock().iter_mut().zip(averages.iter()) {
            state.decay = average.current_decay();
            state.updates = average.num_updates();
            state.skipped = average.num_skipped();
        }
    }

    /// Shows `averages` as they are after an optimizer step that led to `online`.
    pub(crate) fn observe<M: Module>(
        &self,
        averages: &EmaSet<M>,
        online: &M,
    ) -> Result<(), EmaError> {
        self.show(averages);
        for (state, (_, average)) in self.lock().iter_mut().zip(averages.iter()) {
            let due = |interval| average.num_steps().is_multiple_of(interval);
            if state.distance_interval.is_some_and(due) {
                state.distance = Some(average.relative_distance(online)?);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number of the [`Monitor`] as a metric of Burn, for `metric_train_numeric`.
#[derive(Clone)]
pub struct MonitorMetric {
    name: MetricName,
    precision: usize,
    monitor: Monitor,
    read: fn(&State) -> Option<f64>,
    last: NumericMetricState,
}

impl MonitorMetric {
    fn new(
        name: &str,
        precision: usize,
        monitor: &Monitor,
        read: fn(&State) -> Option<f64>,
    ) -> Self {
        let name = match monitor.lock()[monitor.average].name.as_str() {
            "" => name.to_string(),
            average => format!("{name} ({average})"),
        };
        Self {
            name: Arc::new(name),
            precision,
            monitor: monitor.clone(),
            read,
            last: NumericMetricState::new(),
        }
    }

    fn format(&self) -> FormatOptions {
        FormatOptions::new(self.name()).precision(self.precision)
    }
}

impl std::fmt::Debug for MonitorMetric {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MonitorMetric")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Metric for MonitorMetric {
    /// Nothing: the numbers come from the [`Monitor`].
    type Input = ();

    fn update(
        &mut self,
        _item: &(),
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        if let Some(value) = (self.read)(&self.monitor.lock()[self.monitor.average]) {
            // The last value counts, not a mean over the epoch.
            self.last.reset();
            self.last.update(value, 1);
        }
        Ok(self.last.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.last.compute_final(self.format()))
    }

    fn clear(&mut self) {}

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: false,
        }
        .into()
    }
}

impl Numeric for MonitorMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.last.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.last.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.last.final_value()
    }
}
