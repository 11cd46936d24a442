//! The program that encodes a picture.

use strix_engine::{Graph, Tensor};

use crate::abstractor::Abstractor;
use crate::config::Config;
use crate::vision::Vision;

/// Records the vision tower and the abstractor; returns the picture's pixels and its embeddings, without `vit_eos`.
pub(crate) fn record_vision(
    g: &mut Graph,
    c: &Config,
    vision: &Vision,
    abstractor: &Abstractor,
) -> (Tensor<f32, 3>, Tensor<f32, 2>) {
    let size = c.vision.image_size as u32;
    let pixels = g.input("pixels", [c.vision.num_channels as u32, size, size]);
    let features = vision.record(g, &c.vision, pixels);
    let embeds = abstractor.record(g, &c.abstractor, features);
    (pixels, g.output(embeds))
}
