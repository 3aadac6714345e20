//! The link in an invitation (spec/deeplink.md): written in the one spelling that every shipped agent reads, read in all that ever existed.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD_NO_PAD},
};

/// Where the link leads when the configuration names no page.
pub const PREFIX_DEFAULT: &str = "flyve://register";
/// Longest link or payload that we read, in bytes.
pub const DEEPLINK_BYTES_MAX: usize = 16 * 1024;

/// Padding or none, and leftover bits as old encoders wrote them.
const TOLERANT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const TOLERANT_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, TOLERANT);

/// What an invited person's device must know.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Deeplink {
    /// Base of the agents' API, without a slash at the end.
    pub url: String,
    /// The person's API token.
    pub user_token: String,
    /// The right to enroll once.
    pub invitation_token: String,
    /// Help desk: name.
    pub support_name: String,
    /// Help desk: phone.
    pub support_phone: String,
    /// Help desk: web site.
    pub support_website: String,
    /// Help desk: e-mail.
    pub support_email: String,
}

impl std::fmt::Debug for Deeplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deeplink").field("url", &self.url).field("tokens", &format_args!("***")).finish_non_exhaustive()
    }
}

impl Deeplink {
    /// The link: `<prefix>?data=<base64>`. An empty prefix is [`PREFIX_DEFAULT`].
    pub fn encode(&self, prefix: &str) -> String {
        let prefix = if prefix.is_empty() { PREFIX_DEFAULT } else { prefix };
        let separator = if prefix.contains('?') { '&' } else { '?' };
        let data = self.payload().replace('+', "%2B").replace('/', "%2F");
        format!("{prefix}{separator}data={data}")
    }

    /// Seven fields in base64 without padding. iOS appends one `=` before it decodes strictly, so the text is brought to a
    /// length that needs exactly one, with spaces after the help desk's name (spec/deeplink.md §6 rule 5).
    pub fn payload(&self) -> String {
        let mut padded = self.clone();
        padded.support_name = plain(&self.support_name);
        while padded.joined().len() % 3 != 2 {
            padded.support_name.push(' ');
        }
        STANDARD_NO_PAD.encode(padded.joined())
    }

    /// The separator on the wire is a backslash and a semicolon; all seven fields, because iOS indexes them unchecked.
    fn joined(&self) -> String {
        [
            without_slash(&self.url).as_str(),
            &self.user_token,
            &self.invitation_token,
            &self.support_name,
            &plain(&self.support_phone),
            &plain(&self.support_website),
            &plain(&self.support_email),
        ]
        .join("\\;")
    }

    /// Reads a link or its payload in any form that a Flyve server ever wrote (spec/deeplink.md §2, §6.3).
    /// `None`: not a deeplink.
    pub fn parse(text: &str) -> Option<Deeplink> {
        let text = text.trim();
        if text.is_empty() || text.len() > DEEPLINK_BYTES_MAX {
            return None;
        }
        if text.starts_with('{') {
            return Self::from_json(text);
        }
        let data = match text.split_once("?data=").or_else(|| text.split_once("&data=")) {
            Some((_, data)) => percent_decoded(data.split(['&', '#']).next().unwrap_or_default()),
            // Base64 may hold slashes, so the whole text is tried before its last path segment.
            None if base64_decoded(text).is_some_and(|it| Self::from_text(&it).is_some()) => text.to_owned(),
            None => text.split_once("://").map_or(text, |(_, rest)| rest).split_once('/')?.1.to_owned(),
        };
        base64_decoded(&data)
            .or_else(|| data.rsplit('/').next().and_then(base64_decoded))
            .and_then(|it| Self::from_text(&it))
            .or_else(|| Self::from_text(&data))
    }

    fn from_text(text: &str) -> Option<Deeplink> {
        if text.starts_with('{') {
            return Self::from_json(text);
        }
        let separator = if text.contains("\\;") { "\\;" } else { ";" };
        let mut fields = text.split(separator).map(|it| it.replace("\\\\", "\\"));
        let (url, user_token, invitation_token) = (fields.next()?, fields.next()?, fields.next()?);
        let mut support = || fields.next().unwrap_or_default().trim_end().to_owned();
        let link = Deeplink {
            url: without_slash(&url),
            user_token,
            invitation_token,
            support_name: support(),
            support_phone: support(),
            support_website: support(),
            support_email: support(),
        };
        link.is_usable().then_some(link)
    }

    fn from_json(text: &str) -> Option<Deeplink> {
        let object: serde_json::Value = serde_json::from_str(text).ok()?;
        let field = |name: &str| object.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let link = Deeplink {
            url: without_slash(&field("url")),
            user_token: field("user_token"),
            invitation_token: field("invitation_token"),
            support_name: field("support_name"),
            support_phone: field("support_phone"),
            support_website: field("support_website"),
            support_email: field("support_email"),
        };
        link.is_usable().then_some(link)
    }

    /// No part that we need holds a backslash: it would be a piece of a separator, or be written as two.
    fn is_usable(&self) -> bool {
        let parts = [&self.url, &self.user_token, &self.invitation_token];
        self.url.contains("://") && parts.iter().all(|it| !it.is_empty() && !it.contains('\\'))
    }
}

/// A field that cannot be taken for a separator.
fn plain(field: &str) -> String {
    let replaced = field.replace(';', ",").replace('\\', "/");
    replaced.chars().filter(|it| !it.is_control()).collect()
}

