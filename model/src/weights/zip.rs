//! The directory of a zip file whose entries are stored, not compressed: what `torch.save` writes.
//!
//! PKWARE, APPNOTE 6.3.10. Entries are found, not copied. What is compressed is refused, so that no small file can
//! unfold into a large one, and so are entries that share bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::{Cursor, shown};
use super::entry::Fault;
use crate::files::Content;

/// First bytes of a zip file that is not empty.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// Longest directory read: enough for some 500,000 entries. The published model's files have 400 and 450.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;

const LOCAL_BYTES: u64 = 30;
const END_BYTES: usize = 22;
const END_64_BYTES: u64 = 56;
const LOCATOR_64_BYTES: usize = 20;

/// Range of an entry's bytes in the file.
pub(super) type Entries = BTreeMap<String, Range<usize>>;

/// The entries of a zip file by name. Of a file that is read, its directory and the beginning of each entry are.
pub(super) fn entries(file: &Content) -> Result<Entries, Fault> {
    let directory = find_directory(file)?;
    let cut = || "its zip directory is cut short: download it again".to_owned();
    if directory.len > MAX_DIRECTORY_BYTES {
        return Err(Fault::Wrong(format!(
            "its zip directory is {} bytes long, above {MAX_DIRECTORY_BYTES}: is it a torch checkpoint?",
            directory.len
        )));
    }
    let listed = file.part(directory.start, directory.len)?.ok_or_else(cut)?;
    let mut central = Cursor::new(&listed);

    let mut entries = Entries::new();
    // Range from the local header to the end of the data.
    let mut spans: Vec<(Range<usize>, &str)> = Vec::new();
    while central.len() > 0 {
        let header = Header::read(&mut central).ok_or_else(cut)?;
        let name = std::str::from_utf8(header.name)
            .map_err(|_| "the name of a zip entry is not UTF-8: save it again with torch.save".to_owned())?;
        header.check(name)?;
        let data = header.data(file, &directory)?;
        spans.push((header.local as usize..data.end, name));
        if entries.insert(name.into(), data).is_some() {
            return Err(format!("zip entry {} is listed twice: download it again", shown(name)).into());
        }
    }
    if entries.len() as u64 != directory.entries {
        return Err(Fault::Wrong(format!(
            "its zip directory lists {} entries and says {}: download it again",
            entries.len(),
            directory.entries
        )));
    }
    spans.sort_unstable_by_key(|(span, _)| span.start);
    for pair in spans.windows(2) {
        let [(a, first), (b, second)] = pair else { continue };
        if b.start < a.end {
            return Err(Fault::Wrong(format!(
                "zip entries {} and {} share bytes, which none that torch.save wrote do: download it again",
                shown(first),
                shown(second)
            )));
        }
    }
    Ok(entries)
}

/// Position of the list of entries.
struct Directory {
    start: u64,
    len: u64,
    entries: u64,
}

fn find_directory(file: &Content) -> Result<Directory, Fault> {
    let missing =
        || "is not a whole zip file: its directory, at the end, is missing; download it again".to_owned();
    // Only a comment of at most 65,535 bytes may follow the end record; the locator of large files is before it.
    let last = file.len().checked_sub(END_BYTES as u64).ok_or_else(missing)?;
    let first = last.saturating_sub(u16::MAX.into());
    let from = first.saturating_sub(LOCATOR_64_BYTES as u64);
    let tail = file.part(from, file.len() - from)?.unwrap_or_default();
    let end = ((first - from) as usize..=(last - from) as usize)
        .rev()
        .find(|&at| is_end(&tail[at..]))
        .ok_or_else(missing)?;

    let locator = end.checked_sub(LOCATOR_64_BYTES).and_then(|at| located(Cursor::new(&tail[at..end])));
    let (directory, disks) = match locator {
        Some(at) => {
            let record = file.part(at, END_64_BYTES)?;
            record.and_then(|record| read_end_64(Cursor::new(&record))).ok_or_else(missing)?
        }
        None => read_end(Cursor::new(&tail[end..])).ok_or_else(missing)?,
    };
    if disks != 0 {
        return Err(Fault::Wrong(
            "is part of a zip file of several disks: save it again with torch.save".into(),
        ));
    }
    match directory.start.checked_add(directory.len) {
        Some(after) if after <= from + end as u64 => Ok(directory),
        _ => Err(Fault::Wrong(format!(
            "its zip directory would be {} bytes at {}, the file holds {}: download it again",
            directory.len,
            directory.start,
            file.len()
        ))),
    }
}

/// Whether these bytes are the end record and its comment, to the last.
fn is_end(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    let found = cursor.u32() == Some(END);
    found
        && cursor.take(END_BYTES as u64 - 6).is_some()
        && cursor.u16().is_some_and(|comment| usize::from(comment) == cursor.len())
}

