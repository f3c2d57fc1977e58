//! The known way through a module.

/// The steps of one walk through a module: what was entered and left, and where a tensor was.
///
/// A later walk is compared with it step by step, which builds no paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Route(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Enter(Box<str>),
    Exit,
    Tensor,
}

impl Route {
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(Step::Enter(name.into()));
    }

    pub(crate) fn exit(&mut self) {
        self.0.push(Step::Exit);
    }

    pub(crate) fn tensor(&mut self) {
        self.0.push(Step::Tensor);
    }

    pub(crate) fn follow(&self) -> Follow<'_> {
        Follow {
            steps: self.0.iter(),
            is_lost: false,
        }
    }
}

/// A walk that is compared with a [`Route`].
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

    pub(crate) fn tensor(&mut self) {
        self.is_lost |= self.steps.next() != Some(&Step::Tensor);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether the walk took every step.
    pub(crate) fn has_arrived(&self) -> bool {
        !self.is_lost && self.steps.as_slice().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walk_is_lost_where_the_module_differs() {
        let mut route = Route::default();
        route.enter("a");
        route.tensor();
        route.exit();
        let follow = |steps: &[&str]| {
            let mut follow = route.follow();
            for step in steps {
                match *step {
                    "exit" => follow.exit(),
                    "tensor" => follow.tensor(),
                    name => follow.enter(name),
                }
            }
            follow
        };
        assert!(follow(&["a", "tensor", "exit"]).has_arrived());
        assert!(!follow(&["a", "tensor"]).is_lost());
        assert!(!follow(&["a", "tensor"]).has_arrived());
        for other in [
            &["b"][..],
            &["a", "exit"],
            &["a", "tensor", "tensor"],
            &["exit"],
        ] {
            assert!(follow(other).is_lost(), "{other:?}");
        }
        assert!(follow(&["a", "tensor", "exit", "a"]).is_lost());
    }
}
