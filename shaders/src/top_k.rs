//! The largest logits and their ids.

use strix_engine::{Graph, MAX_TRIPS, Resident, Tensor};

use crate::Variants as _;
use crate::dispatch::dispatch;

pub use crate::generated::top_k::{KERNEL, Params, Variants};

/// Id where there are fewer than k logits.
pub const NO_ID: u32 = u32::MAX;

/// The largest vocabulary of which [`top_k`] takes at least one logit; see [`max_k`].
pub const MAX_VOCAB: u32 = (MAX_TRIPS as u32 - 1 - ROUND) * LANES;

/// Lanes that share the vocabulary.
const LANES: u32 = 256;

/// Loop iterations of a round, beyond one for each of a lane's logits.
const ROUND: u32 = 35;

/// The `k` largest logits of each row, largest first; where values tie, the lowest id first. Exact.
///
/// NaN counts as larger than every number, so that a broken model shows; 0 and -0 tie. Past the end of the
/// vocabulary ids are [`NO_ID`] and values -inf.
///
/// | name     | shape           | dtype |
/// |----------|-----------------|-------|
/// | `logits` | `[rows, vocab]` | f32   |
/// | ids      | `[rows, k]`     | u32   |
/// | values   | `[rows, k]`     | f32   |
///
/// # Panics
///
/// If `k` is 0 or above [`max_k`].
pub fn top_k(g: &mut Graph, name: &str, logits: Tensor<f32, 2>, k: u32) -> (Tensor<u32, 2>, Tensor<f32, 2>) {
    let [rows, _] = logits.shape();
    let all = g.bind(&Resident::from_slice("wanted", [rows], &vec![k; rows as usize]));
    top_k_wanted(g, name, logits, k, all)
}

/// The same, of which a run takes the first `wanted[r]` of row r only; what follows is what an earlier run left.
///
/// # Panics
///
/// As [`top_k`], or if `wanted` is not `[rows]`.
pub fn top_k_wanted(
    g: &mut Graph,
    name: &str,
    logits: Tensor<f32, 2>,
    k: u32,
    wanted: Tensor<u32, 1>,
) -> (Tensor<u32, 2>, Tensor<f32, 2>) {
    let [rows, vocab] = logits.shape();
    assert_eq!(wanted.shape(), [rows], "top_k: wanted against logits {:?}", logits.shape());
    assert!((1..=max_k(vocab)).contains(&k), "top_k: {k} of {vocab}; at most {}", max_k(vocab));

    let ids = g.activation(name, [rows, k]);
    let values = g.activation(&format!("{name}.values"), [rows, k]);
    let params = Params { rows, vocab, k };
    dispatch!(g, Variants {}.over([rows, 1, 1]), params, [logits, wanted => ids, values], reference);
    (ids, values)
}

/// Id of the largest logit of each row, the lowest where several are; of a NaN if there is one.
///
/// | name     | shape           | dtype |
/// |----------|-----------------|-------|
/// | `logits` | `[rows, vocab]` | f32   |
/// | result   | `[rows]`        | u32   |
pub fn arg_max(g: &mut Graph, name: &str, logits: Tensor<f32, 2>) -> Tensor<u32, 1> {
    let [rows, _] = logits.shape();
    top_k(g, name, logits, 1).0.reshape([rows])
}

/// The largest k that [`top_k`] takes: one lane may loop [`MAX_TRIPS`] times at most.
pub fn max_k(vocab: u32) -> u32 {
    // A round is itself one, a lane's logits at most vocab / 256 + 2, and twice 16.
    ((MAX_TRIPS - 1) / (u64::from(vocab.div_ceil(LANES)) + u64::from(ROUND))) as u32
}

/// [`top_k`] in the plainest code that is right.
pub fn reference(p: &Params, logits: &[f32], wanted: &[u32], ids: &mut [u32], values: &mut [f32]) {
    let (vocab, k) = (p.vocab as usize, p.k as usize);
    let rows = logits.chunks_exact(vocab).zip(wanted).take(p.rows as usize);
    let taken = ids.chunks_exact_mut(k).zip(values.chunks_exact_mut(k));
    for ((logits, wanted), (ids, values)) in rows.zip(taken) {
        let mut order: Vec<_> = logits.iter().zip(0..).collect();
        // 0 and -0 are equal, NaN is above all; the sort is stable, so that the lowest id stays first.
        order.sort_by(|(a, _), (b, _)| match (a.is_nan(), b.is_nan()) {
            (false, false) => b.partial_cmp(a).expect("no NaN"),
            (a, b) => b.cmp(&a),
        });
        let padding = std::iter::repeat((&f32::NEG_INFINITY, NO_ID));
        let best = order.into_iter().chain(padding).take(p.k.min(*wanted) as usize);
        for ((value, id), (ids, values)) in best.zip(ids.iter_mut().zip(values)) {
            (*ids, *values) = (id, *value);
        }
    }
}
