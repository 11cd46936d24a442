//! The decoder that every engine runs, and what a part of it says of the whole.

/// Width of a row.
pub(crate) const DIM: u64 = 4096;
/// Width of the feed-forward part.
pub(crate) const WIDE: u64 = 11008;
/// Attention heads of [`DIM`] elements in all; every engine has as many for keys and values.
pub(crate) const HEADS: u64 = 32;
/// Tokens that there are.
pub(crate) const VOCAB: u64 = 32000;
/// Layers of the whole.
pub(crate) const LAYERS: u32 = 32;
/// Positions the model is said to be made for.
pub(crate) const CTX: u64 = 4096;

/// Weights that one row meets in a layer: four projections of attention, three of the feed-forward part.
pub(crate) const LAYER_WEIGHTS: u64 = 4 * DIM * DIM + 3 * DIM * WIDE;
/// Weights of the head, `lm_head`.
pub(crate) const HEAD_WEIGHTS: u64 = VOCAB * DIM;

/// Weights that meet a row, summed over `rows` rows: every row goes through every layer, the last alone through
/// the head.
fn work(rows: u32, layers: u32) -> u64 {
    u64::from(rows) * u64::from(layers) * LAYER_WEIGHTS + HEAD_WEIGHTS
}

/// How many times longer [`LAYERS`] layers take than `layers`, for `rows` rows: as many times as there are more
/// products of a weight and a row. Attention over the context is taken to grow as they do, which is a little less
/// than it does at decode, in favour of every engine alike.
pub(crate) fn times_longer(rows: u32, layers: u32) -> f64 {
    work(rows, LAYERS) as f64 / work(rows, layers) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_layers_say_what_thirty_two_take() {
        // 0.94 G and 6.6 G weights a token.
        assert_eq!(work(1, 4), 940_572_672);
        assert_eq!(work(1, 32), 6_607_077_376);
        assert!((times_longer(1, 4) - 7.0245).abs() < 1e-4, "{}", times_longer(1, 4));
        // The head counts for one row of 64.
        assert!((times_longer(64, 4) - 7.9823).abs() < 1e-4, "{}", times_longer(64, 4));
        assert_eq!(times_longer(256, LAYERS), 1.0);
    }
}
