//! Updates of one EMA or several of one model.

use std::sync::Arc;

use burn::module::Module;
use burn_ema_rules::decay::Decay;
use burn_ema_rules::schedule::Phase;
use serde::{Deserialize, Serialize};

use crate::engine::decide::{Decision, Rules};
use crate::engine::guard::Guard;
use crate::engine::run::{Change, Member, run};
use crate::error::EmaError;
use crate::model::config::EmaPrecision;
use crate::model::{EmaModel, check_dtypes, conformed, planned};
use crate::plan::{Fit, Plan, PlanAction};
use crate::store::Store;
use crate::store::slot::Slot;
use crate::walk::places::Places;
use crate::walk::read::{Reading, Shown, again};

/// What a call of [`EmaModel::update`] did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Update {
    /// Before the start: the EMA is a copy of the model.
    Copied {
        /// Number of tensors copied.
        copied: usize,
    },
    /// The EMA moved towards the model.
    Averaged {
        /// Share of the old EMA that was kept.
        decay: f64,
        /// Number of tensors averaged.
        averaged: usize,
        /// Number of tensors copied.
        copied: usize,
    },
    /// Between two updates: nothing happened, and the model was not looked at.
    Waiting,
    /// The model held NaN or infinity, and [`NonFinite::Skip`](crate::config::NonFinite::Skip) is set.
    Skipped,
}

impl<M: Module> EmaModel<M> {
    /// Takes the weights of `model` into account. Call it once after each optimizer step.
    ///
    /// Whether this copies, averages or waits depends on [`EmaConfig::start`](crate::EmaConfig::start) and
    /// [`interval`](crate::EmaConfig::interval).
    ///
    /// # Errors
    ///
    /// - [`EmaError::Missing`], [`Unexpected`](EmaError::Unexpected), [`ShapeMismatch`](EmaError::ShapeMismatch) or
    ///   [`DTypeMismatch`](EmaError::DTypeMismatch) if a tensor that is averaged is no longer what it was. A step between two
    ///   updates does not look at the model.
    /// - [`EmaError::NonFinite`] if the model holds NaN or infinity and that is an error.
    /// - [`EmaError::Interrupted`] if an earlier update panicked.
    ///
    /// Neither weights nor counters have changed then.
    ///
    /// # Panics
    ///
    /// If the backend does, for example because memory is used up. Some EMA weights are lost then: later updates return
    /// [`EmaError::Interrupted`], and `model()` panics, until a record is loaded or [`restart`](Self::restart) or
    /// [`copy_from`](Self::copy_from) is called.
    #[doc(alias = "step")]
    #[doc(alias = "update_parameters")]
    pub fn update(&mut self, model: &M) -> Result<Update, EmaError> {
        let updates = update_all(&mut [self], model, Weight::One)?;
        Ok(updates[0])
    }

    /// Updates a weighted mean with weight `weight`; [`update`](Self::update) has the weight 1.
    ///
    /// After weights `r` the EMA is `sum r_i model_i / sum r_i`. Weights in use are the learning rate, the square of the
    /// largest learning rate so far (schedule-free training, Defazio et al. 2024, arXiv:2405.15682), and a function of the
    /// step (Levanter). The sum of the weights is in the record, so a resumed run goes on bit for bit. A weight of 0 changes
    /// nothing. Before the [start](crate::EmaConfig::start), and on steps without an update between two
    /// [intervals](crate::EmaConfig::interval), `weight` is not used.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update); [`EmaError::InvalidConfig`] if the decay is not
    /// [`Decay::equal_weights`](crate::Decay::equal_weights); and [`EmaError::UpdateWeight`] if `weight` is negative or not
    /// finite.
    ///
    /// # Panics
    ///
    /// As [`update`](Self::update).
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::{Decay, EmaConfig};
    ///
    /// let model = LinearConfig::new(2, 1).init(&Default::default());
    /// let mut ema = EmaConfig::new().with_decay(Decay::equal_weights()).init(&model);
    /// for learning_rate in [0.1, 0.3, 0.2] {
    ///     // An optimizer step at this rate, then:
    ///     ema.update_weighted(&model, learning_rate)?;
    /// }
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn update_weighted(&mut self, model: &M, weight: f64) -> Result<Update, EmaError> {
        let updates = update_all(&mut [self], model, Weight::Of(weight))?;
        Ok(updates[0])
    }

