//! A checkpoint that `torch.save` wrote: a zip file of a pickle and of each storage's bytes.
//!
//! `TOP/data.pkl` describes the tensors, `TOP/data/KEY` is a storage; several tensors may be parts of one.
//! <https://docs.pytorch.org/docs/stable/notes/serialization.html>

use std::collections::{BTreeMap, HashSet};

use super::cursor::shown;
use super::entry::{At, Fault, TensorEntry};
use super::pickle::{MAX_PICKLE_BYTES, Object, Tensor, Unpickled, Value, unpickle};
use super::safetensors::Header;
use super::zip::{self, Entries};
use crate::config::UNQUANTISED;
use crate::files::Content;

/// Key and value of a dict.
type Item<'a> = (Value<'a>, Value<'a>);

/// Longest name of a byte order, with the white space after it.
const MAX_ORDER_BYTES: usize = 64;

/// Longest key of a storage. They are numbers.
const MAX_KEY_BYTES: usize = 100;

/// Whether a file is one that torch wrote, by its first bytes.
pub(super) fn begins(file: &[u8]) -> bool {
    file.starts_with(zip::MAGIC)
}

/// The most that a tensor whose elements are repeated (one of stride 0, say) may be once they are written out. No small
/// file can then unfold into much.
const MAX_REPEATED_BYTES: usize = 1 << 28;

/// Keys under which a training keeps the model's state dict, beside an optimizer's and others.
const NESTED: [&str; 5] = ["state_dict", "model_state_dict", "model", "module", "net"];

/// Keys of a checkpoint of DeepSpeed, whose tensors may be parts only.
const DEEPSPEED: [&str; 4] = ["ds_config", "ds_version", "param_shapes", "optimizer_state_dict"];

/// The tensors of a file, in its order.
pub(super) fn read(file: &Content) -> Result<Header, Fault> {
    if !begins(&file.first(zip::MAGIC.len() as u64)?) {
        return Err(Fault::Wrong(format!(
            "holds {} bytes and does not begin like a torch checkpoint: download it again",
            file.len()
        )));
    }
    let entries = zip::entries(file)?;
    let top = top(&entries)?;
    if entries.contains_key(format!("{top}constants.pkl").as_str()) {
        let reason = "is an archive of TorchScript, code and all: save the weights alone, in Python: \
                      torch.save(torch.jit.load(FILE, map_location=\"cpu\").state_dict(), OUT)";
        return Err(Fault::Wrong(reason.into()));
    }
    // Entries are parts of the file. Of one that is too long the beginning is read, which is refused.
    let entry = |name: &str, most: usize| match entries.get(&format!("{top}{name}")) {
        Some(range) => file.part(range.start as u64, range.len().min(most) as u64),
        None => Ok(None),
    };
    if let Some(order) = entry("byteorder", MAX_ORDER_BYTES)?
        && order.trim_ascii() != b"little"
    {
        let order = shown(&String::from_utf8_lossy(&order));
        return Err(
            format!("its byteorder is {order}, only little is read: save it on such a machine").into()
        );
    }
    let length = entries[&format!("{top}data.pkl")].len();
    if length > MAX_PICKLE_BYTES {
        return Err(format!("its pickle is {length} bytes long, above {MAX_PICKLE_BYTES}").into());
    }
    let pickle = entry("data.pkl", length)?.unwrap_or_default();
    tensors(&pickle, top, &entries).map_err(Fault::Wrong)
}

/// The tensors that a pickle describes.
fn tensors(pickle: &[u8], top: &str, entries: &Entries) -> Result<Header, String> {
    let pickle = unpickle(pickle)?;
    let (items, note) = state_dict(&pickle)?;
    let mut header = Header { tensors: vec![], unread: vec![], metadata: BTreeMap::new(), note };
    let mut names = HashSet::new();
    for &(key, value) in items {
        let tensor = match pickle.object(value) {
            Some(Object::Tensor(tensor)) => Some(tensor),
            // Numbers and texts beside the tensors do no harm.
            _ if !matches!(value, Value::Unread(_)) => continue,
            _ => None,
        };
        let Value::Str(name) = key else {
            if tensor.is_none() {
                continue;
            }
            return Err(format!("a tensor's name is a {}, not a str", pickle.kind(key)));
        };
        if !names.insert(name) {
            return Err(format!("{} is listed twice", shown(name)));
        }
        let found = match tensor {
            Some(tensor) => {
                entry_of(tensor, top, entries).map_err(|reason| format!("{}: {reason}", shown(name)))?
            }
            None => Err(format!("is a {}, which is not read", pickle.kind(value))),
        };
        match found {
            Ok(entry) => header.tensors.push((name.to_owned(), entry)),
            Err(reason) => header.unread.push((name.to_owned(), reason)),
        }
    }
    Ok(header)
}