/// The directory and the sum of the disk numbers, all of which must be 0.
fn read_end(mut end: Cursor<'_>) -> Option<(Directory, u64)> {
    end.u32()?;
    let disks = u64::from(end.u16()?) + u64::from(end.u16()?);
    let (here, entries) = (end.u16()?, end.u16()?);
    let (len, start) = (end.u32()?, end.u32()?);
    let directory = Directory { start: start.into(), len: len.into(), entries: entries.into() };
    (here == entries).then_some((directory, disks))
}

/// Where the end record for large files is, if that is what these bytes tell.
fn located(mut locator: Cursor<'_>) -> Option<u64> {
    let is_locator = locator.u32()? == LOCATOR_64;
    locator.u32()?;
    locator.u64().filter(|_| is_locator)
}

/// The same from the end record for large files.
fn read_end_64(mut end: Cursor<'_>) -> Option<(Directory, u64)> {
    if end.u32()? != END_64 {
        return None;
    }
    // Its own length, and the versions of who wrote it and who may read it.
    end.take(8 + 2 + 2)?;
    let disks = u64::from(end.u32()?) + u64::from(end.u32()?);
    let (here, entries) = (end.u64()?, end.u64()?);
    let (len, start) = (end.u64()?, end.u64()?);
    (here == entries).then_some((Directory { start, len, entries }, disks))
}

/// An entry of the directory.
struct Header<'a> {
    flags: u16,
    method: u16,
    packed_len: u64,
    len: u64,
    local: u64,
    name: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(central: &mut Cursor<'a>) -> Option<Self> {
        if central.u32()? != CENTRAL {
            return None;
        }
        central.take(4)?;
        let (flags, method) = (central.u16()?, central.u16()?);
        // Time, date and checksum.
        central.take(8)?;
        let (packed_len, len) = (central.u32()?, central.u32()?);
        let (name_len, extra_len, comment_len) = (central.u16()?, central.u16()?, central.u16()?);
        // Disk and attributes.
        central.take(8)?;
        let local = central.u32()?;
        let name = central.take(name_len.into())?;
        let mut extra = Cursor::new(central.take(extra_len.into())?);
        central.take(comment_len.into())?;

        // Numbers that do not fit are in the extra field 1, in this order, those only.
        let mut large = Cursor::new(&[]);
        while extra.len() >= 4 {
            let (tag, len) = (extra.u16()?, extra.u16()?);
            let field = extra.take(len.into())?;
            if tag == 1 {
                large = Cursor::new(field);
            }
        }
        let mut number = |small: u32| if small == u32::MAX { large.u64() } else { Some(small.into()) };
        let len = number(len)?;
        let packed_len = number(packed_len)?;
        let local = number(local)?;
        Some(Self { flags, method, packed_len, len, local, name })
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let name = shown(name);
        if self.flags & 1 != 0 {
            return Err(format!("zip entry {name} is encrypted: save it again with torch.save"));
        }
        if self.method != 0 || self.packed_len != self.len {
            return Err(format!(
                "zip entry {name} is compressed (method {}, {} bytes from {}); torch.save compresses nothing, and \
                 this is not unpacked: save it again with torch.save",
                self.method, self.len, self.packed_len
            ));
        }
        Ok(())
    }

    /// The entry's bytes, behind its local header.
    fn data(&self, file: &Content, directory: &Directory) -> Result<Range<usize>, Fault> {
        let start = self.data_start(file)?.ok_or_else(|| {
            let name = shown(&String::from_utf8_lossy(self.name));
            format!(
                "zip entry {name} is not at byte {}, where the directory has it: download it again",
                self.local
            )
        })?;
        match start.checked_add(self.len) {
            // The directory ends within the file.
            Some(end) if end <= directory.start => Ok(start as usize..end as usize),
            _ => Err(Fault::Wrong(format!(
                "zip entry {} would be {} bytes at {start}, the directory is at {}: download it again",
                shown(&String::from_utf8_lossy(self.name)),
                self.len,
                directory.start
            ))),
        }
    }

    fn data_start(&self, file: &Content) -> Result<Option<u64>, Fault> {
        let header = file.part(self.local, LOCAL_BYTES + self.name.len() as u64)?;
        let extra_len = header.and_then(|header| self.extra_len(Cursor::new(&header)));
        Ok(extra_len.map(|extra| self.local + LOCAL_BYTES + self.name.len() as u64 + u64::from(extra)))
    }

    /// Bytes between the name and the data, as the local header has it; `None` if that is not of this entry.
    fn extra_len(&self, mut local: Cursor<'_>) -> Option<u16> {
        if local.u32()? != LOCAL {
            return None;
        }
        // Fields that the directory repeats.
        local.take(22)?;
        let (name_len, extra_len) = (local.u16()?, local.u16()?);
        (local.take(name_len.into())? == self.name).then_some(extra_len)
    }
}
