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
    /// `OPERATINGSYSTEM/FULL_NAME`, else its `NAME`, else `HARDWARE/OSNAME`.
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
    let mut reading = Reading::default();
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
                reading.keep(&path, value.trim());
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
    if roots == 1 && path.is_empty() { Ok(reading.inventory) } else { Err(Malformed::Xml) }
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

/// Where a name of the operating system may come from, weakest first.
const OS_SOURCES: [(&str, &str); 3] =
    [("HARDWARE", "OSNAME"), ("OPERATINGSYSTEM", "NAME"), ("OPERATINGSYSTEM", "FULL_NAME")];

/// What was read so far, and how much a later element must weigh to replace it.
#[derive(Default)]
struct Reading {
    inventory: Inventory,
    os_name_weight: usize,
    os_version_weight: usize,
}

impl Reading {
    /// The first value of a field wins; `OPERATINGSYSTEM` wins over `HARDWARE`, wherever it stands.
    fn keep(&mut self, path: &[String], value: &str) {
        let [root, content, section, field] = path else { return };
        if root != "REQUEST" || content != "CONTENT" || value.is_empty() {
            return;
        }
        let it = &mut self.inventory;
        let source = (section.as_str(), field.as_str());
        let place = match source {
            ("HARDWARE", "NAME") => &mut it.name,
            ("HARDWARE", "UUID") => &mut it.uuid,
            ("BIOS", "SSN") => &mut it.serial,
            ("BIOS", "SMODEL") => &mut it.model,
            ("BIOS", "SMANUFACTURER") => &mut it.manufacturer,
            ("HARDWARE", "OSVERSION") | ("OPERATINGSYSTEM", "VERSION") => {
                let weight = 1 + usize::from(section == "OPERATINGSYSTEM");
                return replace(&mut it.os_version, &mut self.os_version_weight, weight, value);
            }
            _ => {
                let Some(at) = OS_SOURCES.iter().position(|it| *it == source) else { return };
                return replace(&mut it.os_name, &mut self.os_name_weight, at + 1, value);
            }
        };
        place.get_or_insert_with(|| value.to_owned());
    }
}

fn replace(place: &mut Option<String>, weight: &mut usize, new_weight: usize, value: &str) {
    if new_weight > *weight {
        (*place, *weight) = (Some(value.to_owned()), new_weight);
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
    fn the_fullest_name_of_the_system_wins_wherever_it_stands() {
        fn check(sections: &str, name: &str, version: &str) {
            let it = parse(format!("<REQUEST><CONTENT>{sections}</CONTENT></REQUEST>").as_bytes()).unwrap();
            assert_eq!((it.os_name.as_deref(), it.os_version.as_deref()), (Some(name), Some(version)), "{sections}");
        }
        let hardware = "<HARDWARE><OSNAME>linux</OSNAME><OSVERSION>4</OSVERSION></HARDWARE>";
        let short_last = "<OPERATINGSYSTEM><FULL_NAME>Android 9</FULL_NAME><NAME>Android</NAME><VERSION>9</VERSION></OPERATINGSYSTEM>";
        let short_first = "<OPERATINGSYSTEM><VERSION>9</VERSION><NAME>Android</NAME><FULL_NAME>Android 9</FULL_NAME></OPERATINGSYSTEM>";
        check(hardware, "linux", "4");
        check(&format!("{hardware}{hardware}").replacen("linux", "first", 1), "first", "4");
        check(&format!("{hardware}{short_last}"), "Android 9", "9");
        check(&format!("{short_last}{hardware}"), "Android 9", "9");
        check(&format!("{hardware}{short_first}"), "Android 9", "9");
        check(&short_first.replace("<FULL_NAME>Android 9</FULL_NAME>", "<FULL_NAME/>"), "Android", "9");
    }

    #[test]
    fn names_are_read_however_they_are_encoded() {
        fn check(head: &[u8], name: &[u8], expected: &str) {
            let tail = b"</NAME></HARDWARE></CONTENT></REQUEST>";
            let it = parse(&[head, b"<REQUEST><CONTENT><HARDWARE><NAME>", name, tail].concat()).unwrap();
            assert_eq!(it.name.as_deref(), Some(expected));
            assert!(!it.xml.starts_with('\u{feff}'));
        }
        let utf_8 = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        let latin = b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n";
        check(utf_8, "é".as_bytes(), "é");
        check(latin, b"\xe9", "é");
        check(latin, b"\xc3\xa9", "Ã©"); // what is declared counts
        check(b"", b"\xe9", "é"); // older agents declare nothing
        check(&[b"\xef\xbb\xbf", &utf_8[..]].concat(), "é".as_bytes(), "é");
        check(b"\xef\xbb\xbf", b"x", "x");
        check(utf_8, b"<![CDATA[a<b> & \xc3\xa9]]>", "a<b> & é");
        check(utf_8, b"a<![CDATA[b]]>&amp;&#233;", "ab&é");
        check(b"", b" \n padded ", "padded");
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