    pub(crate) fn phase(&self) -> Phase {
        self.config.rules().phase(self.counters)
    }

    /// Counts a step in which everything has been done.
    fn count(&mut self, decision: &Decision, weight: f64) -> Update {
        self.counters.steps += 1;
        let number = |actions: &[PlanAction], wanted: fn(&PlanAction) -> bool| {
            actions.iter().filter(|action| wanted(action)).count()
        };
        let is_changed = |action: &PlanAction| *action != PlanAction::Ignore;
        let is_averaged = |action: &PlanAction| *action == PlanAction::Average;
        match decision {
            Decision::Wait => Update::Waiting,
            Decision::Skip => {
                self.counters.skipped += 1;
                Update::Skipped
            }
            Decision::Copy { actions } => Update::Copied {
                copied: number(actions, is_changed),
            },
            Decision::Average { actions, decay } => {
                self.counters.updates += 1;
                self.counters.weight += weight;
                self.counters.is_weighted |= weight != 1.0;
                let averaged = number(actions, is_averaged);
                Update::Averaged {
                    decay: *decay,
                    averaged,
                    copied: number(actions, is_changed) - averaged,
                }
            }
        }
    }

    /// What the model is to the EMA now, if tensors that are not averaged have come or gone.
    fn revised(&self, model: &M) -> Result<(Plan, Store<M>), EmaError> {
        let (first, plan, frame) = planned(model, |first, buffers| {
            Ok(self.plan.revised(first, buffers))
        })?;
        self.plan.check_revised(&plan)?;
        let pinned = self.store.pinned.clone();
        let shown = first.shown.iter().map(Some);
        check_dtypes(&self.config, &plan, shown, pinned.as_ref())?;
        let slots = first.shown.into_iter().enumerate().map(|(place, shown)| {
            let known = self.plan.places.position(&plan.places.paths[place]);
            match known {
                Some(known) => self.store.slot(known),
                None => {
                    let action = plan.action(place, false);
                    let tensor = conformed(&self.config, shown.tensor, action, pinned.as_ref());
                    Slot::new(tensor)
                }
            }
        });
        let slots = slots.collect();
        let store = Store::new(slots, frame, pinned);
        Ok((plan, store))
    }
}

/// How many updates an update counts as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weight {
    One,
    /// As many, in EMAs that are means.
    Of(f64),
}

impl Weight {
    fn number(self) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Of(weight) => weight,
        }
    }

    /// Checks that it can be that of an update of `ema`.
    fn check<M: Module>(self, ema: &EmaModel<M>) -> Result<(), EmaError> {
        let Self::Of(weight) = self else {
            return Ok(());
        };
        if !matches!(ema.config.decay, Decay::EqualWeights(_)) {
            return Err(EmaError::InvalidConfig {
                field: "decay",
                problem: format!(
                    "`update_weighted` needs the decay `Decay::equal_weights`, found {:?}: set this decay, or call `update`",
                    ema.config.decay
                ),
            });
        }
        match weight >= 0.0 && (ema.counters.weight + weight).is_finite() {
            true => Ok(()),
            false => Err(EmaError::UpdateWeight { found: weight }),
        }
    }
}

