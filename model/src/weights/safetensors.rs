//! The header of a safetensors file.
//!
//! A file is its header's length (u64, little-endian), the header (JSON: name → dtype, shape, place), then the
//! tensors' bytes, without gaps. <https://github.com/huggingface/safetensors#format>

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{Error as _, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::FileDtype;
use super::cursor::shown;
use super::entry::{At, TensorEntry};

/// Longest header read, in bytes; the format's own limit.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Whether a file begins like a safetensors file: with the length of a header that is an object.
pub(super) fn begins(file: &[u8]) -> bool {
    let header = file.split_first_chunk().map(|(len, header)| (u64::from_le_bytes(*len), header.first()));
    header.is_some_and(|(len, first)| len <= MAX_HEADER_BYTES && first == Some(&b'{'))
}

/// Where the header of a file ends, which begins with `head`; no further than any header may.
pub(super) fn header_end(head: &[u8]) -> u64 {
    let len = head.split_first_chunk().map_or(0, |(len, _)| u64::from_le_bytes(*len));
    8 + len.min(MAX_HEADER_BYTES)
}

/// The tensors of a file and its metadata.
///
/// The `safetensors` crate has such a reader, but it lets a name occur twice, can overflow on hostile offsets and
/// does not say which tensor or which numbers are wrong.
///
/// `head` is the file of `len` bytes, or its beginning up to [`header_end`].
pub(super) fn read_header(head: &[u8], len: u64) -> Result<Header, String> {
    let not_one = "is it a .safetensors file? download it again";
    let Some((header_len, rest)) = head.split_first_chunk() else {
        return Err(format!("holds {len} bytes, fewer than any header; {not_one}"));
    };
    let header_len = u64::from_le_bytes(*header_len);
    if header_len > MAX_HEADER_BYTES {
        return Err(format!(
            "says its header is {header_len} bytes long, above {MAX_HEADER_BYTES}; {not_one}"
        ));
    }
    let Some(header) = rest.get(..header_len as usize) else {
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
                "{} is at bytes {from} to {to}, expected it to start at {end}: download it again",
                shown(name)
            ));
        }
        // A size of 0 must not hide that the others overflow. Of a dtype that is not known, any size may be right.
        let bits = info.dtype.as_ref().ok().map(|dtype| dtype.bitsize() as u64);
        let bits = bits.map(|bits| info.shape.iter().try_fold(bits, |n, &size| n.checked_mul(size.max(1))));
        let bits = bits.map(|bits| if info.shape.contains(&0) { bits.and(Some(0)) } else { bits });
        if bits.is_some_and(|bits| bits != (to - from).checked_mul(8) || bits.is_none()) {
            return Err(format!(
                "{} is {:?} of {} and has {} bytes: download it again",
                shown(name),
                info.shape,
                info.dtype.as_ref().map_or_else(|name| shown(name), FileDtype::to_string),
                to - from
            ));
        }
        end = to;
    }
    if end != len - 8 - header_len {
        let described = u128::from(end) + 8 + u128::from(header_len);
        return Err(format!("holds {len} bytes, its header describes {described}: download it again"));
    }
    let start = 8 + header_len as usize;
    let (mut tensors, mut unread) = (vec![], vec![]);
    for (name, info) in infos {
        // All of these are at most the length of the file, except sizes beside a 0.
        let [from, to] = info.data_offsets.map(|offset| start + offset as usize);
        let shape = info.shape.iter().map(|&size| size as usize).collect();
        match info.dtype {
            Ok(dtype) => tensors.push((name, TensorEntry { file: 0, dtype, shape, at: At::Bytes(from..to) })),
            Err(dtype) => unread.push((name, format!("is of dtype {}, which is not known", shown(&dtype)))),
        }
    }
    Ok(Header { tensors, unread, metadata, note: None })
}

/// The content of a header.
#[derive(Debug)]
pub(super) struct Header {
    /// In the order of their bytes.
    pub tensors: Vec<(String, TensorEntry)>,
    /// Tensors that cannot be read, and why.
    pub unread: Vec<(String, String)>,
    pub metadata: BTreeMap<String, String>,
    /// The dict in the file that held the tensors, if it was not the usual one.
    pub note: Option<String>,
}

/// The header's entries, in its order, each name once.
#[derive(Default)]
struct Entries {
    infos: Vec<(String, Info)>,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Info {
    /// Its name, if it is not known: a tensor that is not needed does no harm.
    #[serde(deserialize_with = "known_dtype")]
    dtype: Result<FileDtype, String>,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

fn known_dtype<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Result<FileDtype, String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known: Result<FileDtype, serde::de::value::Error> =
        FileDtype::deserialize(name.as_str().into_deserializer());
    Ok(known.map_err(|_| name))
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
                    let at = |e: A::Error| A::Error::custom(format!("{}: {e}", shown(&name)));
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("{} is listed twice", shown(&name))));
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
