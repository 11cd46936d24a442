// Rows, their keys, and which of the keys each row sees. The importing kernel declares the variant `mask`, declares or sets
// `loads`, and also imports `heads` and `pages`.

/// Score of a key that is not seen: far below any other, and still finite when another is subtracted.
const UNSEEN = -1e30;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Element>;          // [≥ rows, q_row]
//% if loads == "texels"
@group(0) @binding(2) var k_texels: texture_storage_2d<rgba32uint, read>;    // [≥ keys, k_row]
//% else
@group(0) @binding(2) var<storage, read> k: array<KvElement>;        // [≥ keys, k_row]
//% endif
//% if mask == "causal"
@group(0) @binding(4) var<storage, read> runs: array<vec2<u32>>;     // [sequences + 1] first row, its position
@group(0) @binding(5) var<storage, read> pages: array<u32>;          // [sequences, sequence_pages]
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
//% if mask == "causal"
    return tile.seen + r;
//% else
    return tile.seen;
//% endif
}