/// Updates EMAs of one model, which is read once. If one of them cannot be updated, none changes.
pub(crate) fn update_all<M: Module>(
    emas: &mut [&mut EmaModel<M>],
    model: &M,
    weight: Weight,
) -> Result<Vec<Update>, EmaError> {
    for ema in emas.iter() {
        ema.check_whole()?;
        weight.check(ema)?;
    }
    let weight = weight.number();
    let mut looks: Vec<Look> = Vec::new();
    let mut decided: Vec<Decided<M>> = Vec::with_capacity(emas.len());
    for ema in emas.iter() {
        decided.push(decide(ema, model, weight, &mut looks)?);
    }
    for (ema, decided) in emas.iter_mut().zip(&mut decided) {
        if let Some((plan, store)) = decided.revised.take() {
            (ema.plan, ema.store) = (plan, store);
        }
        if decided.decision.change().is_some() {
            ema.store.settle();
            ema.release();
            ema.is_interrupted = true;
        }
    }
    for (index, look) in looks.into_iter().enumerate() {
        carry_out(emas, &decided, index, model, look.reading);
    }
    let counted = emas.iter_mut().zip(&decided);
    Ok(counted
        .map(|(ema, decided)| ema.count(&decided.decision, weight))
        .collect())
}

/// The tensors of the model at some places, and whether they are finite.
struct Look {
    places: Arc<Places>,
    reading: Reading,
    guard: Guard,
}

/// What will happen to an EMA.
struct Decided<M> {
    decision: Decision,
    /// Which look it was decided by. `None` if nothing happens.
    look: Option<usize>,
    /// Plan and weights that fit the model, if those of the EMA do not any more.
    revised: Option<(Plan, Store<M>)>,
    /// Places of parameters that are trained now and were not before.
    newly_trained: Vec<usize>,
}

fn decide<M: Module>(
    ema: &EmaModel<M>,
    model: &M,
    weight: f64,
    looks: &mut Vec<Look>,
) -> Result<Decided<M>, EmaError> {
    if ema.phase() == Phase::Wait {
        return Ok(Decided {
            decision: Decision::Wait,
            look: None,
            revised: None,
            newly_trained: Vec::new(),
        });
    }
    let mut look = look_at(model, &ema.plan, looks);
    let mut actions = ema.plan.actions(&looks[look].reading)?;
    let mut revised = None;
    if actions.fit == Fit::Other {
        let (plan, store) = ema.revised(model)?;
        look = look_at(model, &plan, looks);
        actions = plan.actions(&looks[look].reading)?;
        revised = Some((plan, store));
    }
    let plan = revised.as_ref().map_or(&ema.plan, |(plan, _)| plan);
    let Look { reading, guard, .. } = &mut looks[look];
    // The model may have moved to a device that lacks it.
    if ema.config.precision.may_be_missing() && ema.store.pinned.is_none() {
        let shown = reading.shown.iter().map(Option::as_ref);
        check_dtypes(&ema.config, plan, shown, None)?;
    }
    let rules = Rules {
        weight,
        ..ema.config.rules()
    };
    let decision = rules.decide(ema.counters, plan, reading, actions.of_places, guard)?;
    Ok(Decided {
        decision,
        look: Some(look),
        revised,
        newly_trained: actions.newly_trained,
    })
}

/// The number of the look at the places of `plan`. EMAs of the same places share one.
fn look_at<M: Module>(model: &M, plan: &Plan, looks: &mut Vec<Look>) -> usize {
    let is_it = |look: &Look| Arc::ptr_eq(&look.places, &plan.places) || look.places == plan.places;
    if let Some(known) = looks.iter().position(is_it) {
        return known;
    }
    looks.push(Look {
        places: plan.places.clone(),
        reading: again(model, &plan.places, plan.has_buffers),
        guard: Guard::default(),
    });
    looks.len() - 1
}

/// How an EMA changes in an update.
struct Changing<'a> {
    actions: &'a [PlanAction],
    weight: f64,
    precision: EmaPrecision,
    /// Updates before this one.
    updates: u64,
    places: Arc<Places>,
}

