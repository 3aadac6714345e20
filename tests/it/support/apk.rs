//! Small Android packages, made byte by byte: manifest and resource table as Android's own tools lay them out, in a zip.

use std::io::Write;

/// A PNG of two by two pixels.
pub const ICON: &[u8] =
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x02\x00\x00\x00\x02\x08\x02\x00\x00\x00\xfd\xd4\x9as";

/// What an attribute or a resource holds.
#[derive(Debug, Clone)]
pub enum Held {
    Text(&'static str),
    Number(u32),
    Reference(u32),
}

/// An application with a label and an icon in its resource table.
pub fn apk(package: &str, version: &str, version_code: u32) -> Vec<u8> {
    let table = resources(&[
        (0x7f01_0000, Config::default(), Held::Text("Probe")),
        (0x7f01_0000, Config { language: *b"fr", ..Config::default() }, Held::Text("Sonde")),
        (0x7f02_0000, Config { density: 160, ..Config::default() }, Held::Text("res/mipmap-mdpi/icon.png")),
        (0x7f02_0000, Config { density: 480, ..Config::default() }, Held::Text("res/mipmap-xxhdpi/icon.png")),
        (0x7f02_0000, Config { density: 0xfffe, ..Config::default() }, Held::Text("res/mipmap-anydpi/icon.xml")),
    ]);
    let manifest = manifest(
        package,
        version,
        version_code,
        &[("label", Held::Reference(0x7f01_0000)), ("icon", Held::Reference(0x7f02_0000))],
    );
    zip(&[
        ("AndroidManifest.xml", &manifest),
        ("resources.arsc", &table),
        ("res/mipmap-mdpi/icon.png", b"small"),
        ("res/mipmap-xxhdpi/icon.png", ICON),
        ("classes.dex", &[0; 5000]),
    ])
}

/// A zip with these entries, compressed.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut output = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut output);
    for (name, content) in entries {
        let file = archive.new_file(*name).compression_method(rawzip::CompressionMethod::DEFLATE);
        let (mut entry, config) = file.start().unwrap();
        let mut writer = config.wrap(flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::fast()));
        writer.write_all(content).unwrap();
        let (encoder, descriptor) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    output
}

/// A binary manifest; the attributes are those of `<application>`: `label` or `icon`.
pub fn manifest(package: &str, version: &str, version_code: u32, application: &[(&str, Held)]) -> Vec<u8> {
    // The names of attributes come first, in the order of the resource map.
    let names = ["versionCode", "versionName", "label", "icon"];
    let ids = [0x0101_021b_u32, 0x0101_021c, 0x0101_0001, 0x0101_0002];
    let mut strings: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
    strings.extend(["package", "manifest", "application", "uses-sdk", package, version].map(str::to_owned));
    let held: Vec<(u32, Held)> = application
        .iter()
        .map(|(name, held)| (names.iter().position(|it| it == name).unwrap() as u32, held.clone()))
        .collect();
    strings.extend(held.iter().filter_map(|(_, held)| match held {
        Held::Text(text) => Some((*text).to_owned()),
        _ => None,
    }));
    let number_of = |text: &str| strings.iter().position(|it| it == text).unwrap() as u32;
    let typed = |held: &Held| match held {
        Held::Text(text) => (3, number_of(text)),
        Held::Number(number) => (0x10, *number),
        Held::Reference(id) => (1, *id),
    };
    let own = [(0, (0x10, version_code)), (1, (3, number_of(version))), (4, (3, number_of(package)))];
    let attributes: Vec<(u32, (u8, u32))> = held.iter().map(|(name, held)| (*name, typed(held))).collect();
    let map: Vec<u8> = ids.iter().flat_map(|it| it.to_le_bytes()).collect();
    let body = [
        string_pool(&strings, false),
        chunk(0x0180, &[], &map),
        start(number_of("manifest"), &own),
        start(number_of("uses-sdk"), &[]),
        end(number_of("uses-sdk")),
        start(number_of("application"), &attributes),
        end(number_of("application")),
        end(number_of("manifest")),
    ]
    .concat();
    chunk(0x0003, &[], &body)
}

fn start(name: u32, attributes: &[(u32, (u8, u32))]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(u32::MAX.to_le_bytes());
    body.extend(name.to_le_bytes());
    for number in [20, 20, attributes.len() as u16, 0, 0, 0] {
        body.extend(number.to_le_bytes());
    }
    for (name, (kind, datum)) in attributes {
        body.extend(u32::MAX.to_le_bytes());
        body.extend(name.to_le_bytes());
        body.extend(u32::MAX.to_le_bytes());
        body.extend(value(*kind, *datum));
    }
    chunk(0x0102, &[0; 8], &body)
}