fn without_slash(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// Standard or URL-safe letters, with or without padding; a `+` that became a space on the way is one again.
fn base64_decoded(data: &str) -> Option<String> {
    let letters = data.replace('-', "+").replace('_', "/").replace(' ', "+");
    let bytes = TOLERANT_STANDARD.decode(letters).ok()?;
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(e) => Some(e.into_bytes().into_iter().map(char::from).collect()),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%');
        match escaped.and_then(|it| std::str::from_utf8(it).ok()).and_then(|it| u8::from_str_radix(it, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "http://api.domain.com/aHR0cDovL2FwaS5kb21haW4uY29tLzs0NWVyamJ1ZGtscTU4NjVzZGtqaGprcztsa2hqZmtnc2RmNTQ2NjM0cztjb21wYW55J3MgaGVscGRlc2s7MDMzMTIzNDU2Nzg5O2h0dHBzOi8vc3VwcG9ydC5jb21wYW55LmNvbTtzdXBwb3J0QGNvbXBhbnkuY29t";
    const REAL: &str = "aHR0cDovL2FwaS5kb21haW4uY29tXDs0NWVyamJ1ZGtscTU4NjVzZGtqaGprc1w7bGtoamZrZ3NkZjU0NjYzNHNcO2NvbXBhbnkncyBoZWxwZGVza1w7MDMzMTIzNDU2Nzg5XDtodHRwczovL3N1cHBvcnQuY29tcGFueS5jb21cO3N1cHBvcnRAY29tcGFueS5jb20=";
    const EMPTY_SUPPORT: &str = "aHR0cHM6Ly9tZG0uZXhhbXBsZS5vcmcvZ2xwaS9hcGlyZXN0LnBocFw7cThyR1JrQmZGbHBNS1g2UnBBZlBObnZWWWJQOVdjRXROQnowTHhMZFw7NmYxZWQwMDJhYjU1OTU4NTkwMTRlYmYwOTUxNTIyZDljMGQxZTJmM2E0YjVjNmQ3ZThmOTBhMWIyYzNkNGU1Zlw7XDtcO1w7";

    fn company() -> Deeplink {
        Deeplink {
            url: "http://api.domain.com".into(),
            user_token: "45erjbudklq5865sdkjhjks".into(),
            invitation_token: "lkhjfkgsdf546634s".into(),
            support_name: "company's helpdesk".into(),
            support_phone: "033123456789".into(),
            support_website: "https://support.company.com".into(),
            support_email: "support@company.com".into(),
        }
    }

    fn bare() -> Deeplink {
        Deeplink {
            url: "https://mdm.example.org/glpi/apirest.php".into(),
            user_token: "q8rGRkBfFlpMKX6RpAfPNnvVYbP9WcEtNBz0LxLd".into(),
            invitation_token: "6f1ed002ab5595859014ebf0951522d9c0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f".into(),
            ..Deeplink::default()
        }
    }

    #[test]
    fn every_form_that_ever_existed_is_read() {
        let json = r#"{"url":"http://api.domain.com/","user_token":"45erjbudklq5865sdkjhjks","invitation_token":"lkhjfkgsdf546634s","support_name":"company's helpdesk","support_phone":"033123456789","support_website":"https://support.company.com","support_email":"support@company.com"}"#;
        let csv = "http://api.domain.com;45erjbudklq5865sdkjhjks;lkhjfkgsdf546634s;company's helpdesk;033123456789;https://support.company.com;support@company.com";
        let check = |text: &str| assert_eq!(Deeplink::parse(text), Some(company()), "{text}");
        check(SEED);
        check(REAL);
        check(REAL.trim_end_matches('='));
        check(&format!("flyve://register?data={REAL}"));
        check(&format!("http://flyve.org/deeplink/?data={}", REAL.replace('=', "%3D")));
        check(&format!("http://api.domain.com/deeplink/?lang=en&data={REAL}&more=1"));
        check(json);
        check(&format!("flyve://register?data={}", STANDARD_NO_PAD.encode(json)));
        check(&format!("flyve://register?data={csv}"));
        check(&format!("flyve://register?data={}", csv.replacen("com;", "com//;", 1)));
        assert_eq!(Deeplink::parse(EMPTY_SUPPORT), Some(bare()));
    }

    #[test]
    fn what_is_written_is_the_real_form() {
        assert_eq!(company().payload(), REAL.trim_end_matches('='));
        assert!(EMPTY_SUPPORT.starts_with(&bare().payload()[..190]));
        assert_eq!(company().encode(""), format!("flyve://register?data={}", REAL.trim_end_matches('=')));
        assert!(company().encode("https://h/deeplink/").starts_with("https://h/deeplink/?data="));
    }

    #[test]
    fn written_links_are_read_back_and_suit_ios() {
        for name in ["", "a", "ab", "abc", "Büro", "a;b\\c\n"] {
            let link = Deeplink { support_name: name.into(), ..bare() };
            assert_eq!(link.payload().len() % 4, 3, "exactly one = is missing: {name}");
            let read = Deeplink::parse(&link.encode("")).unwrap();
            assert_eq!(read, Deeplink { support_name: plain(name), ..bare() });
        }
    }

    #[test]
    fn what_is_no_deeplink_is_none() {
        for text in [
            "",
            "hello",
            "http://x/",
            "flyve://register?data=",
            "flyve://register?data=%%%",
            "{",
            "{}",
            "[1]",
            ";;;",
            r"flyve://register?data=http://a\\b;t;i",
            r"flyve://register?data=http://a;\t;i",
        ] {
            assert_eq!(Deeplink::parse(text), None, "{text}");
        }
        assert_eq!(Deeplink::parse(&"a".repeat(DEEPLINK_BYTES_MAX + 1)), None);
    }
}
