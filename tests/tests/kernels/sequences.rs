//! Runs of rows of several sequences, and caches for them.

use strix_engine::{Gpu, Resident};
use strix_shaders::cursors::{NOT_LIVE, PAGE, Run};
use strix_shaders::{HeadShape, KvCache, KvElement, KvPart};
use strix_tests::uniform;

/// Rows, `live` of them from position `start` on of sequence 0, as kernels are told of each.
pub(crate) fn cursors_of(rows: u32, start: u32, live: u32) -> Vec<u32> {
    let mut cursors: Vec<_> = (start..start + live).flat_map(|position| [0, position]).collect();
    cursors.resize(2 * rows as usize, NOT_LIVE);
    cursors
}

/// First position and rows of each sequence of a run, on pages that lie between one another.
#[derive(Clone, Debug)]
pub(crate) struct Several {
    pub(crate) shape: HeadShape,
    pub(crate) runs: Vec<Run>,
    /// Pages of each sequence.
    pub(crate) sequence_pages: u32,
}

impl Several {
    pub(crate) fn new(num_heads: u32, num_kv_heads: u32, head_dim: u32, runs: &[[u32; 2]]) -> Self {
        let runs: Vec<_> = runs.iter().map(|&[start, rows]| Run { start, rows }).collect();
        let most = runs.iter().map(|run| run.start + run.rows).max().unwrap_or(1);
        let shape = HeadShape { num_heads, num_kv_heads, head_dim };
        Self { shape, runs, sequence_pages: most.div_ceil(PAGE) + 1 }
    }

    pub(crate) fn sequences(&self) -> u32 {
        self.runs.len() as u32
    }

    /// Slots of all pages, and of one that is nobody's.
    fn slots(&self) -> u32 {
        (self.sequences() * self.sequence_pages + 1) * PAGE
    }

    /// They go round, from the last: no sequence has two that lie together.
    pub(crate) fn pages(&self) -> Vec<u32> {
        let page = |s: u32, i: u32| self.sequences() * self.sequence_pages - i * self.sequences() - s;
        (0..self.sequences()).flat_map(|s| (0..self.sequence_pages).map(move |i| page(s, i))).collect()
    }

    pub(crate) fn slot(&self, sequence: u32, position: u32) -> u32 {
        self.pages()[(sequence * self.sequence_pages + position / PAGE) as usize] * PAGE + position % PAGE
    }

    /// Live rows.
    pub(crate) fn rows(&self) -> u32 {
        self.runs.iter().map(|run| run.rows).sum()
    }

    /// Keys or values `[num_kv_heads, slots, head_dim]`: NaN but for the first `seen` positions of each run.
    pub(crate) fn cache<T: KvElement>(&self, seed: u64, seen: impl Fn(Run) -> u32) -> Vec<T> {
        let (dim, slots) = (self.shape.head_dim as usize, self.slots() as usize);
        let elements = self.shape.num_kv_heads as usize * slots * dim;
        let values: Vec<T> = uniform(seed, elements).into_iter().map(T::nearest).collect();
        let mut cache = vec![T::NAN; elements];
        for (run, s) in self.runs.iter().zip(0..) {
            for slot in (0..seen(*run)).map(|position| self.slot(s, position) as usize) {
                for head in 0..self.shape.num_kv_heads as usize {
                    let at = (head * slots + slot) * dim;
                    cache[at..][..dim].copy_from_slice(&values[at..][..dim]);
                }
            }
        }
        cache
    }

    /// [`cache_of`], which can be read as texels.
    pub(crate) fn cache_of<T: KvElement>(&self, k: &[T], v: &[T]) -> KvCache<T> {
        with_texels(cache_of(self.shape.num_kv_heads, self.shape.head_dim, k, v))
    }
}

/// A cache of the keys and values `[num_kv_heads, slots, head_dim]`, in one part.
pub(crate) fn cache_of<T: KvElement>(num_kv_heads: u32, head_dim: u32, k: &[T], v: &[T]) -> KvCache<T> {
    in_parts(num_kv_heads, head_dim, k, v, num_kv_heads)
}

/// The same in parts of so many heads; the last may have fewer.
pub(crate) fn in_parts<T: KvElement>(
    num_kv_heads: u32,
    head_dim: u32,
    k: &[T],
    v: &[T],
    heads: u32,
) -> KvCache<T> {
    let slots = k.len() as u32 / num_kv_heads / head_dim;
    let k = KvCache::keys_in_blocks(k, num_kv_heads, head_dim);
    let part = (heads * slots * head_dim) as usize;
    let of = |name: &str, values: &[T]| {
        let heads = values.len() as u32 / slots / head_dim;
        Resident::from_slice(name, [heads, slots, head_dim], values)
    };
    let parts = k.chunks(part).zip(v.chunks(part));
    KvCache { parts: parts.map(|(k, v)| KvPart { k: of("k", k), v: of("v", v) }).collect() }
}

/// A cache that can be read as texels.
pub(crate) fn with_texels<T: KvElement>(cache: KvCache<T>) -> KvCache<T> {
    let part = |KvPart { k, v }: KvPart<T>| KvPart { k: k.with_texels(), v: v.with_texels() };
    KvCache { parts: cache.parts.into_iter().map(part).collect() }
}

/// What a cache holds on the device, `[num_kv_heads, slots, head_dim]`, its keys in order.
pub(crate) fn held<T: KvElement>(gpu: &Gpu, cache: &KvCache<T>) -> [Vec<T>; 2] {
    let [mut all_k, mut all_v] = [vec![], vec![]];
    for KvPart { k, v } in &cache.parts {
        let [heads, _, head_dim] = k.shape();
        let [k, v] = [k, v].map(|kv| kv.download(gpu).expect("the cache can be read"));
        all_k.extend(KvCache::keys_in_order(&k, heads, head_dim));
        all_v.extend(v);
    }
    [all_k, all_v]
}

/// Keys or values of one sequence, `[num_kv_heads, positions, head_dim]`, as they lie in a cache whose pages it has from
/// the last to the first; and back.
pub(crate) fn turned<T: Clone>(values: &[T], num_kv_heads: u32, head_dim: u32) -> Vec<T> {
    let head = values.len() / num_kv_heads as usize;
    let pages = |head: &[T]| -> Vec<T> {
        head.chunks_exact((PAGE * head_dim) as usize).rev().flatten().cloned().collect()
    };
    values.chunks_exact(head).flat_map(pages).collect()
}
