//! One tensor of an EMA.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Device};

use crate::burn_facts::rank;

/// A tensor of an EMA, and who else may hold its memory.
#[derive(Debug)]
pub(crate) struct Slot {
    /// `None` while an update moves it, and for good if that update panicked.
    tensor: Option<BridgeTensor>,
    /// What its last roundings have lost. `None`: nothing, or it is not kept. In a box, as few EMAs keep it.
    compensation: Option<Box<BridgeTensor>>,
    /// Whether its memory has, or had, another holder.
    is_shared: AtomicBool,
    /// Whether it was given away, to be read at some later time.
    is_handed_out: AtomicBool,
    /// The model's tensor that it was copied from, where that was on another device. In a box, for few slots have one and
    /// each update reads all slots.
    origin: Option<Box<BridgeTensor>>,
}

impl Clone for Slot {
    fn clone(&self) -> Self {
        let is_there = self.tensor.is_some();
        Self {
            tensor: is_there.then(|| self.share()),
            compensation: self.compensation.clone(),
            is_shared: AtomicBool::new(true),
            is_handed_out: AtomicBool::new(true),
            origin: self.origin.clone(),
        }
    }
}

impl Slot {
    pub(crate) fn new(tensor: BridgeTensor) -> Self {
        Self {
            tensor: Some(tensor),
            compensation: None,
            is_shared: AtomicBool::new(true),
            is_handed_out: AtomicBool::new(false),
            origin: None,
        }
    }

    /// Whether the tensor is there: not so after an update that panicked.
    pub(crate) fn is_whole(&self) -> bool {
        self.tensor.is_some()
    }

    /// The tensor, for a look at it.
    ///
    /// # Panics
    ///
    /// If an update that moved it has panicked.
    pub(crate) fn tensor(&self) -> &BridgeTensor {
        self.tensor.as_ref().unwrap_or_else(|| lost())
    }

    /// The tensor, without the slot.
    pub(crate) fn into_tensor(self) -> BridgeTensor {
        self.tensor.unwrap_or_else(|| lost())
    }

    pub(crate) fn dtype(&self) -> DType {
        self.tensor().dtype()
    }

    /// The tensor, to be kept elsewhere.
    pub(super) fn share(&self) -> BridgeTensor {
        self.is_shared.store(true, Relaxed);
        self.is_handed_out.store(true, Relaxed);
        self.tensor().clone()
    }

    pub(crate) fn is_handed_out(&self) -> bool {
        self.is_handed_out.load(Relaxed)
    }

    /// What the last roundings of the tensor have lost, to be kept elsewhere. `None` is nothing.
    pub(crate) fn share_compensation(&self) -> Option<BridgeTensor> {
        self.is_shared.store(true, Relaxed);
        self.is_handed_out.store(true, Relaxed);
        self.compensation().cloned()
    }

    /// The same, for a look at it.
    pub(crate) fn compensation(&self) -> Option<&BridgeTensor> {
        self.compensation.as_deref()
    }

    pub(crate) fn set_compensation(&mut self, compensation: BridgeTensor) {
        self.compensation = Some(Box::new(compensation));
    }

    /// Takes the tensor and its compensation, to be [moved](Self::moved), and says whether others may look at their memory.
    pub(crate) fn start_move(&mut self) -> (BridgeTensor, Option<Box<BridgeTensor>>, bool) {
        let tensor = self.tensor.take().unwrap_or_else(|| lost());
        self.origin = None;
        let compensation = self.compensation.take();
        (tensor, compensation, self.is_shared.load(Relaxed))
    }

    /// Takes them back, in memory of their own unless `is_shared`.
    pub(crate) fn moved(
        &mut self,
        tensor: BridgeTensor,
        compensation: Option<Box<BridgeTensor>>,
        is_shared: bool,
    ) {
        self.tensor = Some(tensor);
        self.compensation = compensation;
        self.is_shared.store(is_shared, Relaxed);
        if !is_shared {
            self.is_handed_out.store(false, Relaxed);
        }
    }

    /// Replaces the tensor by one whose memory others may hold.
    pub(crate) fn put(&mut self, tensor: BridgeTensor) {
        self.moved(tensor, None, true);
        self.is_handed_out.store(false, Relaxed);
        self.origin = None;
    }

    /// Moves the tensor to `device`.
    pub(super) fn move_to(&mut self, device: &Device) {
        let compensation = self.compensation.take();
        self.put(rank::on_device(self.tensor().clone(), device));
        self.compensation =
            compensation.map(|compensation| Box::new(rank::on_device(*compensation, device)));
    }

    /// Replaces the tensor by a copy of `origin`, which is on another device. As long as the model holds just that tensor, its
    /// copy need not be made again.
    pub(crate) fn put_from_afar(&mut self, tensor: BridgeTensor, origin: BridgeTensor) {
        self.put(tensor);
        self.origin = Some(Box::new(origin));
    }

    /// Whether it is a copy of this very tensor as `dtype`, as far as the backend tells. A copy has lost nothing.
    pub(crate) fn is_copy_of(&self, source: &BridgeTensor, dtype: DType) -> bool {
        if self.compensation.is_some() {
            return false;
        }
        let Some(tensor) = &self.tensor else {
            return false;
        };
        let origin = self.origin.as_deref().unwrap_or(tensor);
        rank::is_of(tensor, dtype) && burn_ema_kernels::is_same_memory(origin, source)
    }
}

fn lost() -> ! {
    panic!(
        "an earlier update of this EMA panicked before it was finished, and some of its weights are lost: load a record, \
         call `restart` or `copy_from`, or create a new EMA"
    )
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::tensor::Tensor;

    fn tensor(numbers: [f32; 2]) -> BridgeTensor {
        Tensor::<1>::from_floats(numbers, &Device::flex()).into_bridge()
    }

    /// So a frozen parameter goes to the device of a pinned EMA once.
    #[test]
    fn a_copy_from_afar_is_known_by_the_memory_it_came_from() {
        let origin = tensor([1.0, 2.0]);
        let mut slot = Slot::new(tensor([0.0, 0.0]));
        assert!(!slot.is_copy_of(&origin, DType::F32));
        slot.put_from_afar(tensor([1.0, 2.0]), origin.clone());
        assert!(slot.is_copy_of(&origin, DType::F32));
        assert!(!slot.is_copy_of(&tensor([1.0, 2.0]), DType::F32));
        slot.put(tensor([3.0, 4.0]));
        assert!(!slot.is_copy_of(&origin, DType::F32));
    }

    /// Otherwise a frozen parameter in half precision that is averaged from now on would stay in it.
    #[test]
    fn a_copy_as_another_dtype_is_not_that_copy() {
        let source = tensor([1.0, 2.0]);
        let mut slot = Slot::new(source.clone());
        assert!(slot.is_copy_of(&source, DType::F32));
        assert!(!slot.is_copy_of(&source, DType::F64));
        slot.put_from_afar(tensor([1.0, 2.0]), source.clone());
        assert!(!slot.is_copy_of(&source, DType::F64));
    }
}
