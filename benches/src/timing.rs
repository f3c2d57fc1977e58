//! Time, taken in turn.

use std::fmt;
use std::time::Instant;

use burn::tensor::Device;

/// Runs before the first that counts: an EMA gets its own memory in it, and a GPU its kernels.
const WARM_UP: usize = 3;

/// Something to time.
pub struct Contender<'a> {
    /// Its name.
    pub who: &'static str,
    /// Bytes that it has to read and write.
    pub bytes: usize,
    /// One run of it.
    pub run: Box<dyn FnMut() + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender called `who`.
    pub fn new(who: &'static str, bytes: usize, run: impl FnMut() + 'a) -> Self {
        Self {
            who,
            bytes,
            run: Box::new(run),
        }
    }
}

impl fmt::Debug for Contender<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Contender")
            .field("who", &self.who)
            .finish_non_exhaustive()
    }
}

/// The median time of a run of each contender, in seconds.
///
/// They run one after the other, `runs` times: what else the machine does hits all of them alike. `in_a_row` of a
/// contender's runs are waited for together, and their time divided by their number: on a GPU one is then prepared
/// while it works on the one before, as during training.
pub fn in_turn(
    contenders: &mut [Contender<'_>],
    runs: usize,
    in_a_row: u32,
    device: &Device,
) -> Vec<f64> {
    let mut times = vec![Vec::new(); contenders.len()];
    for run in 0..WARM_UP + runs {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let time = seconds_on(device, || (0..in_a_row).for_each(|_| (contender.run)()));
            if run >= WARM_UP {
                times.push(time / f64::from(in_a_row));
            }
        }
    }
    times.into_iter().map(|times| quartiles(times)[1]).collect()
}

/// The time that `work` takes, in seconds.
pub fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// The time that `work` takes on `device`, which is waited for.
pub fn seconds_on(device: &Device, work: impl FnOnce()) -> f64 {
    seconds(|| {
        work();
        device.sync().expect("the device works");
    })
}

/// Lower quartile, median and upper quartile.
///
/// # Panics
///
/// If there are no values.
pub fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| {
        // Between two values in proportion.
        let position = quarter as f64 / 4.0 * (values.len() - 1) as f64;
        let (low, high) = (
            values[position.floor() as usize],
            values[position.ceil() as usize],
        );
        low + (high - low) * position.fract()
    })
}
