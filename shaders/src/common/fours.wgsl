// Where a thread has four packed columns, p, p + 1, p + 16 and p + 17, p even and in an even block, and what follows their
// sums, found out at run time: that costs a GPU nothing, but lavapipe walks through every branch. The importing kernel
// imports `projection`.

/// What the sums are multiplied by, and what is added.
struct FourAffine {
    scale: vec4<f32>,
    bias: vec4<f32>,
}

fn affine_of_four(modality: u32, p: u32) -> FourAffine {
    return FourAffine(
        vec4(scale_of(modality, p), scale_of(modality, p + 1u), scale_of(modality, p + 16u), scale_of(modality, p + 17u)),
        vec4(bias_of(modality, p), bias_of(modality, p + 1u), bias_of(modality, p + 16u), bias_of(modality, p + 17u)),
    );
}

/// Ends the four sums and scatters them into their row.
fn finish_four(row: u32, p: u32, affine: FourAffine, sums: vec4<f32>) {
    var v = sums * affine.scale + affine.bias;
    if params.activation == 2u {
        // The block after a gate's is its up's.
        let n = p / 32u * 16u + p % 16u;
        store(row, n, gate(v.x, 1.0) * v.z);
        store(row, n + 1u, gate(v.y, 1.0) * v.w);
        return;
    }
    if params.activation == 1u {
        v = vec4(gate(v.x, 1.702), gate(v.y, 1.702), gate(v.z, 1.702), gate(v.w, 1.702));
    }
    store(row, p, v.x);
    store(row, p + 1u, v.y);
    store(row, p + 16u, v.z);
    store(row, p + 17u, v.w);
}
