//! The progress of an EMA in a record.

use burn::module::{ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::counters::Counters;
use crate::error::EmaError;

/// Name of the progress in a record: its presence says that there is an EMA.
pub(crate) const PROGRESS: &str = "ema_progress";
/// Name of the record of what was trained.
pub(crate) const TRAINED: &str = "ema_trained";
/// The version of the format.
const VERSION: i32 = 1;

/// Ids tell parameters apart for optimizers, which do not look at integers, so one for all EMAs is enough; and a fixed one
/// keeps records byte for byte equal.
const PROGRESS_ID: u64 = 0x656d_615f_636f_756e;
const TRAINED_ID: u64 = 0x656d_615f_7472_616e;

const CONTAINER: &str = "Struct:EmaModel";
const BITS: usize = 31;
const LIMB: u64 = (1 << BITS) - 1;
/// The bit of the last limb that says whether updates had weights.
const WEIGHTED: usize = 2;

/// What a record knows of an EMA besides its weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    pub(crate) counters: Counters,
    /// Which tensors were trained so far, in the order of their paths.
    pub(crate) trained: Vec<bool>,
}

impl Progress {
    pub(crate) fn visit<V: ModuleVisitor>(&self, device: &Device, visitor: &mut V) {
        visitor.enter_module(PROGRESS, CONTAINER);
        visitor.visit_int(&param(
            self.counters_as_limbs().to_vec(),
            PROGRESS_ID,
            device,
        ));
        visitor.exit_module(PROGRESS, CONTAINER);
        visitor.enter_module(TRAINED, CONTAINER);
        visitor.visit_int(&param(self.trained_as_words(), TRAINED_ID, device));
        visitor.exit_module(TRAINED, CONTAINER);
    }

    /// The progress as `mapper` changes it.
    pub(crate) fn map<Mapper: ModuleMapper>(
        &self,
        device: &Device,
        mapper: &mut Mapper,
    ) -> Result<Self, EmaError> {
        let limbs = self.counters_as_limbs().to_vec();
        let limbs = mapped(limbs, PROGRESS_ID, PROGRESS, device, mapper);
        let words = self.trained_as_words();
        let words = mapped(words, TRAINED_ID, TRAINED, device, mapper)?;
        let counters = from_limbs(&limbs?)?;
        let bit = |index: usize| {
            words
                .get(index / BITS)
                .is_some_and(|word| word >> (index % BITS) & 1 == 1)
        };
        Ok(Self {
            counters,
            trained: (0..self.trained.len()).map(bit).collect(),
        })
    }

    fn counters_as_limbs(&self) -> [i32; 10] {
        let limb = |count: u64| (count & LIMB) as i32;
        let low = limb;
        let high = |count: u64| (count >> BITS) as i32;
        let Counters {
            steps,
            updates,
            skipped,
            weight,
            is_weighted,
        } = self.counters;
        let weight = weight.to_bits();
        // Two bits of the weight are left.
        let last = weight >> (2 * BITS) | u64::from(is_weighted) << WEIGHTED;
        [
            VERSION,
            low(steps),
            high(steps),
            low(updates),
            high(updates),
            low(skipped),
            high(skipped),
            limb(weight),
            limb(weight >> BITS),
            limb(last),
        ]
    }

    fn trained_as_words(&self) -> Vec<i32> {
        let word = |bits: &[bool]| {
            let bits = bits.iter().enumerate();
            bits.fold(0, |word, (index, bit)| word | i32::from(*bit) << index)
        };
        self.trained.chunks(BITS).map(word).collect()
    }
}

fn param(numbers: Vec<i32>, id: u64, device: &Device) -> Param<Tensor<1, Int>> {
    let length = numbers.len();
    let data = TensorData::new(numbers, [length]);
    // `i32` is the one integer type that every backend has.
    let tensor = Tensor::from_data(data, (device, DType::I32));
    Param::initialized(ParamId::from(id), tensor)
}

