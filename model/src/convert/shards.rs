//! Which tensor goes to which byte of which safetensors file, before any of them is written.
//!
//! A header is padded with spaces so that the data begins at a page, and tensors whose size is a multiple of
//! 256 bytes come first: a mapped file can then be bound on a device as it lies.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value, json};

use crate::weights::FileDtype;
use crate::{Error, Result};

/// The data of a file begins at a multiple of it.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Tensors of whole multiples of it lie at a multiple of it.
const ALIGN_BYTES: u64 = 256;
/// Least `--shard-size`, with room for any header.
const MIN_SHARD_BYTES: u64 = 1 << 16;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub name: String,
    pub dtype: FileDtype,
    pub shape: Vec<usize>,
}

impl Tensor {
    pub(super) fn bytes(&self) -> u64 {
        let elements: u64 = self.shape.iter().map(|&size| size as u64).product();
        elements * self.dtype.bitsize() as u64 / 8
    }

    /// Most bytes of its entry in a header.
    fn entry_bytes(&self) -> u64 {
        // {"dtype":"BF16","shape":[],"data_offsets":[,]} with two offsets, each size with its comma, quotes.
        (self.name.len() * 2 + self.shape.len() * 21 + 110) as u64
    }
}

/// A file to be written.
#[derive(Debug)]
pub(super) struct Shard {
    pub name: String,
    /// Length, JSON and padding: all that comes before the data.
    pub header: Vec<u8>,
    /// Length of the file.
    pub bytes: u64,
    /// Jobs whose tensors it holds.
    pub jobs: Range<usize>,
}

/// The files that hold the tensors of all jobs.
#[derive(Debug)]
pub(super) struct ShardPlan {
    pub shards: Vec<Shard>,
    /// Offset of each tensor in its shard, by job and tensor.
    pub offsets: Vec<Vec<u64>>,
}

impl ShardPlan {
    /// Distributes the tensors of each job, which stay together, over files of at most `shard_bytes`.
    pub(super) fn new(
        jobs: &[&[Tensor]],
        metadata: &BTreeMap<String, String>,
        shard_bytes: u64,
    ) -> Result<Self> {
        if shard_bytes < MIN_SHARD_BYTES {
            return Err(Error::out_of_range(
                "shard_bytes",
                shard_bytes,
                format!("at least {MIN_SHARD_BYTES}"),
            ));
        }
        let metadata_bytes: usize = metadata.iter().map(|(k, v)| 2 * (k.len() + v.len()) + 8).sum();
        let empty = 8 + 24 + metadata_bytes as u64 + PAGE_BYTES;
        let mut ranges: Vec<Range<usize>> = vec![];
        let mut used = u64::MAX;
        for (index, tensors) in jobs.iter().enumerate() {
            let needed: u64 = tensors.iter().map(|t| t.bytes() + t.entry_bytes()).sum();
            if empty + needed > shard_bytes {
                let range =
                    format!("at least {}, which {} needs in one file", empty + needed, tensors[0].name);
                return Err(Error::out_of_range("shard_bytes", shard_bytes, range));
            }
            match ranges.last_mut() {
                Some(range) if used + needed <= shard_bytes => {
                    range.end = index + 1;
                    used += needed;
                }
                _ => {
                    ranges.push(index..index + 1);
                    used = empty + needed;
                }
            }
        }
        let count = ranges.len();
        let mut plan = Self { shards: vec![], offsets: vec![] };
        for (i, range) in ranges.into_iter().enumerate() {
            let name = match count {
                1 => "model.safetensors".to_owned(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
            };
            plan.add(name, &jobs[range.clone()], range, metadata);
        }
        Ok(plan)
    }

    fn add(
        &mut self,
        name: String,
        jobs: &[&[Tensor]],
        range: Range<usize>,
        metadata: &BTreeMap<String, String>,
    ) {
        let mut offsets: Vec<Vec<u64>> = jobs.iter().map(|tensors| vec![0; tensors.len()]).collect();
        let mut entries = Map::new();
        entries.insert("__metadata__".into(), json!(metadata));
        let mut end = 0;
        for aligned in [true, false] {
            for (tensors, offsets) in jobs.iter().zip(&mut offsets) {
                for (tensor, offset) in tensors.iter().zip(offsets) {
                    if tensor.bytes().is_multiple_of(ALIGN_BYTES) == aligned {
                        *offset = end;
                        end += tensor.bytes();
                        entries.insert(tensor.name.clone(), entry(tensor, *offset..end));
                    }
                }
            }
        }
        let mut json = Value::Object(entries).to_string().into_bytes();
        json.resize((json.len() as u64 + 8).next_multiple_of(PAGE_BYTES) as usize - 8, b' ');
        let header = [&(json.len() as u64).to_le_bytes(), &json[..]].concat();
        let start = header.len() as u64;
        offsets.iter_mut().flatten().for_each(|offset| *offset += start);
        self.shards.push(Shard { name, header, bytes: start + end, jobs: range });
        self.offsets.append(&mut offsets);
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).sum()
    }

