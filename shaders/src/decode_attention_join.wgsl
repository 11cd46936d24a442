// y[r, n] = Σ_s exp(top_s - top) parts[r, n, s] / Σ_s exp(top_s - top) sum_s,   top = max_s top_s
//
// Puts the splits of decode_attention_split.wgsl together. A thread has a vec4 of the dimensions.

//~ variants: dims = 32 64 128 256
//~ variants: heads = vec4 scalar
#import heads
#import result
#import splits

const LANES = ${dims // 4}u;
const NOT_LIVE = 0xffffffffu;

struct Params {
    /// Rows of `y`.
    rows: u32,
    /// Splits that there is room for.
    splits: u32,
    /// Positions that a sequence has room for.
    positions: u32,
    /// Heads of y.
    num_heads: u32,
    /// Dimensions of a head.
    head_dim: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;      // [rows, num_heads, splits, LANES + 1]
@group(0) @binding(2) var<storage, read> cursors: array<vec2<u32>>;    // [rows] sequence, position
@group(0) @binding(3) var<storage, read_write> y: array<Element>;      // [rows, num_heads, head_dim]

@compute @workgroup_size(LANES)
fn decode_attention_join(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let cursor = cursors[group.y];
    if cursor.x == NOT_LIVE {
        return;
    }
    let keys = min(params.positions, cursor.y);
    let size = split_size(keys, params.splits);
    let splits = max((keys + size - 1u) / size, 1u);
    let first = (group.y * params.num_heads + group.x) * params.splits * (LANES + 1u);

    var top = parts[first + LANES].x;
    var sum = 0.0;
    var value = vec4(0.0);
    // Four at a time, so that their loads are under way together; the last one stands in for those that are not.
    //~ trips: splits // 4 + 1
    for (var s = 0u; s < splits; s += 4u) {
//% for i in range(4)
        let at_${i} = first + min(s + ${i}u, splits - 1u) * (LANES + 1u);
        let of_${i} = parts[at_${i} + LANES];
        let part_${i} = parts[at_${i} + lane];
//% endfor
        let next_top = max(max(top, max(of_0.x, of_1.x)), max(of_2.x, of_3.x));
        let rescale = exp(top - next_top);
        top = next_top;
        sum *= rescale;
        value *= rescale;
//% for i in range(4)
        let weight_${i} = select(0.0, exp(of_${i}.x - top), s + ${i}u < splits);
        sum = fma(weight_${i}, of_${i}.y, sum);
        value = fma(vec4(weight_${i}), part_${i}, value);
//% endfor
    }
    put((group.y * params.num_heads + group.x) * params.head_dim, lane, value / sum);
}