fn mapped<Mapper: ModuleMapper>(
    numbers: Vec<i32>,
    id: u64,
    name: &str,
    device: &Device,
    mapper: &mut Mapper,
) -> Result<Vec<i64>, EmaError> {
    mapper.enter_module(name, CONTAINER);
    let param = mapper.map_int(param(numbers, id, device));
    mapper.exit_module(name, CONTAINER);
    let data = param.val().into_data();
    if data.dtype().is_int() || data.dtype().is_uint() {
        return Ok(data.iter::<i64>().collect());
    }
    Err(EmaError::UnknownFormat {
        path: name.to_string(),
        found: format!("numbers of type {:?}", data.dtype()),
        known: VERSION,
    })
}

/// The counters of a record, checked.
fn from_limbs(limbs: &[i64]) -> Result<Counters, EmaError> {
    let unknown = |found: String| EmaError::UnknownFormat {
        path: PROGRESS.to_string(),
        found,
        known: VERSION,
    };
    let [version, numbers @ ..] = limbs else {
        return Err(unknown("no number".into()));
    };
    if *version != i64::from(VERSION) {
        return Err(unknown(version.to_string()));
    }
    let limb = |number: &i64| u64::try_from(*number).ok().filter(|limb| *limb <= LIMB);
    let numbers: Option<Vec<u64>> = numbers.iter().map(limb).collect();
    let numbers = numbers.and_then(|numbers| <[u64; 9]>::try_from(numbers).ok());
    let Some([a, b, c, d, e, f, x, y, z]) = numbers else {
        return Err(unknown(format!("{limbs:?}")));
    };
    let count = |low: u64, high: u64| low | (high << BITS);
    let counters = Counters {
        steps: count(a, b),
        updates: count(c, d),
        skipped: count(e, f),
        weight: f64::from_bits(x | y << BITS | z << (2 * BITS)),
        is_weighted: z >> WEIGHTED == 1,
    };
    if z >> WEIGHTED > 1 || !(counters.weight.is_finite() && counters.weight >= 0.0) {
        return Err(unknown(format!("{limbs:?}")));
    }
    counters.check()?;
    Ok(counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limbs(progress: &Progress) -> Vec<i64> {
        progress.counters_as_limbs().map(i64::from).to_vec()
    }

    #[test]
    fn counters_survive_as_limbs() {
        for count in [0, 1, LIMB - 1, LIMB, LIMB + 1, 1 << 53, (1 << 62) - 1] {
            let counters = Counters {
                steps: count,
                updates: count / 3,
                skipped: count / 7,
                weight: count as f64 / 3.7,
                is_weighted: count % 2 == 1,
            };
            let progress = Progress {
                counters,
                trained: Vec::new(),
            };
            assert_eq!(from_limbs(&limbs(&progress)), Ok(counters));
        }
    }

    #[test]
    fn what_no_run_can_reach_is_an_error() {
        let known = |limbs: &[i64]| from_limbs(limbs).is_ok();
        assert!(known(&[1, 5, 0, 3, 0, 2, 0, 0, 0, 0]));
        for bad in [
            &[1, 1, 0, 1000, 0, 7, 0, 0, 0, 0][..],
            &[2, 5, 0, 3, 0, 2, 0, 0, 0, 0],
            &[1, -1, 0, 0, 0, 0, 0, 0, 0, 0],
            &[1, 5, 0, 3, 0, 2, 0, 0, 0],
            // Weights of -0.5 and NaN.
            &[1, 5, 0, 3, 0, 2, 0, 0, 0x7fc0_0000, 2],
            &[1, 5, 0, 3, 0, 2, 0, 0, 0x7ff0_0000, 1],
            &[1, 5, 0, 3, 0, 2, 0, 0, 0, 8],
            &[],
        ] {
            assert!(!known(bad), "{bad:?}");
        }
    }

    #[test]
    fn trained_bits_fill_words_of_31() {
        let mut trained = vec![false; 33];
        trained[0] = true;
        trained[30] = true;
        trained[31] = true;
        let progress = Progress {
            trained,
            ..Progress::default()
        };
        assert_eq!(progress.trained_as_words(), [1 | 1 << 30, 1]);
    }
}
