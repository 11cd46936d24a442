//! Printing inks to RGB, as Pillow's `convert("RGB")`: without the press's profile.

/// RGB of CMYK pixels, whose bytes `ink` makes 0 for no ink and 255 for full ink.
pub(super) fn cmyk_to_rgb(pixels: &[u8], ink: impl Fn(u8) -> u8) -> Vec<u8> {
    let rgb = |pixel: &[u8; 4]| {
        let [c, m, y, k] = pixel.map(&ink).map(i32::from);
        let light = 255 - k;
        [c, m, y].map(|ink| {
            // Pillow's `MULDIV255`: ink * light / 255, rounded.
            let product = ink * light + 128;
            (light - (((product >> 8) + product) >> 8)).clamp(0, 255) as u8
        })
    };
    pixels.as_chunks().0.iter().flat_map(rgb).collect()
}