fn end(name: u32) -> Vec<u8> {
    chunk(0x0103, &[0; 8], &[u32::MAX.to_le_bytes(), name.to_le_bytes()].concat())
}

fn value(kind: u8, datum: u32) -> Vec<u8> {
    [&[8, 0, 0, kind][..], &datum.to_le_bytes()].concat()
}

/// For which devices a value is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Config {
    pub language: [u8; 2],
    pub density: u16,
}

/// A resource table. Each value gets a piece of its own, as large as its number demands.
pub fn resources(values: &[(u32, Config, Held)]) -> Vec<u8> {
    let strings: Vec<String> = values
        .iter()
        .filter_map(|(_, _, held)| match held {
            Held::Text(text) => Some((*text).to_owned()),
            _ => None,
        })
        .collect();
    let number_of = |text: &str| strings.iter().position(|it| it == text).unwrap() as u32;
    let mut package =
        [string_pool(&["string".into(), "mipmap".into()], true), string_pool(&["name".into()], true)].concat();
    for (id, config, held) in values {
        let typed = match held {
            Held::Text(text) => value(3, number_of(text)),
            Held::Number(number) => value(0x10, *number),
            Held::Reference(id) => value(1, *id),
        };
        package.extend(type_chunk((id >> 16) as u8, (id & 0xffff) as u16, *config, &typed));
    }
    let mut header = 0x7f_u32.to_le_bytes().to_vec();
    header.resize(4 + 256 + 20, 0);
    let body = [string_pool(&strings, true), chunk(0x0200, &header, &package)].concat();
    chunk(0x0002, &1_u32.to_le_bytes(), &body)
}

fn type_chunk(kind: u8, entry: u16, config: Config, value: &[u8]) -> Vec<u8> {
    let count = u32::from(entry) + 1;
    let mut header = vec![kind, 0, 0, 0];
    header.extend(count.to_le_bytes());
    header.extend((8 + 12 + 64 + count * 4).to_le_bytes());
    header.extend(64_u32.to_le_bytes());
    header.extend([0; 4]);
    header.extend(config.language);
    header.extend([0; 4]);
    header.extend(config.density.to_le_bytes());
    header.resize(12 + 64, 0);
    let mut body = vec![0xff; (count as usize - 1) * 4];
    body.extend(0_u32.to_le_bytes());
    body.extend([8, 0, 0, 0, 0, 0, 0, 0]);
    body.extend(value);
    chunk(0x0201, &header, &body)
}

/// A pool of strings, in UTF-8 or UTF-16.
pub fn string_pool(strings: &[String], is_utf8: bool) -> Vec<u8> {
    let (mut offsets, mut data) = (Vec::new(), Vec::new());
    for string in strings {
        offsets.extend((data.len() as u32).to_le_bytes());
        if is_utf8 {
            data.extend(utf8_length(string.encode_utf16().count()));
            data.extend(utf8_length(string.len()));
            data.extend(string.as_bytes());
            data.push(0);
        } else {
            data.extend((string.encode_utf16().count() as u16).to_le_bytes());
            data.extend(string.encode_utf16().flat_map(u16::to_le_bytes));
            data.extend([0, 0]);
        }
    }
    data.resize(data.len().next_multiple_of(4), 0);
    let mut header = Vec::new();
    let flags: u32 = if is_utf8 { 0x100 } else { 0 };
    for number in [strings.len() as u32, 0, flags, 28 + offsets.len() as u32, 0] {
        header.extend(number.to_le_bytes());
    }
    chunk(0x0001, &header, &[offsets, data].concat())
}

fn utf8_length(length: usize) -> Vec<u8> {
    if length < 0x80 { vec![length as u8] } else { vec![(length >> 8) as u8 | 0x80, length as u8] }
}

/// Type, lengths, the rest of the header, body.
pub fn chunk(kind: u16, header: &[u8], body: &[u8]) -> Vec<u8> {
    let length = 8 + header.len();
    let mut chunk = kind.to_le_bytes().to_vec();
    chunk.extend((length as u16).to_le_bytes());
    chunk.extend(((length + body.len()) as u32).to_le_bytes());
    chunk.extend(header);
    chunk.extend(body);
    chunk
}
