//! The pieces that Android's binary XML and resource tables are made of: chunks inside chunks, and pools of strings.
//! Nothing is copied but the texts that are asked for, and nothing is believed without a look at what is there.

/// Code units of a text that is read out of a pool; the rest is cut off.
const TEXT_UNITS_MAX: usize = 1024;

/// A pool of strings.
pub const STRING_POOL: u16 = 0x0001;

/// A little-endian number.
pub fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

/// A little-endian number.
pub fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// A number that is used as a position.
pub fn index_at(data: &[u8], at: usize) -> Option<usize> {
    u32_at(data, at).and_then(|it| usize::try_from(it).ok())
}

/// A piece with a type, a header and a body.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// What it is.
    pub kind: u16,
    /// Length of its header.
    pub header: usize,
    /// All of it, header included.
    pub data: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// The chunk that begins here.
    pub fn first(data: &'a [u8]) -> Option<Chunk<'a>> {
        let (kind, header, size) = (u16_at(data, 0)?, usize::from(u16_at(data, 2)?), index_at(data, 4)?);
        if header < 8 || size < header {
            return None;
        }
        // One that claims more than there is ends where the data does.
        Some(Chunk { kind, header, data: data.get(..size.min(data.len()))? }).filter(|it| it.data.len() >= header)
    }

    /// The chunks behind its header.
    pub fn children(self) -> Chunks<'a> {
        Chunks(self.data.get(self.header..).unwrap_or_default())
    }
}

/// Chunks in a row. Each takes at least eight bytes, so that there is an end.
#[derive(Debug)]
pub struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let chunk = Chunk::first(self.0)?;
        self.0 = self.0.get(chunk.data.len()..).unwrap_or_default();
        Some(chunk)
    }
}

/// Strings by number.
#[derive(Debug, Clone, Copy)]
pub struct StringPool<'a> {
    data: &'a [u8],
    header: usize,
    count: usize,
    strings: usize,
    is_utf8: bool,
}

impl<'a> StringPool<'a> {
    /// Reads the header of a pool.
    pub fn of(chunk: Chunk<'a>) -> Option<Self> {
        let data = chunk.data;
        Some(Self {
            data,
            header: chunk.header,
            count: index_at(data, 8)?,
            strings: index_at(data, 20)?,
            is_utf8: u32_at(data, 16)? & 0x100 != 0,
        })
    }

    /// A text. `None`: there is none with this number.
    pub fn text(&self, number: u32) -> Option<String> {
        let number = usize::try_from(number).ok().filter(|it| *it < self.count)?;
        let offset = index_at(self.data, self.header.checked_add(number.checked_mul(4)?)?)?;
        let data = self.data.get(self.strings.checked_add(offset)?..)?;
        if self.is_utf8 { utf8(data) } else { utf16(data) }
    }
}

/// Two lengths of one or two bytes each (characters, bytes), then the text.
fn utf8(data: &[u8]) -> Option<String> {
    let (_, at) = short_length(data, 0)?;
    let (length, at) = short_length(data, at)?;
    let bytes = data.get(at..at.checked_add(length)?)?;
    Some(String::from_utf8_lossy(bytes).chars().take(TEXT_UNITS_MAX).collect())
}

fn short_length(data: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = usize::from(*data.get(at)?);
    if first & 0x80 == 0 {
        return Some((first, at + 1));
    }
    Some(((first & 0x7f) << 8 | usize::from(*data.get(at + 1)?), at + 2))
}

/// A length of two or four bytes, then the text.
fn utf16(data: &[u8]) -> Option<String> {
    let first = usize::from(u16_at(data, 0)?);
    let (length, at) =
        if first & 0x8000 == 0 { (first, 2) } else { ((first & 0x7fff) << 16 | usize::from(u16_at(data, 2)?), 4) };
    let units = (0..length.min(TEXT_UNITS_MAX)).map_while(|n| u16_at(data, at + n * 2));
    Some(char::decode_utf16(units).map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}
