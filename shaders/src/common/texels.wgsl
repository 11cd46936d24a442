// Tensors read as texels of 16 bytes. The importing kernel declares the variant `loads`, and sets `textures` to the names
// of the bindings that are read so with texels. (A function for each: naga cannot pass a texture on to one in MSL.)

//% if loads == "texels"
/// Texels in a row of a texture.
const TEXEL_ROW = 1024u;

//% for t in textures
/// Texel i of the tensor.
fn ${t}_at(i: u32) -> vec4<u32> {
    return textureLoad(${t}, vec2<u32>(i % TEXEL_ROW, i / TEXEL_ROW));
}
//% endfor
//% endif
