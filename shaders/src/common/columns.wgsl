// Where a lane has four packed columns, SPAN apart, and what follows their sums. The importing kernel declares the
// variants `lanes` and `epilogue`, and imports `projection`.

//% set span = 8 if lanes == 8 else 16
/// Adjacent lanes that take adjacent packed rows.
const SPAN = ${span}u;

/// What the sums of a lane's columns are multiplied by, and what is added.
struct Affine {
    scale: vec4<f32>,
    bias: vec4<f32>,
}

/// Those of the columns from `p` on: read once, whatever the rows.
fn affine_of(modality: u32, p: u32) -> Affine {
    var result: Affine;
//% for c in range(4)
    result.scale[${c}u] = scale_of(modality, p + ${c}u * SPAN);
    result.bias[${c}u] = bias_of(modality, p + ${c}u * SPAN);
//% endfor
    return result;
}

/// Ends the four sums of a lane and scatters them into their row.
fn finish(row: u32, p: u32, affine: Affine, sums: vec4<f32>) {
    let v = sums * affine.scale + affine.bias;
//% if epilogue == "swiglu"
    // The block after a gate's is its up's.
    let n = p / 32u * 16u + p % 16u;
//% if span == 8
    store(row, n, gate(v.x, 1.0) * v.z);
    store(row, n + 8u, gate(v.y, 1.0) * v.w);
//% else
    store(row, n, gate(v.x, 1.0) * v.y);
    store(row, n + 16u, gate(v.z, 1.0) * v.w);
//% endif
//% else
//% for c in range(4)
//% if epilogue == "quick_gelu"
    store(row, p + ${c}u * SPAN, gate(v[${c}u], 1.702));
//% else
    store(row, p + ${c}u * SPAN, v[${c}u]);
//% endif
//% endfor
//% endif
}
