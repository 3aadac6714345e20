//! Android's binary XML, as far as a manifest needs it: the attributes of `<manifest>` and of its `<application>`.

use super::chunk::{Chunk, STRING_POOL, StringPool, u16_at, u32_at};

const DOCUMENT: u16 = 0x0003;
const RESOURCE_MAP: u16 = 0x0180;
const START_ELEMENT: u16 = 0x0102;
const END_ELEMENT: u16 = 0x0103;

/// Attributes of one element that are looked at.
const ATTRIBUTES_MAX: usize = 1000;

/// The attributes that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// `package` of `<manifest>`.
    Package,
    /// `android:versionName`.
    VersionName,
    /// `android:versionCode`.
    VersionCode,
    /// `android:label`.
    Label,
    /// `android:icon`.
    Icon,
}

impl Attribute {
    /// By the number that Android gives the name, which holds where the text was removed; else by the text.
    fn recognize(resource: Option<u32>, name: &str) -> Option<Attribute> {
        match (resource.unwrap_or(0), name) {
            (0x0101_021c, _) | (0, "versionName") => Some(Attribute::VersionName),
            (0x0101_021b, _) | (0, "versionCode") => Some(Attribute::VersionCode),
            (0x0101_0001, _) | (0, "label") => Some(Attribute::Label),
            (0x0101_0002, _) | (0, "icon") => Some(Attribute::Icon),
            (0, "package") => Some(Attribute::Package),
            _ => None,
        }
    }
}

/// What an attribute holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Itself.
    Text(String),
    /// A whole number.
    Number(u32),
    /// The number of a resource.
    Reference(u32),
    /// Of no interest.
    Other,
}

impl Value {
    /// By the type of a value and its datum.
    pub fn typed(kind: u8, datum: u32, strings: &StringPool) -> Value {
        match kind {
            0x01 | 0x07 => Value::Reference(datum),
            0x03 => strings.text(datum).map_or(Value::Other, Value::Text),
            0x10 | 0x11 => Value::Number(datum),
            _ => Value::Other,
        }
    }
}

/// The known attributes of one element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element(Vec<(Attribute, Value)>);

impl Element {
    /// The value of an attribute.
    pub fn get(&self, wanted: Attribute) -> Option<&Value> {
        self.0.iter().find(|(attribute, _)| *attribute == wanted).map(|(_, value)| value)
    }
}

/// `<manifest>` and its `<application>` (empty where there is none). `None`: this is no manifest.
pub fn manifest(data: &[u8]) -> Option<(Element, Element)> {
    let document = Chunk::first(data).filter(|it| it.kind == DOCUMENT)?;
    let (mut strings, mut names) = (None, None);
    let (mut manifest, mut depth) = (None, 0_usize);
    for chunk in document.children() {
        match chunk.kind {
            STRING_POOL if strings.is_none() => strings = StringPool::of(chunk),
            RESOURCE_MAP if names.is_none() => names = chunk.data.get(chunk.header..),
            START_ELEMENT => {
                let strings = strings?;
                let name = strings.text(u32_at(chunk.data, chunk.header + 4)?).unwrap_or_default();
                match (depth, name.as_str()) {
                    (0, "manifest") => manifest = Some(element(chunk, &strings, names.unwrap_or_default())?),
                    (0, _) => return None,
                    (1, "application") => {
                        return Some((manifest?, element(chunk, &strings, names.unwrap_or_default())?));
                    }
                    _ => {}
                }
                depth += 1;
            }
            END_ELEMENT => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Some((manifest?, Element::default()))
}

fn element(chunk: Chunk, strings: &StringPool, names: &[u8]) -> Option<Element> {
    let body = chunk.data.get(chunk.header..)?;
    let (start, width, count) = (u16_at(body, 8)?, u16_at(body, 10)?, u16_at(body, 12)?);
    if width < 20 {
        return None;
    }
    let mut known = Vec::new();
    for number in 0..usize::from(count).min(ATTRIBUTES_MAX) {
        let at = usize::from(start) + number * usize::from(width);
        let (name, kind, datum) = (u32_at(body, at + 4)?, *body.get(at + 15)?, u32_at(body, at + 16)?);
        let resource = usize::try_from(name).ok().and_then(|it| u32_at(names, it.checked_mul(4)?));
        let attribute = Attribute::recognize(resource, &strings.text(name).unwrap_or_default());
        if let Some(attribute) = attribute {
            known.push((attribute, Value::typed(kind, datum, strings)));
        }
    }
    Some(Element(known))
}
