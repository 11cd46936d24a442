//! Names of what is not read, by its first bytes, with what to do.

use std::borrow::Cow;

use crate::read::LFS_POINTER;

/// A kind of file that is not read.
pub(super) struct Foreign {
    /// Its name with an article.
    pub(super) what: &'static str,
    pub(super) advice: &'static str,
}

const CONVERT: &str = "convert it to PNG, for example with ImageMagick: magick FILE picture.png";
const DRAW: &str = "draw it as PNG, for example with ImageMagick: magick FILE picture.png";
const FRAMES: &str = "take pictures from it, for example with ffmpeg: ffmpeg -i FILE -vf fps=1 frame%03d.png";
const UNPACK: &str = "unpack it and name the picture in it";
const DOWNLOAD: &str = "download the picture itself, whose address differs from that of its page";
const LFS: &str = "fetch the picture that it stands for with: git lfs pull";
const ANNEX: &str = "fetch the picture that it stands for with: git annex get FILE";
const NAME: &str = "name a picture";
const ANSWER: &str = "look into it: a server may have answered with an error in place of the picture";
const BINARY: &str =
    "copy it again as it is: git takes no picture for a text with `*.png binary` in .gitattributes";

/// Bytes that tell what a text is.
const START: usize = 4096;

/// First bytes, where they stand, and what they tell.
#[rustfmt::skip]
const SIGNATURES: &[(usize, &[u8], &str, &str)] = &[
    (0, b"\xff\x0a", "a JPEG XL picture", CONVERT),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", CONVERT),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture", CONVERT),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture", CONVERT),
    (0, b"qoif", "a QOI picture", CONVERT),
    (0, b"DDS ", "a DDS texture", CONVERT),
    (0, b"\xabKTX ", "a KTX texture", CONVERT),
    (0, b"8BPS", "a Photoshop document (PSD)", CONVERT),
    (0, b"gimp xcf", "a GIMP picture (XCF)", CONVERT),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture", CONVERT),
    (0, b"#?RADIANCE", "a Radiance HDR picture", CONVERT),
    (0, b"#?RGBE", "a Radiance HDR picture", CONVERT),
    (0, b"\0\0\x01\0", "an ICO icon", CONVERT),
    (0, b"icns", "an ICNS icon", CONVERT),
    (0, b"farbfeld", "a farbfeld picture", CONVERT),
    (0, b"\x8aMNG", "an MNG animation", CONVERT),
    (0, b"\x8bJNG", "a JNG picture", CONVERT),
    (0, b"BPG\xfb", "a BPG picture", CONVERT),
    (0, b"FLIF", "a FLIF picture", CONVERT),
    (0, b"\x01\xda", "an SGI picture", CONVERT),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster picture", CONVERT),
    (0, b"\x0a\x05\x01\x08", "a PCX picture", CONVERT),
    (0, b"SIMPLE  =", "a FITS picture", CONVERT),
    (0, b"AT&TFORM", "a DjVu document", CONVERT),
    (0, b"II\xbc\x01", "a JPEG XR picture", CONVERT),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file", CONVERT),
    (0, b"IIRO", "a camera's raw file", CONVERT),
    (0, b"IIU\0", "a camera's raw file", CONVERT),
    (0, b"FOVb", "a camera's raw file", CONVERT),
    (128, b"DICM", "a DICOM picture", CONVERT),
    (0, b"\xd7\xcd\xc6\x9a", "a WMF drawing", DRAW),
    (40, b" EMF", "an EMF drawing", DRAW),
    (0, b"%PDF-", "a PDF document", DRAW),
    (0, b"%!PS", "a PostScript document", DRAW),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document (EPS)", DRAW),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska video", FRAMES),
    (8, b"AVI ", "an AVI video", FRAMES),
    (0, b"FLV\x01", "a Flash video", FRAMES),
    (0, b"OggS", "an Ogg video or sound", FRAMES),
    (0, b"\x30\x26\xb2\x75", "a WMV video", FRAMES),
    (0, b"\0\0\x01\xba", "an MPEG video", FRAMES),
    (0, b"\0\0\x01\xb3", "an MPEG video", FRAMES),
    (8, b"WAVE", "a sound (WAV)", NAME),
    (0, b"ID3", "a sound (MP3)", NAME),
    (0, b"fLaC", "a sound (FLAC)", NAME),
    (0, b"PK\x05\x06", "an empty zip archive", UNPACK),
    (0, b"PK\x03\x04", "a zip archive, or a document made of one", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (0, b"Rar!", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, LFS_POINTER, "a Git LFS pointer", LFS),
    (0, b"/annex/objects/", "a git-annex pointer", ANNEX),
    (0, b"data:image/", "a data: address in a text", "decode its base64 part into a file"),
    (0, b"\x93NUMPY", "a NumPy array", CONVERT),
    (0, b"GGUF", "a GGUF model", NAME),
    (0, b"\x7fELF", "a program", NAME),
    (0, b"MZ", "a program", NAME),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document (DOC, XLS or PPT)", DRAW),
    // A PNG begins with what such conversions change.
    (0, b"\x89PNG\n\x1a\n", "a PNG whose line ends were changed as those of a text", BINARY),
    (0, b"\x89PNG\r\r\n", "a PNG whose line ends were changed as those of a text", BINARY),
    (0, b"\x89PNG\r\n\x1a\r\n", "a PNG whose line ends were changed as those of a text", BINARY),
    (0, b"\x89PNG\r\x1a\r", "a PNG whose line ends were changed as those of a text", BINARY),
    (0, b"\x09PNG\r\n", "a PNG of which each byte lost a bit", BINARY),
    (0, b"\xef\xbf\xbdPNG", "a PNG that was converted to UTF-8 as if it were a text", BINARY),
    (0, b"\xc2\x89PNG", "a PNG that was converted to UTF-8 as if it were a text", BINARY),
    (0, b"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "a JPEG or the like that was converted to UTF-8 as if it were a text", BINARY),
    (0, b"\xc3\xbf\xc3\x98\xc3\xbf", "a JPEG that was converted to UTF-8 as if it were a text", BINARY),
];

/// The kind of the file, as far as its bytes tell.
pub(super) fn name(bytes: &[u8]) -> Option<Foreign> {
    let foreign = |what, advice| Some(Foreign { what, advice });
    if let Some((what, advice)) = boxed(bytes) {
        return foreign(what, advice);
    }
    if let [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n' | b'#', ..] = bytes {
        return foreign("a PPM, PGM or PBM picture", CONVERT);
    }
    if let [b'P', b'F' | b'f', b'\n', ..] = bytes {
        return foreign("a PFM picture", CONVERT);
    }
    let at = |at: usize, signature: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(signature));
    if let Some((.., what, advice)) = SIGNATURES.iter().find(|(start, signature, ..)| at(*start, signature)) {
        return foreign(what, advice);
    }
    if let Some((what, advice)) = shaped(bytes) {
        return foreign(what, advice);
    }
    if at(0, b"G") && at(188, b"G") {
        return foreign("an MPEG video (TS)", FRAMES);
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return foreign("nothing but zeros", "copy or download it again");
    }
    let (what, advice) = text(bytes)?;
    foreign(what, advice)
}

