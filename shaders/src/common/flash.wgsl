// What every family of attention shares: parameters, bindings, and which keys a row sees. The importing kernel
// declares the variant `mask` and also imports `heads` and `pages`.

/// Score of a key that is not seen: far below any other, and still finite when another is subtracted.
const UNSEEN = -1e30;

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
//% if mask == "causal"
@group(0) @binding(4) var<storage, read> runs: array<vec2<u32>>;     // [sequences + 1] first row, its position
@group(0) @binding(5) var<storage, read> pages: array<u32>;          // [sequences, sequence_pages]
@group(0) @binding(6) var<storage, read_write> y: array<Element>;    // [rows, num_heads, head_dim]
//% else
@group(0) @binding(4) var<storage, read_write> y: array<Element>;    // [rows, num_heads, head_dim]
//% endif

/// The rows that a workgroup takes.
struct Tile {
    /// The first of them.
    row: u32,
    /// Rows of `y` up to the last of their sequence: not above `row` where there are none.
    rows: u32,
    /// Whose they are.
    sequence: u32,
    /// Keys that the first row sees; with a causal mask each next one sees one more.
    seen: u32,
}

/// Tile n of `queries` rows each. No sequence shares one with another.
fn tile_at(n: u32, queries: u32) -> Tile {
//% if mask == "causal"
    var rest = n;
    //~ trips: sequences + 1
    for (var s = 0u; s < params.sequences; s++) {
        let first = runs[s];
        let rows = runs[s + 1u].x;
        let tiles = (rows - first.x + queries - 1u) / queries;
        if rest < tiles {
            return Tile(first.x + rest * queries, rows, s, first.y + rest * queries + 1u);
        }
        rest -= tiles;
    }
    return Tile(0u, 0u, 0u, 0u);
//% else
    return Tile(n * queries, params.rows, 0u, params.keys);
//% endif
}

/// Keys that the row sees which follows the first of its tile by r rows.
fn seen_by(tile: Tile, r: u32) -> u32 {
    return tile.seen${" + r" if mask == "causal" else ""};
}
