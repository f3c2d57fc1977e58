//! Following Burn's visitors and mappers through a module: where we are, and which slot that is.

/// The dotted path of the value that a visitor or mapper is at, kept without allocating once it has
/// been as long as it gets.
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

/// Finds slots by path while a module is traversed.
///
/// Modules show their values in the same order every time, so the next slot is tried first; a module
/// that does not (one over a hash map, say) costs a search.
#[derive(Debug)]
pub(crate) struct Locator {
    next: usize,
    found: Vec<bool>,
}

impl Locator {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            next: 0,
            found: vec![false; slots],
        }
    }

    /// The slot with the given path that was not found before.
    pub(crate) fn locate<T>(
        &mut self,
        slots: &[T],
        path: &str,
        path_of: impl Fn(&T) -> &str,
    ) -> Option<usize> {
        let is_it = |index: usize| !self.found[index] && path_of(&slots[index]) == path;
        let index = if self.next < slots.len() && is_it(self.next) {
            self.next
        } else {
            (0..slots.len()).find(|index| is_it(*index))?
        };
        self.found[index] = true;
        self.next = index + 1;
        Some(index)
    }

    /// The first slot that was not found.
    pub(crate) fn missed(&self) -> Option<usize> {
        self.found.iter().position(|found| !found)
    }
}

/// The way through a module, as a visitor went it once: what it entered and left, and where it met a value.
///
/// A module that is visited again is compared with it step by step, which takes no strings to be put together. Whoever
/// loses the way goes by paths instead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Enter(Box<str>),
    Exit,
    Value,
}

impl Route {
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(Step::Enter(name.into()));
    }

    pub(crate) fn exit(&mut self) {
        self.0.push(Step::Exit);
    }

    pub(crate) fn value(&mut self) {
        self.0.push(Step::Value);
    }

    pub(crate) fn follow(&self) -> Follow<'_> {
        Follow {
            steps: self.0.iter(),
            is_lost: false,
        }
    }
}

/// Going along a [`Route`].
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    steps: std::slice::Iter<'a, Step>,
    is_lost: bool,
}

impl Follow<'_> {
    pub(crate) fn enter(&mut self, name: &str) {
        let step = self.steps.next();
        self.is_lost |= !matches!(step, Some(Step::Enter(known)) if **known == *name);
    }

    pub(crate) fn exit(&mut self) {
        self.is_lost |= self.steps.next() != Some(&Step::Exit);
    }

    pub(crate) fn value(&mut self) {
        self.is_lost |= self.steps.next() != Some(&Step::Value);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether the whole way was gone.
    pub(crate) fn has_arrived(&self) -> bool {
        !self.is_lost && self.steps.as_slice().is_empty()
    }
}

/// The `enter_module` and `exit_module` of a visitor or mapper with a field `path`.
macro_rules! follow_path {
    () => {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.exit();
        }
    };
}
pub(crate) use follow_path;

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
    fn route_is_lost_where_the_module_differs() {
        let mut route = Route::default();
        route.enter("a");
        route.value();
        route.exit();
        let follow = |steps: &[&str]| {
            let mut follow = route.follow();
            for step in steps {
                match *step {
                    "exit" => follow.exit(),
                    "value" => follow.value(),
                    name => follow.enter(name),
                }
            }
            follow
        };
        assert!(follow(&["a", "value", "exit"]).has_arrived());
        assert!(!follow(&["a", "value"]).is_lost());
        assert!(!follow(&["a", "value"]).has_arrived());
        for other in [
            &["b"][..],
            &["a", "exit"],
            &["a", "value", "value"],
            &["exit"],
        ] {
            assert!(follow(other).is_lost(), "{other:?}");
        }
        assert!(follow(&["a", "value", "exit", "a"]).is_lost());
    }

    #[test]
    fn locator_finds_values_in_any_order_and_each_once() {
        let slots = ["a", "b", "b", "c"];
        let mut locator = Locator::new(slots.len());
        let mut locate = |path: &str| locator.locate(&slots, path, |slot| slot);
        assert_eq!(locate("c"), Some(3));
        assert_eq!(locate("b"), Some(1));
        assert_eq!(locate("b"), Some(2));
        assert_eq!(locate("b"), None);
        assert_eq!(locate("d"), None);
        assert_eq!(locator.missed(), Some(0));
    }
}
