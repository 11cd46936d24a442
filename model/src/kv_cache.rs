//! Keys and values, one pair of tensors a layer, in pages of 16 positions.

use std::fmt;
use std::ops::Range;

use half::f16;
use strix_engine::{Copied, Gpu, ResidentBytes};
use strix_shaders::cursors::PAGE;
use strix_shaders::{HeadShape, KvCache};

use crate::config::TextConfig;
use crate::context::TooLong;
use crate::error::ContextLimit;
use crate::{Error, Result};

/// The dtype of keys and values.
///
/// f16 halves the cache and what a decode step reads of it, and costs less than rounding the weights to f16
/// would. The device needs no feature for it: kernels unpack it and compute in f32. (Without F16C in the
/// processor, Mesa's software Vulkan lacks even that, and programs do not compile.) Values are rounded to
/// nearest; those beyond 65,504, which no sane model has, become that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvDtype {
    /// The dtype in which they are computed.
    #[default]
    F32,
    /// Rounded to f16; `head_dim` must be a multiple of 4.
    F16,
}

impl fmt::Display for KvDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

/// One layer's keys and values.
#[derive(Debug)]
pub(crate) enum LayerCache {
    F32(KvCache),
    F16(KvCache<f16>),
}

impl LayerCache {
    /// Label and bytes of the keys; the values take as many.
    pub(crate) fn keys(&self) -> (&str, u64) {
        match self {
            Self::F32(kv) => (kv.k.label(), kv.k.bytes()),
            Self::F16(kv) => (kv.k.label(), kv.k.bytes()),
        }
    }

    /// Both tensors.
    pub(crate) fn residents(&self) -> [ResidentBytes; 2] {
        match self {
            Self::F32(kv) => [kv.k.untyped(), kv.v.untyped()],
            Self::F16(kv) => [kv.k.untyped(), kv.v.untyped()],
        }
    }

    /// Bytes on the device.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::F32(kv) => kv.k.bytes() + kv.v.bytes(),
            Self::F16(kv) => kv.k.bytes() + kv.v.bytes(),
        }
    }
}

/// The decoder's heads.
pub(crate) fn heads(c: &TextConfig) -> HeadShape {
    HeadShape {
        num_heads: c.num_attention_heads as u32,
        num_kv_heads: c.num_key_value_heads as u32,
        head_dim: c.head_dim() as u32,
    }
}

/// Whether heads of this config can be stored as `dtype`.
pub(crate) fn check(c: &TextConfig, dtype: KvDtype) -> Result<()> {
    let head_dim = c.head_dim();
    if dtype == KvDtype::F32 || head_dim.is_multiple_of(4) {
        return Ok(());
    }
    Err(Error::KvHeads { head_dim })
}

/// Whether kernels can count the elements of one layer's keys.
pub(crate) fn fits_counters(c: &TextConfig, ctx: u32) -> std::result::Result<(), TooLong> {
    let (block, position) = (u64::from(PAGE), c.kv_dim() as u64);
    let elements = u64::from(ctx).next_multiple_of(block) * position;
    if elements <= u64::from(u32::MAX) {
        return Ok(());
    }
    let most = u64::from(u32::MAX) / position / block * block;
    Err(TooLong { ctx, most, limit: ContextLimit::Counters { elements } })
}

/// Checks that one layer's keys fit a binding of the device, as the cache is not split.
///
/// # Errors
///
/// If they do not.
pub(crate) fn fits_binding(
    kv: &[LayerCache],
    pages: u32,
    dtype: KvDtype,
    ctx: u32,
    limit: u64,
) -> std::result::Result<(), TooLong> {
    let Some((label, bytes)) = kv.first().map(LayerCache::keys).filter(|k| k.1 > limit) else {
        return Ok(());
    };
    let block = u64::from(PAGE);
    let position = bytes / (u64::from(pages) * block);
    let (label, bytes) = (label.to_owned(), u64::from(ctx.next_multiple_of(PAGE)) * position);
    let f16_fits = dtype == KvDtype::F32 && bytes / 2 <= limit;
    let most = limit / position.max(1) / block * block;
    Err(TooLong { ctx, most, limit: ContextLimit::Binding { label, bytes, limit, f16_fits } })
}

/// Where a page's keys, or values, of each head are.
pub(crate) fn page_ranges(kv: &LayerCache, c: &TextConfig, page: u32) -> impl Iterator<Item = Range<u64>> {
    let heads = c.num_key_value_heads as u64;
    // Each head has its own pages.
    let head = kv.keys().1 / heads;
    let element = if matches!(kv, LayerCache::F16(_)) { 2 } else { 4 };
    let bytes = u64::from(PAGE) * c.head_dim() as u64 * element;
    let start = u64::from(page) * bytes;
    (0..heads).map(move |n| n * head + start..n * head + start + bytes)
}

/// Copies what a page holds to another.
pub(crate) fn copy_page(gpu: &Gpu, kv: &[LayerCache], c: &TextConfig, [from, to]: [u32; 2]) -> Result<()> {
    let Some(layer) = kv.first() else { return Ok(()) };
    let heads = page_ranges(layer, c, from).zip(page_ranges(layer, c, to));
    let part = |(from, to): (Range<u64>, Range<u64>)| Copied {
        from: from.start,
        to: to.start,
        bytes: from.end - from.start,
    };
    let parts: Vec<_> = heads.map(part).collect();
    let tensors: Vec<_> = kv.iter().flat_map(LayerCache::residents).collect();
    Ok(gpu.copy_within(&tensors, &parts)?)
}

