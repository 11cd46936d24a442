// What every family of gemm shares: parameters, bindings, which rows a workgroup takes, unpacking, and what
// follows the sum. The importing kernel declares the variants `weights`, `x` and `bias`, and declares or sets `loads`
// (whether rows and weights are read as texels; it then imports `texels` too), `norm` and `residual`. One that sets
// `unshifted` multiplies x by UNITS.

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
    /// 0 none, 1 quick-GELU, 2 SwiGLU over alternate blocks of gate and up.
    activation: u32,
    /// Added to the mean square of a row that is normalised.
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
//% if loads == "texels"
@group(0) @binding(1) var x: texture_storage_2d<rgba32uint, read>;    // [rows, k] f32 or int8
//% elif x == "scalar"
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [rows, k]
//% elif x == "int8"
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // [rows, k] int8, a multiple of 32 columns
//% else
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;         // [rows, k]
//% endif
//% if x == "int8"
@group(0) @binding(2) var<storage, read> row_scale: array<f32>;       // [rows] what its numbers are multiples of
//% endif
//% if norm == "yes"
//% if loads == "texels"
@group(0) @binding(3) var gain: texture_storage_2d<rgba32uint, read>;    // [modalities, k] f32
//% elif x == "scalar"
@group(0) @binding(3) var<storage, read> gain: array<f32>;            // [modalities, k]
//% else
@group(0) @binding(3) var<storage, read> gain: array<vec4<f32>>;      // [modalities, k]
//% endif
//% endif
@group(0) @binding(4) var<storage, read> routing: array<u32>;         // rows of text, of image, then their indices
//% if loads == "texels"
@group(0) @binding(5) var weight: texture_storage_2d<rgba32uint, read>;    // [places, chunks, 16]
//% else
@group(0) @binding(5) var<storage, read> weight: array<Piece>;        // [places, chunks, 16]
//% endif
//% if weights == "int8_group"
@group(0) @binding(6) var<storage, read> scale: array<vec4<f32>>;     // [places, groups / 4, 16], four groups each
//% elif weights == "int8"
@group(0) @binding(6) var<storage, read> scale: array<f32>;           // [places, 16]
//% endif
//% if bias == "yes"
@group(0) @binding(7) var<storage, read> bias: array<f32>;            // [places, 16]
//% endif
//% if residual == "yes"
@group(0) @binding(8) var<storage, read> residual: array<f32>;        // [rows, stride]
//% endif
@group(0) @binding(9) var<storage, read_write> y: array<f32>;         // [rows, stride]

//% if x != "scalar"
/// 16 bytes of x.
fn x_at(i: u32) -> vec4<u32> {
//% if loads == "texels"
    return textureLoad(x, texel(i));
//% else
    return bitcast<vec4<u32>>(x[i]);
//% endif
}
//% endif

//% set piece = piece if piece is defined else 4
/// What one load brings of the weights: 16 bytes, or what the importing kernel sets `piece` to, in words.
alias Piece = ${"u32" if piece == 1 else "vec" ~ piece ~ "<u32>"};

fn weight_at(i: u32) -> Piece {
//% if loads == "texels"
    return textureLoad(weight, texel(i));
//% else
    return weight[i];
//% endif
}

//% if x == "int8"
/// Columns 16 i .. 16 i + 15 of a row of x.
fn load_x(row: u32, i: u32) -> vec4<u32> {
    return x_at(row * ((params.k + 31u) / 32u * 2u) + i);
}
//% else
/// Where a row of x begins, for `load_x_from`.
fn row_of_x(row: u32) -> u32 {
    return row * ${"params.k" if x == "scalar" else "(params.k / 4u)"};
}

/// Columns 4 i .. 4 i + 3 of a row of x; zeros beyond its end.
fn load_x(row: u32, i: u32) -> vec4<f32> {
    return load_x_from(row_of_x(row), i);
}

/// The same of the row that begins at `at`.
fn load_x_from(at: u32, i: u32) -> vec4<f32> {
//% if x == "scalar"
    let last = params.k - 1u;
    let k = vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u);
    let c = min(k, vec4<u32>(last));
    return select(vec4<f32>(), vec4<f32>(x[at + c.x], x[at + c.y], x[at + c.z], x[at + c.w]), k <= vec4<u32>(last));
