// y[r, i] = exp(x[r, i] - max_j x[r, j]) / sum_j exp(x[r, j] - max_j x[r, j])
//
// A workgroup a row, which it reads three times.

override WG: u32 = 64u;
override COLUMNS: u32 = 1024u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, WG>;

@compute @workgroup_size(WG)
fn softmax(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x * COLUMNS;

    var largest = x[row];
    for (var i = lane; i < COLUMNS; i += WG) {
        largest = max(largest, x[row + i]);
    }
    partial[lane] = largest;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] = max(partial[lane], partial[lane + half]);
        }
    }
    workgroupBarrier();
    largest = partial[0];
    workgroupBarrier();

    var sum = 0.0;
    for (var i = lane; i < COLUMNS; i += WG) {
        sum += exp(x[row + i] - largest);
    }
    partial[lane] = sum;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] += partial[lane + half];
        }
    }
    workgroupBarrier();
    sum = partial[0];

    for (var i = lane; i < COLUMNS; i += WG) {
        y[row + i] = exp(x[row + i] - largest) / sum;
    }
}
