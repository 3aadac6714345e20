//! What an application package says of itself: name, versions, label and icon, read from its archive. Packages come from
//! people who may not have looked inside, so every length is checked against a bound before memory is taken, and every
//! chain of references ends. Published readers were looked at first: they follow references without a bound.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use rawzip::ReaderAt;

mod archive;
mod axml;
mod chunk;
mod resources;
#[cfg(test)]
mod tests;

use archive::Archive;
use axml::{Attribute, Value};
use resources::{Resources, Wish};

/// Bytes of a manifest, inflated.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a resource table, inflated.
pub const RESOURCES_BYTES_MAX: u64 = 32 << 20;
/// Bytes of an icon. A larger one is replaced by [`NO_ICON`].
pub const ICON_BYTES_MAX: u64 = 256 << 10;
/// Bytes of the application inside a UPK, inflated.
pub const INNER_BYTES_MAX: u64 = 1 << 30;
/// Characters of a name, version or label.
pub const TEXT_CHARS_MAX: usize = 255;
/// A transparent PNG of one pixel.
pub const NO_ICON: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// How an application is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An Android package.
    Apk,
    /// An archive with an Android package inside.
    Upk,
}

impl Kind {
    /// By the ending of the file's name. `None`: no package.
    pub fn of(filename: &str) -> Option<Kind> {
        let (_, ending) = filename.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "apk" => Some(Kind::Apk),
            "upk" => Some(Kind::Upk),
            _ => None,
        }
    }
}

/// What stands in a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Such as `org.fdroid.fdroid`.
    pub package_name: String,
    /// For people.
    pub version: String,
    /// For programs.
    pub version_code: String,
    /// What it calls itself; empty where it does not say.
    pub label: String,
    /// PNG, base64.
    pub icon: String,
}

/// Why a package cannot be read, as a sentence for the administrator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No archive at all.
    #[error("this is not a zip archive")]
    NotZip,
    /// More entries than any application has.
    #[error("the archive has more than {} entries", archive::ENTRIES_MAX)]
    TooManyEntries,
    /// An entry that must be there is not.
    #[error("the archive has no {0}")]
    Missing(&'static str),
    /// An entry claims or has more bytes than it may.
    #[error("{0} is larger than it may be")]
    TooLarge(&'static str),
    /// An entry is compressed in an unknown way, encrypted, cut off or altered.
    #[error("{0} cannot be unpacked")]
    Damaged(&'static str),
    /// The manifest is no binary XML, or breaks off.
    #[error("the manifest cannot be understood")]
    Manifest,
    /// The manifest names no package, or one that no device would install.
    #[error("the manifest does not name a package")]
    NoName,
    /// The disk refused.
    #[error("the disk failed: {0}")]
    Disk(String),
}

const MANIFEST: &str = "AndroidManifest.xml";
const RESOURCES: &str = "resources.arsc";

/// Reads an Android package of `size` bytes.
///
/// # Errors
/// What is wrong with it.
pub fn read_apk<R: ReaderAt>(content: R, size: u64) -> Result<Facts, Unreadable> {
    let archive = Archive::open(content, size)?;
    let manifest = archive.read(MANIFEST, MANIFEST, MANIFEST_BYTES_MAX)?.ok_or(Unreadable::Missing(MANIFEST))?;
    let (manifest, application) = axml::manifest(&manifest).ok_or(Unreadable::Manifest)?;
    // Without resources, or with strange ones, the package still has its name and its versions.
    let table = archive.read(RESOURCES, RESOURCES, RESOURCES_BYTES_MAX).ok().flatten().unwrap_or_default();
    let resources = Resources::of(&table);
    let text = |value: Option<&Value>| short(&as_text(value, &resources, Wish::Text).unwrap_or_default());
    let package_name = text(manifest.get(Attribute::Package));
    if !is_package_name(&package_name) {
        return Err(Unreadable::NoName);
    }
    let icon = as_text(application.get(Attribute::Icon), &resources, Wish::Icon)
        .and_then(|path| archive.read(&path, "the icon", ICON_BYTES_MAX).ok().flatten());
    Ok(Facts {
        package_name,
        version: text(manifest.get(Attribute::VersionName)),
        version_code: text(manifest.get(Attribute::VersionCode)),
        label: text(application.get(Attribute::Label)),
        icon: icon.filter(|it| is_png(it)).map_or_else(|| NO_ICON.to_owned(), |it| STANDARD.encode(it)),
    })
}

/// Copies the Android package out of a UPK of `size` bytes; answers how large it is.
///
/// # Errors
/// What is wrong with it.
pub fn unwrap_upk<R: ReaderAt>(content: R, size: u64, into: &mut impl Write) -> Result<u64, Unreadable> {
    Archive::open(content, size)?.copy_first(".apk", "the package inside", INNER_BYTES_MAX, into)
}

/// A value as text, references resolved.
fn as_text(value: Option<&Value>, resources: &Resources, wish: Wish) -> Option<String> {
    match value? {
        Value::Text(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Reference(id) => resources.resolve(*id, wish),
        Value::Other => None,
    }
}

/// Cut to what a row holds, without what would disturb a terminal.
fn short(text: &str) -> String {
    text.trim().chars().filter(|it| !it.is_control()).take(TEXT_CHARS_MAX).collect()
}

/// Devices use it as the name of a file: nothing but what Android itself allows.
fn is_package_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '_' || it == '.')
}

fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n")
}
