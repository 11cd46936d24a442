// With h = head_dim / 2 and row r at position p = span[0] + r, in every head of q and k:
//
//     y[j]     = x[j]     * cos[p, j] - x[j + h] * sin[p, j]
//     y[j + h] = x[j + h] * cos[p, j] + x[j]     * sin[p, j]
//
// q goes to `rotated`, k to row p of the cache, and v there as it is. Su et al. 2021, eq. 34, in the
// half-split order of the converted LLaMA weights. Rows that are not live are skipped, and so are positions
// outside of the cache. A lane takes pairs (j, j + h); a workgroup 256 of one row.

//~ variants: width = 1 4
#import wide

struct Params {
    /// Rows of `q` and `kv`.
    rows: u32,
    /// Heads of q.
    num_heads: u32,
    /// Heads of k, and of v.
    num_kv_heads: u32,
    /// Elements in a head.
    head_dim: u32,
    /// Positions the cache has room for.
    context: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Wide>;                // [rows, heads * head_dim]
@group(0) @binding(2) var<storage, read> kv: array<Wide>;               // [rows, 2 * kv_heads * head_dim]
@group(0) @binding(3) var<storage, read> tables: array<Wide>;           // [positions, head_dim]: cos, sin
@group(0) @binding(4) var<storage, read> span: array<u32>;              // [2]: first position, live rows
@group(0) @binding(5) var<storage, read_write> rotated: array<Wide>;    // [rows, heads * head_dim]
@group(0) @binding(6) var<storage, read_write> k: array<Wide>;          // [context, kv_heads * head_dim]
@group(0) @binding(7) var<storage, read_write> v: array<Wide>;          // [context, kv_heads * head_dim]

@compute @workgroup_size(64)
fn rope_append(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
    let position = span[0] + row;
    if row >= span[1] || position >= params.context {
        return;
    }
    let head_dim = params.head_dim / WIDTH;
    let half = head_dim / 2u;
    let q_dim = params.num_heads * head_dim;
    let kv_dim = params.num_kv_heads * head_dim;

    let end = min(q_dim / 2u + kv_dim, (group.x + 1u) * 256u);
    //~ trips: 5
    for (var i = group.x * 256u + lane; i < end; i += 64u) {
        let j = i % half;
        let at = i / half * head_dim + j;
        let cos = tables[position * head_dim + j];
        let sin = tables[position * head_dim + half + j];
        if at < q_dim {
            let a = q[row * q_dim + at];
            let b = q[row * q_dim + at + half];
            rotated[row * q_dim + at] = a * cos - b * sin;
            rotated[row * q_dim + at + half] = b * cos + a * sin;
            continue;
        }
        let source = row * 2u * kv_dim + at - q_dim;
        let a = kv[source];
        let b = kv[source + half];
        if at < q_dim + kv_dim {
            let to = position * kv_dim + at - q_dim;
            k[to] = a * cos - b * sin;
            k[to + half] = b * cos + a * sin;
        } else {
            let to = position * kv_dim + at - q_dim - kv_dim;
            v[to] = a;
            v[to + half] = b;
        }
    }
}
