//! An update: what is due is decided first, with everything that can be wrong, and then done, value by value.

use burn::module::Module;
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Device};

use crate::policy::Class;
use crate::shadow::{Moves, Shadow, Source};
use crate::{Action, EmaError, EmaModel, NonFinite, Phase, op};

/// What a call of [`EmaModel::update`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update {
    /// Before the start: the average is a copy of the source.
    Copied,
    /// The average moved towards the source.
    Averaged {
        /// Share of the old average that was kept.
        decay: f64,
    },
    /// Between two averages: nothing was due.
    Waiting,
    /// The source held NaN or infinity, and [`NonFinite::Skip`] is set.
    Skipped,
}

impl<M: Module> EmaModel<M> {
    /// Takes the weights of `source` into account. Call it once after each optimizer step.
    ///
    /// Whether this copies, averages or waits depends on [`Schedule`](crate::Schedule).
    ///
    /// # Errors
    ///
    /// If `source` is not of the structure that the average was made from, or holds NaN or infinity
    /// and [`NonFinite::Error`] is set. Neither values nor counters have changed then.
    ///
    /// # Panics
    ///
    /// If the backend does, say because memory is used up. Some of the values are lost then, and whatever asks for them
    /// panics: go on from a record, or make a new average.
    pub fn update(&mut self, source: &M) -> Result<Update, EmaError> {
        if self.phase() == Phase::Wait {
            return Ok(self.finish(&Due::Nothing));
        }
        let sources = self.shadow.collect(source)?;
        let due = self.decide(&sources, &mut FiniteChecks::default())?;
        carry_out(&mut [(self, &due)], sources);
        Ok(self.finish(&due))
    }

    /// What the next step means for the average.
    pub(crate) fn phase(&self) -> Phase {
        self.config().schedule().phase(self.counters.steps + 1)
    }

    /// What the next step does, given the values of the source. Everything that can be wrong is found here.
    pub(crate) fn decide(
        &self,
        sources: &[Source],
        finite: &mut FiniteChecks,
    ) -> Result<Due, EmaError> {
        let phase = self.phase();
        if phase == Phase::Wait {
            return Ok(Due::Nothing);
        }
        let decay = match phase {
            Phase::Average => self.config().decay.try_decay(self.moment())?,
            Phase::Copy | Phase::Wait => 0.0,
        };
        let actions: Vec<Action> = self.actions(sources).collect();
        if !self.is_acceptable(sources, &actions, finite)? {
            return Ok(Due::Skip);
        }
        Ok(match phase {
            Phase::Copy => Due::Copy { actions },
            Phase::Average | Phase::Wait => Due::Average { actions, decay },
        })
    }

    /// Counts the step in which everything that was due has been done.
    pub(crate) fn finish(&mut self, due: &Due) -> Update {
        self.counters.steps += 1;
        match due {
            Due::Nothing => Update::Waiting,
            Due::Skip => {
                self.counters.skipped += 1;
                Update::Skipped
            }
            Due::Copy { .. } => Update::Copied,
            Due::Average { decay, .. } => {
                self.counters.updates += 1;
                Update::Averaged { decay: *decay }
            }
        }
    }

    pub(crate) fn actions<'a>(
        &'a self,
        sources: &'a [Source],
    ) -> impl Iterator<Item = Action> + 'a {
        let slots = self.shadow.slots().iter();
        slots.zip(sources).map(|(slot, source)| {
            self.policy()
                .action(source.class, slot.is_buffer, slot.exception)
        })
    }

    /// Whether the values that would be averaged are finite, as far as anybody wants to know.
    fn is_acceptable(
        &self,
        sources: &[Source],
        actions: &[Action],
        finite: &mut FiniteChecks,
    ) -> Result<bool, EmaError> {
        if self.config().non_finite == NonFinite::Propagate {
            return Ok(true);
        }
        // Before the start these are copied, and would poison the first average all the same.
        let averaged = || {
            let slots = self.shadow.slots().iter();
            let all = slots.zip(sources).zip(actions);
            all.filter(|((_, source), action)| {
                **action == Action::Average && source.class != Class::Discrete
            })
            .map(|((slot, source), _)| (slot, &source.value))
        };
        if finite.all(actions, || {
            burn_ema_kernels::all_finite(averaged().map(|(_, value)| value))
        }) {
            return Ok(true);
        }
        if self.config().non_finite == NonFinite::Skip {
            return Ok(false);
        }
        let culprit = averaged().find(|(_, value)| !burn_ema_kernels::all_finite([*value]));
        Err(EmaError::NonFinite {
            path: culprit.map_or_else(String::new, |(slot, _)| slot.path.clone()),
        })
    }
}

