/// a + x · y
fn mad(a: f32, x: vec4<f32>, y: vec4<f32>) -> f32 {
    return fma(x.w, y.w, fma(x.z, y.z, fma(x.y, y.y, fma(x.x, y.x, a))));
}
