//! The path of a tensor in a module, and finding tensors by path.

/// The dotted path of the tensor that a walk is at. It allocates only until it has been as long as it gets.
#[derive(Debug, Default)]
pub(crate) struct Path {
    text: String,
    /// Length of `text` before each part that was entered.
    parents: Vec<usize>,
}

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.parents.push(self.text.len());
        if !self.text.is_empty() {
            self.text.push('.');
        }
        self.text.push_str(name);
    }

    pub(crate) fn exit(&mut self) {
        let parent = self.parents.pop().unwrap_or(0);
        self.text.truncate(parent);
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Finds places by path during a walk, each once.
///
/// Modules show their tensors in the same order every time, so the next place is tried first; a module that does not (one
/// over a hash map) costs a search.
#[derive(Debug)]
pub(crate) struct Locator {
    next: usize,
    found: Vec<bool>,
}

impl Locator {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            next: 0,
            found: vec![false; places],
        }
    }

    /// The first place at `path` that was not found before.
    pub(crate) fn locate<T>(
        &mut self,
        places: &[T],
        path: &str,
        path_of: impl Fn(&T) -> &str,
    ) -> Option<usize> {
        let is_it = |index: usize| !self.found[index] && path_of(&places[index]) == path;
        let index = if self.next < places.len() && is_it(self.next) {
            self.next
        } else {
            (0..places.len()).find(|index| is_it(*index))?
        };
        self.found[index] = true;
        self.next = index + 1;
        Some(index)
    }

    /// The first place that was not found.
    pub(crate) fn missed(&self) -> Option<usize> {
        self.found.iter().position(|found| !found)
    }
}

/// The path within the submodule at `submodule`, if `path` leads into it.
pub(crate) fn within<'a>(path: &'a str, submodule: &str) -> Option<&'a str> {
    path.strip_prefix(submodule)?.strip_prefix('.')
}

/// Whether `path` is that of the submodule at `submodule`, or leads into it.
pub fn is_at_or_within(path: &str, submodule: &str) -> bool {
    path == submodule || within(path, submodule).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_joins_what_was_entered() {
        let mut path = Path::default();
        path.enter("encoder");
        path.enter("0");
        path.enter("weight");
        assert_eq!(path.as_str(), "encoder.0.weight");
        path.exit();
        path.enter("bias");
        assert_eq!(path.as_str(), "encoder.0.bias");
        path.exit();
        path.exit();
        path.exit();
        assert_eq!(path.as_str(), "");
    }

    #[test]
    fn locator_finds_places_in_any_order_and_each_once() {
        let places = ["a", "b", "b", "c"];
        let mut locator = Locator::new(places.len());
        let mut locate = |path: &str| locator.locate(&places, path, |place| place);
        assert_eq!(locate("c"), Some(3));
        assert_eq!(locate("b"), Some(1));
        assert_eq!(locate("b"), Some(2));
        assert_eq!(locate("b"), None);
        assert_eq!(locate("d"), None);
        assert_eq!(locator.missed(), Some(0));
    }

    #[test]
    fn a_submodule_is_not_found_by_the_beginning_of_its_name() {
        assert_eq!(within("net.w", "net"), Some("w"));
        assert_eq!(within("net_ema.w", "net"), None);
        assert!(is_at_or_within("net", "net"));
        assert!(!is_at_or_within("network.w", "net"));
    }
}