/// What an optimizer step is going to do to an average.
#[derive(Debug)]
pub(crate) enum Due {
    Nothing,
    Skip,
    Copy { actions: Vec<Action> },
    Average { actions: Vec<Action>, decay: f64 },
}

impl Due {
    fn changes_values(&self) -> bool {
        match self {
            Self::Nothing | Self::Skip => false,
            Self::Copy { .. } | Self::Average { .. } => true,
        }
    }

    /// What it does to one slot.
    fn change(&self, slot: usize) -> Change {
        let (actions, weight) = match self {
            Self::Nothing | Self::Skip => return Change::Nothing,
            Self::Copy { actions } => (actions, 1.0),
            Self::Average { actions, decay } => (actions, 1.0 - decay),
        };
        match actions[slot] {
            Action::Average if weight == 1.0 => Change::Copy,
            Action::Average => Change::Move { weight },
            Action::Copy | Action::Reestimate => Change::Copy,
            Action::Ignore => Change::Nothing,
        }
    }
}

enum Change {
    Nothing,
    Copy,
    Move { weight: f64 },
}

/// Does to each average what is due, with the values of the source that they share.
///
/// Value by value, so that each is read once for all averages that move, and copied once for those that copy it alike; and
/// moves are done together, since a backend may need as long to be called as to move a small value.
pub(crate) fn carry_out<M: Module>(
    averages: &mut [(&mut EmaModel<M>, &Due)],
    sources: Vec<Source>,
) {
    for (average, due) in averages.iter_mut() {
        if due.changes_values() {
            average.shadow.settle();
            average.release();
        }
    }
    let mut moves = Moves::of(sources.len());
    for (slot, Source { value: source, .. }) in sources.into_iter().enumerate() {
        if moves.is_full() {
            carry_out_moves(&mut moves, averages);
        }
        let Some((last, others)) = averages.split_last_mut() else {
            return;
        };
        let mut shared = Shared::default();
        for (index, (average, due)) in others.iter_mut().enumerate() {
            let (change, at, source) = (due.change(slot), (index, slot), source.clone());
            shared.apply(change, at, &mut average.shadow, source, &mut moves);
        }
        // The last one, which most often is the only one, takes the source: thousands of handles are not nothing.
        let ((average, due), at) = (last, (others.len(), slot));
        shared.apply(
            due.change(slot),
            at,
            &mut average.shadow,
            source,
            &mut moves,
        );
    }
    carry_out_moves(&mut moves, averages);
}

fn carry_out_moves<M: Module>(moves: &mut Moves, averages: &mut [(&mut EmaModel<M>, &Due)]) {
    moves.carry_out(|average, slot, value, is_shared| {
        let (average, _) = &mut averages[average];
        average.shadow.moved(slot, value, is_shared);
    });
}

/// What averages of one source share of it.
#[derive(Default)]
struct Shared {
    /// The last copy, as it was wanted.
    copy: Option<(Device, DType, BridgeTensor)>,
    /// The device that the last moving average is kept on, if any moves (the inner `None`: where its source is).
    moves_to: Option<Option<Device>>,
}

impl Shared {
    /// Does `change` to the value of a shadow: `at` is the index of that, and of the slot.
    fn apply<M: Module>(
        &mut self,
        change: Change,
        at: (usize, usize),
        shadow: &mut Shadow<M>,
        source: BridgeTensor,
        moves: &mut Moves,
    ) {
        match change {
            Change::Nothing => {}
            Change::Copy => {
                let (device, dtype) = shadow.wants(at.1, &source);
                let copy = match self.copy.take() {
                    Some((known, of, copy)) if known == device && of == dtype => copy,
                    _ => op::conform(source, &device, dtype),
                };
                shadow.copy(at.1, copy.clone());
                self.copy = Some((device, dtype, copy));
            }
            Change::Move { weight } => {
                let pinned = shadow.pinned();
                if self.moves_to.as_ref() != Some(&pinned) {
                    moves.add_source(source, pinned.as_ref());
                    self.moves_to = Some(pinned);
                }
                moves.add(shadow, at, weight);
            }
        }
    }
}

/// Whether sources are finite where they would be averaged, as far as somebody has already looked: averages of
/// one source that average the same values look once.
#[derive(Debug, Default)]
pub(crate) struct FiniteChecks {
    known: Vec<(Vec<Action>, bool)>,
}

impl FiniteChecks {
    fn all(&mut self, actions: &[Action], look: impl FnOnce() -> bool) -> bool {
        if let Some((_, finite)) = self.known.iter().find(|(known, _)| known == actions) {
            return *finite;
        }
        let finite = look();
        self.known.push((actions.to_vec(), finite));
        finite
    }
}
