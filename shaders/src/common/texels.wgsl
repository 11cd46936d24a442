// Tensors read as texels of 16 bytes: texel n of one is `textureLoad(tensor, texel(n))`.

/// Texels in a row of a texture.
const TEXEL_ROW = 1024u;

fn texel(n: u32) -> vec2<u32> {
    return vec2<u32>(n % TEXEL_ROW, n / TEXEL_ROW);
}