/// Kinds that more than their first bytes tell.
fn shaped(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let gap = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let begin = bytes.iter().take(1024).position(|byte| !gap(byte))?;
    if bytes[begin..].starts_with(b"%PDF-") {
        return Some(("a PDF document", DRAW));
    }
    match bytes {
        [0x1f, 0x8b, ..] => Some(match text(&unpacked_start(bytes)) {
            Some(("an SVG drawing", _)) => ("a compressed SVG drawing (SVGZ)", DRAW),
            _ => ("a gzip archive", UNPACK),
        }),
        // Eight bytes say how long its header is.
        [_, _, _, _, _, _, 0, 0, b'{', ..] => Some(("a safetensors file", NAME)),
        // A container of one picture or more.
        [0, 0, 2, 0, count, 0, ..] if *count > 0 => Some(("a CUR cursor", CONVERT)),
        // Two letters, and four bytes that no version uses: a text has none such.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => {
            Some(("a BMP with a header of an unknown length", CONVERT))
        }
        _ if is_tga(bytes) => Some(("a TGA picture", CONVERT)),
        _ => None,
    }
}

/// The first bytes in a gzip archive, as far as they are there; none where no codec brings what unpacks them.
fn unpacked_start(bytes: &[u8]) -> Vec<u8> {
    let mut start = vec![];
    #[cfg(any(feature = "png", feature = "tiff"))]
    {
        use std::io::Read as _;
        let _ = flate2::read::GzDecoder::new(bytes).take(START as u64).read_to_end(&mut start);
    }
    #[cfg(not(any(feature = "png", feature = "tiff")))]
    let _ = (bytes, &mut start);
    start
}

