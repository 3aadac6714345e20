//! FusionInventory XML: stored whole, with what identifies a device pulled out.

use quick_xml::{Reader, events::Event};

use crate::mdm::inbound::Malformed;

/// An inventory as it came, and what we read in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The XML, as UTF-8.
    pub xml: String,
    /// `HARDWARE/NAME`.
    pub name: Option<String>,
    /// `BIOS/SSN`.
    pub serial: Option<String>,
    /// `HARDWARE/UUID`.
    pub uuid: Option<String>,
    /// `BIOS/SMANUFACTURER`.
    pub manufacturer: Option<String>,
    /// `BIOS/SMODEL`.
    pub model: Option<String>,
    /// `OPERATINGSYSTEM/NAME` or `HARDWARE/OSNAME`.
    pub os_name: Option<String>,
    /// `OPERATINGSYSTEM/VERSION` or `HARDWARE/OSVERSION`.
    pub os_version: Option<String>,
}

/// Largest inventory that we read, in bytes.
pub const INVENTORY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Deepest nesting that we follow.
const DEPTH_MAX: usize = 32;

/// Longest text of one element that we pull out, in bytes; the rest stays in the XML only.
const FIELD_BYTES_MAX: usize = 255;

/// Reads a whole inventory. There is no entity expansion: a document type is refused, and so is every reference but the
/// five predefined ones and character references.
///
/// # Errors
/// It is too large, or not well-formed.
pub fn parse(bytes: &[u8]) -> Result<Inventory, Malformed> {
    if bytes.len() > INVENTORY_BYTES_MAX {
        return Err(Malformed::Large);
    }
    let xml = text(bytes);
    let mut inventory = read(&xml)?;
    inventory.xml = xml;
    Ok(inventory)
}

/// UTF-8, or ISO-8859-1 when it says so or cannot be UTF-8.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let head = bytes[..bytes.len().min(128)].to_ascii_lowercase();
    let says_latin = head.starts_with(b"<?xml") && head.windows(10).any(|it| it == b"iso-8859-1");
    match std::str::from_utf8(bytes) {
        Ok(text) if !says_latin => text.to_owned(),
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn read(xml: &str) -> Result<Inventory, Malformed> {
    let mut reader = Reader::from_str(xml);
    let mut inventory = Inventory::default();
    let mut path: Vec<String> = Vec::new();
    let mut value = String::new();
    let mut roots = 0_usize;
    loop {
        match reader.read_event().map_err(|_| Malformed::Xml)? {
            Event::Start(tag) => {
                roots += usize::from(path.is_empty());
                if path.len() == DEPTH_MAX || roots > 1 {
                    return Err(Malformed::Xml);
                }
                path.push(tag.name().as_ref().to_ascii_uppercase());
                value.clear();
            }
            Event::Empty(_) => {
                roots += usize::from(path.is_empty());
                if roots > 1 {
                    return Err(Malformed::Xml);
                }
                value.clear();
            }
            Event::End(_) => {
                keep(&mut inventory, &path, value.trim());
                path.pop();
                value.clear();
            }
            Event::Text(it) => {
                let part: &str = &it;
                if path.is_empty() && !part.trim().is_empty() {
                    return Err(Malformed::Xml);
                }
                append(&mut value, part);
            }
            Event::CData(it) if !path.is_empty() => append(&mut value, &it),
            Event::GeneralRef(it) if !path.is_empty() => {
                let name: &str = &it;
                let resolved = match it.resolve_char_ref().map_err(|_| Malformed::Xml)? {
                    Some(character) => character,
                    None => predefined(name).ok_or(Malformed::Xml)?,
                };
                append(&mut value, resolved.encode_utf8(&mut [0; 4]));
            }
            Event::CData(_) | Event::GeneralRef(_) | Event::DocType(_) => return Err(Malformed::Xml),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    if roots == 1 && path.is_empty() { Ok(inventory) } else { Err(Malformed::Xml) }
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

fn append(value: &mut String, part: &str) {
    let room = FIELD_BYTES_MAX.saturating_sub(value.len()).min(part.len());
    let end = (0..=room).rev().find(|at| part.is_char_boundary(*at)).unwrap_or(0);
    value.push_str(&part[..end]);
}

/// The first value of a field wins; `OPERATINGSYSTEM` wins over `HARDWARE`.
fn keep(inventory: &mut Inventory, path: &[String], value: &str) {
    let [root, content, section, field] = path else { return };
    if root != "REQUEST" || content != "CONTENT" || value.is_empty() {
        return;
    }
    let (place, wins) = match (section.as_str(), field.as_str()) {
        ("HARDWARE", "NAME") => (&mut inventory.name, false),
        ("HARDWARE", "UUID") => (&mut inventory.uuid, false),
        ("HARDWARE", "OSNAME") => (&mut inventory.os_name, false),
        ("HARDWARE", "OSVERSION") => (&mut inventory.os_version, false),
        ("OPERATINGSYSTEM", "NAME" | "FULL_NAME") => (&mut inventory.os_name, true),
        ("OPERATINGSYSTEM", "VERSION") => (&mut inventory.os_version, true),
        ("BIOS", "SSN") => (&mut inventory.serial, false),
        ("BIOS", "SMODEL") => (&mut inventory.model, false),
        ("BIOS", "SMANUFACTURER") => (&mut inventory.manufacturer, false),
        _ => return,
    };
    if wins || place.is_none() {
        *place = Some(value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let xml = b"<?xml version='1.0' encoding='UTF-8'?><REQUEST><CONTENT><BIOS><SSN>S&amp;1</SSN></BIOS>\
            <hardware><name>n</name><OSNAME>old</OSNAME></hardware><OPERATINGSYSTEM><NAME>new</NAME></OPERATINGSYSTEM>\
            </CONTENT></REQUEST>";
        let it = parse(xml).unwrap();
        assert_eq!(
            (it.serial.as_deref(), it.name.as_deref(), it.os_name.as_deref()),
            (Some("S&1"), Some("n"), Some("new"))
        );
    }

    #[test]
    fn latin_1_is_read() {
        let it = parse(b"<REQUEST><CONTENT><HARDWARE><NAME>\xe9</NAME></HARDWARE></CONTENT></REQUEST>").unwrap();
        assert_eq!(it.name.as_deref(), Some("é"));
    }

    #[test]
    fn hostile_documents_are_refused() {
        fn check(xml: &[u8], expected: Malformed) {
            assert_eq!(parse(xml), Err(expected));
        }
        check(b"", Malformed::Xml);
        check(b"garbage", Malformed::Xml);
        check(b"<REQUEST>", Malformed::Xml);
        check(b"<a></b>", Malformed::Xml);
        check(b"<a/><b/>", Malformed::Xml);
        check(b"<a>&lol;</a>", Malformed::Xml);
        check(b"<!DOCTYPE a [<!ENTITY lol 'lol'>]><a>&lol;</a>", Malformed::Xml);
        check("<a>".repeat(1000).as_bytes(), Malformed::Xml);
        check(&vec![b'x'; INVENTORY_BYTES_MAX + 1], Malformed::Large);
    }
}
