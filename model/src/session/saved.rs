//! A session as a file: safetensors, with its turns in the metadata.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::iter::empty;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::Session;
use crate::constraint::Constraint;
use crate::generate::GenerateOptions;
use crate::inner::Inner;
use crate::kv_cache::LayerCache;
use crate::kv_pool::POSITIONS;
use crate::picture::{Content, Picture};
use crate::prompt::{Conversation, Question, Template, Turn};
use crate::read::read_file;
use crate::rows::Row;
use crate::sampler::SamplingParams;
use crate::shown::shown;
use crate::talk::{Last, Talk};
use crate::{Error, Result};

/// What the file says it is.
const FORMAT: &str = "strix-session";

/// Version of what is in it; another is refused.
const VERSION: &str = "1";

/// What is saved of a session beyond its turns, its tokens and the hashes of its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// The pictures as the decoder sees them: 1 MiB each of the 8.2B model. Without, they have to be
    /// [given again](Session::supply_image).
    pub embeds: bool,
    /// What the KV cache holds of it, so that nothing of it is run again: 1 MiB a position of the 8.2B model, in f32.
    pub pages: bool,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { embeds: true, pages: false }
    }
}

/// The metadata: all that is no tensor.
#[derive(Serialize, Deserialize)]
struct Saved {
    template: String,
    system: Option<String>,
    turns: Vec<SavedTurn>,
    /// Hashes, in hexadecimal.
    pictures: Vec<String>,
    pending: usize,
    last: Option<SavedLast>,
    /// Positions whose keys and values are there.
    cached: usize,
}

#[derive(Serialize, Deserialize)]
struct SavedTurn {
    /// Texts between the pictures: what looks like a picture's place in one is none.
    user: Vec<String>,
    reply: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SavedLast {
    /// Tokens of the prompt, and for each row of a picture its number and the row's.
    prompt: Vec<SavedRow>,
    ids: Vec<u32>,
    sampling: SamplingParams,
    max_tokens: u32,
    stop: Vec<String>,
    log_probs: Option<usize>,
    #[serde(default)]
    constraint: Option<Constraint>,
    is_cut: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum SavedRow {
    Token(u32),
    Image(usize, u32),
}

impl Session {
    /// Saves it to a file: its turns, the tokens and the sampler's state of its last answer, the hashes of its pictures,
    /// and what the options say. The file is there as a whole, or as it was.
    ///
    /// # Errors
    ///
    /// If the last question is still being answered, the file cannot be written, or the device fails.
    pub fn save(&self, path: impl AsRef<Path>, options: SaveOptions) -> Result<()> {
        let (path, inner) = (path.as_ref(), &*self.model.inner);
        let talk = self.talk();
        talk.check_is_free()?;
        let mut tensors = BTreeMap::new();
        if options.embeds {
            let shape = vec![inner.config.num_image_tokens(), inner.config.text.hidden_size];
            for (i, picture) in talk.pictures.iter().enumerate() {
                // One that nobody looked at yet is looked at now.
                let encoded = picture.encoded_now(inner)?.ok_or(Error::PictureAbsent { number: i })?;
                let embeds = inner.pictures().read(&encoded)?;
                let bytes = bytemuck::cast_slice(&embeds).to_vec();
                tensors.insert(format!("picture.{i}.embeds"), (Dtype::F32, shape.clone(), bytes));
            }
        }
        let mut saved = Saved::of(&talk);
        if let (true, Some(last)) = (options.pages, &talk.last) {
            saved.cached = read_cache(inner, &last.ran(), &mut tensors)?;
        }
        drop(talk);
        let views: BTreeMap<_, _> = tensors
            .iter()
            .map(|(name, (dtype, shape, bytes))| {
                (
                    name.as_str(),
                    TensorView::new(*dtype, shape.clone(), bytes).expect("as many bytes as it has elements"),
                )
            })
            .collect();
        let session = serde_json::to_string(&saved).expect("it has names for keys");
        let hash = hash_of(&session, views.iter().map(|(name, view)| (*name, view.data())));
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("version".to_owned(), VERSION.to_owned()),
            ("model".to_owned(), inner.fingerprint.clone()),
            ("layout".to_owned(), layout(inner)),
            ("session".to_owned(), session),
            ("blake3".to_owned(), hash),
        ]);
        let written = || -> io::Result<()> {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
            safetensors::serialize_to_file(&views, Some(metadata), file.path()).map_err(io::Error::other)?;
            file.as_file().sync_all()?;
            file.persist(path).map(drop)?;
            Ok(())
        };
        written().map_err(|source| Error::Io { path: path.into(), source })
    }