/// Bytes that the default pool takes at most beyond one whole context.
const SPENT: u64 = 1 << 30;

/// Whole contexts that the default pool holds at most.
const ENOUGH: u64 = 16;

/// Pages of the pool that all conversations share: in `kv_memory`, if that is said, and where a binding may have `limit`
/// bytes. If device memory is limited, there are as many as one context takes.
///
/// # Errors
///
/// If `kv_memory` is less than a page, or more than bindings hold.
pub(crate) fn pool_pages(
    c: &TextConfig,
    dtype: KvDtype,
    kv_memory: Option<u64>,
    is_limited: bool,
    ctx: u32,
    limit: u64,
) -> Result<u32> {
    let element = if dtype == KvDtype::F16 { 2 } else { 4 };
    // Of the keys of one layer.
    let keys = u64::from(PAGE) * c.kv_dim() as u64 * element;
    let page = 2 * keys * c.num_hidden_layers as u64;
    let (context, most) = (u64::from(ctx.div_ceil(PAGE)), (limit / keys).min(u64::from(u32::MAX / PAGE)));
    let pages = match kv_memory {
        None if is_limited => context,
        None => context * (SPENT / (context * page)).clamp(1, ENOUGH).min((most / context).max(1)),
        Some(bytes) if bytes < page => {
            let range = format!("{page} bytes, a page of {PAGE} positions, or more");
            return Err(Error::out_of_range("kv_memory", format!("{bytes} bytes"), range));
        }
        Some(bytes) if bytes / page > most => {
            let range = format!(
                "at most {} bytes, as the keys of a layer lie in one binding, and the device allows {limit} bytes in one",
                most * page
            );
            return Err(Error::out_of_range("kv_memory", format!("{bytes} bytes"), range));
        }
        Some(bytes) => bytes / page,
    };
    Ok(pages as u32)
}

/// Makes of the cache in a trace what it holds of a sequence on these pages: `[num_kv_heads, 16 · pages, head_dim]`.
pub(crate) fn by_position(trace: &mut [(String, Vec<f32>)], c: &TextConfig, dtype: KvDtype, pages: &[u32]) {
    let HeadShape { num_kv_heads, head_dim, .. } = heads(c);
    let slots = pages.iter().flat_map(|page| page * PAGE..(page + 1) * PAGE).map(|slot| slot as usize);
    let of = |values: &[f32]| -> Vec<f32> {
        let heads = values.chunks_exact(values.len() / num_kv_heads as usize);
        let dim = head_dim as usize;
        heads.flat_map(|head| slots.clone().flat_map(move |at| &head[at * dim..][..dim])).copied().collect()
    };
    for (label, values) in trace {
        if label.ends_with(".v_cache") {
            *values = of(values);
        } else if label.ends_with(".k_cache") {
            // Blocks have 16 bytes, with f16 too.
            let keys = match dtype {
                KvDtype::F32 => KvCache::keys_in_order(values, num_kv_heads, head_dim),
                KvDtype::F16 => {
                    let halves: Vec<_> = values.iter().map(|&x| f16::from_f32(x)).collect();
                    let keys = KvCache::keys_in_order(&halves, num_kv_heads, head_dim);
                    keys.into_iter().map(f16::to_f32).collect()
                }
            };
            *values = of(&keys);
        }
    }
}

/// Declares the caches of all layers, with `pages` pages each. They are allocated with the first program that uses
/// them.
pub(crate) fn allocate(c: &TextConfig, dtype: KvDtype, pages: u32) -> Vec<LayerCache> {
    let layer = |i| {
        let label = format!("decoder.{i}");
        match dtype {
            KvDtype::F32 => LayerCache::F32(KvCache::new(&label, pages, heads(c))),
            KvDtype::F16 => LayerCache::F16(KvCache::new(&label, pages, heads(c))),
        }
    };
    (0..c.num_hidden_layers).map(layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn heads_that_are_not_in_fours_are_refused_as_f16() {
        let mut c = Config::from_json(b"{}").unwrap().text;
        check(&c, KvDtype::F16).unwrap();
        (c.hidden_size, c.num_attention_heads) = (60, 10);
        check(&c, KvDtype::F32).unwrap();
        let error = check(&c, KvDtype::F16).unwrap_err().to_string();
        assert!(error.contains("head_dim 6") && error.contains("kv f32"), "{error}");
    }

    #[test]
    fn more_keys_than_kernels_count_are_refused_with_the_most_that_are_possible() {
        let c = Config::from_json(b"{}").unwrap().text;
        fits_counters(&c, (1 << 20) - 16).unwrap();
        let error = Error::from(fits_counters(&c, 1 << 20).unwrap_err()).to_string();
        assert!(error.contains("4294967296 elements") && error.contains("ctx 1048560"), "{error}");
    }

    #[test]
    fn f16_takes_half_the_bytes() {
        let c = Config::from_json(b"{}").unwrap().text;
        let bytes = |dtype| allocate(&c, dtype, 2048 / PAGE).iter().map(LayerCache::bytes).sum::<u64>();
        assert_eq!(bytes(KvDtype::F32), 32 * 2 * 2048 * 4096 * 4);
        assert_eq!(bytes(KvDtype::F16), 32 * 2 * 2048 * 4096 * 2);
    }
}
