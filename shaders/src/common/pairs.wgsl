// Where a thread has two packed columns, and what follows their sums, found out at run time: that costs a GPU nothing, but
// lavapipe walks through every branch. The importing kernel imports `projection`.

/// Ends the sums of packed rows p and p + 16, p in an even block, and scatters them into their row.
fn finish_pair(row: u32, modality: u32, p: u32, first: f32, second: f32) {
    let v = first * scale_of(modality, p) + bias_of(modality, p);
    let w = second * scale_of(modality, p + 16u) + bias_of(modality, p + 16u);
    switch params.activation {
        case 2u: {
            // The block after a gate's is its up's.
            store(row, p / 32u * 16u + p % 16u, gate(v, 1.0) * w);
        }
        case 1u: {
            store(row, p, gate(v, 1.702));
            store(row, p + 16u, gate(w, 1.702));
        }
        default: {
            store(row, p, v);
            store(row, p + 16u, w);
        }
    }
}