/// Whether it has a header of Truevision's format, which has no first bytes of its own.
fn is_tga(bytes: &[u8]) -> bool {
    let Some(&[_, map, kind, m0, m1, m2, m3, m4, _, _, _, _, w0, w1, h0, h1, bits, flags]) =
        bytes.first_chunk()
    else {
        return false;
    };
    let map_fits = match (map, kind) {
        (0, 2 | 3 | 10 | 11) => [m0, m1, m2, m3, m4] == [0; 5],
        (1, 1 | 9) => matches!(m4, 15 | 16 | 24 | 32),
        _ => false,
    };
    let some = [w0, w1] != [0; 2] && [h0, h1] != [0; 2];
    map_fits && some && matches!(bits, 8 | 15 | 16 | 24 | 32) && flags & 0xc0 == 0
}

/// Files of the MP4 family: HEIC and AVIF are pictures among them. Their brands are in the first box.
fn boxed(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    if bytes.get(4..8)? != b"ftyp" {
        // Old QuickTime files have no brand.
        return matches!(bytes.get(4..8)?, b"moov" | b"mdat" | b"wide" | b"free" | b"skip")
            .then_some(("a QuickTime video (MOV)", FRAMES));
    }
    let len = bytes.first_chunk().map_or(0, |len| u32::from_be_bytes(*len) as usize);
    let brands = bytes.get(8..len.clamp(12, 256).min(bytes.len()))?;
    let has = |names: &[&[u8; 4]]| brands.as_chunks().0.iter().any(|brand| names.contains(&brand));
    Some(match () {
        () if has(&[b"avif", b"avis"]) => ("an AVIF picture", CONVERT),
        () if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"]) => {
            ("a HEIC picture", CONVERT)
        }
        () if has(&[b"crx "]) => ("a camera's raw file (CR3)", CONVERT),
        () if has(&[b"jpx ", b"jp2 "]) => ("a JPEG 2000 picture", CONVERT),
        () if brands.starts_with(b"qt  ") => ("a QuickTime video (MOV)", FRAMES),
        () if brands.starts_with(b"M4A ") => ("a sound (M4A)", NAME),
        () => ("an MP4 video", FRAMES),
    })
}

/// Kinds of text.
fn text(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let (text, plain) = characters(&bytes[..bytes.len().min(START)])?;
    let control = |c: char| c.is_control() && !"\t\n\r\x0c\x1b".contains(c);
    if text.contains(control) {
        return None;
    }
    let lower = text.to_lowercase();
    let lower = lower.trim_start_matches('\u{feff}').trim_start();
    let head = lower.starts_with('<');
    Some(match () {
        () if head && lower.contains("<svg") => ("an SVG drawing", DRAW),
        () if head && ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| lower.contains(tag)) => {
            ("an HTML page", DOWNLOAD)
        }
        () if lower.starts_with("<?xml") => ("an XML text", NAME),
        () if lower.starts_with("/* xpm */") => ("an XPM picture", CONVERT),
        () if lower.starts_with("#define") && lower.contains("_width") => ("an XBM picture", CONVERT),
        () if lower.starts_with(['{', '[']) => ("a JSON text", ANSWER),
        () => (plain, ANSWER),
    })
}

/// The characters and the encoding of a text; `None` if the bytes are no text.
fn characters(bytes: &[u8]) -> Option<(Cow<'_, str>, &'static str)> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.as_chunks().0.iter().map(|&pair| unit(pair)).collect();
        (Cow::Owned(String::from_utf16_lossy(&units)), "a UTF-16 text")
    };
    // Without a mark, text of the West has a zero in every other byte.
    let zeros = |first: usize| bytes.len() >= 4 && bytes.iter().skip(first).step_by(2).all(|&byte| byte == 0);
    Some(match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ if zeros(1) => wide(bytes, u16::from_le_bytes),
        _ if zeros(0) => wide(bytes, u16::from_be_bytes),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => (text.into(), "a text"),
            // Cut within a character.
            Err(error) if error.error_len().is_none() => {
                (String::from_utf8_lossy(&bytes[..error.valid_up_to()]), "a text")
            }
            // Latin-1 and the like: much of it is ASCII, and nothing else has so few control characters.
            Err(_) => {
                let ascii = bytes.iter().filter(|byte| byte.is_ascii()).count();
                if ascii * 8 < bytes.len() {
                    return None;
                }
                let seen = |&byte: &u8| if (0x80..0xa0).contains(&byte) { '?' } else { char::from(byte) };
                (bytes.iter().map(seen).collect::<String>().into(), "a text that is not UTF-8")
            }
        },
    })
}

