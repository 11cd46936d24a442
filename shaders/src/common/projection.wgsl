// What every family of gemm shares: parameters, bindings, which rows a workgroup takes, unpacking, and what
// follows the sum. The importing kernel declares the variants `weights`, `rows` and `x`.

struct Params {
    /// Columns of x.
    k: u32,
    /// Columns this dispatch writes.
    n: u32,
    /// Column of y that the first of them is.
    first: u32,
    /// Columns of y and of the residual.
    stride: u32,
    /// Blocks of 16 packed rows in a weight set.
    blocks: u32,
    /// Weight sets: 1 for all rows, or 2 of which a row's modality picks one.
    sets: u32,
    /// First blocks that the sets share.
    shared_blocks: u32,
    /// Whether only rows of images are projected, all with the one set.
    image_only: u32,
    /// Steps of 32 columns that share a scale; for groups only.
    group_steps: u32,
    /// Whether `bias` is added.
    bias: u32,
    /// Whether `residual` is added.
    residual: u32,
    /// 0 none, 1 quick-GELU, 2 SwiGLU over alternate blocks of gate and up.
    activation: u32,
    /// Whether x is normalised by its root mean square and `gain`; for one row only.
    norm: u32,
    /// Added to the mean square.
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
//% if x == "vec4"
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;         // [rows, k]
//% else
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [rows, k]
//% endif
//% if x == "vec4"
@group(0) @binding(2) var<storage, read> gain: array<vec4<f32>>;      // [modalities, k]
//% else
@group(0) @binding(2) var<storage, read> gain: array<f32>;            // [modalities, k]
//% endif
@group(0) @binding(3) var<storage, read> routing: array<u32>;         // rows of text, of image, then their indices
@group(0) @binding(4) var<storage, read> weight: array<vec4<u32>>;    // [places, chunks, 16]
@group(0) @binding(5) var<storage, read> scale: array<f32>;           // [places, groups, 16]
@group(0) @binding(6) var<storage, read> bias: array<f32>;            // [places, 16]
@group(0) @binding(7) var<storage, read> residual: array<f32>;        // [rows, stride]
@group(0) @binding(8) var<storage, read_write> y: array<f32>;         // [rows, stride]

/// Columns 4 i .. 4 i + 3 of a row of x; zeros beyond its end.
fn load_x(row: u32, i: u32) -> vec4<f32> {
//% if x == "vec4"
    let width = params.k / 4u;
    return select(vec4<f32>(), x[row * width + min(i, width - 1u)], i < width);
//% else
    let at = row * params.k;
    let last = params.k - 1u;
    let k = vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u);
    let c = min(k, vec4<u32>(last));
    return select(vec4<f32>(), vec4<f32>(x[at + c.x], x[at + c.y], x[at + c.z], x[at + c.w]), k <= vec4<u32>(last));
//% endif
}

//% if rows == 1
/// Sum of the squares this lane has loaded.
var<private> squares: f32;

/// Columns of x times the gain of the row's modality, their squares noted.
fn load_normed(row: u32, i: u32, modality: u32) -> vec4<f32> {
    let v = load_x(row, i);
    if params.norm == 0u {
        return v;
    }
    squares += dot(v, v);
//% if x == "vec4"
    let width = params.k / 4u;
    return v * gain[modality * width + min(i, width - 1u)];
//% else
    let at = modality * params.k;
    let c = min(vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u), vec4<u32>(params.k - 1u));
    return v * vec4<f32>(gain[at + c.x], gain[at + c.y], gain[at + c.z], gain[at + c.w]);
//% endif
}
//% endif

//% if weights == "f32"
fn unpack(q: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(q);
}
//% elif weights == "bf16"
fn unpack(q: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(q.x << 16u, q.x & 0xffff0000u, q.y << 16u, q.y & 0xffff0000u));
}
//% else
fn unpack(q: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(q));
}
//% endif

/// Where block `block` of a modality's weights is among those of all sets.
fn place_of(block: u32, modality: u32) -> u32 {
    return block + modality * select(0u, params.blocks - params.shared_blocks, block >= params.shared_blocks);
}

/// The sum of packed row p with its scale and bias.
fn affine(modality: u32, p: u32, sum: f32) -> f32 {
    let at = place_of(p / 16u, modality) * 16u + p % 16u;
    var value = sum;
//% if weights == "int8"
    value *= scale[at];
//% endif
    if params.bias != 0u {
        value += bias[at];
    }
    return value;
}

fn store(row: u32, n: u32, value: f32) {
    if n >= params.n {
        return;
    }
    let at = row * params.stride + params.first + n;
    var result = value;
    if params.residual != 0u {
        result += residual[at];
    }
    y[at] = result;
}

/// t · sigmoid(b t)
fn gate(t: f32, b: f32) -> f32 {
    return t / (1.0 + exp(-b * t));
}

/// Rows that one workgroup takes, all of one modality: places first .. end in `routing`.
struct Tile {
    modality: u32,
    first: u32,
    end: u32,
}

/// Tile number i of `size` rows each, its end that of all rows of its modality. Those of text come first, then
/// those of image. None of them where `first` is not before `end`.
fn tile_of(i: u32, size: u32) -> Tile {
    let text = routing[0];
    let image = routing[1];
    if params.image_only != 0u {
        return Tile(0u, 2u + text + i * size, 2u + text + image);
    }
    if params.sets != 2u {
        return Tile(0u, 2u + i * size, 2u + text + image);
    }
    let tiles = (text + size - 1u) / size;
    if i < tiles {
        return Tile(0u, 2u + i * size, 2u + text);
    }
    return Tile(1u, 2u + text + (i - tiles) * size, 2u + text + image);
}
