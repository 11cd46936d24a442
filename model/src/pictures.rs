//! Encoded pictures that a model keeps, by what their pixels are: conversations about the same one encode it once.

use std::sync::Arc;

/// Pictures that are kept at most. One of the 8.2B model takes 1 MiB.
const MOST: usize = 64;

/// Number of a picture: equal where pixels are, and never given to another.
pub(crate) type PictureId = u64;

#[derive(Debug)]
struct Kept {
    hash: blake3::Hash,
    id: PictureId,
    /// What the decoder sees of it, once it is encoded.
    embeds: Option<Arc<[f32]>>,
}

/// The pictures seen last.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    /// The one seen last is at the end.
    kept: Vec<Kept>,
    next: PictureId,
    /// How many were encoded.
    pub encoded: u64,
}

impl Pictures {
    /// The number of a picture of these pixels, or of these embeddings, and the hash that it is known by.
    pub(crate) fn id(&mut self, what: &str, values: &[f32]) -> (PictureId, blake3::Hash) {
        let hash =
            blake3::Hasher::new().update(what.as_bytes()).update(bytemuck::cast_slice(values)).finalize();
        (self.id_of(hash), hash)
    }

    /// The number of a picture of this hash.
    pub(crate) fn id_of(&mut self, hash: blake3::Hash) -> PictureId {
        let known = self.kept.iter().position(|kept| kept.hash == hash);
        let kept = known.map_or_else(
            || {
                self.next += 1;
                Kept { hash, id: self.next, embeds: None }
            },
            |at| self.kept.remove(at),
        );
        let id = kept.id;
        if self.kept.len() == MOST {
            self.kept.remove(0);
        }
        self.kept.push(kept);
        id
    }

    /// What the decoder sees of a picture, if that is kept.
    pub(crate) fn embeds(&self, id: PictureId) -> Option<Arc<[f32]>> {
        self.kept.iter().find(|kept| kept.id == id)?.embeds.clone()
    }

    /// Keeps what the decoder sees of a picture that was encoded now, and returns it.
    pub(crate) fn keep(&mut self, id: PictureId, embeds: Arc<[f32]>) -> Arc<[f32]> {
        self.encoded += 1;
        tracing::debug!(picture = id, "encoded");
        self.keep_known(id, embeds)
    }

    /// The same of a picture that was encoded some time.
    pub(crate) fn keep_known(&mut self, id: PictureId, embeds: Arc<[f32]>) -> Arc<[f32]> {
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.id == id) {
            kept.embeds = Some(embeds.clone());
        }
        embeds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pixels_are_one_picture_as_long_as_it_is_kept() {
        let mut pictures = Pictures::default();
        let [a, b] = [[1.0, 2.0], [1.0, 3.0]].map(|pixels| pictures.id("pixels", &pixels).0);
        assert_ne!(a, b);
        assert_ne!(pictures.id("embeds", &[1.0, 2.0]).0, a);
        assert_eq!(pictures.id("pixels", &[1.0, 2.0]).0, a);
        pictures.keep(a, [7.0].into());
        assert_eq!((pictures.embeds(a).as_deref(), pictures.embeds(b)), (Some([7.0].as_slice()), None));
        for i in 0..MOST {
            pictures.id("pixels", &[i as f32]);
        }
        assert_eq!(pictures.embeds(a), None);
        assert_ne!(pictures.id("pixels", &[1.0, 2.0]).0, a, "its number is not given again");
    }
}
