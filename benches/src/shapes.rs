//! The shapes of the weights of known networks.

/// Shapes by rank. In which order they are in the network does not matter to an average.
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    /// Biases and the like.
    pub vectors: Vec<[usize; 1]>,
    /// Weights of linear layers.
    pub matrices: Vec<[usize; 2]>,
    /// Tokens and positions of transformers.
    pub sequences: Vec<[usize; 3]>,
    /// Weights of convolutions.
    pub filters: Vec<[usize; 4]>,
    /// Batch normalizations, by their number of features: two trainable vectors, and two running statistics.
    pub norms: Vec<usize>,
}

impl Shapes {
    /// `number` vectors of `length` values.
    pub fn vectors(number: usize, length: usize) -> Self {
        Self {
            vectors: vec![[length]; number],
            ..Self::default()
        }
    }

    /// ViT-B/16 on 224x224 images and 1 000 classes, as timm has it.
    pub fn vit_b() -> Self {
        const WIDTH: usize = 768;
        let mut shapes = Self {
            sequences: vec![[1, 1, WIDTH], [1, 197, WIDTH]],
            filters: vec![[WIDTH, 3, 16, 16]],
            // Bias of the patches, last normalization.
            vectors: vec![[WIDTH]; 3],
            ..Self::default()
        };
        let mut linear = |outputs, inputs| {
            shapes.matrices.push([outputs, inputs]);
            shapes.vectors.push([outputs]);
        };
        for _ in 0..12 {
            linear(3 * WIDTH, WIDTH);
            linear(WIDTH, WIDTH);
            linear(4 * WIDTH, WIDTH);
            linear(WIDTH, 4 * WIDTH);
        }
        linear(1_000, WIDTH);
        // Two normalizations in each block.
        shapes.vectors.extend([[WIDTH]; 12 * 4]);
        shapes
    }

    /// ResNet-50 on 1 000 classes.
    pub fn resnet_50() -> Self {
        let mut shapes = Self {
            matrices: vec![[1_000, 2_048]],
            vectors: vec![[1_000]],
            ..Self::default()
        };
        let mut convolution = |outputs, inputs, side| {
            shapes.filters.push([outputs, inputs, side, side]);
            shapes.norms.push(outputs);
        };
        convolution(64, 3, 7);
        let mut inputs = 64;
        for (width, blocks) in [(64, 3), (128, 4), (256, 6), (512, 3)] {
            // Past the first block.
            convolution(4 * width, inputs, 1);
            for _ in 0..blocks {
                convolution(width, inputs, 1);
                convolution(width, width, 3);
                convolution(4 * width, width, 1);
                inputs = 4 * width;
            }
        }
        shapes
    }

    /// Number of trainable tensors.
    pub fn num_tensors(&self) -> usize {
        self.vectors.len()
            + self.matrices.len()
            + self.sequences.len()
            + self.filters.len()
            + 2 * self.norms.len()
    }

    /// Number of trainable values.
    pub fn num_values(&self) -> usize {
        values(&self.vectors)
            + values(&self.matrices)
            + values(&self.sequences)
            + values(&self.filters)
            + 2 * self.norms.iter().sum::<usize>()
    }
}

fn values<const D: usize>(shapes: &[[usize; D]]) -> usize {
    let sizes = shapes.iter().map(|shape| shape.iter().product::<usize>());
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counted with timm 1.0.31: `vit_base_patch16_224` and `resnet50`.
    #[test]
    fn networks_are_as_large_as_timm_has_them() {
        let size = |shapes: Shapes| (shapes.num_tensors(), shapes.num_values());
        assert_eq!(size(Shapes::vit_b()), (152, 86_567_656));
        assert_eq!(size(Shapes::resnet_50()), (161, 25_557_032));
    }
}
