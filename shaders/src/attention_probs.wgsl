// p[n, r, j] = softmax_j(q[r, n] · k[j, n'] / √head_dim),   n' = n / heads_per_kv, 0 where j is not seen
//
// What attention.wgsl never writes down, for inspection. One workgroup per row and head, a lane a key: first
// the scores and their maximum and sum of exponentials, lane by lane, then the quotients.

//~ variants: lanes = 8 16 32 64 plain
//~ variants: cache = f32 f16
//~ variants: mask = full causal
//% set per = 8 if cache == "f16" else 4
#import lanes
#import keys
#import pages

/// Score of a key that is not seen: far below any other, and still finite when another is subtracted.
const UNSEEN = -1e30;

struct Params {
    /// Rows of `p`.
    rows: u32,
    /// Most keys any row sees.
    keys: u32,
    /// Keys in a row of `p`.
    width: u32,
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;          // [≥ rows, q_row]
//% if cache == "f16"
@group(0) @binding(2) var<storage, read> k: array<u32>;          // [≥ keys, k_row / 2]: two f16 each
//% else
@group(0) @binding(2) var<storage, read> k: array<f32>;          // [≥ keys, k_row]
//% endif
//% if mask == "causal"
@group(0) @binding(3) var<storage, read> cursors: array<vec2<u32>>;    // [rows] sequence, position
@group(0) @binding(4) var<storage, read> pages: array<u32>;            // [sequences, sequence_pages]
@group(0) @binding(5) var<storage, read_write> p: array<f32>;          // [num_heads, rows, width]
//% else
@group(0) @binding(3) var<storage, read_write> p: array<f32>;          // [num_heads, rows, width]
//% endif

/// Element `at` of `k`.
fn key(at: u32) -> f32 {
//% if cache == "f16"
    let pair = unpack2x16float(k[at / 2u]);
    return select(pair.x, pair.y, at % 2u == 1u);
//% else
    return k[at];
//% endif
}

@compute @workgroup_size(LANES)
fn attention_probs(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    let head = group.y;
//% if mask == "causal"
    let sequence = cursors[row].x;
    let seen = select(min(params.keys, cursors[row].y + 1u), 0u, sequence == NOT_LIVE);
//% else
    let sequence = 0u;
    let seen = params.keys;
//% endif
    let q_at = row * params.q_row + params.q_offset + head * params.q_stride;
    let k_at = params.k_offset + head / params.heads_per_kv * params.k_stride;
    let p_at = (head * params.rows + row) * params.width;
    let scale = inverseSqrt(f32(params.head_dim));

    var top = UNSEEN;
    var sum = 0.0;
    //~ trips: keys // (64 if lanes == "plain" else lanes) + 1
    for (var j = lane; j < seen; j += LANES) {
        var score = 0.0;
        //~ trips: (keys // (64 if lanes == "plain" else lanes) + 1) * ((head_dim + 3) // 4)
        for (var d = 0u; d < params.head_dim; d += 4u) {
            let four = k_at + key_at(slot_of(sequence, j)) + d / ${per}u * params.k_chunk + d % ${per}u;
//% for i in range(4)
            if d + ${i}u < params.head_dim {
                score = fma(q[q_at + d + ${i}u], key(four + ${i}u), score);
            }
//% endfor
        }
        score *= scale;
        p[p_at + j] = score;
        let next_top = max(top, score);
        sum = sum * exp(top - next_top) + exp(score - next_top);
        top = next_top;
    }
    let row_top = lane_max(lane, top);
    let row_sum = lane_sum(lane, sum * exp(top - row_top));
    //~ trips: width // (64 if lanes == "plain" else lanes) + 1
    for (var j = lane; j < params.width; j += LANES) {
        p[p_at + j] = select(0.0, exp(p[p_at + j] - row_top) / row_sum, j < seen);
    }
}
