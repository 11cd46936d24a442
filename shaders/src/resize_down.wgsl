// y[c, o, x] = table[c, byte(sum_t w[o, t] p[first[o] + t, x, c])],  byte(s) = clamp((s + 2^21) >> 22, 0, 255)
//
// The second pass of Pillow's bicubic (SPEC section 7), in whole numbers as Pillow has it, and then each channel's value of
// a byte. A lane makes one pixel, the lanes of a workgroup those of a row. A filter is as `resize_across` has it.

struct Params {
    /// Pixels of a row.
    columns: u32,
    /// Rows of the result.
    rows: u32,
    /// The row that `x` begins with.
    first_row: u32,
    /// Most weights of an output.
    taps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;             // [.., columns] 8 bits a channel
@group(0) @binding(2) var<storage, read> down: array<i32>;          // a filter of `rows` outputs
@group(0) @binding(3) var<storage, read> table: array<f32>;         // [3, 256]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;       // [3, rows, columns]

@compute @workgroup_size(64)
fn resize_down(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 64u + lane;
    let row = group.y;
    if column >= params.columns {
        return;
    }
    let first = u32(down[3u * row]) - params.first_row;
    let count = min(u32(down[3u * row + 1u]), params.taps);
    let weights = u32(down[3u * row + 2u]);
    var sum = vec3<i32>(1 << 21u);
    //~ trips: taps
    for (var i = 0u; i < count; i++) {
        let word = x[(first + i) * params.columns + column];
        sum += down[weights + i]
            * vec3<i32>(i32(word & 255u), i32((word >> 8u) & 255u), i32((word >> 16u) & 255u));
    }
    let bytes = vec3<u32>(clamp(sum >> vec3<u32>(22u), vec3<i32>(0), vec3<i32>(255)));
    let area = params.rows * params.columns;
    let at = row * params.columns + column;
    y[at] = table[bytes.x];
    y[area + at] = table[256u + bytes.y];
    y[2u * area + at] = table[512u + bytes.z];
}
