//! Tests of a crate that was built without any feature: `cargo xtask features`.

use crate::image::{Exif, PixelOrder, Pixels, decode, frames, open_pixels};
use crate::tokenizer::Tokenizer;
use crate::{Constraint, Error};

#[test]
fn left_out_codecs_are_named_with_their_feature() {
    for (bytes, kind, wanted) in [
        (&b"\x89PNG\r\n\x1a\n"[..], "PNG", "png"),
        (b"\xff\xd8\xff\xe0", "JPEG", "jpeg"),
        (b"GIF89a", "GIF", "gif"),
        (b"RIFF\0\0\0\0WEBP", "WebP", "webp"),
        (b"II*\0", "TIFF", "tiff"),
        (b"BM", "BMP", "bmp"),
    ] {
        let options = Default::default();
        for error in [
            decode("owl", bytes, Exif::Ignore).unwrap_err(),
            frames("owl", bytes, &options).map(drop).unwrap_err(),
            crate::image::dimensions("owl", bytes).unwrap_err(),
        ] {
            let Error::LeftOut { name, what, feature } = &error else { panic!("{error:?}") };
            assert_eq!((&**name, &**what, *feature), ("owl", kind, wanted));
            let said = format!("owl: is a {kind}, and the program was built without the feature `{wanted}`");
            assert!(error.to_string().starts_with(&said), "{error}");
        }
    }
    // What is no picture is told as ever, and pixels need no codec.
    assert!(decode("owl", b"%PDF-1.7", Exif::Ignore).unwrap_err().to_string().contains("a PDF document"));
    let pixels = Pixels::packed(&[0; 12], [2, 2], PixelOrder::Rgb);
    assert_eq!(open_pixels(&pixels, &Default::default()).unwrap().pixels.dimensions(), (2, 2));
}

#[test]
fn left_out_tokenizers_are_named_with_their_feature() {
    for (read, wanted) in [
        (Tokenizer::from_sentencepiece as fn(&[u8], bool) -> crate::Result<Tokenizer>, "sentencepiece"),
        (Tokenizer::from_json, "tokenizer-json"),
    ] {
        let error = read(b"", true).unwrap_err();
        assert!(matches!(error, Error::LeftOut { feature, .. } if feature == wanted), "{error:?}");
    }
}

#[test]
fn left_out_constraints_are_named_with_their_feature() {
    let error = Constraint::Json.validate().unwrap_err().to_string();
    assert!(error.contains("without its feature `constraint`"), "{error}");
}
