// y[r, o] = byte(sum_t w[o, t] p[first[o] + t, r]),  byte(s) = clamp((s + 2^21) >> 22, 0, 255)
//
// The first pass of Pillow's bicubic (SPEC section 7), in whole numbers as Pillow has it. p is a pixel of a square: of the
// picture as it is, of the picture in the middle of a colour, or of the picture stretched along one side by the same rule.
// What is stretched is computed where it is used. A lane makes one pixel, the lanes of a workgroup those of a row.
//
// A filter is one array: for each output its first input, the number of its weights and where they begin, then all weights.

struct Params {
    /// Pixels of a row of the picture.
    width: u32,
    /// Rows of the picture.
    height: u32,
    /// Words from one of its rows to the next.
    pitch: u32,
    /// The picture's row that `picture` begins with.
    picture_row: u32,
    /// Whether its pixels are blue, green, red; else red, green, blue.
    is_bgr: u32,
    /// Pixels of the square to the left of the picture.
    left: u32,
    /// Pixels of the square above the picture.
    top: u32,
    /// What is beside the picture: red, green, blue, from the lowest byte.
    colour: u32,
    /// Which side is stretched: 0 none, 1 the width, 2 the height.
    stretched: u32,
    /// Most weights of an output.
    taps: u32,
    /// Most weights of a pixel that is stretched.
    stretch_taps: u32,
    /// Pixels of a row of the result.
    columns: u32,
    /// The square's row that the first row of workgroups is.
    row: u32,
    /// Rows that are computed.
    rows: u32,
    /// The square's row that `y` begins with.
    first_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> picture: array<u32>;       // [rows, pitch] 8 bits a channel
@group(0) @binding(2) var<storage, read> across: array<i32>;        // a filter of `columns` outputs
@group(0) @binding(3) var<storage, read> stretch: array<i32>;       // a filter of the square's side, where it is stretched
@group(0) @binding(4) var<storage, read_write> y: array<u32>;       // [rows, columns] 8 bits a channel

fn channels(word: u32) -> vec3<i32> {
    return vec3<i32>(i32(word & 255u), i32((word >> 8u) & 255u), i32((word >> 16u) & 255u));
}

fn byte(sum: vec3<i32>) -> vec3<i32> {
    return clamp(sum >> vec3<u32>(22u), vec3<i32>(0), vec3<i32>(255));
}

/// A pixel of the picture.
fn texel(x: u32, row: u32) -> vec3<i32> {
    let pixel = channels(picture[(row - params.picture_row) * params.pitch + x]);
    return select(pixel, pixel.zyx, params.is_bgr != 0u);
}

/// A pixel of the square.
fn pixel(x: u32, row: u32) -> vec3<i32> {
    if params.stretched == 0u {
        // Below the picture's first they wrap to more than it has.
        let column = x - params.left;
        let line = row - params.top;
        if column >= params.width || line >= params.height {
            return channels(params.colour);
        }
        return texel(column, line);
    }
    let at = 3u * select(row, x, params.stretched == 1u);
    let first = u32(stretch[at]);
    let count = min(u32(stretch[at + 1u]), params.stretch_taps);
    let weights = u32(stretch[at + 2u]);
    var sum = vec3<i32>(1 << 21u);
    //~ trips: taps * (stretch_taps + 1)
    for (var i = 0u; i < count; i++) {
        if params.stretched == 1u {
            sum += stretch[weights + i] * texel(first + i, row);
        } else {
            sum += stretch[weights + i] * texel(x, first + i);
        }
    }
    return byte(sum);
}

@compute @workgroup_size(64)
fn resize_across(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 64u + lane;
    let row = params.row + group.y;
    if column >= params.columns || group.y >= params.rows {
        return;
    }
    let first = u32(across[3u * column]);
    let count = min(u32(across[3u * column + 1u]), params.taps);
    let weights = u32(across[3u * column + 2u]);
    var sum = vec3<i32>(1 << 21u);
    //~ trips: taps
    for (var i = 0u; i < count; i++) {
        sum += across[weights + i] * pixel(first + i, row);
    }
    let bytes = vec3<u32>(byte(sum));
    y[(row - params.first_row) * params.columns + column] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u);
}
