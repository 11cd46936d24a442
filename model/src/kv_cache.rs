//! Keys and values, one pair of tensors a layer, in pages of 16 positions.

use std::fmt;
use std::ops::Range;

use half::f16;
use strix_engine::{Copied, Gpu, ResidentBytes};
use strix_shaders::cursors::PAGE;
use strix_shaders::{HeadShape, KvCache, KvElement, KvPart};

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

/// Some heads of a layer's keys and values, which lie in a binding each.
#[derive(Debug)]
pub(crate) struct CachePart {
    /// Keys and values.
    pub kv: [ResidentBytes; 2],
    /// Number of its heads.
    heads: u64,
    /// Bytes of a page's keys, or values, of one head.
    page_bytes: u64,
}

impl LayerCache {
    /// Its parts, in the order of their heads.
    pub(crate) fn parts(&self) -> Vec<CachePart> {
        match self {
            Self::F32(kv) => kv.parts.iter().map(CachePart::of).collect(),
            Self::F16(kv) => kv.parts.iter().map(CachePart::of).collect(),
        }
    }

    /// Bytes on the device.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts().iter().flat_map(|part| &part.kv).map(ResidentBytes::bytes).sum()
    }

    /// Keys, and values, of some pages: `[pages, num_kv_heads, 16, head_dim]` each, as they lie there.
    pub(crate) fn read(&self, gpu: &Gpu, pages: &[u32]) -> Result<[Vec<u8>; 2]> {
        let parts = self.parts();
        let read_part = |part: &CachePart| -> Result<[Vec<u8>; 2]> {
            let ranges: Vec<_> = pages.iter().flat_map(|&page| part.page(page)).collect();
            let [k, v] = &part.kv;
            Ok([gpu.read_ranges(k, &ranges)?, gpu.read_ranges(v, &ranges)?])
        };
        let read: Vec<_> = parts.iter().map(read_part).collect::<Result<_>>()?;
        Ok([0, 1].map(|i| {
            let page = |n: usize| {
                let parts = parts.iter().zip(&read);
                parts.map(move |(part, read)| {
                    let bytes = part.page_len();
                    &read[i][n * bytes..][..bytes]
                })
            };
            (0..pages.len()).flat_map(page).collect::<Vec<_>>().concat()
        }))
    }

    /// Writes what [`LayerCache::read`] gave of as many pages.
    pub(crate) fn write(&self, gpu: &Gpu, pages: &[u32], kv: [&[u8]; 2]) -> Result<()> {
        let parts = self.parts();
        let layer_page: usize = parts.iter().map(CachePart::page_len).sum();
        let mut first = 0;
        for part in &parts {
            let ranges: Vec<_> = pages.iter().flat_map(|&page| part.page(page)).collect();
            for (tensor, content) in part.kv.iter().zip(kv) {
                let of_page = |page: &[u8]| page[first..first + part.page_len()].to_vec();
                let content: Vec<_> = content.chunks_exact(layer_page).flat_map(of_page).collect();
                gpu.write_ranges(tensor, &ranges, &content)?;
            }
            first += part.page_len();
        }
        Ok(())
    }
}

impl CachePart {
    fn of<T: KvElement>(part: &KvPart<T>) -> Self {
        let [heads, _, head_dim] = part.k.shape().map(u64::from);
        let page_bytes = u64::from(PAGE) * head_dim * size_of::<T>() as u64;
        Self { kv: [part.k.untyped(), part.v.untyped()], heads, page_bytes }
    }

    /// Bytes of a page's keys, or values, of all its heads.
    fn page_len(&self) -> usize {
        (self.heads * self.page_bytes) as usize
    }

