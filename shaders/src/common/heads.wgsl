// Heads as vec4s of dimensions. The importing kernel declares the variant `heads`: vec4 where every head begins at a
// multiple of 4 elements and is as long, f16 where moreover k and v are f16, two to a word; else scalar.

//% if heads == "scalar"
alias Element = f32;
//% else
alias Element = vec4<f32>;
//% endif
//% if heads == "f16"
alias KvElement = vec2<u32>;
//% else
alias KvElement = Element;
//% endif

/// Where in a key its dimensions from 4 * d4 on are.
fn key_part(d4: u32) -> u32 {
//% if heads == "f16"
    return d4 / 2u * params.k_chunk + d4 % 2u * 4u;
//% else
    return d4 * params.k_chunk;
//% endif
}
