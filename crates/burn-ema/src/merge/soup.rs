//! Greedy soups.

use burn::module::Module;

use crate::error::EmaError;
use crate::merge::sum::{Sum, invalid};
use crate::merge::{Merge, best};

/// What [`Merge::greedy`] found.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Soup<M> {
    /// The mean of the members.
    pub model: M,
    /// The positions of the models that are in it, the best first.
    pub members: Vec<usize>,
    /// The score of the mean.
    pub score: f64,
}

impl Merge {
    /// Greedy soup: the mean of those of `count` models that make it better (Wortsman et al. 2022, arXiv:2203.05482).
    ///
    /// Models are tried from the best to the worst. Each stays if the mean with it has a strictly higher `score`: higher is
    /// better, so return the negative of a loss. A score of NaN is worse than any. `score` is given models in inference mode.
    /// `load` gives the model at a position, from a file for example; each is loaded at most twice. Up to five models are in
    /// memory.
    ///
    /// # Errors
    ///
    /// What `load` returns; and [`EmaError::Merge`] if `count` is 0, no model has a score, or models differ in structure or in
    /// what is trainable.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn_ema::EmaError;
    /// use burn_ema::merge::Merge;
    ///
    /// let models: Vec<Linear> = (0..3).map(|_| LinearConfig::new(2, 1).init(&Default::default())).collect();
    /// let load = |position: usize| Ok::<_, EmaError>(models[position].clone());
    /// // The accuracy on a validation set, for example.
    /// let score = |model: &Linear| -f64::from(model.weight.val().abs().sum().into_scalar::<f32>());
    /// let soup = Merge::new().greedy(3, load, score)?;
    /// assert!(soup.members.len() >= 1);
    /// # Ok::<(), EmaError>(())
    /// ```
    pub fn greedy<M: Module, E: From<EmaError>>(
        &self,
        count: usize,
        mut load: impl FnMut(usize) -> Result<M, E>,
        mut score: impl FnMut(&M) -> f64,
    ) -> Result<Soup<M>, E> {
        let mut scores = Vec::with_capacity(count);
        for position in 0..count {
            scores.push(score(&load(position)?.valid()));
        }
        let mut order = best(count, &scores).into_iter();
        let Some(first) = order.next() else {
            return Ok(invalid(format!(
                "none of the {count} models has a score that is a number"
            ))?);
        };
        let model = load(first)?;
        let alone = model.valid();
        let mut sum = Sum::of(&model, 1.0, &self.policy, self.precision)?;
        let mut soup = Soup {
            model: alone,
            members: vec![first],
            score: scores[first],
        };
        for position in order {
            let model = load(position)?;
            let mut with_it = sum.clone();
            with_it.add(&model, 1.0)?;
            let size = soup.members.len() + 1;
            let mean = with_it.clone().into_model(&model, 1.0 / size as f64)?;
            let of_mean = score(&mean);
            if of_mean > soup.score {
                sum = with_it;
                soup.model = mean;
                soup.members.push(position);
                soup.score = of_mean;
            }
        }
        Ok(soup)
    }
}
