//! What is timed on each workload.

use burn::tensor::{Device, FloatDType};
use burn_ema::config::{EmaPrecision, NonFinite};
use burn_ema::{Decay, EmaConfig, EmaSetConfig};

use crate::case::Case;
use crate::limit::{DeviceCopy, Traffic, is_cpu};
use crate::naive::Naive;
use crate::timing::Contender;
use crate::weights::Weights;

/// An update of one EMA.
pub const OURS: &str = "burn-ema";

/// The naive expression.
pub const NAIVE: &str = "naive expression";

/// The limits, of which a device has one.
pub const LIMITS: [&str; 2] = ["flat loop", "device copy"];

/// An update of one EMA of `source`, which holds the weights of `case`.
pub fn ours(case: Case, source: &Weights) -> Contender<'_> {
    let (read, ema_bytes) = traffic(case);
    let mut ema = EmaConfig::new().init(source);
    Contender::new(OURS, read + ema_bytes, move || {
        ema.update(source).expect("the source does not change");
    })
}

/// The updates of EMAs of `source`, which holds the weights of `case`.
///
/// An EMA is read and written in f32, so an EMA of f32 weights moves 4 + 4 + 4 bytes for each element.
pub fn updates(case: Case, source: &Weights) -> Vec<Contender<'_>> {
    let (read, ema_bytes) = traffic(case);
    let config = EmaConfig::new();
    let slow = EmaConfig::new().with_decay(Decay::constant(0.9999));
    let mut naive = Naive::new(source);
    let mut contenders = vec![
        ours(case, source),
        Contender::new(NAIVE, read + ema_bytes, move || naive.update(source)),
    ];
    if !case.is_of_usual_size() {
        return contenders;
    }
    let mut guarded = EmaConfig::new()
        .with_non_finite(NonFinite::Skip)
        .init(source);
    let mut precise = EmaConfig::new()
        .with_precision(EmaPrecision::F64)
        .init(source);
    let mut set = EmaSetConfig::new()
        .with("fast", config.clone())
        .with("slow", slow.clone())
        .init(source);
    let mut two = [config.init(source), slow.init(source)];
    contenders.extend([
        // The guard has to look at everything before the first value changes.
        Contender::new("burn-ema, skips NaN", 2 * read + ema_bytes, move || {
            guarded.update(source).expect("the source does not change");
        }),
        // An f64 is read and written for each element.
        Contender::new("burn-ema, f64", read + 2 * ema_bytes, move || {
            precise.update(source).expect("the source does not change");
        }),
        Contender::new("EmaSet of two", read + 2 * ema_bytes, move || {
            set.update(source).expect("the source does not change");
        }),
        Contender::new("two EMAs", 2 * (read + ema_bytes), move || {
            for ema in &mut two {
                ema.update(source).expect("the source does not change");
            }
        }),
    ]);
    contenders
}

/// What memory allows for `case` on `device`.
pub fn limit(case: Case, device: &Device) -> Contender<'static> {
    let values = case.shapes().num_values();
    let [flat_loop, device_copy] = LIMITS;
    if is_cpu(device) {
        let mut limit = Traffic::of(EmaPrecision::AtLeastF32, values, case.dtype());
        Contender::new(flat_loop, limit.bytes(), move || limit.run())
    } else {
        let mut limit = DeviceCopy::new(values, device);
        Contender::new(device_copy, 8 * values, move || limit.run())
    }
}

/// Bytes read of the source, and bytes read and written of an EMA.
fn traffic(case: Case) -> (usize, usize) {
    let values = case.shapes().num_values();
    let of_source = match case.dtype() {
        FloatDType::BF16 => 2,
        _ => 4,
    };
    (of_source * values, 8 * values)
}