    /// The index of a checkpoint in several files.
    pub(super) fn index(&self, jobs: &[&[Tensor]]) -> Vec<u8> {
        let mut map = Map::new();
        let mut total = 0;
        for shard in &self.shards {
            for tensor in jobs[shard.jobs.clone()].iter().copied().flatten() {
                map.insert(tensor.name.clone(), json!(shard.name));
                total += tensor.bytes();
            }
        }
        format!("{:#}\n", json!({ "metadata": { "total_size": total }, "weight_map": map })).into_bytes()
    }
}

fn entry(tensor: &Tensor, range: Range<u64>) -> Value {
    json!({
        "dtype": tensor.dtype.to_string(),
        "shape": tensor.shape,
        "data_offsets": [range.start, range.end],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, dtype: FileDtype, shape: &[usize]) -> Tensor {
        Tensor { name: name.into(), dtype, shape: shape.into() }
    }

    #[test]
    fn files_stay_within_the_limit_and_weights_are_aligned() {
        let jobs: Vec<Vec<Tensor>> = (0..40)
            .map(|i| match i % 2 {
                0 => vec![
                    tensor(&format!("a{i}.packed"), FileDtype::I8, &[2, 1, 4, 16, 16 * (1 + i)]),
                    tensor(&format!("a{i}.scale"), FileDtype::F32, &[2, 1, 1, 16]),
                ],
                _ => vec![tensor(&format!("b{i}"), FileDtype::F32, &[3 + i])],
            })
            .collect();
        let jobs: Vec<&[Tensor]> = jobs.iter().map(Vec::as_slice).collect();
        let plan = ShardPlan::new(&jobs, &BTreeMap::from([("format".into(), "pt".into())]), 1 << 18).unwrap();
        assert!(plan.shards.len() > 3, "{}", plan.shards.len());
        for shard in &plan.shards {
            assert!(shard.bytes <= 1 << 18, "{}: {}", shard.name, shard.bytes);
            assert!((shard.header.len() as u64).is_multiple_of(PAGE_BYTES));
            let mut file = shard.header.clone();
            file.resize(shard.bytes as usize, 0);
            let weights = crate::Weights::from_bytes(file).unwrap();
            for job in shard.jobs.clone() {
                for (tensor, offset) in jobs[job].iter().zip(&plan.offsets[job]) {
                    assert_eq!(weights.get(&tensor.name).unwrap().shape, tensor.shape);
                    assert!(
                        offset.is_multiple_of(ALIGN_BYTES) || !tensor.bytes().is_multiple_of(ALIGN_BYTES)
                    );
                }
            }
        }
        let error = ShardPlan::new(&jobs, &BTreeMap::new(), 1 << 16).unwrap_err().to_string();
        assert!(error.contains("shard_bytes is"), "{error}");
    }
}
