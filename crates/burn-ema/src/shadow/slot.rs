//! One averaged value.

use std::cell::Cell;

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Shape};

use crate::Action;

/// An averaged value and what is known of it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Module path in the source.
    pub(crate) path: String,
    /// Dtype of the source's value.
    pub(crate) source_dtype: DType,
    /// Whether it is a running statistic or another float buffer.
    pub(crate) is_buffer: bool,
    /// The policy's exception for this value.
    pub(crate) exception: Option<Action>,
    shape: Shape,
    /// The value, of the shadow's dtype. `None` only while it moves.
    value: Option<BridgeTensor>,
    /// Whether somebody else has, or had, the memory of the value.
    is_shared: Cell<bool>,
    /// Whether somebody was given the value, and may read it later than they got it.
    is_handed_out: Cell<bool>,
}

impl Clone for Slot {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            source_dtype: self.source_dtype,
            is_buffer: self.is_buffer,
            exception: self.exception,
            shape: self.shape.clone(),
            value: Some(self.share()),
            is_shared: Cell::new(true),
            is_handed_out: Cell::new(true),
        }
    }
}

impl Slot {
    pub(crate) fn new(
        path: &str,
        exception: Option<Action>,
        value: BridgeTensor,
        source_dtype: DType,
    ) -> Self {
        Self {
            path: path.to_string(),
            source_dtype,
            is_buffer: false,
            exception,
            shape: value.shape(),
            value: Some(value),
            is_shared: Cell::new(true),
            is_handed_out: Cell::new(false),
        }
    }

    /// The value, for a look at it.
    pub(crate) fn value(&self) -> &BridgeTensor {
        self.value.as_ref().expect("it is not moving")
    }

    /// The value, for somebody to keep.
    pub(crate) fn share(&self) -> BridgeTensor {
        self.is_shared.set(true);
        self.is_handed_out.set(true);
        self.value().clone()
    }

    /// The value, to be [moved](Self::moved). Whether others may look at its memory is told with it.
    pub(super) fn start_move(&mut self) -> (BridgeTensor, bool) {
        let value = self.value.take().expect("it is not moving");
        (value, self.is_shared.get())
    }

    /// Takes the value back, in memory that is its own unless `is_shared`.
    pub(super) fn moved(&mut self, value: BridgeTensor, is_shared: bool) {
        self.value = Some(value);
        self.is_shared.set(is_shared);
        if !is_shared {
            self.is_handed_out.set(false);
        }
    }

    /// Gives it another value, whose memory others may have.
    pub(crate) fn put(&mut self, value: BridgeTensor) {
        self.moved(value, true);
        self.is_handed_out.set(false);
    }

    pub(crate) fn is_handed_out(&self) -> bool {
        self.is_handed_out.get()
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether it is kept in f32 for a source of half precision.
    pub(crate) fn is_widened(&self) -> bool {
        self.dtype() == DType::F32 && matches!(self.source_dtype, DType::F16 | DType::BF16)
    }

    pub(crate) fn dtype(&self) -> DType {
        self.value().dtype()
    }
}
