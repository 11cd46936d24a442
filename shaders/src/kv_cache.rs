//! The cache of keys and values, and where in it a key lies.

use strix_engine::{Graph, Resident, Tensor};

use crate::{HeadShape, Heads, KvElement, RopeTables};

/// Positions in a block of keys.
pub const KEY_BLOCK: u32 = 16;

/// Keys (after their rotation) and values of every position so far, for one layer.
///
/// A value's dimensions lie together, and so do all values of a head. Keys lie in blocks of [`KEY_BLOCK`]: first the 16
/// bytes that begin each of them, then the next 16 of each, and so on. Scores are a lane a key, and what the lanes load
/// at a time is one range of memory then, as is all that a head reads. (Heads that are no multiple of 16 bytes have
/// their keys one after the other, as values are.)
#[derive(Clone, Debug)]
pub struct KvCache<T = f32> {
    /// `[num_kv_heads, context, head_dim]`, context rounded up to whole blocks.
    pub k: Resident<T, 3>,
    /// `[num_kv_heads, context, head_dim]`.
    pub v: Resident<T, 3>,
}

/// Where elements of keys lie, seen from the first of their head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyStrides {
    /// Elements of a block, divided by [`KEY_BLOCK`].
    pub(crate) row: u32,
    /// Elements from one key to the next in a block.
    pub(crate) key: u32,
    /// Elements from one 16 bytes of a key to its next.
    pub(crate) chunk: u32,
}

impl KeyStrides {
    /// Of keys one after the other, `row` elements from one to the next.
    pub(crate) fn rows<T: KvElement>(row: u32) -> Self {
        Self { row, key: row, chunk: T::PER_CHUNK }
    }

    /// Of the keys of a cache.
    pub(crate) fn blocks<T: KvElement>(head_dim: u32) -> Self {
        if !head_dim.is_multiple_of(T::PER_CHUNK) {
            return Self::rows::<T>(head_dim);
        }
        Self { row: head_dim, key: T::PER_CHUNK, chunk: KEY_BLOCK * T::PER_CHUNK }
    }

    /// Where dimension `d` of key `j` lies.
    pub(crate) fn at<T: KvElement>(self, j: usize, d: usize) -> usize {
        let (block, per) = (KEY_BLOCK as usize, T::PER_CHUNK as usize);
        let [row, key, chunk] = [self.row, self.key, self.chunk].map(|n| n as usize);
        j / block * (block * row) + j % block * key + d / per * chunk + d % per
    }

    /// Key `j` of a head that begins with `keys`.
    pub(crate) fn get<T: KvElement>(self, keys: &[T], j: usize, head_dim: usize) -> Vec<T> {
        (0..head_dim).map(|d| keys[self.at::<T>(j, d)]).collect()
    }

    /// Replaces it.
    pub(crate) fn set<T: KvElement>(self, keys: &mut [T], j: usize, key: &[T]) {
        for (d, &x) in key.iter().enumerate() {
            keys[self.at::<T>(j, d)] = x;
        }
    }
}

impl<T: KvElement> KvCache<T> {
    /// An empty cache of `context` positions; allocated with the first program that uses it.
    pub fn new(label: &str, context: u32, heads: HeadShape) -> Self {
        let zeros = |name, rows| {
            let shape = [heads.num_kv_heads, rows, heads.head_dim];
            Resident::zeros(&format!("{label}.{name}"), shape).with_texels()
        };
        Self { k: zeros("k_cache", context.next_multiple_of(KEY_BLOCK)), v: zeros("v_cache", context) }
    }

    /// Its keys and values, as [`attention()`](crate::attention()) takes them.
    pub fn heads(&self, g: &mut Graph) -> [Heads<T>; 2] {
        [Heads::in_blocks(g.bind(&self.k)), Heads::by_head(g.bind(&self.v))]
    }

    /// The keys `[num_kv_heads, context, head_dim]` of what [`KvCache::k`] holds: position by position.
    ///
    /// # Panics
    ///
    /// If `k` is not of `num_kv_heads` heads of whole blocks.
    pub fn keys_by_position(k: &[T], num_kv_heads: u32, context: u32, head_dim: u32) -> Vec<T> {
        let strides = KeyStrides::blocks::<T>(head_dim);
        let rows = context.next_multiple_of(KEY_BLOCK) as usize;
        assert_eq!(k.len(), num_kv_heads as usize * rows * head_dim as usize, "keys of {context} positions");
        let heads = k.chunks_exact(rows * head_dim as usize);
        let positions = |head| (0..context as usize).map(move |j| strides.get(head, j, head_dim as usize));
        heads.flat_map(positions).flatten().collect()
    }

    /// What [`KvCache::k`] holds of the keys `[num_kv_heads, context, head_dim]`, and of positions past them: the inverse of
    /// [`KvCache::keys_by_position`].
    ///
    /// # Panics
    ///
    /// If there are not as many keys.
    pub fn keys_in_blocks(keys: &[T], num_kv_heads: u32, context: u32, head_dim: u32, rest: T) -> Vec<T> {
        let strides = KeyStrides::blocks::<T>(head_dim);
        let rows = context.next_multiple_of(KEY_BLOCK);
        assert_eq!(keys.len(), (num_kv_heads * context * head_dim) as usize, "keys of {context} positions");
        let mut blocks = vec![rest; (num_kv_heads * rows * head_dim) as usize];
        let heads = keys.chunks_exact((context * head_dim) as usize);
        for (head, blocks) in heads.zip(blocks.chunks_exact_mut((rows * head_dim) as usize)) {
            head.chunks_exact(head_dim as usize).enumerate().for_each(|(j, key)| strides.set(blocks, j, key));
        }
        blocks
    }

    /// Asserts that it and `tables` are for such heads; returns its positions.
    pub(crate) fn check(&self, kernel: &str, tables: &RopeTables, heads: HeadShape) -> u32 {
        let HeadShape { num_kv_heads, head_dim, .. } = heads;
        let [_, context, _] = self.v.shape();
        let [positions, _] = tables.cos_sin.shape();
        let least = if T::IS_F16 { 4 } else { 2 };
        assert!(
            head_dim.is_multiple_of(least),
            "{kernel}: {head_dim} elements in a head, no multiple of {least}"
        );
        assert_eq!(self.v.shape(), [num_kv_heads, context, head_dim], "{kernel}: cache against {heads:?}");
        let k = [num_kv_heads, context.next_multiple_of(KEY_BLOCK), head_dim];
        assert_eq!(self.k.shape(), k, "{kernel}: k against v of the cache");
        assert_eq!(tables.cos_sin.shape(), [positions, head_dim], "{kernel}: tables against {heads:?}");
        assert!(positions >= context, "{kernel}: tables of {positions} for a cache of {context}");
        context
    }
}

impl<T: KvElement> Heads<T> {
    /// The keys of a cache, `[heads, whole blocks of rows, head_dim]`: see [`KvCache`].
    ///
    /// # Panics
    ///
    /// If the rows are not in whole blocks.
    pub fn in_blocks(tensor: Tensor<T, 3>) -> Self {
        let [_, rows, head_dim] = tensor.shape();
        assert!(rows.is_multiple_of(KEY_BLOCK), "{rows} keys in blocks of {KEY_BLOCK}");
        Self { keys: KeyStrides::blocks::<T>(head_dim), ..Self::by_head(tensor) }
    }
}
