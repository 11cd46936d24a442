//! Normalises a text before it is split into pieces, and finds the pieces that are taken whole.

use super::marks::SPACE;

/// The flags of SentencePiece's `normalizer_spec`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalizer {
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    pub(super) escape_whitespaces: bool,
}

impl Normalizer {
    /// SentencePiece's normalisation without a character map. Empty stays empty.
    ///
    /// A user-defined piece that is found in the text as it was given is a unit: spaces are taken from its beginning
    /// where they follow a space, and nowhere else, even if it is nothing but spaces.
    pub(super) fn apply(self, text: &str, user_defined: &UserDefined) -> String {
        let space = if self.escape_whitespaces { SPACE } else { ' ' };
        let mut rest = text;
        if self.remove_extra_whitespaces {
            // A user-defined " " is no unit here.
            while user_defined.unit(rest) == " " {
                rest = &rest[1..];
            }
        }
        if rest.is_empty() {
            return String::new();
        }
        let mut out = String::with_capacity(2 * rest.len());
        if self.add_dummy_prefix {
            out.push(space);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while !rest.is_empty() {
            let unit = user_defined.unit(rest);
            rest = &rest[unit.len()..];
            let kept = if after_space { unit.trim_start_matches(' ') } else { unit };
            if !kept.is_empty() {
                out.extend(kept.chars().map(|c| if c == ' ' { space } else { c }));
                after_space = self.remove_extra_whitespaces && kept.ends_with(' ');
            }
        }
        if self.remove_extra_whitespaces {
            out.truncate(out.trim_end_matches(space).len());
        }
        out
    }
}

/// Pieces that are taken whole wherever they are; LLaMA has none.
#[derive(Debug, Default)]
pub(super) struct UserDefined {
    /// Sorted by text.
    pieces: Vec<(String, u32)>,
}

impl UserDefined {
    pub(super) fn new(pieces: impl Iterator<Item = (String, u32)>) -> Self {
        let mut pieces: Vec<_> = pieces.collect();
        pieces.sort_unstable();
        Self { pieces }
    }

    /// The longest piece that a text begins with, and its id.
    pub(super) fn at_start(&self, text: &str) -> Option<(&str, u32)> {
        let mut prefix = text.as_bytes();
        loop {
            // The last piece that does not come after the prefix shares more of it than any earlier one. Either it is
            // all of a prefix, or only what they share can be.
            let after = self.pieces.partition_point(|(piece, _)| piece.as_bytes() <= prefix);
            let (piece, id) = self.pieces[..after].last()?;
            let shared = piece.bytes().zip(prefix).take_while(|(a, b)| a == *b).count();
            if shared == piece.len() {
                return Some((piece, *id));
            }
            prefix = &prefix[..shared];
        }
    }

    /// The start of a text: a piece, or else a character.
    fn unit<'a>(&self, text: &'a str) -> &'a str {
        let len = match self.at_start(text) {
            Some((piece, _)) => piece.len(),
            None => text.chars().next().map_or(0, char::len_utf8),
        };
        &text[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_piece_at_the_start_is_found() {
        let words = ["a", "ab", "abcd", "abz", "b", "  ", "\u{2581}\u{2581}"];
        let pieces = UserDefined::new((10..).zip(words).map(|(id, text)| (text.to_owned(), id)));
        for (text, want) in [
            ("abce", Some("ab")),
            ("abcde", Some("abcd")),
            ("abz", Some("abz")),
            ("ac", Some("a")),
            ("abzz", Some("abz")),
            ("c", None),
            ("", None),
            (" ", None),
            ("   ", Some("  ")),
            ("\u{2581}", None),
            ("\u{2581}\u{2581}a", Some("\u{2581}\u{2581}")),
        ] {
            assert_eq!(pieces.at_start(text).map(|(piece, _)| piece), want, "{text:?}");
        }
        assert_eq!(pieces.at_start("ab"), Some(("ab", 11)));
    }

    #[test]
    fn spaces_are_squeezed_where_the_model_says_so() {
        let squeezing =
            Normalizer { add_dummy_prefix: true, remove_extra_whitespaces: true, escape_whitespaces: true };
        let none = UserDefined::default();
        assert_eq!(squeezing.apply("  two   words ", &none), "\u{2581}two\u{2581}words");
        assert_eq!(squeezing.apply("   ", &none), "");
        assert_eq!(squeezing.apply("a \u{2581}", &none), "\u{2581}a");
        let plain = Normalizer {
            add_dummy_prefix: false,
            remove_extra_whitespaces: false,
            escape_whitespaces: false,
        };
        assert_eq!(plain.apply("  a ", &none), "  a ");
    }
}
