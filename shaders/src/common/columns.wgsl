// Where a lane has four packed columns, SPAN apart. The importing kernel declares the variant `lanes` and imports
// `projection`.

//% set span = 8 if lanes == 8 else 16
/// Adjacent lanes that take adjacent packed rows.
const SPAN = ${span}u;

/// Ends the four sums of a lane and scatters them into their row.
fn finish(row: u32, modality: u32, p: u32, sums: vec4<f32>) {
    let v = vec4<f32>(
        affine(modality, p, sums.x),
        affine(modality, p + SPAN, sums.y),
        affine(modality, p + 2u * SPAN, sums.z),
        affine(modality, p + 3u * SPAN, sums.w),
    );
    let n = p / 32u * 16u + p % 16u;
    switch params.activation {
        case 2u: {
            // The block after a gate's is its up's.
//% if span == 8
            store(row, n, gate(v.x, 1.0) * v.z);
            store(row, n + 8u, gate(v.y, 1.0) * v.w);
//% else
            store(row, n, gate(v.x, 1.0) * v.y);
            store(row, n + 16u, gate(v.z, 1.0) * v.w);
//% endif
        }
        case 1u: {
            store(row, p, gate(v.x, 1.702));
            store(row, p + SPAN, gate(v.y, 1.702));
            store(row, p + 2u * SPAN, gate(v.z, 1.702));
            store(row, p + 3u * SPAN, gate(v.w, 1.702));
        }
        default: {
            store(row, p, v.x);
            store(row, p + SPAN, v.y);
            store(row, p + 2u * SPAN, v.z);
            store(row, p + 3u * SPAN, v.w);
        }
    }
}
