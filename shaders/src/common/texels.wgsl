// Tensors read as texels of 16 bytes. The importing kernel declares the variant `loads`.

//% if loads == "texels"
/// Texels in a row of a texture.
const TEXEL_ROW = 1024u;

/// Texel i of a tensor.
fn texel(tensor: texture_2d<u32>, i: u32) -> vec4<u32> {
    return textureLoad(tensor, vec2<u32>(i % TEXEL_ROW, i / TEXEL_ROW), 0);
}
//% endif
