//! An independent model of weight averaging, in f64 and without recursion.
//!
//! It keeps, for each value that was ever seen, the weight with which it counts, and sums at the end.

/// When averages are due and how much of the old one they keep.
#[derive(Debug)]
pub struct Reference<D> {
    /// mmagic's `start_iter`.
    pub start: u64,
    /// mmagic's `interval`.
    pub interval: u64,
    /// The decay of the `n`-th average, counted from 0.
    pub decay: D,
}

impl<D: Fn(u64) -> f64> Reference<D> {
    /// An average at each step.
    pub fn every_step(decay: D) -> Self {
        Self {
            start: 0,
            interval: 1,
            decay,
        }
    }

    /// The average after each of `seen`, which started as a copy of `initial`.
    pub fn averages(&self, initial: &[f64], seen: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let values: Vec<&[f64]> = [initial]
            .into_iter()
            .chain(seen.iter().map(Vec::as_slice))
            .collect();
        let mut weights = vec![0.0; values.len()];
        weights[0] = 1.0;
        let mut taken = 0;
        let mut averages = Vec::new();
        for iter in 0..seen.len() {
            let decay = match self.due(iter as u64) {
                Due::Copy => 0.0,
                Due::Nothing => 1.0,
                Due::Average => {
                    taken += 1;
                    (self.decay)(taken - 1)
                }
            };
            for weight in &mut weights {
                *weight *= decay;
            }
            weights[iter + 1] = 1.0 - decay;
            averages.push(weighted_sum(&weights, &values));
        }
        averages
    }

    /// mmagic's rule, with `iter` the 0-based index of the iteration just finished.
    fn due(&self, iter: u64) -> Due {
        if iter < self.start {
            Due::Copy
        } else if (iter + 1 - self.start).is_multiple_of(self.interval) {
            Due::Average
        } else {
            Due::Nothing
        }
    }
}

enum Due {
    Copy,
    Average,
    Nothing,
}

fn weighted_sum(weights: &[f64], values: &[&[f64]]) -> Vec<f64> {
    let element = |index: usize| {
        let terms = weights.iter().zip(values);
        terms.map(|(weight, value)| weight * value[index]).sum()
    };
    (0..values[0].len()).map(element).collect()
}
