//! The program that encodes a picture.

use strix_engine::{Graph, Target, Tensor};

use crate::abstractor::Abstractor;
use crate::config::Config;
use crate::vision::Vision;

/// The vision tower and the abstractor, recorded.
#[derive(Debug)]
pub(crate) struct RecordedEncoder {
    pub graph: Graph,
    pub pixels: Tensor<f32, 3>,
    /// The picture's embeddings, without `vit_eos`.
    pub embeds: Tensor<f32, 2>,
}

impl RecordedEncoder {
    /// Records the vision tower and the abstractor.
    pub(crate) fn new(target: Target, c: &Config, vision: &Vision, abstractor: &Abstractor) -> Self {
        let mut g = Graph::for_planning(target);
        let size = c.vision.image_size as u32;
        let pixels = g.input("pixels", [c.vision.num_channels as u32, size, size]);
        let features = vision.record(&mut g, &c.vision, pixels);
        let embeds = abstractor.record(&mut g, &c.abstractor, features);
        let embeds = g.output(embeds);
        Self { graph: g, pixels, embeds }
    }
}