#[cfg(all(test, feature = "default"))]
mod tests {
    use super::*;
    use crate::image::{Exif, decode};

    #[test]
    fn what_is_not_read_is_named() {
        for (bytes, word) in [
            (&b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"[..], "HEIC"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
            (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", "MP4"),
            (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "QuickTime"),
            (b"\xff\x0a\xfa\x7f", "JPEG XL"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
            (b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- a -->\n<svg xmlns=\"x\">", "SVG"),
            (b"\n<!DOCTYPE html><html><svg/>", "SVG"),
            (b"\n<!DOCTYPE html><html><title>404</title>", "HTML"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "XML"),
            (b"{\"message\": \"not found\"}", "JSON"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
            (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
            (b"P6 61 45 255\n\0\0", "PPM"),
            (b"\0\0\x01\0\x01\0\x10\x10", "ICO"),
            (b"qoif\0\0", "QOI"),
            (b"8BPS\0\x01", "Photoshop"),
            (b"\x1a\x45\xdf\xa3\x01", "WebM"),
            (b"RIFF\x10\0\0\0AVI LIST", "AVI"),
            (b"PK\x03\x04\x14\0", "zip"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"\xff\xfeh\0i\0", "UTF-16"),
            (b"h\0i\0!\0", "UTF-16"),
            (b"\0h\0i\0!", "UTF-16"),
            (b"\xff\xfe<\0s\0v\0g\0>\0", "SVG"),
            (b"caf\xe9 au lait", "text that is not UTF-8"),
            (b"\n\n%PDF-1.4", "PDF"),
            (b"\0\0\x02\0\0\0\0\0\0\0\0\0\x02\0\x02\0\x18\0", "TGA"),
            (b"\0\0\x02\0\x01\0\x10\x10\0\0\x01\0\x20\0\0\0\0\0", "CUR"),
            (b"#define im_width 16\n#define im_height 16\nstatic char", "XBM"),
            (b"/* XPM */\nstatic char", "XPM"),
            (b"PK\x05\x06\0\0\0\0", "empty zip"),
            (b"BM\x40\0\0\0\0\0\0\0\x36\0\0\0\x10\0\0\0\x02\0\0\0", "BMP with a header of an unknown length"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office"),
            (b"\x02\0\0\0\0\0\0\0{}", "safetensors"),
            (b"\x89PNG\n\x1a\n\0\0", "line ends"),
            (b"\x89PNG\r\r\n\x1a\r\n", "line ends"),
            (b"\xef\xbf\xbdPNG\r\n", "converted to UTF-8"),
            (b"BM is how this text begins", "a text"),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", "zeros"),
        ] {
            let error = decode("cat.png", bytes, Exif::Ignore).unwrap_err().to_string();
            assert!(error.starts_with("cat.png: is ") && error.contains(word), "{word}: {error}");
            assert!(!error.contains("whole"), "{error}");
        }
        assert!(name(b"\xde\xad\xbe\xef\0\x01\x02\x03").is_none());
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, b"<svg xmlns='x'/>").unwrap();
        let error = decode("cat.svg", &packed.finish().unwrap(), Exif::Ignore).unwrap_err().to_string();
        assert!(error.contains("a compressed SVG drawing"), "{error}");
    }

    #[test]
    fn only_files_that_end_early_are_asked_whether_they_are_whole() {
        let png = crate::image::tests::picture_bytes("preproc/images/tiny_5x4.png");
        let error = decode("x", &png[..png.len() - 30], Exif::Ignore).unwrap_err().to_string();
        assert!(error.contains("PNG") && error.contains("whole"), "{error}");
        let mut damaged = png;
        damaged[30] ^= 1;
        let error = decode("x", &damaged, Exif::Ignore).unwrap_err().to_string();
        assert!(error.contains("PNG") && !error.contains("whole"), "{error}");
    }
}
