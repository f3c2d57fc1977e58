//! The workloads.

use burn::tensor::{Device, FloatDType};
use clap::ValueEnum;

use crate::shapes::Shapes;
use crate::weights::Weights;

/// What fits into any machine, as the argument of a `--cases` flag.
pub const USUAL: &str = "vit-b,vit-b-bf16,resnet-50,small";

/// A set of weights of which an EMA is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// ViT-B/16: 86.6M parameters in 152 tensors
    #[value(name = "vit-b")]
    VitB,
    /// ViT-B/16 in bf16, averaged in f32
    #[value(name = "vit-b-bf16")]
    VitBInBf16,
    /// ResNet-50: 25.6M parameters in 161 tensors, and the running statistics of 53 BatchNorms
    #[value(name = "resnet-50")]
    ResNet50,
    /// 2,000 tensors of 256 elements
    #[value(name = "small")]
    Small,
    /// One tensor of 268M elements; 8 GB of memory are enough
    #[value(name = "huge")]
    Huge,
    /// 250 tensors of 4M elements, for a GPU: 30 GB of memory are enough
    #[value(name = "billion")]
    Billion,
}

impl Case {
    /// The name, as on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no case is skipped");
        value.get_name().to_string()
    }

    /// The shapes of the weights.
    pub fn shapes(self) -> Shapes {
        match self {
            Self::VitB | Self::VitBInBf16 => Shapes::vit_b(),
            Self::ResNet50 => Shapes::resnet_50(),
            Self::Small => Shapes::vectors(2_000, 256),
            Self::Huge => Shapes::vectors(1, 1 << 28),
            Self::Billion => Shapes::vectors(250, 1 << 22),
        }
    }

    /// The dtype of the weights.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::VitBInBf16 => FloatDType::BF16,
            _ => FloatDType::F32,
        }
    }

    /// Whether there is memory to spare for more than one EMA.
    pub fn is_of_usual_size(self) -> bool {
        !matches!(self, Self::Huge | Self::Billion)
    }

    /// The weights on `device`. Says so where the backend lacks their dtype.
    pub fn weights(self, device: &Device) -> Option<Weights> {
        let dtype = self.dtype();
        if !device.supports_dtype(dtype) {
            println!("SKIPPED {}: {device:?} has no {dtype:?}", self.name());
            return None;
        }
        Some(Weights::new(&self.shapes(), dtype, device))
    }
}
