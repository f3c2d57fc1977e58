//! Averaged weights in place of a model's own, for a while.

use std::ops::{Deref, DerefMut};

/// Averaged weights in the place of a model, which returns when this is dropped. Made by
/// [`EmaModel::swap_into`](crate::EmaModel::swap_into).
#[derive(Debug)]
pub struct Swapped<'a, M> {
    place: &'a mut M,
    /// What was in the place. `None` once it is back.
    original: Option<M>,
}

impl<'a, M> Swapped<'a, M> {
    pub(crate) fn new(place: &'a mut M, averaged: M) -> Self {
        let original = Some(std::mem::replace(place, averaged));
        Self { place, original }
    }
}

impl<M> Deref for Swapped<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        self.place
    }
}

impl<M> DerefMut for Swapped<'_, M> {
    fn deref_mut(&mut self) -> &mut M {
        self.place
    }
}

impl<M> Drop for Swapped<'_, M> {
    fn drop(&mut self) {
        if let Some(original) = self.original.take() {
            *self.place = original;
        }
    }
}