    /// Where a page's keys, or values, of each head are. Each head has its own pages.
    fn page(&self, page: u32) -> impl Iterator<Item = Range<u64>> {
        let (head, bytes) = (self.kv[0].bytes() / self.heads, self.page_bytes);
        let start = u64::from(page) * bytes;
        (0..self.heads).map(move |n| n * head + start..n * head + start + bytes)
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

/// Checks that one head's keys fit a binding of the device, as a head is not split, and the rotations of as many positions.
///
/// # Errors
///
/// If they do not.
pub(crate) fn fits_binding(
    c: &TextConfig,
    kv: &[LayerCache],
    ctx: u32,
    limit: u64,
) -> std::result::Result<(), TooLong> {
    let block = u64::from(PAGE);
    let too_long = |label: &str, position_bytes: u64, positions: u32| {
        let bytes = u64::from(positions) * position_bytes;
        let most = limit / position_bytes / block * block;
        let limit = ContextLimit::Binding { label: label.to_owned(), bytes, limit };
        TooLong { ctx, most, limit }
    };
    let parts = kv.first().map_or(vec![], LayerCache::parts);
    if let Some(part) = parts.iter().find(|part| part.kv[0].bytes() > limit) {
        let positions = ctx.next_multiple_of(PAGE);
        return Err(too_long(part.kv[0].label(), part.page_bytes / block, positions));
    }
    // Rotations are f32, where keys may be f16.
    let rotation = c.head_dim() as u64 * 4;
    if u64::from(ctx) * rotation > limit {
        return Err(too_long("rope", rotation, ctx));
    }
    Ok(())
}

/// Copies what a page holds to another.
pub(crate) fn copy_page(gpu: &Gpu, kv: &[LayerCache], [from, to]: [u32; 2]) -> Result<()> {
    let layers: Vec<_> = kv.iter().map(LayerCache::parts).collect();
    let num_parts = layers.first().map_or(0, Vec::len);
    for part in 0..num_parts {
        // Layers are split alike.
        let alike = layers.iter().map(|parts| &parts[part]);
        let first = &layers[0][part];
        let copied = |(from, to): (Range<u64>, Range<u64>)| Copied {
            from: from.start,
            to: to.start,
            bytes: from.end - from.start,
        };
        let ranges: Vec<_> = first.page(from).zip(first.page(to)).map(copied).collect();
        let tensors: Vec<_> = alike.flat_map(|part| part.kv.clone()).collect();
        gpu.copy_within(&tensors, &ranges)?;
    }
    Ok(())
}

/// Bytes that the default pool takes at most beyond one whole context.
const SPENT: u64 = 1 << 30;

/// Whole contexts that the default pool holds at most.
const ENOUGH: u64 = 16;

/// Pages of the pool that all conversations share: in `kv_memory`, if that is said, and where a binding may have `limit`
/// bytes. If device memory is limited, there are as many as one context takes. By default there are no more contexts than
/// one binding holds of a layer's keys, as each further one costs dispatches.
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
    // Elements of the keys of one head, and bytes of those of one layer.
    let head = u64::from(PAGE) * c.head_dim() as u64;
    let keys = head * c.num_key_value_heads as u64 * element;
    let page = 2 * keys * c.num_hidden_layers as u64;
    let context = u64::from(ctx.div_ceil(PAGE));
    // Kernels count slots, and elements of a binding, in 32 bits.
    let most = (limit / element).min(u64::from(u32::MAX)) / head;
    let most = most.min(u64::from(u32::MAX / PAGE));
    let pages = match kv_memory {
        None if is_limited => context,
        None => context * (SPENT / (context * page)).clamp(1, ENOUGH).min((limit / keys / context).max(1)),
        Some(bytes) if bytes < page => {
            let range = format!("{page} bytes, a page of {PAGE} positions, or more");
            return Err(Error::out_of_range("kv_memory", format!("{bytes} bytes"), range));
        }
        Some(bytes) if bytes / page > most => {
            let range = format!(
                "at most {} bytes, as the keys of a head lie in one binding, and the device allows {limit} bytes in one",
                most * page
            );
            return Err(Error::out_of_range("kv_memory", format!("{bytes} bytes"), range));
        }
        Some(bytes) => bytes / page,
    };
    Ok(pages as u32)
}

/// Makes of the cache in a trace what it holds of a sequence on these pages: `[num_kv_heads, 16 · pages, head_dim]`.
pub(crate) fn by_position(
    trace: &mut Vec<(String, Vec<f32>)>,
    c: &TextConfig,
    dtype: KvDtype,
    pages: &[u32],
) {
    join_parts(trace);
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

/// Makes of the parts of a cache in a trace, which come in the order of their heads, one tensor, named as if it had one
/// part.
fn join_parts(trace: &mut Vec<(String, Vec<f32>)>) {
    let mut whole: Vec<(String, Vec<f32>)> = Vec::with_capacity(trace.len());
    for (label, values) in trace.drain(..) {
        let Some((name, part)) = label.split_once("_cache[") else {
            whole.push((label, values));
            continue;
        };
        let name = format!("{name}_cache");
        match whole.iter_mut().rev().find(|(label, _)| *label == name).filter(|_| part != "0]") {
            Some((_, before)) => before.extend(values),
            None => whole.push((name, values)),
        }
    }
    *trace = whole;
}

/// Declares the caches of all layers, with `pages` pages each, in bindings of at most `limit` bytes. They are allocated with
/// the first program that uses them.
pub(crate) fn allocate(c: &TextConfig, dtype: KvDtype, pages: u32, limit: u64) -> Vec<LayerCache> {
    let layer = |i| {
        let label = format!("decoder.{i}");
        match dtype {
            KvDtype::F32 => LayerCache::F32(KvCache::new(&label, pages, heads(c), limit)),
            KvDtype::F16 => LayerCache::F16(KvCache::new(&label, pages, heads(c), limit)),
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
    fn f16_takes_half_the_bytes() {
        let c = Config::from_json(b"{}").unwrap().text;
        let bytes =
            |dtype| allocate(&c, dtype, 2048 / PAGE, u64::MAX).iter().map(LayerCache::bytes).sum::<u64>();
        assert_eq!(bytes(KvDtype::F32), 32 * 2 * 2048 * 4096 * 4);
        assert_eq!(bytes(KvDtype::F16), 32 * 2 * 2048 * 4096 * 2);
    }
}
