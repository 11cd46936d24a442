// Where keys are. The importing kernel's Params have `k_row` and `k_key`.

/// Where a key of a head begins. Those of a cache lie in blocks of 16, see kv_cache.rs.
fn key_at(key: u32) -> u32 {
    return key / 16u * (16u * params.k_row) + key % 16u * params.k_key;
}