/// The dict of tensors: what the file holds, or the only one within a training's checkpoint.
fn state_dict<'p, 'a>(pickle: &'p Unpickled<'a>) -> Result<(&'p [Item<'a>], Option<String>), String> {
    let Some(Object::Dict(items)) = pickle.object(pickle.top) else {
        return Err(format!(
            "holds a {}, not a dict of tensors: save the model's state_dict()",
            pickle.kind(pickle.top)
        ));
    };
    let is_tensor = |&(_, value): &Item<'a>| matches!(pickle.object(value), Some(Object::Tensor(_)));
    if items.is_empty() || items.iter().any(is_tensor) {
        refuse_two(pickle, items, "the top of the file", items)?;
        return Ok((items, None));
    }
    let has = |key: &str| items.iter().any(|(held, _)| *held == Value::Str(key));
    if has("param_groups") && has("state") {
        return Err(
            "is the state of an optimizer, without the model's weights: name the file that holds those"
                .into(),
        );
    }
    if items.iter().any(|&(_, value)| is_hqq(pickle, value)) {
        return Err(format!("holds weights that HQQ quantised, which is not read: {UNQUANTISED}"));
    }
    if has("checkpoint_version") && has("args") {
        return Err("is a part of a checkpoint of Megatron-LM, in its own layout: convert it with Megatron's own script \
                    (tools/checkpoint) to transformers' layout, and name what that writes"
            .into());
    }
    if let Some(key) = DEEPSPEED.iter().find(|key| has(key)) {
        return Err(format!(
            "holds {key} beside other dicts: it is a part of a checkpoint of DeepSpeed (ZeRO). Join the parts: python \
             zero_to_fp32.py FOLDER OUT (DeepSpeed writes that script beside them), and name OUT with the config.json"
        ));
    }
    let nested = items.iter().filter_map(|&(key, value)| match (key, pickle.object(value)) {
        (Value::Str(key), Some(Object::Dict(inner)))
            if inner.iter().any(is_tensor) && NESTED.contains(&key) =>
        {
            Some((key, &inner[..]))
        }
        _ => None,
    });
    match nested.collect::<Vec<_>>()[..] {
        [(key, inner)] => {
            refuse_two(pickle, items, key, inner)?;
            let by = if has("pytorch-lightning_version") { " (a checkpoint of Lightning)" } else { "" };
            Ok((inner, Some(format!("the state dict under {key:?} in it is read{by}"))))
        }
        _ => {
            let keys = items.iter().take(5).map(|&(key, value)| match key {
                Value::Str(key) => format!("{} ({})", shown(key), pickle.kind(value)),
                _ => format!("a {} ({})", pickle.kind(key), pickle.kind(value)),
            });
            Err(format!(
                "holds no tensors but {}: save the model's state_dict() alone",
                keys.collect::<Vec<_>>().join(", ")
            ))
        }
    }
}

/// Whether it is a layer as HQQ saves it.
fn is_hqq(pickle: &Unpickled<'_>, value: Value<'_>) -> bool {
    let Some(Object::Dict(items)) = pickle.object(value) else { return false };
    items.iter().any(|(key, _)| *key == Value::Str("W_q"))
}

