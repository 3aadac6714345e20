//! Android's resource table (`resources.arsc`): from the number of a resource to its text, in the language and density that
//! suit a console. A chain of references ends after a few steps, wherever it leads.

use super::{
    axml::Value,
    chunk::{Chunk, STRING_POOL, StringPool, index_at, u16_at, u32_at},
};

const TABLE: u16 = 0x0002;
const PACKAGE: u16 = 0x0200;
const TYPE: u16 = 0x0201;

/// References that are followed one after the other.
const STEPS_MAX: usize = 8;
/// Configurations of one resource that are looked at.
const CANDIDATES_MAX: usize = 500;
/// Pixels per inch from which on an icon is larger than a list needs.
const DENSITY_ENOUGH: u16 = 640;

/// What a resource is resolved for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A text without a language, or in English, or any.
    Text,
    /// The path of the best PNG.
    Icon,
}

/// A resource table; an empty one where there is none that can be understood.
#[derive(Debug, Default)]
pub struct Resources<'a> {
    strings: Option<StringPool<'a>>,
    packages: Vec<Chunk<'a>>,
}

/// Packages of one table that are looked at; an application has one or two.
const PACKAGES_MAX: usize = 16;

/// One value of a resource, with the configuration it is for.
struct Candidate {
    language: [u8; 2],
    density: u16,
    value: Value,
}

impl<'a> Resources<'a> {
    /// Reads what stands at the top.
    pub fn of(data: &'a [u8]) -> Self {
        let Some(table) = Chunk::first(data).filter(|it| it.kind == TABLE) else { return Self::default() };
        let strings = table.children().find(|it| it.kind == STRING_POOL).and_then(StringPool::of);
        let packages = table.children().filter(|it| it.kind == PACKAGE).take(PACKAGES_MAX).collect();
        Self { strings, packages }
    }

    /// The text of a resource, references followed.
    pub fn resolve(&self, resource: u32, wish: Wish) -> Option<String> {
        let mut resource = resource;
        for _ in 0..STEPS_MAX {
            let candidates = self.candidates(resource);
            if let Some(text) = best(&candidates, wish) {
                return Some(text);
            }
            resource = candidates.iter().find_map(|it| match it.value {
                Value::Reference(next) => Some(next),
                _ => None,
            })?;
        }
        None
    }

    /// Every value that the resource has, over all configurations.
    fn candidates(&self, resource: u32) -> Vec<Candidate> {
        let [package, kind, high, low] = resource.to_be_bytes();
        let entry = usize::from(u16::from_be_bytes([high, low]));
        let packages = self.packages.iter().filter(|it| u32_at(it.data, 8) == Some(u32::from(package)));
        let types = packages.flat_map(|it| it.children()).filter(|it| it.kind == TYPE && it.data.get(8) == Some(&kind));
        types.filter_map(|it| self.candidate(it, entry)).take(CANDIDATES_MAX).collect()
    }

    fn candidate(&self, chunk: Chunk, entry: usize) -> Option<Candidate> {
        const COMPLEX: u16 = 0x0001;
        const COMPACT: u16 = 0x0008;
        let data = chunk.data;
        let at = index_at(data, 16)?.checked_add(offset_of(chunk, entry)?)?;
        let (first, flags) = (u16_at(data, at)?, u16_at(data, at + 2)?);
        let (kind, datum) = if flags & COMPACT != 0 {
            (flags.to_be_bytes()[0], u32_at(data, at + 4)?)
        } else if flags & COMPLEX != 0 {
            return None;
        } else {
            let value = at + usize::from(first);
            (*data.get(value + 3)?, u32_at(data, value + 4)?)
        };
        let language = data.get(28..30)?.try_into().ok()?;
        let density = u16_at(data, 34)?;
        Some(Candidate { language, density, value: Value::typed(kind, datum, self.strings.as_ref()?) })
    }
}

/// Where an entry lies behind the start of the entries: full, sparse and short tables of offsets.
fn offset_of(chunk: Chunk, entry: usize) -> Option<usize> {
    const SPARSE: u8 = 0x01;
    const SHORT: u8 = 0x02;
    let (flags, count) = (*chunk.data.get(9)?, index_at(chunk.data, 12)?);
    let table = chunk.data.get(chunk.header..)?;
    if flags & SPARSE != 0 {
        let pairs = table.chunks_exact(4).take(count);
        let found = pairs.map(|it| (u16_at(it, 0), u16_at(it, 2))).find(|(at, _)| at.map(usize::from) == Some(entry));
        return found.and_then(|(_, offset)| offset).map(|it| usize::from(it) * 4);
    }
    if entry >= count {
        return None;
    }
    if flags & SHORT != 0 {
        return u16_at(table, entry * 2).filter(|it| *it != u16::MAX).map(|it| usize::from(it) * 4);
    }
    u32_at(table, entry * 4).filter(|it| *it != u32::MAX).and_then(|it| usize::try_from(it).ok())
}

/// The text that suits the wish best.
fn best(candidates: &[Candidate], wish: Wish) -> Option<String> {
    let text = |it: &Candidate| match &it.value {
        Value::Text(text) => Some(text.clone()),
        Value::Number(number) if wish == Wish::Text => Some(number.to_string()),
        _ => None,
    };
    let rank = |it: &Candidate, text: &str| match wish {
        Wish::Text => match &it.language {
            [0, 0] => 2,
            b"en" => 1,
            _ => 0,
        },
        Wish::Icon if !text.to_ascii_lowercase().ends_with(".png") => -1,
        Wish::Icon if it.density > DENSITY_ENOUGH => 0,
        Wish::Icon => i32::from(it.density) + 1,
    };
    let ranked = candidates.iter().rev().filter_map(|it| text(it).map(|text| (rank(it, &text), text)));
    // Of equals the first, as Android does.
    ranked.filter(|(rank, _)| *rank >= 0).max_by_key(|(rank, _)| *rank).map(|(_, text)| text)
}
