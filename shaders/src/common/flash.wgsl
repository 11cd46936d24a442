// What every family of attention shares: parameters, which keys a tile sees, and where heads begin. The importing kernel also
// imports `seen`.

struct Params {
    /// Rows of `y`.
    rows: u32,
    /// Most keys any row sees; all of them where the mask is not causal.
    keys: u32,
    /// Sequences that have pages; if causal.
    sequences: u32,
    /// Pages of a sequence; if causal.
    sequence_pages: u32,
    /// Heads of `y`.
    num_heads: u32,
    /// Heads that share a key and value head.
    heads_per_kv: u32,
    /// Dimensions of a head.
    head_dim: u32,
    /// Elements from one row of `q` to the next.
    q_row: u32,
    /// Element of head 0 in a row of `q`.
    q_offset: u32,
    /// Elements from one head of `q` to the next.
    q_stride: u32,
    /// Elements of a key: a 16th of those of 16 keys.
    k_row: u32,
    /// Elements from one key to the next of the same 16.
    k_key: u32,
    /// Elements from one 16 bytes of a key to its next.
    k_chunk: u32,
    /// Element of head 0 in a row of `k`.
    k_offset: u32,
    /// Elements from one head of `k` to the next.
    k_stride: u32,
    /// Elements from one row of `v` to the next.
    v_row: u32,
    /// Element of head 0 in a row of `v`.
    v_offset: u32,
    /// Elements from one head of `v` to the next.
    v_stride: u32,
    /// The first of the heads of keys and values that `k` and `v` hold.
    first_kv_head: u32,
    /// Number of the heads that they hold.
    part_kv_heads: u32,
}

/// Keys that the last row of a tile of `queries` rows sees, which are the most.
fn keys_of(tile: Tile, queries: u32) -> u32 {
    return min(params.keys, seen_by(tile, min(queries, tile.rows - tile.row) - 1u));
}

/// Where in a row of q, of k and of v a head begins.
struct Head {
    q: u32,
    k: u32,
    v: u32,
}

/// Head n of those that attend to `k` and `v`, as it is numbered in q and in y.
fn head_of(n: u32) -> u32 {
    return params.first_kv_head * params.heads_per_kv + n;
}

/// Head n of those that attend to `k` and `v`, and the head of these that it attends to.
fn head_at(n: u32) -> Head {
    let kv = n / params.heads_per_kv;
    return Head(
        params.q_offset + head_of(n) * params.q_stride,
        params.k_offset + kv * params.k_stride,
        params.v_offset + kv * params.v_stride,
    );
}
