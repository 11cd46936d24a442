// What every family of attention shares: parameters, bindings, and which keys a row sees. The importing kernel
// also imports `heads`.

/// Score of a key that is not seen: far below any other, and still finite when another is subtracted.
const UNSEEN = -1e30;

struct Params {
    /// Rows of `y`.
    rows: u32,
    /// Most keys any row sees.
    keys: u32,
    /// Whether row r sees only keys up to position span[0] + r (1), or all `keys` of them (0).
    causal: u32,
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Element>;          // [≥ rows, q_row]
//% if loads is defined and loads == "texels"
@group(0) @binding(2) var k_texels: texture_storage_2d<rgba32uint, read>;    // [≥ keys, k_row]
@group(0) @binding(3) var v_texels: texture_storage_2d<rgba32uint, read>;    // [≥ keys, v_row]
//% else
@group(0) @binding(2) var<storage, read> k: array<KvElement>;        // [≥ keys, k_row]
@group(0) @binding(3) var<storage, read> v: array<KvElement>;        // [≥ keys, v_row]
//% endif
@group(0) @binding(4) var<storage, read> span: array<u32>;           // [2] first position, live rows; if causal
@group(0) @binding(5) var<storage, read_write> y: array<Element>;    // [rows, num_heads, head_dim]

/// The rows that are live, and what they see.
struct Live {
    /// How many there are.
    rows: u32,
    /// Keys that row 0 sees, and every row where the mask is not causal; each next row sees `params.causal` more.
    seen: u32,
}

fn live() -> Live {
    if params.causal != 0u {
        return Live(min(params.rows, span[1]), span[0] + 1u);
    }
    return Live(params.rows, params.keys);
}
