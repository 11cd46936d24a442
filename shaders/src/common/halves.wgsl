// f16 two to a word, by core WGSL: no feature is needed to compute with them as f32.

/// Largest f16.
const LARGEST_HALF = 65504.0;

/// Two floats as f16, rounded to nearest, ties to even; what is beyond the largest f16 becomes that. WGSL
/// leaves the rounding of pack2x16float to the device, so no more than f16's 11 bits are left to it.
fn halves(v: vec2<f32>) -> u32 {
    let bits = bitcast<vec2<u32>>(v);
    let even = (bits >> vec2(13u)) & vec2(1u);
    let rounded = bitcast<vec2<f32>>((bits + vec2(0xfffu) + even) & vec2(0xffffe000u));
    return pack2x16float(clamp(rounded, vec2(-LARGEST_HALF), vec2(LARGEST_HALF)));
}