//% else
//% if x == "whole"
    return bitcast<vec4<f32>>(x_at(at + i));
//% else
    let width = params.k / 4u;
    return select(vec4<f32>(), bitcast<vec4<f32>>(x_at(at + min(i, width - 1u))), i < width);
//% endif
//% endif
}

//% endif

//% if norm == "yes"
/// The gain of the same columns; beyond the end that of the last ones.
fn load_gain(modality: u32, i: u32) -> vec4<f32> {
//% if x == "scalar"
    let at = modality * params.k;
    let c = min(vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u), vec4<u32>(params.k - 1u));
    return vec4<f32>(gain[at + c.x], gain[at + c.y], gain[at + c.z], gain[at + c.w]);
//% else
    let width = params.k / 4u;
    let at = modality * width + min(i, width - 1u);
//% if loads == "texels"
    return bitcast<vec4<f32>>(textureLoad(gain, texel(at)));
//% else
    return gain[at];
//% endif
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
//% elif unshifted is defined and unshifted
/// What x is multiplied by, as `unpack` makes every other weight so many times too large.
const UNITS = vec4<f32>(1.0, 0x1p-8, 1.0, 0x1p-8);

/// A byte among the bits of 2^23, whose last is worth 1, is a number once the rest is subtracted: on lavapipe less work
/// than to shift it to and fro and convert it. Its sign bit, turned, is worth 128 more.
fn unpack(q: u32) -> vec4<f32> {
    let bytes = vec4<u32>(q, q, q >> 16u, q >> 16u) & vec4<u32>(0xffu, 0xff00u, 0xffu, 0xff00u);
    let floats = bitcast<vec4<f32>>(bytes ^ vec4<u32>(0x4b000080u, 0x4b008000u, 0x4b000080u, 0x4b008000u));
    return floats - vec4<f32>(0x800080p0, 0x808000p0, 0x800080p0, 0x808000p0);
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

/// Loads of 16 bytes that a packed row takes.
fn chunks_of_row() -> u32 {
    return (params.k + 31u) / 32u * ${8 if weights == "f32" else (4 if weights == "bf16" else 2)}u;
}

/// Such a load of row `row` of the block at `place`.
fn chunk_at(place: u32, chunk: u32, row: u32) -> Piece {
    return weight_at((place * chunks_of_row() + chunk) * 16u + row);
}

//% if weights == "int8_group"
/// Group of columns that step `step` is of: groups have a power of two of steps.
fn group_of(step: u32) -> u32 {
    return step >> firstTrailingBit(params.group_steps);
}

/// Groups of columns that share a scale.
fn groups_of_row() -> u32 {
    return group_of((params.k + 31u) / 32u + params.group_steps - 1u);
}

/// Where row `row` of the block at `place` has its scales, four groups each 16.
fn scales_of_row(place: u32, row: u32) -> u32 {
    return place * ((groups_of_row() + 3u) / 4u) * 16u + row;
}

/// Scales of groups 4 i .. 4 i + 3 of row `row` of the block at `place`.
fn scales_at(place: u32, i: u32, row: u32) -> vec4<f32> {
    return scale[scales_of_row(place, row) + i * 16u];
}

/// Scale of the columns of step `step` of that row.
fn scale_at(place: u32, step: u32, row: u32) -> f32 {
    let group = group_of(step);
    return scale_of_group(scales_of_row(place, row), group);
}

/// Scale of a group of the row that has its scales at `at`.
fn scale_of_group(at: u32, group: u32) -> f32 {
    return scale[at + group / 4u * 16u][group % 4u];
}
//% endif

/// What the sum of packed row p is multiplied by.
fn scale_of(modality: u32, p: u32) -> f32 {
//% if weights == "int8"
    return scale[place_of(p / 16u, modality) * 16u + p % 16u];
//% else
    return 1.0;
//% endif
}

/// What is added to it then.
fn bias_of(modality: u32, p: u32) -> f32 {
//% if bias == "yes"
    return bias[place_of(p / 16u, modality) * 16u + p % 16u];
//% else
    return 0.0;
//% endif
}

fn store(row: u32, n: u32, value: f32) {
    if n >= params.n {
        return;
    }
    let at = row * params.stride + params.first + n;
//% if residual == "yes"
    y[at] = value + residual[at];
//% else
    y[at] = value;
//% endif
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
