// With h = head_dim / 2 and row r at position p, in every head of q and k:
//
//     y[j]     = x[j]     * cos[p, j] - x[j + h] * sin[p, j]
//     y[j + h] = x[j + h] * cos[p, j] + x[j]     * sin[p, j]
//
// q goes to `rotated`, k to its place in the cache, and v there as it is; a cache of f16 gets them rounded. Su et
// al. 2021, eq. 34, in the half-split order of the converted LLaMA weights. Rows that are not live are skipped,
// and so are positions for which a sequence has no page. A workgroup is 8 heads of a row by 8 lanes each.

//~ variants: stored = f32x1 f32x4 f16x2 f16x4
//% set width = {"f32x1": 1, "f32x4": 4, "f16x2": 2, "f16x4": 4}[stored]
//% set per = 8 if stored in ["f16x2", "f16x4"] else 4
#import wide
#import halves
#import keys
#import pages

//% if stored == "f16x4"
alias Stored = vec2<u32>;
//% elif stored == "f16x2"
alias Stored = u32;
//% else
alias Stored = Wide;
//% endif

struct Params {
    /// Rows of `qkv`.
    rows: u32,
    /// Heads of q.
    num_heads: u32,
    /// Heads of k, and of v.
    num_kv_heads: u32,
    /// Elements in a head.
    head_dim: u32,
    /// Positions the cache has room for: whole pages of 16.
    slots: u32,
    /// Pages of a sequence.
    sequence_pages: u32,
    /// Elements of a key: a 16th of those of 16 keys.
    k_row: u32,
    /// Elements from one key to the next of a block.
    k_key: u32,
    /// Elements from one 16 bytes of a key to its next.
    k_chunk: u32,
    /// Heads of q that share a head of k and v.
    heads_per_kv: u32,
    /// The first of the heads of keys and values that `k` and `v` hold.
    first_kv_head: u32,
    /// Number of the heads that they hold. Heads of `q` that share them are rotated.
    part_kv_heads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Wide>;              // [rows, heads + 2 kv_heads, head_dim]
@group(0) @binding(2) var<storage, read> tables: array<Wide>;           // [positions, head_dim]: cos, sin
@group(0) @binding(3) var<storage, read> cursors: array<vec2<u32>>;     // [rows] sequence, position
@group(0) @binding(4) var<storage, read> pages: array<u32>;             // [sequences, sequence_pages]
@group(0) @binding(5) var<storage, read_write> rotated: array<Wide>;    // [rows, heads, head_dim]
@group(0) @binding(6) var<storage, read_write> k: array<Stored>;        // [part_kv_heads, slots, head_dim]
@group(0) @binding(7) var<storage, read_write> v: array<Stored>;        // [part_kv_heads, slots, head_dim]

/// What the cache holds of `v`.
fn stored(v: Wide) -> Stored {
//% if stored == "f16x4"
    return vec2(halves(v.xy), halves(v.zw));
//% elif stored == "f16x2"
    return halves(v);
//% else
    return v;
//% endif
}

/// Where in a key its dimensions from d on are.
fn key_part(d: u32) -> u32 {
    return d / ${per}u * params.k_chunk + d % ${per}u;
}

@compute @workgroup_size(8, 8)
fn rope_append(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let row = group.y;
    let cursor = cursors[row];
    let position = cursor.y;
    let live = cursor.x != NOT_LIVE && position < params.sequence_pages * 16u;
    // What is not live has no page.
    let slot = slot_of(select(0u, cursor.x, live), select(0u, position, live));
    let head_dim = params.head_dim / WIDTH;
    let half = head_dim / 2u;

    // Heads of q, then of k, then of v, of those that k and v hold. Heads before those of k or of v wrap around to large
    // numbers.
    let q_heads = params.part_kv_heads * params.heads_per_kv;
    let q_head = group.x * 8u + lane.y;
    let k_head = q_head - q_heads;
    let v_head = k_head - params.part_kv_heads;
    // The first of them in a row.
    let first = params.first_kv_head * params.heads_per_kv;
    let k_first = params.num_heads + params.first_kv_head;
    let v_first = k_first + params.num_kv_heads;
    let kv_at = select(v_first + v_head, k_first + k_head, k_head < params.part_kv_heads);
    let head = select(kv_at, first + q_head, q_head < q_heads);

    // Loops carry addresses along. LLVM would move their arithmetic into what lavapipe makes of every load and store, a
    // loop over lanes, and take each operand of it out of a vector by way of memory.
    var x_at = (row * (params.num_heads + 2u * params.num_kv_heads) + head) * head_dim + lane.x;
    var table = position * head_dim + lane.x;

    // A loop for each: lavapipe walks both sides of an `if`, but not a loop that no lane enters.
    let q_end = select(0u, half, live && q_head < q_heads);
    var q_at = (row * params.num_heads + head) * head_dim + lane.x;
    //~ trips: head_dim / 2 / ${width} / 8 + 2
    for (var j = lane.x; j < q_end; j += 8u) {
        let c = tables[table];
        let s = tables[table + half];
        let a = qkv[x_at];
        let b = qkv[x_at + half];
        rotated[q_at] = a * c - b * s;
        rotated[q_at + half] = b * c + a * s;
        table += 8u;
        x_at += 8u;
        q_at += 8u;
    }

    let k_end = select(0u, half, live && k_head < params.part_kv_heads);
    let key = k_head * params.slots * params.head_dim + key_at(slot);
    var k_at = (key + key_part(lane.x * WIDTH)) / WIDTH;
    var k_half = (key + key_part((half + lane.x) * WIDTH)) / WIDTH;
    //~ trips: head_dim / 2 / ${width} / 8 + 2
    for (var j = lane.x; j < k_end; j += 8u) {
        let c = tables[table];
        let s = tables[table + half];
        let a = qkv[x_at];
        let b = qkv[x_at + half];
        k[k_at] = stored(a * c - b * s);
        k[k_half] = stored(b * c + a * s);
        table += 8u;
        x_at += 8u;
        // 8 lanes have whole chunks, ${per} elements each.
        k_at += ${8 // per}u * params.k_chunk;
        k_half += ${8 // per}u * params.k_chunk;
    }

    let v_end = select(0u, head_dim, live && v_head < params.part_kv_heads);
    var v_at = (v_head * params.slots + slot) * head_dim + lane.x;
    //~ trips: head_dim / ${width} / 8 + 2
    for (var j = lane.x; j < v_end; j += 8u) {
        v[v_at] = stored(qkv[x_at]);
        x_at += 8u;
        v_at += 8u;
    }
}
