//! What the dashboard and the logs can show of an EMA.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::tensor::TensorReadError;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use burn_ema::{EmaError, EmaSet};

/// The EMA as it was after the last optimizer step, or in the checkpoint that was loaded since, and
/// metrics that show it. Of several EMAs it shows the first, and [`of`](Self::of) another.
///
/// The dashboard handles a step while training is already at a later one, so a metric can be a few steps ahead of the loss
/// beside it. With distributed data parallelism all workers share one monitor.
///
/// # Example
///
/// ```
/// # use burn::{module::Module, nn::{Linear, LinearConfig}};
/// # let model = LinearConfig::new(2, 2).init(&Default::default());
/// use burn_ema::EmaConfig;
/// use burn_ema_train::EmaExt;
///
/// let monitor = model.with_ema(EmaConfig::new()).monitor();
/// // training
/// //     .metric_train_numeric(monitor.decay())
/// //     .metric_train_numeric(monitor.updates())
/// //     .metric_train_numeric(monitor.distance(50));
/// assert_eq!(monitor.num_updates(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Monitor {
    states: Arc<Mutex<Vec<State>>>,
    /// Position of the EMA that is shown.
    ema: usize,
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
    pub(crate) fn of_emas<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let state = |name: &str| State {
            name: name.to_string(),
            ..State::default()
        };
        Self {
            states: Arc::new(Mutex::new(names.map(state).collect())),
            ema: 0,
        }
    }

    /// The monitor of the EMA called `name`, whose metrics are called `EMA decay (name)` and so on.
    ///
    /// # Errors
    ///
    /// If no EMA has this name.
    pub fn of(&self, name: &str) -> Result<Self, EmaError> {
        Ok(Self {
            ema: self.find(name)?,
            ..self.clone()
        })
    }

    /// The position of the EMA called `name`.
    pub(crate) fn find(&self, name: &str) -> Result<usize, EmaError> {
        let states = self.lock();
        let position = states.iter().position(|state| state.name == name);
        position.ok_or_else(|| EmaError::UnknownEma {
            name: name.to_string(),
            known: states.iter().map(|state| state.name.clone()).collect(),
        })
    }

    /// The metric `EMA decay`: the decay of the next update.
    pub fn decay(&self) -> MonitorMetric {
        MonitorMetric::new("EMA decay", 6, self, |state| Some(state.decay))
    }

    /// The metric `EMA updates`: the number of updates so far.
    pub fn updates(&self) -> MonitorMetric {
        MonitorMetric::new("EMA updates", 0, self, |state| Some(state.updates as f64))
    }

    /// The metric `EMA skipped`: the number of steps left out because the online weights were not
    /// finite, with [`NonFinite::Skip`](burn_ema::config::NonFinite::Skip).
    pub fn skipped(&self) -> MonitorMetric {
        MonitorMetric::new("EMA skipped", 0, self, |state| Some(state.skipped as f64))
    }

    /// The metric `EMA distance`: `|online - ema| / |online|` over everything that is averaged,
    /// measured every `interval` optimizer steps. A measurement reads both sets of weights and waits
    /// for the device.
    ///
    /// # Panics
    ///
    /// If `interval` is 0.
    pub fn distance(&self, interval: u64) -> MonitorMetric {
        assert!(interval > 0, "an interval of 0 steps");
        self.lock()[self.ema].distance_interval = Some(interval);
        MonitorMetric::new("EMA distance", 6, self, |state| state.distance)
    }

    /// The decay of the next update; 0 before training has begun.
    pub fn current_decay(&self) -> f64 {
        self.lock()[self.ema].decay
    }

    /// The number of updates so far.
    pub fn num_updates(&self) -> u64 {
        self.lock()[self.ema].updates
    }

    /// The last [distance](Self::distance) that was measured.
    pub fn last_distance(&self) -> Option<f64> {
        self.lock()[self.ema].distance
    }

    /// Shows the counters of `emas`.
    pub(crate) fn show<M: Module>(&self, emas: &EmaSet<M>) {
        for (state, (_, ema)) in self.lock().iter_mut().zip(emas.iter()) {
            state.decay = ema.current_decay();
            state.updates = ema.num_updates();
            state.skipped = ema.num_skipped();
        }
    }

    /// Shows `emas` as they are after an optimizer step that led to `online`.
    pub(crate) fn observe<M: Module>(&self, emas: &EmaSet<M>, online: &M) -> Result<(), EmaError> {
        self.show(emas);
        let intervals: Vec<Option<u64>> = {
            let states = self.lock();
            states.iter().map(|state| state.distance_interval).collect()
        };
        // Without the lock: a measurement waits for the device, and the dashboard must not.
        for (position, ((_, ema), interval)) in emas.iter().zip(intervals).enumerate() {
            let is_due = |interval| ema.num_steps().is_multiple_of(interval);
            if interval.is_some_and(is_due) {
                let distance = ema.relative_distance(online)?;
                self.lock()[position].distance = Some(distance);
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
        let name = match monitor.lock()[monitor.ema].name.as_str() {
            "" => name.to_string(),
            ema => format!("{name} ({ema})"),
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
        if let Some(value) = (self.read)(&self.monitor.lock()[self.monitor.ema]) {
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
