//! Entries of a zip archive, one at a time and each with a bound. The list of entries is walked, never held.

use std::io::{Read, Write};

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ReaderAt, ZipArchive, ZipArchiveEntryWayfinder, ZipLocator};

use super::Unreadable;

/// Entries that are looked at.
pub const ENTRIES_MAX: usize = 200_000;

/// An archive that was found in its content.
pub struct Archive<R>(ZipArchive<R>);

/// Where an entry is.
struct Place {
    wayfinder: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    is_encrypted: bool,
}

impl<R: ReaderAt> Archive<R> {
    /// Finds the list of entries.
    pub fn open(content: R, size: u64) -> Result<Self, Unreadable> {
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let found = ZipLocator::new().locate_in_reader(content, &mut buffer, size);
        found.map(Archive).map_err(|_| Unreadable::NotZip)
    }

    /// The content of the entry with this name. `None`: there is none.
    pub fn read(&self, name: &str, what: &'static str, bytes_max: u64) -> Result<Option<Vec<u8>>, Unreadable> {
        let Some(place) = self.find(|it| it == name.as_bytes())? else { return Ok(None) };
        let mut content = Vec::new();
        self.copy(&place, what, bytes_max, &mut content)?;
        Ok(Some(content))
    }

    /// Copies the first entry whose name ends so, whatever its case.
    pub fn copy_first(
        &self,
        ending: &str,
        what: &'static str,
        bytes_max: u64,
        into: &mut impl Write,
    ) -> Result<u64, Unreadable> {
        let ending = ending.as_bytes();
        let ends_so = |name: &[u8]| {
            name.len().checked_sub(ending.len()).is_some_and(|at| name[at..].eq_ignore_ascii_case(ending))
        };
        let place = self.find(ends_so)?.ok_or(Unreadable::Missing("package inside"))?;
        self.copy(&place, what, bytes_max, into)
    }

    fn find(&self, is_it: impl Fn(&[u8]) -> bool) -> Result<Option<Place>, Unreadable> {
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let mut entries = self.0.entries(&mut buffer);
        for _ in 0..ENTRIES_MAX {
            match entries.next_entry().map_err(|_| Unreadable::Damaged("the list of entries"))? {
                None => return Ok(None),
                Some(entry) if is_it(entry.file_path().as_ref()) => {
                    return Ok(Some(Place {
                        wayfinder: entry.wayfinder(),
                        method: entry.compression_method(),
                        is_encrypted: entry.flags().is_encrypted(),
                    }));
                }
                Some(_) => {}
            }
        }
        Err(Unreadable::TooManyEntries)
    }

    /// What the entry really has counts, not what it claims.
    fn copy(
        &self,
        place: &Place,
        what: &'static str,
        bytes_max: u64,
        into: &mut impl Write,
    ) -> Result<u64, Unreadable> {
        if place.is_encrypted {
            return Err(Unreadable::Damaged(what));
        }
        let entry = self.0.get_entry(place.wayfinder).map_err(|_| Unreadable::Damaged(what))?;
        match place.method {
            CompressionMethod::STORE => copy_within(entry.verifying_reader(entry.reader()), what, bytes_max, into),
            CompressionMethod::DEFLATE => {
                copy_within(entry.verifying_reader(DeflateDecoder::new(entry.reader())), what, bytes_max, into)
            }
            _ => Err(Unreadable::Damaged(what)),
        }
    }
}

fn copy_within(
    mut from: impl Read,
    what: &'static str,
    bytes_max: u64,
    into: &mut impl Write,
) -> Result<u64, Unreadable> {
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let mut total = 0;
    loop {
        let read = from.read(&mut buffer).map_err(|_| Unreadable::Damaged(what))?;
        if read == 0 {
            return Ok(total);
        }
        total += read as u64;
        if total > bytes_max {
            return Err(Unreadable::TooLarge(what));
        }
        into.write_all(&buffer[..read]).map_err(|e| Unreadable::Disk(e.to_string()))?;
    }
}
