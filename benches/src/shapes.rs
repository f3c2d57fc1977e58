//! The shapes of the weights of known networks.

/// The shapes of a network, part by part from its input to its output: a GPU works on the first while the others are on
/// their way, so their order makes a difference.
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    /// The parts, such as the blocks of a transformer.
    pub blocks: Vec<Block>,
}

/// Shapes by rank. In which order they are within a block makes little difference.
#[derive(Clone, Debug, Default)]
pub struct Block {
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
        let block = Block {
            vectors: vec![[length]; number],
            ..Block::default()
        };
        Self {
            blocks: vec![block],
        }
    }

    /// ViT-B/16 on 224x224 images and 1 000 classes, as timm has it.
    pub fn vit_b() -> Self {
        const WIDTH: usize = 768;
        let linear = |block: &mut Block, outputs, inputs| {
            block.matrices.push([outputs, inputs]);
            block.vectors.push([outputs]);
        };
        let patches = Block {
            sequences: vec![[1, 1, WIDTH], [1, 197, WIDTH]],
            filters: vec![[WIDTH, 3, 16, 16]],
            vectors: vec![[WIDTH]],
            ..Block::default()
        };
        let normalizations = |number: usize| Block {
            vectors: vec![[WIDTH]; 2 * number],
            ..Block::default()
        };
        let mut transformer = normalizations(2);
        linear(&mut transformer, 3 * WIDTH, WIDTH);
        linear(&mut transformer, WIDTH, WIDTH);
        linear(&mut transformer, 4 * WIDTH, WIDTH);
        linear(&mut transformer, WIDTH, 4 * WIDTH);
        let mut head = normalizations(1);
        linear(&mut head, 1_000, WIDTH);
        let mut blocks = vec![patches];
        blocks.extend(vec![transformer; 12]);
        blocks.push(head);
        Self { blocks }
    }

    /// ResNet-50 on 1 000 classes.
    pub fn resnet_50() -> Self {
        let convolution = |block: &mut Block, outputs, inputs, side| {
            block.filters.push([outputs, inputs, side, side]);
            block.norms.push(outputs);
        };
        let mut stem = Block::default();
        convolution(&mut stem, 64, 3, 7);
        let mut blocks = vec![stem];
        let mut inputs = 64;
        for (width, number) in [(64, 3), (128, 4), (256, 6), (512, 3)] {
            for position in 0..number {
                let mut block = Block::default();
                convolution(&mut block, width, inputs, 1);
                convolution(&mut block, width, width, 3);
                convolution(&mut block, 4 * width, width, 1);
                if position == 0 {
                    // Past the first block.
                    convolution(&mut block, 4 * width, inputs, 1);
                }
                inputs = 4 * width;
                blocks.push(block);
            }
        }
        blocks.push(Block {
            matrices: vec![[1_000, 2_048]],
            vectors: vec![[1_000]],
            ..Block::default()
        });
        Self { blocks }
    }

    /// Number of trainable tensors.
    pub fn num_tensors(&self) -> usize {
        self.blocks.iter().map(Block::num_tensors).sum()
    }

    /// Number of trainable values.
    pub fn num_values(&self) -> usize {
        self.blocks.iter().map(Block::num_values).sum()
    }
}

impl Block {
    fn num_tensors(&self) -> usize {
        self.vectors.len()
            + self.matrices.len()
            + self.sequences.len()
            + self.filters.len()
            + 2 * self.norms.len()
    }

    fn num_values(&self) -> usize {
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
