//! Reader of SentencePiece's `tokenizer.model`: the few protobuf fields that a BPE tokenizer needs.
//!
//! Field numbers: `sentencepiece_model.proto` of google/sentencepiece. Fields not named here are skipped,
//! absent ones have the proto's defaults.

/// The longest piece read, in bytes; SentencePiece itself stops at 16 characters unless told otherwise. Neighbours are
/// looked up as long as they are no longer than the longest piece.
const MAX_PIECE_BYTES: usize = 1024;

/// Kind of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// One entry of the vocabulary; its id is its place in the file.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// Merges that make a piece of higher score come first.
    pub(crate) score: f32,
    pub(crate) kind: PieceKind,
}

/// The contents of a `tokenizer.model`.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) bpe: bool,
    pub(crate) byte_fallback: bool,
    pub(crate) whitespace_as_suffix: bool,
    pub(crate) unk: i32,
    pub(crate) bos: i32,
    pub(crate) eos: i32,
    /// Compiled character map of the normaliser (NFKC and the like); empty for LLaMA.
    pub(crate) has_charsmap: bool,
    pub(crate) add_dummy_prefix: bool,
    pub(crate) remove_extra_whitespaces: bool,
    pub(crate) escape_whitespaces: bool,
}

impl SentencePiece {
    /// Number of pieces of a `ModelProto`, before any is read.
    pub(crate) fn count(bytes: &[u8]) -> Result<usize, String> {
        let mut message = Message::new(bytes, 0);
        let mut pieces = 0;
        while let Some((field, _)) = message.next()? {
            pieces += usize::from(field == 1);
        }
        Ok(pieces)
    }

    /// Reads a `ModelProto`. The error says what is wrong and at which byte.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut file = Self {
            pieces: Vec::new(),
            bpe: false,
            byte_fallback: false,
            whitespace_as_suffix: false,
            unk: 0,
            bos: 1,
            eos: 2,
            has_charsmap: false,
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        };
        let mut message = Message::new(bytes, 0);
        while let Some((field, value)) = message.next()? {
            match field {
                1 => {
                    let piece = piece(value.message("a piece")?)
                        .map_err(|e| format!("piece {}: {e}", file.pieces.len()))?;
                    file.pieces.push(piece);
                }
                2 => file.trainer_spec(value.message("trainer_spec")?)?,
                3 => file.normalizer_spec(value.message("normalizer_spec")?)?,
                _ => {}
            }
        }
        Ok(file)
    }

    fn trainer_spec(&mut self, mut message: Message<'_>) -> Result<(), String> {
        while let Some((field, value)) = message.next()? {
            match field {
                3 => self.bpe = value.int("model_type")? == 2,
                24 => self.whitespace_as_suffix = value.int("treat_whitespace_as_suffix")? != 0,
                35 => self.byte_fallback = value.int("byte_fallback")? != 0,
                40 => self.unk = value.int("unk_id")?,
                41 => self.bos = value.int("bos_id")?,
                42 => self.eos = value.int("eos_id")?,
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer_spec(&mut self, mut message: Message<'_>) -> Result<(), String> {
        while let Some((field, value)) = message.next()? {
            match field {
                2 => self.has_charsmap = !value.bytes("precompiled_charsmap")?.is_empty(),
                3 => self.add_dummy_prefix = value.int("add_dummy_prefix")? != 0,
                4 => self.remove_extra_whitespaces = value.int("remove_extra_whitespaces")? != 0,
                5 => self.escape_whitespaces = value.int("escape_whitespaces")? != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

fn piece(mut message: Message<'_>) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    while let Some((field, value)) = message.next()? {
        match field {
            1 => {
                let bytes = value.bytes("its text")?;
                if bytes.len() > MAX_PIECE_BYTES {
                    return Err(format!("it is {} bytes long, the most is {MAX_PIECE_BYTES}", bytes.len()));
                }
                let text = std::str::from_utf8(bytes).map_err(|e| format!("its text is not UTF-8 ({e})"))?;
                piece.text = text.to_owned();
            }
            2 => piece.score = value.float("its score")?,
            3 => {
                piece.kind = match value.int("its type")? {
                    1 => PieceKind::Normal,
                    2 => PieceKind::Unknown,
                    3 => PieceKind::Control,
                    4 => PieceKind::UserDefined,
                    5 => PieceKind::Unused,
                    6 => PieceKind::Byte,
                    other => return Err(format!("its type is {other}, known are 1 to 6")),
                }
            }
            _ => {}
        }
    }
    if piece.text.is_empty() {
        return Err("it has no text".into());
    }
    if piece.score.is_nan() {
        return Err("its score is NaN".into());
    }
    Ok(piece)
}

/// A field's value by wire type.
enum Value<'a> {
    Varint(u64),
    Fixed64,
    Fixed32([u8; 4]),
    /// The bytes, and where they start in the file.
    Bytes(&'a [u8], usize),
}

impl<'a> Value<'a> {
    fn bytes(self, what: &str) -> Result<&'a [u8], String> {
        match self {
            Self::Bytes(bytes, _) => Ok(bytes),
            _ => Err(format!("{what} has the wrong wire type")),
        }
    }

    fn message(self, what: &str) -> Result<Message<'a>, String> {
        match self {
            Self::Bytes(bytes, at) => Ok(Message::new(bytes, at)),
            _ => Err(format!("{what} has the wrong wire type")),
        }
    }

    /// An `int32`, `bool` or `enum`. Protobuf writes a negative one as 64 bits; the lower 32 count.
    fn int(self, what: &str) -> Result<i32, String> {
        match self {
            Self::Varint(value) => Ok(value as i32),
            _ => Err(format!("{what} has the wrong wire type")),
        }
    }

    fn float(self, what: &str) -> Result<f32, String> {
        match self {
            Self::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(format!("{what} has the wrong wire type")),
        }
    }
}

/// Iterates over the fields of one protobuf message, never past its end.
struct Message<'a> {
    rest: &'a [u8],
    /// Offset of `rest` in the file, for errors.
    at: usize,
}

impl<'a> Message<'a> {
    fn new(rest: &'a [u8], at: usize) -> Self {
        Self { rest, at }
    }

    /// The next field's number and value, `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let len = self.varint()?;
                let at = self.at;
                Value::Bytes(self.take(len)?, at)
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Fixed32([bytes[0], bytes[1], bytes[2], bytes[3]])
            }
            wire => return Err(format!("byte {start}: wire type {wire} is no protobuf of SentencePiece")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], String> {
        let fits = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let Some((taken, rest)) = fits else {
            return Err(format!("byte {}: {len} bytes announced, {} left", self.at, self.rest.len()));
        };
        self.at += taken.len();
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let start = self.at;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(format!("byte {start}: a number longer than 10 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_ids_are_read_from_ten_byte_numbers() {
        // trainer_spec { bos_id: -1 }
        let spec = [&[0xc8, 0x02][..], &[0xff; 9], &[0x01]].concat();
        let file = [&[0x12, spec.len() as u8][..], &spec].concat();
        assert_eq!(SentencePiece::parse(&file).unwrap().bos, -1);
    }

    #[test]
    fn an_announced_length_past_the_end_is_an_error_with_both_numbers() {
        let error = SentencePiece::parse(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2]).unwrap_err();
        assert_eq!(error, "byte 6: 4294967295 bytes announced, 2 left");
    }

    #[test]
    fn a_number_without_end_is_an_error() {
        let error = SentencePiece::parse(&[0xff; 12]).unwrap_err();
        assert_eq!(error, "byte 0: a number longer than 10 bytes");
    }
}