    /// Becomes what was saved in a file.
    pub(crate) fn restore(&self, path: &Path) -> Result<()> {
        let inner = &*self.model.inner;
        let refuse = |reason: String| Error::File { path: path.into(), reason };
        let bytes = read_file(path, u64::MAX)?;
        let no_session = |what: String| refuse(format!("is no saved session: {what}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| no_session(e.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| no_session(e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let said = |key: &str| metadata.get(key).map_or("", String::as_str);
        if said("format") != FORMAT {
            return Err(no_session(format!("its format is {:?}", said("format"))));
        }
        if said("version") != VERSION {
            return Err(refuse(format!(
                "is a session of version {:?}, and this is {VERSION:?}: save it with the program that reads it",
                said("version")
            )));
        }
        let mut views = file.tensors();
        views.sort_by(|a, b| a.0.cmp(&b.0));
        let session = said("session");
        if hash_of(session, views.iter().map(|(name, view)| (name.as_str(), view.data()))) != said("blake3") {
            return Err(refuse("is damaged: it is not what was written".into()));
        }
        if said("model") != inner.fingerprint {
            let (theirs, ours) = (said("model"), &inner.fingerprint);
            return Err(refuse(format!(
                "is of another model: its fingerprint is {}, this model's is {}",
                shown(theirs),
                shown(ours)
            )));
        }
        if said("layout") != layout(inner) {
            return Err(refuse(format!(
                "was saved with {}, and the model is loaded with {}: load it as it was",
                shown(said("layout")),
                layout(inner)
            )));
        }
        let saved: Saved = serde_json::from_str(session).map_err(|e| no_session(e.to_string()))?;
        let cached = saved.cached;
        let talk = saved.talk(inner, &file).map_err(no_session)?;
        if let Some(last) = talk.last.as_ref().filter(|_| cached > 0) {
            write_cache(inner, &last.ran(), cached, &file).map_err(|failed| match failed {
                Unwritten::Wrong(what) => no_session(what),
                Unwritten::Failed(error) => error,
            })?;
        }
        *self.talk() = talk;
        Ok(())
    }
}

impl Saved {
    fn of(talk: &Talk) -> Self {
        let number = |id| talk.pictures.iter().position(|picture| picture.id == id).unwrap_or_default();
        let row = |row: &Row| match *row {
            Row::Token(id) => SavedRow::Token(id),
            Row::Image { picture, row } => SavedRow::Image(number(picture), row),
        };
        let turn =
            |Turn { user, reply }: &Turn| SavedTurn { user: user.texts().to_vec(), reply: reply.clone() };
        Self {
            template: talk.conversation.template().name().into(),
            system: talk.conversation.own_system().map(ToOwned::to_owned),
            turns: talk.conversation.turns().iter().map(turn).collect(),
            pictures: talk.pictures.iter().map(|picture| picture.hash.to_string()).collect(),
            pending: talk.pending,
            last: talk.last.as_ref().map(|last| SavedLast {
                prompt: last.rows.iter().map(row).collect(),
                ids: last.ids.clone(),
                sampling: last.options.sampling.clone(),
                max_tokens: last.options.max_tokens,
                stop: last.options.stop.clone(),
                log_probs: last.options.log_probs,
                constraint: last.options.constraint.clone(),
                is_cut: last.is_cut,
            }),
            cached: 0,
        }
    }

    /// The same in a model, with the pictures of a file. Says what of it cannot be.
    fn talk(self, inner: &Inner, file: &SafeTensors<'_>) -> std::result::Result<Talk, String> {
        let template: Template = self.template.parse().map_err(|e: Error| e.to_string())?;
        let mut conversation = Conversation::new(template);
        conversation.set_system(self.system);
        let turn = |SavedTurn { user, reply }| match Question::of_texts(user) {
            Some(user) => Ok(Turn { user, reply }),
            None => Err("a question has no text".to_owned()),
        };
        conversation.restore(self.turns.into_iter().map(turn).collect::<std::result::Result<_, _>>()?);
        let size = inner.config.num_image_tokens() * inner.config.text.hidden_size;
        let mut pictures = vec![];
        for (i, hash) in self.pictures.iter().enumerate() {
            let hash = blake3::Hash::from_hex(hash).map_err(|e| format!("the hash of picture {i}: {e}"))?;
            let id = inner.pictures().id_of(hash);
            let name = format!("picture.{i}.embeds");
            let content = match file.tensor(&name) {
                Err(_) => Content::Absent,
                Ok(view) if view.dtype() != Dtype::F32 || view.data().len() != size * 4 => {
                    return Err(format!("{name} is {:?} of {:?}", view.dtype(), view.shape()));
                }
                Ok(view) => {
                    let embeds: Arc<[f32]> = bytemuck::pod_collect_to_vec(view.data()).into();
                    Content::Encoded(inner.pictures().given(id, embeds))
                }
            };
            pictures.push(Picture::new((id, hash), content));
        }
        let vocab = inner.config.text.vocab_size;
        let row = |row: SavedRow| match row {
            SavedRow::Token(id) if (id as usize) < vocab => Ok(Row::Token(id)),
            SavedRow::Token(id) => Err(format!("token {id} is not in the vocabulary of {vocab}")),
            SavedRow::Image(number, row) => match pictures.get(number) {
                Some(picture) if (row as usize) < inner.config.num_image_tokens() => {
                    Ok(Row::Image { picture: picture.id, row })
                }
                _ => Err(format!("row {row} of picture {number} is not there")),
            },
        };
        let last = match self.last {
            None => None,
            Some(last) => {
                let rows: std::result::Result<Vec<_>, _> = last.prompt.into_iter().map(row).collect();
                if let Some(id) = last.ids.iter().find(|&&id| id as usize >= vocab) {
                    return Err(format!("token {id} is not in the vocabulary of {vocab}"));
                }
                let options = GenerateOptions {
                    sampling: last.sampling,
                    max_tokens: last.max_tokens,
                    stop: last.stop,
                    log_probs: last.log_probs,
                    constraint: last.constraint,
                    ..GenerateOptions::default()
                };
                Some(Last { rows: rows?.into(), ids: last.ids, options, is_cut: last.is_cut })
            }
        };
        let asked = conversation.num_images();
        if self.pending.checked_add(asked) != Some(pictures.len()) {
            let (waiting, all) = (self.pending, pictures.len());
            return Err(format!("{asked} pictures are asked about and {waiting} wait, of {all}"));
        }
        Ok(Talk { conversation, pictures, pending: self.pending, last, ..Talk::default() })
    }
}

/// What keys, values and embeddings depend on beside the model.
fn layout(inner: &Inner) -> String {
    let options = &inner.options;
    let (rounding, kv, activations) = (options.rounding(), options.kv, options.activations);
    format!("{rounding}, kv {kv}, activations {activations:?}, pages of {POSITIONS}")
}

fn hash_of<'a>(session: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(session.as_bytes());
    for (name, bytes) in tensors {
        hasher.update(name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    hasher.finalize().to_string()
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Adds what the cache holds of these positions, from the first on; how many they are.
fn read_cache(inner: &Inner, rows: &[Row], tensors: &mut Tensors) -> Result<usize> {
    // A sequence leaves its last row to be run.
    let more = [rows, &[Row::Token(0)]].concat();
    let sequence =
        inner.start(&more, rows.len(), &[], empty()).map_err(|refused| refused.error(rows.len()))?;
    let mut read = || -> Result<()> {
        for (i, layer) in inner.kv.iter().enumerate() {
            let (dtype, shape) = cached(inner, layer, sequence.pages().len());
            for (name, bytes) in ["k", "v"].into_iter().zip(layer.read(&inner.gpu, sequence.pages())?) {
                tensors.insert(format!("cache.{i}.{name}"), (dtype, shape.clone(), bytes));
            }
        }
        Ok(())
    };
    let (read, positions) = (read(), sequence.len());
    inner.pages().finish(sequence);
    read.map(|()| positions)
}

/// What the keys, or values, of so many pages are in a file.
fn cached(inner: &Inner, layer: &LayerCache, pages: usize) -> (Dtype, Vec<usize>) {
    let text = &inner.config.text;
    let dtype = if matches!(layer, LayerCache::F16(_)) { Dtype::F16 } else { Dtype::F32 };
    (dtype, vec![pages, text.num_key_value_heads, POSITIONS, text.head_dim()])
}

/// Why a cache is not written.
enum Unwritten {
    Wrong(String),
    Failed(Error),
}

impl From<Error> for Unwritten {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<strix_engine::Error> for Unwritten {
    fn from(error: strix_engine::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Puts what a file holds of the first of these positions into the cache, as if it had been run. Where there is no room it
/// will be run.
fn write_cache(
    inner: &Inner,
    rows: &[Row],
    positions: usize,
    file: &SafeTensors<'_>,
) -> std::result::Result<(), Unwritten> {
    let Some(rows) = rows.get(..positions) else {
        return Err(Unwritten::Wrong(format!("{positions} positions of {} are cached", rows.len())));
    };
    let number = positions.div_ceil(POSITIONS);
    for (i, layer) in inner.kv.iter().enumerate() {
        let (dtype, shape) = cached(inner, layer, number);
        for name in ["k", "v"].map(|name| format!("cache.{i}.{name}")) {
            let view = file.tensor(&name).map_err(|e| Unwritten::Wrong(e.to_string()))?;
            if view.dtype() != dtype || view.shape() != shape {
                let found =
                    format!("{name} is {:?} of {:?}, not {dtype:?} of {shape:?}", view.dtype(), view.shape());
                return Err(Unwritten::Wrong(found));
            }
        }
    }
    let mut sequence = {
        let mut pages = inner.pages();
        let Ok(mut sequence) = pages.start(rows, positions, &[], empty()) else { return Ok(()) };
        let _ = sequence.copied();
        pages.grow(&mut sequence, positions);
        sequence
    };
    // The last of what was known may be a part of a page, which is written as a whole.
    let known = sequence.len() / POSITIONS;
    // The pool is not held meanwhile: between an app's frames it may take long, and the app may ask for the pool.
    let write = || -> std::result::Result<(), Unwritten> {
        for (i, layer) in inner.kv.iter().enumerate() {
            let of = |name| {
                let data = file.tensor(&format!("cache.{i}.{name}")).expect("just seen").data();
                &data[known * (data.len() / number)..]
            };
            layer.write(&inner.gpu, &sequence.pages()[known..], ["k", "v"].map(of))?;
        }
        Ok(())
    };
    let written = write();
    let mut pages = inner.pages();
    if let Err(failed) = written {
        pages.abandon(sequence);
        return Err(failed);
    }
    let from = sequence.len();
    pages.extend(&mut sequence, &rows[from..]);
    pages.finish(sequence);
    Ok(())
}
