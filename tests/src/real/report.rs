//! Which checks a model passed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of a check that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It passed.
    Passed,
    /// It could not run here.
    Skipped,
    /// Burn fails in the same place without the library.
    FailsInBurn,
}

/// The checks of one model.
#[derive(Debug)]
pub(crate) struct Report {
    model: &'static str,
    results: Vec<(&'static str, Result<Outcome, String>)>,
}

impl Report {
    /// One without checks.
    pub(crate) fn new(model: &'static str) -> Self {
        Self {
            model,
            results: Vec::new(),
        }
    }

    /// Runs a check; a panic is a failure.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        check: impl FnOnce() -> Result<Outcome, String>,
    ) {
        let result = catch_unwind(AssertUnwindSafe(check));
        let result = result.unwrap_or_else(|panic| Err(format!("panicked: {}", text(&*panic))));
        self.results.push((name, result));
    }

    /// Prints the line of the table.
    ///
    /// # Panics
    ///
    /// If a check failed.
    pub(crate) fn finish(self) {
        let words = self.results.iter().map(|(name, result)| match result {
            Ok(Outcome::Passed) => format!("{name}=ok"),
            Ok(Outcome::Skipped) => format!("{name}=SKIPPED"),
            Ok(Outcome::FailsInBurn) => format!("{name}=BURN"),
            Err(_) => format!("{name}=FAIL"),
        });
        println!("{} | {}", self.model, words.collect::<Vec<_>>().join(" "));
        let failures: Vec<String> = self
            .results
            .iter()
            .filter_map(|(name, result)| {
                let problem = result.as_ref().err()?;
                Some(format!("{} {name}: {problem}", self.model))
            })
            .collect();
        assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let string = panic.downcast_ref::<String>().map(String::as_str);
    let string = string.or_else(|| panic.downcast_ref::<&str>().copied());
    string.unwrap_or("with something that is no text")
}
