// How the keys of a decode step are split.

/// Keys of each split but the last, where there are so many keys and at most so many splits.
fn split_size(keys: u32, splits: u32) -> u32 {
    return max((keys + 64u * splits - 1u) / (64u * splits), 1u) * 64u;
}
