//! The cache of keys and values, in pages.

use strix_engine::{Graph, Resident, Tensor};

use crate::cursors::PAGE;
use crate::heads::{KeyStrides, KvRange};
use crate::{Cursors, HeadShape, Heads, KvElement, RopeTables};

/// Keys (after their rotation) and values of sequences, for one layer: a pool of pages of [`PAGE`] positions, any of which
/// may be any sequence's ([`Cursors`]).
///
/// It is one part where a binding holds that; else each part has some of the heads, of all pages, and kernels run once a
/// part.
///
/// A value's dimensions lie together, and so do all values of a page and head. Keys lie in blocks of a page: first the 16
/// bytes that begin each of them, then the next 16 of each, and so on. Scores are a lane a key, and what the lanes load
/// at a time is one range of memory then, as is all that a head reads. (Heads that are no multiple of 16 bytes have
/// their keys one after the other, as values are.)
#[derive(Clone, Debug)]
pub struct KvCache<T = f32> {
    /// In the order of their heads.
    pub parts: Vec<KvPart<T>>,
}

/// Some heads of a [`KvCache`].
#[derive(Clone, Debug)]
pub struct KvPart<T = f32> {
    /// `[heads of the part, pages · PAGE, head_dim]`.
    pub k: Resident<T, 3>,
    /// `[heads of the part, pages · PAGE, head_dim]`.
    pub v: Resident<T, 3>,
}

impl<T: KvElement> KvCache<T> {
    /// An empty cache of `pages` pages, in parts whose keys, or values, take at most `max_binding_bytes`; a head that takes
    /// more is a part nevertheless. Allocated with the first program that uses it.
    pub fn new(label: &str, pages: u32, heads: HeadShape, max_binding_bytes: u64) -> Self {
        let HeadShape { num_kv_heads, head_dim, .. } = heads;
        let head = u64::from(pages * PAGE) * u64::from(head_dim);
        // Kernels count the elements of a part in 32 bits.
        let most = (max_binding_bytes / size_of::<T>() as u64).min(u64::from(u32::MAX)) / head.max(1);
        let num_parts = num_kv_heads.div_ceil(most.clamp(1, u64::from(num_kv_heads.max(1))) as u32);
        let part = |i: u32| {
            let [first, end] = [i, i + 1].map(|i| i * num_kv_heads / num_parts);
            let zeros = |name| {
                let label = match num_parts {
                    1 => format!("{label}.{name}"),
                    _ => format!("{label}.{name}[{i}]"),
                };
                Resident::zeros(&label, [end - first, pages * PAGE, head_dim]).with_texels()
            };
            KvPart { k: zeros("k_cache"), v: zeros("v_cache") }
        };
        Self { parts: (0..num_parts).map(part).collect() }
    }

    /// The heads of each part, and its keys and values, as [`attention()`](crate::attention()) takes them.
    pub(crate) fn heads(&self, g: &mut Graph) -> Vec<(KvRange, [Heads<T>; 2])> {
        let mut end = 0;
        let part = |part: &KvPart<T>| {
            let first = end;
            let [count, ..] = part.k.shape();
            end += count;
            let kv = [Heads::in_blocks(g.bind(&part.k)), Heads::by_head(g.bind(&part.v))];
            (KvRange { first, count }, kv)
        };
        self.parts.iter().map(part).collect()
    }

    /// The keys `[num_kv_heads, slots, head_dim]` of what [`KvPart::k`] holds: one after the other.
    ///
    /// # Panics
    ///
    /// If `k` is not of `num_kv_heads` heads of whole pages.
    pub fn keys_in_order(k: &[T], num_kv_heads: u32, head_dim: u32) -> Vec<T> {
        let strides = KeyStrides::blocks::<T>(head_dim);
        let slots = slots(k.len(), num_kv_heads, head_dim);
        let heads = k.chunks_exact(slots * head_dim as usize);
        let keys = |head| (0..slots).map(move |j| strides.get(head, j, head_dim as usize));
        heads.flat_map(keys).flatten().collect()
    }

    /// What [`KvPart::k`] holds of the keys `[num_kv_heads, slots, head_dim]`: the inverse of
    /// [`KvCache::keys_in_order`].
    ///
    /// # Panics
    ///
    /// If `keys` is not of `num_kv_heads` heads of whole pages.
    pub fn keys_in_blocks(keys: &[T], num_kv_heads: u32, head_dim: u32) -> Vec<T> {
        let strides = KeyStrides::blocks::<T>(head_dim);
        let head = slots(keys.len(), num_kv_heads, head_dim) * head_dim as usize;
        let mut blocks = keys.to_vec();
        for (keys, blocks) in keys.chunks_exact(head).zip(blocks.chunks_exact_mut(head)) {
            let keys = keys.chunks_exact(head_dim as usize).enumerate();
            keys.for_each(|(j, key)| strides.set(blocks, j, key));
        }
        blocks
    }

    /// Asserts that it, `tables` and `cursors` are for such heads and so many rows; returns its slots.
    pub(crate) fn check(
        &self,
        kernel: &str,
        tables: &RopeTables,
        heads: HeadShape,
        cursors: Cursors,
        rows: u32,
    ) -> u32 {
        let HeadShape { num_kv_heads, head_dim, .. } = heads;
        let slots = self.parts.first().map_or(0, |part| part.v.shape()[1]);
        let [positions, _] = tables.cos_sin.shape();
        let least = if T::IS_F16 { 4 } else { 2 };
        assert!(
            head_dim.is_multiple_of(least),
            "{kernel}: {head_dim} elements in a head, no multiple of {least}"
        );
        let counts = self.parts.iter().map(|part| part.v.shape()[0]);
        assert_eq!(counts.sum::<u32>(), num_kv_heads, "{kernel}: heads of the cache");
        for KvPart { k, v } in &self.parts {
            assert_eq!(v.shape()[1..], [slots, head_dim], "{kernel}: cache against {heads:?}");
            assert_eq!(k.shape(), v.shape(), "{kernel}: k against v of the cache");
        }
        assert!(slots.is_multiple_of(PAGE), "{kernel}: a cache of {slots} slots, in pages of {PAGE}");
        assert_eq!(tables.cos_sin.shape(), [positions, head_dim], "{kernel}: tables against {heads:?}");
        let [_, pages] = cursors.check(kernel, rows);
        let room = positions.next_multiple_of(PAGE);
        assert!(pages * PAGE <= room, "{kernel}: tables of {positions} for sequences of {pages} pages");
        slots
    }
}

/// Slots of a cache of so many elements.
fn slots(elements: usize, num_kv_heads: u32, head_dim: u32) -> usize {
    let slots = elements / (num_kv_heads * head_dim) as usize;
    assert_eq!(
        elements,
        slots * (num_kv_heads * head_dim) as usize,
        "{elements} elements of {num_kv_heads} heads"
    );
    assert!(slots.is_multiple_of(PAGE as usize), "{slots} slots in pages of {PAGE}");
    slots
}

impl<T: KvElement> Heads<T> {
    /// The keys of a cache, `[heads, whole blocks of rows, head_dim]`: see [`KvCache`].
    ///
    /// # Panics
    ///
    /// If the rows are not in whole blocks.
    pub fn in_blocks(tensor: Tensor<T, 3>) -> Self {
        let [_, rows, head_dim] = tensor.shape();
        assert!(rows.is_multiple_of(PAGE), "{rows} keys in blocks of {PAGE}");
        Self { keys: KeyStrides::blocks::<T>(head_dim), ..Self::by_head(tensor) }
    }
}
