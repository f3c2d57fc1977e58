//! What a record does not tell.
//!
//! - The paths of its tensors are private. But a record that is applied to a module without parameters lists all of them
//!   in the text of the error, as `Debug` prints strings.
//! - Whether it allows unused tensors is private too. If it does, a module without parameters loads it.
//! - A float parameter whose entry is an integer or boolean (a foreign or damaged file) panics instead of an error, and
//!   so does a file that has changed since it was opened, when the values are read.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::module::Module;
use burn::store::{ModuleRecord, RecordError};

/// The paths of all tensors of `record`, sorted. Copies the tensors of a record that is in memory.
pub(crate) fn paths(record: &ModuleRecord) -> Vec<String> {
    let record = record.clone().allow_unused(false).allow_partial(true);
    // A plain number is a module without parameters.
    match 0_usize.try_load_record(record) {
        Ok(_) => Vec::new(),
        Err(error) => strings(&error.to_string()),
    }
}

/// Whether tensors of `record` may be left unused: also true for a record without tensors. Copies the tensors of a record that
/// is in memory.
pub(crate) fn allows_unused(record: &ModuleRecord) -> bool {
    0_usize
        .try_load_record(record.clone().allow_partial(true))
        .is_ok()
}

/// Runs `load`, with a panic of Burn as an error.
pub fn caught<T>(load: impl FnOnce() -> Result<T, RecordError>) -> Result<T, RecordError> {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| {
        let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_string(),
            (_, Some(text)) => text.clone(),
            _ => "a panic without a message".to_string(),
        };
        Err(RecordError::Validation(format!(
            "the record cannot be read: {text} (an entry of another kind than the parameter, or a file that has changed \
             since it was opened)"
        )))
    })
}

/// The strings that `Debug` has printed into `text`.
fn strings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut chars = text.chars();
    while let Some(start) = chars.next() {
        if start != '"' {
            continue;
        }
        let mut string = String::new();
        while let Some(next) = chars.next() {
            match next {
                '"' => break,
                '\\' => string.extend(escaped(&mut chars)),
                other => string.push(other),
            }
        }
        found.push(string);
    }
    found
}

/// The character after a backslash, as `Debug` escapes it.
fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    match chars.next()? {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        '0' => Some('\0'),
        'u' => {
            let digits: String = chars
                .skip_while(|c| *c == '{')
                .take_while(|c| *c != '}')
                .collect();
            u32::from_str_radix(&digits, 16)
                .ok()
                .and_then(char::from_u32)
        }
        other => Some(other),
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::module::{Param, ParamId};
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Int, Tensor};

    #[test]
    fn the_paths_of_a_record_are_in_the_error_of_a_module_without_parameters() {
        let layer: Linear = LinearConfig::new(2, 1).init(&Device::flex());
        let layers = vec![layer.clone(), layer];
        let found = paths(&layers.into_record());
        assert_eq!(found, ["0.bias", "0.weight", "1.bias", "1.weight"]);
        assert!(paths(&Vec::<Linear>::new().into_record()).is_empty());
    }

    #[test]
    fn a_record_that_allows_unused_tensors_loads_into_a_module_without_parameters() {
        let layer: Linear = LinearConfig::new(2, 1).init(&Device::flex());
        let record = layer.into_record();
        assert!(!allows_unused(&record));
        assert!(allows_unused(&record.allow_unused(true)));
    }

    #[test]
    fn escapes_of_debug_are_undone() {
        let names = ["plain", "a\"b", "back\\slash", "new\nline", "\u{7f}x", "é"];
        assert_eq!(strings(&format!("Unused tensors: {names:?}")), names);
    }

    #[test]
    fn burn_panics_where_a_float_is_an_integer_in_the_record() {
        let device = Device::flex();
        let integers = Tensor::<1, Int>::from_ints([1, 2], &device);
        let record = vec![Param::initialized(ParamId::new(), integers)].into_record();
        let floats = || vec![Param::from_tensor(Tensor::<1>::zeros([2], &device))];
        let direct = catch_unwind(AssertUnwindSafe(|| {
            floats().try_load_record(record.clone()).is_err()
        }));
        assert!(
            direct.is_err(),
            "Burn returns an error now: `caught` is not needed for it"
        );
        let error = caught(|| floats().try_load_record(record.clone())).unwrap_err();
        assert!(
            error.to_string().contains("Expected float dtype"),
            "{error}"
        );
    }
}