fn carry_out<M: Module>(
    emas: &mut [&mut EmaModel<M>],
    decided: &[Decided<M>],
    index: usize,
    model: &M,
    mut reading: Reading,
) {
    let shown = std::mem::take(&mut reading.shown);
    let takes_part = |decided: &Decided<M>| decided.look == Some(index);
    let mut members = Vec::with_capacity(emas.len());
    let mut changing = Vec::with_capacity(emas.len());
    let mut plans = Vec::with_capacity(emas.len());
    for (ema, decided) in emas.iter_mut().zip(decided) {
        let change = decided.decision.change().filter(|_| takes_part(decided));
        let Some((actions, weight)) = change else {
            continue;
        };
        let EmaModel {
            plan,
            store,
            config,
            counters,
            ..
        } = &mut **ema;
        plan.note_trained(&decided.newly_trained);
        changing.push(Changing {
            actions,
            weight,
            precision: config.precision,
            updates: counters.updates,
            places: plan.places.clone(),
        });
        plans.push(plan);
        members.push(Member {
            slots: &mut store.slots,
            device: store.pinned.as_ref(),
            has_moved: false,
        });
    }
    let change = |member: usize, place: usize, shown: &Shown| {
        let Changing {
            actions,
            weight,
            precision,
            updates,
            places,
        } = &changing[member];
        let dtype = precision.kept(actions[place], shown.tensor.dtype());
        let rounding = || precision.rounding(*updates, &places.paths[place]);
        Change::of(actions[place], *weight, dtype, rounding)
    };
    let copied = |member: usize, place: usize, shown: &Shown| plans[member].note_copy(place, shown);
    run(&mut members, shown, change, copied);
    let has_moved: Vec<bool> = members.iter().map(|member| member.has_moved).collect();
    let took_part = emas
        .iter_mut()
        .zip(decided)
        .filter(|(_, decided)| takes_part(decided) && decided.decision.change().is_some());
    for ((ema, _), has_moved) in took_part.zip(has_moved) {
        ema.is_interrupted = false;
        let places = ema.plan.places.clone();
        ema.store.follow(model, &places, &reading.mode, has_moved);
    }
}

/// Puts every tensor of a reading into the slots, as copies.
pub(crate) fn copy_all<M: Module>(ema: &mut EmaModel<M>, reading: Reading) {
    let EmaModel {
        plan,
        store,
        config,
        ..
    } = ema;
    let member = Member {
        slots: &mut store.slots,
        device: store.pinned.as_ref(),
        has_moved: false,
    };
    let change = |_, place: usize, _: &Shown| {
        let action = plan.action(place, false);
        let dtype = config.precision.kept(action, plan.entries[place].dtype);
        Change::Copy { dtype }
    };
    run(&mut [member], reading.shown, change, |_, _, _| {});
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    use crate::model::config::EmaConfig;

    fn layer() -> Linear {
        LinearConfig::new(2, 2).init(&Device::flex())
    }

    /// An EMA as a panic of the backend leaves it: a tensor is gone.
    fn interrupted() -> EmaModel<Linear> {
        let mut ema = EmaConfig::new().init(&layer());
        ema.is_interrupted = true;
        drop(ema.store.slots[0].start_move());
        ema
    }

    #[test]
    fn an_update_after_a_panic_says_what_happened_and_changes_nothing() {
        let mut ema = interrupted();
        assert_eq!(ema.update(&layer()), Err(EmaError::Interrupted));
        assert_eq!(ema.num_steps(), 0);
        assert_eq!(ema.relative_distance(&layer()), Err(EmaError::Interrupted));
        assert_eq!(ema.copy_to(&mut layer()), Err(EmaError::Interrupted));
        let text = EmaError::Interrupted.to_string();
        assert!(
            text.contains("panicked") && text.contains("`restart`"),
            "{text}"
        );
    }

    #[test]
    #[should_panic(expected = "an earlier update of this EMA panicked before it was finished")]
    fn the_model_after_a_panic_says_so_too() {
        interrupted().model();
    }

    #[test]
    fn copying_restarting_and_loading_repair_an_ema() {
        let mut ema = interrupted();
        ema.copy_from(&layer()).unwrap();
        assert!(ema.update(&layer()).is_ok());

        let mut ema = interrupted();
        ema.restart(&layer()).unwrap();
        assert!(ema.update(&layer()).is_ok());

        let record = EmaConfig::new().init(&layer()).into_record();
        let mut ema = interrupted().try_load_record(record).unwrap();
        assert!(ema.update(&layer()).is_ok());
    }
}