/// Refuses a file in which another dict has tensors of the same names as the one that is read: either may be meant.
fn refuse_two<'a>(
    pickle: &Unpickled<'a>,
    items: &[Item<'a>],
    read: &str,
    inner: &[Item<'a>],
) -> Result<(), String> {
    let tensors = |items: &[Item<'a>]| -> HashSet<&'a str> {
        let is_tensor = |value| matches!(pickle.object(value), Some(Object::Tensor(_)));
        let name = |&(key, value): &Item<'a>| match key {
            Value::Str(name) if is_tensor(value) => Some(name),
            _ => None,
        };
        items.iter().filter_map(name).collect()
    };
    let names = tensors(inner);
    let other = items.iter().find_map(|&(key, value)| match (key, pickle.object(value)) {
        (Value::Str(key), Some(Object::Dict(other))) if key != read && tensors(other) == names => Some(key),
        _ => None,
    });
    match other {
        Some(other) => Err(format!(
            "holds two models of the same names, under {} and {}, and either may be meant: save the state_dict() of one alone",
            shown(read),
            shown(other)
        )),
        None => Ok(()),
    }
}

/// The prefix of `data.pkl`: a folder and a slash.
fn top(entries: &Entries) -> Result<&str, String> {
    let tops = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let mut tops = tops.filter(|top| top.is_empty() || top.ends_with('/'));
    match (tops.next(), tops.next()) {
        (Some(top), None) => Ok(top),
        (None, _) if entries.keys().any(|name| name.ends_with(".npy")) => {
            Err("is a zip file of NumPy's arrays (.npz): save the model's state_dict() with safetensors"
                .into())
        }
        (None, _) => {
            Err("is a zip file without data.pkl: is it a torch checkpoint? if it was packed, unpack it"
                .into())
        }
        (Some(a), Some(b)) => Err(format!(
            "holds two pickles, {}data.pkl and {}data.pkl: download it again",
            shown(a),
            shown(b)
        )),
    }
}

/// Where a tensor's elements are, if all of them are within its storage, and that within its entry. The inner error is why
/// it cannot be read although nothing is wrong with it.
fn entry_of(
    tensor: &Tensor<'_>,
    top: &str,
    entries: &Entries,
) -> Result<Result<TensorEntry, String>, String> {
    let Tensor { storage, offset, size, stride } = tensor;
    // A long key may be named again and again, and is copied each time.
    let entry = Some(storage.key)
        .filter(|key| key.len() <= MAX_KEY_BYTES)
        .and_then(|key| entries.get(format!("{top}data/{key}").as_str()))
        .ok_or_else(|| format!("its storage {} is not in the file: download it again", shown(storage.key)))?;
    let element_bytes = storage.dtype.bitsize() / 8;
    let held = usize::try_from(storage.numel)
        .ok()
        .and_then(|numel| numel.checked_mul(element_bytes))
        .filter(|&bytes| bytes <= entry.len())
        .ok_or_else(|| {
            format!(
                "its storage {} is to hold {} elements of {}, the file has {} bytes of it: download it again",
                shown(storage.key),
                storage.numel,
                storage.dtype,
                entry.len()
            )
        })?;

    let described = || {
        format!(
            "is {size:?} of {} at {offset}, strides {stride:?}, of a storage of {} elements",
            storage.dtype, storage.numel
        )
    };
    let outside = || format!("{}: that does not fit; download it again", described());
    if size.len() != stride.len() {
        return Err(outside());
    }
    let unsigned = |list: &[i128]| list.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>();
    let (Some(shape), Some(mut strides)) = (unsigned(size), unsigned(stride)) else { return Err(outside()) };
    let offset = usize::try_from(*offset).map_err(|_| outside())?;

    // A size of 0 must not hide that the others overflow.
    let count = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size.max(1))).ok_or_else(outside)?;
    let empty = shape.contains(&0);
    let reach = |(&size, &stride): (&usize, &usize)| (size - 1).checked_mul(stride);
    let last = match empty {
        true => Some(offset),
        false => shape.iter().zip(&strides).map(reach).try_fold(offset, |at, step| at.checked_add(step?)),
    };
    let last = last.ok_or_else(outside)?;
    if last.checked_mul(element_bytes).is_none_or(|at| if empty { at > held } else { at >= held }) {
        return Err(outside());
    }
    if !empty && count > held / element_bytes && count > MAX_REPEATED_BYTES / element_bytes {
        return Ok(Err(format!(
            "{}: it repeats elements to more than {MAX_REPEATED_BYTES} bytes; save a clone() of it",
            described()
        )));
    }

    let start = entry.start + offset * element_bytes;
    // The stride of a single element says nothing.
    let mut contiguous = true;
    let mut row_major = 1;
    for (&size, stride) in shape.iter().zip(&mut strides).rev() {
        if size <= 1 {
            *stride = 1;
        } else {
            contiguous &= *stride == row_major;
            row_major *= size;
        }
    }
    let at = match () {
        () if empty => At::Bytes(start..start),
        () if contiguous => At::Bytes(start..start + count * element_bytes),
        () => At::Strided(start..start + (last - offset + 1) * element_bytes, strides),
    };
    Ok(Ok(TensorEntry { file: 0, dtype: storage.dtype, shape, at }))
}

#[cfg(test)]
mod tests;
