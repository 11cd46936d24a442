//! The directory of a zip file whose entries are stored, not compressed: what `torch.save` writes.
//!
//! PKWARE, APPNOTE 6.3.10. Entries are found, not copied. What is compressed is refused, so that no small file can
//! unfold into a large one, and so are entries that share bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::{Cursor, shown};

/// First bytes of a zip file that is not empty.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;

const END_BYTES: usize = 22;
const LOCATOR_64_BYTES: usize = 20;

/// Range of an entry's bytes in the file.
pub(super) type Entries<'a> = BTreeMap<&'a str, Range<usize>>;

/// The entries of a zip file by name.
pub(super) fn entries(file: &[u8]) -> Result<Entries<'_>, String> {
    let directory = find_directory(file)?;
    let cut = || "its zip directory is cut short: download it again".to_owned();
    let mut central = Cursor::at(file, directory.start)
        .and_then(|mut rest| rest.take(directory.len))
        .map(Cursor::new)
        .ok_or_else(cut)?;

    let mut entries = Entries::new();
    // Range from the local header to the end of the data.
    let mut spans: Vec<(Range<usize>, &str)> = Vec::new();
    while central.len() > 0 {
        let header = Header::read(&mut central).ok_or_else(cut)?;
        let name = std::str::from_utf8(header.name)
            .map_err(|_| "the name of a zip entry is not UTF-8: save it again with torch.save".to_owned())?;
        let data = header.check(name).and_then(|()| header.data(file, &directory))?;
        spans.push((header.local as usize..data.end, name));
        if entries.insert(name, data).is_some() {
            return Err(format!("zip entry {} is listed twice: download it again", shown(name)));
        }
    }
    if entries.len() as u64 != directory.entries {
        return Err(format!(
            "its zip directory lists {} entries and says {}: download it again",
            entries.len(),
            directory.entries
        ));
    }
    spans.sort_unstable_by_key(|(span, _)| span.start);
    for pair in spans.windows(2) {
        let [(a, first), (b, second)] = pair else { continue };
        if b.start < a.end {
            return Err(format!(
                "zip entries {} and {} share bytes, which none that torch.save wrote do: download it again",
                shown(first),
                shown(second)
            ));
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

fn find_directory(file: &[u8]) -> Result<Directory, String> {
    let missing =
        || "is not a whole zip file: its directory, at the end, is missing; download it again".to_owned();
    // Only a comment of at most 65,535 bytes may follow.
    let last = file.len().checked_sub(END_BYTES).ok_or_else(missing)?;
    let end = (last.saturating_sub(usize::from(u16::MAX))..=last)
        .rev()
        .find(|&at| is_end(&file[at..]))
        .ok_or_else(missing)?;

    let locator = end.checked_sub(LOCATOR_64_BYTES).map(|at| Cursor::new(&file[at..end]));
    let (directory, disks) = match locator.and_then(|locator| end_64(file, locator)) {
        Some(found) => found.ok_or_else(missing)?,
        None => read_end(Cursor::new(&file[end..])).ok_or_else(missing)?,
    };
    if disks != 0 {
        return Err("is part of a zip file of several disks: save it again with torch.save".into());
    }
    match directory.start.checked_add(directory.len) {
        Some(after) if after <= end as u64 => Ok(directory),
        _ => Err(format!(
            "its zip directory would be {} bytes at {}, the file holds {}: download it again",
            directory.len,
            directory.start,
            file.len()
        )),
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

/// The same from the end record for large files, if the locator before the end names one.
fn end_64(file: &[u8], mut locator: Cursor<'_>) -> Option<Option<(Directory, u64)>> {
    if locator.u32()? != LOCATOR_64 {
        return None;
    }
    let read = |mut locator: Cursor<'_>| {
        locator.u32()?;
        let mut end = Cursor::at(file, locator.u64()?)?;
        if end.u32()? != END_64 {
            return None;
        }
        // Its own length, and the versions of who wrote it and who may read it.
        end.take(8 + 2 + 2)?;
        let disks = u64::from(end.u32()?) + u64::from(end.u32()?);
        let (here, entries) = (end.u64()?, end.u64()?);
        let (len, start) = (end.u64()?, end.u64()?);
        (here == entries).then_some((Directory { start, len, entries }, disks))
    };
    Some(read(locator))
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
    fn data(&self, file: &[u8], directory: &Directory) -> Result<Range<usize>, String> {
        let start = self.data_start(file).ok_or_else(|| {
            let name = shown(&String::from_utf8_lossy(self.name));
            format!(
                "zip entry {name} is not at byte {}, where the directory has it: download it again",
                self.local
            )
        })?;
        match start.checked_add(self.len) {
            // The directory ends within the file.
            Some(end) if end <= directory.start => Ok(start as usize..end as usize),
            _ => Err(format!(
                "zip entry {} would be {} bytes at {start}, the directory is at {}: download it again",
                shown(&String::from_utf8_lossy(self.name)),
                self.len,
                directory.start
            )),
        }
    }

    fn data_start(&self, file: &[u8]) -> Option<u64> {
        let mut local = Cursor::at(file, self.local)?;
        if local.u32()? != LOCAL {
            return None;
        }
        // Fields that the directory repeats.
        local.take(22)?;
        let (name_len, extra_len) = (local.u16()?, local.u16()?);
        let same = local.take(name_len.into())? == self.name;
        same.then(|| self.local + 30 + u64::from(name_len) + u64::from(extra_len))
    }
}
