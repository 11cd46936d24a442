//! The header of a safetensors file.
//!
//! A file is its header's length (u64, little-endian), the header (JSON: name → dtype, shape, place), then the
//! tensors' bytes, without gaps. <https://github.com/huggingface/safetensors#format>

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};

use super::{At, Dtype, Place};

/// Longest header read, in bytes; the format's own limit.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The tensors of a file and its metadata.
///
/// The `safetensors` crate has such a reader, but it lets a name occur twice, can overflow on hostile offsets and
/// does not say which tensor or which numbers are wrong.
pub(super) fn read_header(file: &[u8]) -> Result<Header, String> {
    let len = file.len() as u64;
    let not_one = "is it a .safetensors file? download it again";
    let Some((header_len, rest)) = file.split_first_chunk() else {
        return Err(format!("holds {len} bytes, fewer than any header; {not_one}"));
    };
    let header_len = u64::from_le_bytes(*header_len);
    if header_len > MAX_HEADER_BYTES {
        return Err(format!(
            "says its header is {header_len} bytes long, above {MAX_HEADER_BYTES}; {not_one}"
        ));
    }
    let Some((header, data)) = rest.split_at_checked(header_len as usize) else {
        return Err(format!("holds {len} bytes, its header alone is {header_len}: download it again"));
    };
    let Entries { mut infos, metadata } =
        serde_json::from_slice(header).map_err(|e| format!("header: {e}; {not_one}"))?;
    infos.sort_by_key(|(_, info)| info.data_offsets);

    let mut end = 0;
    for (name, info) in &infos {
        let [from, to] = info.data_offsets;
        if from != end || to < from {
            return Err(format!(
                "{name} is at bytes {from} to {to}, expected it to start at {end}: download it again"
            ));
        }
        // A size of 0 must not hide that the others overflow.
        let bits =
            info.shape.iter().try_fold(info.dtype.bitsize() as u64, |n, &size| n.checked_mul(size.max(1)));
        let bits = if info.shape.contains(&0) { bits.and(Some(0)) } else { bits };
        if bits != (to - from).checked_mul(8) || bits.is_none() {
            return Err(format!(
                "{name} is {:?} of {} and has {} bytes: download it again",
                info.shape,
                info.dtype,
                to - from
            ));
        }
        end = to;
    }
    if end != data.len() as u64 {
        let described = u128::from(end) + 8 + u128::from(header_len);
        return Err(format!("holds {len} bytes, its header describes {described}: download it again"));
    }
    let start = 8 + header_len as usize;
    let place = |(name, info): (String, Info)| {
        // All of these are at most the length of the file, except sizes beside a 0.
        let [from, to] = info.data_offsets.map(|offset| start + offset as usize);
        let shape = info.shape.iter().map(|&size| size as usize).collect();
        (name, Place { file: 0, dtype: info.dtype, shape, at: At::Bytes(from..to) })
    };
    Ok(Header { tensors: infos.into_iter().map(place).collect(), metadata })
}

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    /// In the order of their bytes.
    pub tensors: Vec<(String, Place)>,
    pub metadata: BTreeMap<String, String>,
}

/// The header's entries, in its order, each name once.
#[derive(Default)]
struct Entries {
    infos: Vec<(String, Info)>,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Info {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    let at = |e: A::Error| A::Error::custom(format!("{name}: {e}"));
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("{name} is listed twice")));
                    }
                    if name == "__metadata__" {
                        entries.metadata = map.next_value::<Option<_>>().map_err(at)?.unwrap_or_default();
                        continue;
                    }
                    let info = map.next_value().map_err(at)?;
                    entries.infos.push((name, info));
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Object)
    }
}
