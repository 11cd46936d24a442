// p[n, r, j] = softmax_j(q[r, n] · k[j, n'] / √head_dim),   n' = n / heads_per_kv, 0 where j is not seen
//
// What attention.wgsl never writes down, for inspection. One workgroup per row and head, a lane a key: first
// the scores and their maximum and sum of exponentials, lane by lane, then the quotients.

//~ variants: lanes = 8 16 32 64 plain
//~ variants: heads = vec4 scalar f16
//~ variants: mask = full causal
#import heads
#import queries
#import key_fours
#import lanes
#import keys
#import seen
#import pages

//% set loads = "storage"
//% set lanes_number = 64 if lanes == "plain" else lanes

struct Params {
    /// Rows of `p`.
    rows: u32,
    /// Most keys any row sees.
    keys: u32,
    /// Keys in a row of `p`.
    width: u32,
    /// Sequences that have pages; if causal.
    sequences: u32,
    /// Pages of a sequence; if causal.
    sequence_pages: u32,
    /// Heads of `q`.
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
    /// The first of the heads of keys that `k` holds.
    first_kv_head: u32,
    /// Number of the heads that it holds.
    part_kv_heads: u32,
}

@group(0) @binding(6) var<storage, read_write> p: array<f32>;    // [num_heads, rows, width]

@compute @workgroup_size(LANES)
fn attention_probs(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    let head = params.first_kv_head * params.heads_per_kv + group.y;
    // Of sequences' rows those that are live come first, so that tile n of one row is row n.
    let tile = tile_at(row, 1u);
    let seen = select(0u, min(params.keys, seen_by(tile, 0u)), tile.row < tile.rows);
    let q_head = row * params.q_row + params.q_offset + head * params.q_stride;
    let k_head = params.k_offset + group.y / params.heads_per_kv * params.k_stride;
    let p_at = (head * params.rows + row) * params.width;
    let scale = inverseSqrt(f32(params.head_dim));

    var top = UNSEEN;
    var sum = 0.0;
    //~ trips: keys // ${lanes_number} + 1
    for (var j = lane; j < seen; j += LANES) {
        var score = 0.0;
        let k_row = k_head + key_at(slot_of(tile.sequence, j));
        //~ trips: (keys // ${lanes_number} + 1) * ((head_dim + 3) // 4)
        for (var d4 = 0u; d4 < (params.head_dim + 3u) / 4u; d4++) {
            score += dot(query(q_head, d4), k_at(k_row, d4));
        }
        score *= scale;
        p[p_at + j] = score;
        let next_top = max(top, score);
        sum = sum * exp(top - next_top) + exp(score - next_top);
        top = next_top;
    }
    let row_top = lane_max(lane, top);
    let row_sum = lane_sum(lane, sum * exp(top - row_top));
    //~ trips: width // ${lanes_number} + 1
    for (var j = lane; j < params.width; j += LANES) {
        p[p_at + j] = select(0.0, exp(p[p_at + j] - row_top) / row_sum, j < seen);
    }
}
