//! Whom a client certificate names: the device that we wrote into it, or what the rules for somebody else's authority read from it.
//! Verifies nothing: TLS did, and the registry is asked at CONNECT.

use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::{
    oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATIONAL_UNIT, OID_X509_SERIALNUMBER, Oid},
    prelude::{FromDer, GeneralName, X509Certificate},
};

use super::{
    CertsError,
    path::{self, Anchor, Way},
};
use crate::{
    clock::Timestamp,
    config::{CertificateMapping, Mqtt},
    ids::{AgentId, EntityId, Serial},
};

/// What stands before the agent's number in the URI that our certificates carry.
const URI_PREFIX: &str = "urn:mdmq:agent:";
/// An organizational unit of this form says the entity in certificates of a foreign authority.
const ENTITY_UNIT: &str = "entity:";
/// What a URN cannot carry as it is, and the colon, which separates.
const NOT_IN_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'[')
    .add(b']')
    .add(b'\\')
    .add(b'^')
    .add(b'|')
    .add(b'/')
    .add(b':');

/// The device that one of our certificates is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its enrollment; another enrollment of the same device is another holder.
    pub agent: AgentId,
    /// The entity in its topic.
    pub entity: EntityId,
    /// Its serial.
    pub serial: Serial,
}

impl Holder {
    /// `urn:mdmq:agent:17:entity:76:serial:AZERTY`, the serial percent-encoded.
    pub fn uri(&self) -> String {
        let serial = utf8_percent_encode(self.serial.as_str(), NOT_IN_URI);
        format!("{URI_PREFIX}{}:entity:{}:serial:{serial}", self.agent, self.entity)
    }

    /// Reads [`Holder::uri`] back.
    pub fn parse(uri: &str) -> Option<Holder> {
        let (agent, rest) = uri.strip_prefix(URI_PREFIX)?.split_once(":entity:")?;
        let (entity, serial) = rest.split_once(":serial:")?;
        let serial = percent_decode_str(serial).decode_utf8().ok()?;
        Some(Holder { agent: agent.parse().ok()?, entity: entity.parse().ok()?, serial: Serial::parse(&serial).ok()? })
    }
}

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The built-in authority wrote this; the registry knows it.
    Ours(Holder),
    /// A foreign authority wrote this.
    Foreign {
        /// The serial of the device, or the name of a service account.
        name: String,
        /// The entity of the device, where it says one.
        entity: Option<EntityId>,
    },
    /// Nothing that the rules can read, or several things at once.
    Nobody,
}

/// What is kept of a client's certificate between the handshake and CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint: String,
    /// Its serial number, in hexadecimal digits without leading zeros.
    pub serial_number: String,
    /// Who signed it.
    pub issuer: String,
    /// First moment of its life.
    pub not_before: Timestamp,
    /// Last moment of its life.
    pub not_after: Timestamp,
    /// Whom it names.
    pub claim: Claim,
    /// Who vouches for it, where that was a foreign authority: some of them may be trusted no longer.
    pub way: Way,
}

/// Reads certificates by the rules of the configuration.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Names of the built-in authority, the former ones too.
    ours: Vec<String>,
    has_foreign: bool,
    mapping: CertificateMapping,
    uri_prefix: String,
    anchors: Arc<[Anchor]>,
}

impl Reader {
    /// `ours` are the subjects of the built-in authority, `anchors` all that is trusted.
    pub fn new(settings: &Mqtt, ours: Vec<String>, anchors: Arc<[Anchor]>) -> Self {
        Self {
            ours,
            anchors,
            has_foreign: !settings.client_ca_file.is_empty(),
            mapping: settings.client_certificate_mapping,
            uri_prefix: settings.client_certificate_uri_prefix.clone(),
        }
    }

    /// Reads a certificate that TLS verified, and what was shown along with it.
    ///
    /// # Errors
    /// It is none.
    pub fn read(&self, der: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> Result<ClientIdentity, CertsError> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|problem| CertsError(format!("cannot read a client's certificate: {problem}")))?;
        let issuer = certificate.issuer().to_string();
        // Whoever signs with a key of ours has our name: path building in TLS compares it. A foreign authority that calls itself by our
        // name gains nothing, because the registry does not know its certificates. Who writes our URI means us, whoever signed: a key of
        // ours that was retired is no foreign authority.
        let is_ours = !self.has_foreign || self.ours.contains(&issuer) || has_our_uri(&certificate);
        let claim = if is_ours { own_claim(&certificate) } else { self.foreign_claim(&certificate) };
        let way = if is_ours { None } else { path::way(der, above, &self.anchors) };
        Ok(ClientIdentity {
            fingerprint: fingerprint(der),
            serial_number: serial_number(certificate.raw_serial()),
            issuer,
            not_before: Timestamp(certificate.validity().not_before.timestamp() * 1000),
            not_after: Timestamp(certificate.validity().not_after.timestamp() * 1000),
            claim,
            way: way.unwrap_or_default(),
        })
    }

    fn foreign_claim(&self, certificate: &X509Certificate<'_>) -> Claim {
        let names = match self.mapping {
            CertificateMapping::Cn => attributes(certificate, &OID_X509_COMMON_NAME),
            CertificateMapping::SerialNumber => attributes(certificate, &OID_X509_SERIALNUMBER),
            CertificateMapping::SanDns => alternative_names(certificate, |it| match it {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            }),
            CertificateMapping::SanUri => alternative_names(certificate, |it| match it {
                GeneralName::URI(uri) => uri
                    .strip_prefix(self.uri_prefix.as_str())
                    .and_then(|rest| percent_decode_str(rest).decode_utf8().ok().map(std::borrow::Cow::into_owned)),
                _ => None,
            }),
        };
        let units = attributes(certificate, &OID_X509_ORGANIZATIONAL_UNIT);
        let entities: Vec<&str> = units.iter().filter_map(|it| it.strip_prefix(ENTITY_UNIT)).collect();
        let entity = match entities[..] {
            [] => Ok(None),
            [one] => one.trim().parse().map(Some).map_err(drop),
            _ => Err(()),
        };
        // Two names would let a certificate choose whom it speaks for.
        match (<[String; 1]>::try_from(names), entity) {
            (Ok([name]), Ok(entity)) if !name.is_empty() => Claim::Foreign { name, entity },
            _ => Claim::Nobody,
        }
    }
}

fn has_our_uri(certificate: &X509Certificate<'_>) -> bool {
    let ours = |it: &GeneralName<'_>| {
        matches!(it, GeneralName::URI(uri) if uri.starts_with(URI_PREFIX)).then_some(String::new())
    };
    !alternative_names(certificate, ours).is_empty()
}

fn own_claim(certificate: &X509Certificate<'_>) -> Claim {
    let holders = alternative_names(certificate, |it| match it {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    match &holders[..] {
        [uri] => Holder::parse(uri).map_or(Claim::Nobody, Claim::Ours),
        _ => Claim::Nobody,
    }
}

fn attributes(certificate: &X509Certificate<'_>, oid: &Oid<'_>) -> Vec<String> {
    certificate.subject().iter_by_oid(oid).map(|it| it.as_str().unwrap_or_default().to_owned()).collect()
}

fn alternative_names(
    certificate: &X509Certificate<'_>,
    pick: impl Fn(&GeneralName<'_>) -> Option<String>,
) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.map(|it| it.value.general_names.iter().filter_map(pick).collect()).unwrap_or_default()
}

/// SHA-256 in hexadecimal digits.
pub(super) fn fingerprint(der: &[u8]) -> String {
    super::hexadecimal(Sha256::digest(der).as_slice())
}

/// A serial number in hexadecimal digits without leading zeros.
pub(super) fn serial_number(bytes: &[u8]) -> String {
    let significant = bytes.iter().position(|it| *it != 0).map_or(&[][..], |at| &bytes[at..]);
    super::hexadecimal(significant)
}

/// What a person typed as the serial number of a certificate, in the form that is stored: openssl prints capitals and colons.
pub fn typed_serial_number(text: &str) -> Option<String> {
    let digits: String = text.trim().chars().filter(|it| *it != ':').collect::<String>().to_ascii_lowercase();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits).trim_start_matches('0');
    let is_number = !digits.is_empty() && digits.len() <= 40 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    let padding = if digits.len().is_multiple_of(2) { "" } else { "0" };
    is_number.then(|| format!("{padding}{digits}"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;
    use crate::config::Config;

    fn holder(serial: &str) -> Holder {
        Holder { agent: AgentId(17), entity: EntityId(76), serial: Serial::parse(serial).unwrap() }
    }

    #[test]
    fn every_serial_survives_the_uri() {
        assert_eq!(holder("AZERTY").uri(), "urn:mdmq:agent:17:entity:76:serial:AZERTY");
        assert_eq!(holder("a b:c").uri(), "urn:mdmq:agent:17:entity:76:serial:a%20b%3Ac");
        for serial in ["AZERTY", "a b", "é%20", ":serial:", "[x]", "100%"] {
            assert_eq!(Holder::parse(&holder(serial).uri()), Some(holder(serial)), "{serial}");
            assert!(holder(serial).uri().is_ascii());
        }
    }

    #[test]
    fn other_uris_name_nobody() {
        for uri in [
            "",
            "urn:mdmq:agent:x:entity:1:serial:A",
            "urn:mdmq:agent:1:entity:1",
            "urn:mdmq:agent:1:entity:1:serial:",
            "urn:mdmq:agent:1:entity:1:serial:a%2Fb",
            "urn:mdmq:agent:1:entity:1:serial:%FF",
        ] {
            assert_eq!(Holder::parse(uri), None, "{uri}");
        }
    }

    #[test]
    fn serial_numbers_are_found_as_openssl_prints_them() {
        assert_eq!(typed_serial_number("0A:BC:01").as_deref(), Some("0abc01"));
        assert_eq!(typed_serial_number("ABC01").as_deref(), Some("0abc01"));
        assert_eq!(typed_serial_number("0x00ff").as_deref(), Some("ff"));
        assert_eq!(typed_serial_number("AZERTY"), None);
        assert_eq!(typed_serial_number(""), None);
        assert_eq!(serial_number(&[0, 0x0a, 0xbc]), "0abc");
    }

    type Subject = &'static [(DnType, &'static str)];

    fn read(mapping: CertificateMapping, subject: Subject, names: Vec<SanType>) -> Claim {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        subject.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), *value));
        params.subject_alt_names = names;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let mut settings = Config::default().mqtt;
        settings.client_ca_file = "ca.pem".into();
        settings.client_certificate_mapping = mapping;
        let reader = Reader::new(&settings, vec!["CN=mdmq private authority".into()], Arc::default());
        reader.read(certificate.der(), &[]).unwrap().claim
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    fn named(name: &str, entity: Option<i64>) -> Claim {
        Claim::Foreign { name: name.into(), entity: entity.map(EntityId) }
    }

    #[test]
    #[rustfmt::skip]
    fn the_rules_for_a_foreign_authority() {
        use CertificateMapping::{Cn, SanDns, SanUri, SerialNumber};
        let serial_number = || DnType::from_oid(&[2, 5, 4, 5]);
        assert_eq!(read(Cn, &[(DnType::CommonName, "A1")], vec![]), named("A1", None));
        assert_eq!(read(Cn, &[(DnType::CommonName, "A1"), (DnType::OrganizationalUnitName, "entity:76")], vec![]), named("A1", Some(76)));
        assert_eq!(read(Cn, &[(DnType::CommonName, "A1"), (DnType::OrganizationalUnitName, "sales")], vec![]), named("A1", None));
        assert_eq!(read(Cn, &[(DnType::CommonName, "A1"), (DnType::OrganizationalUnitName, "entity:x")], vec![]), Claim::Nobody);
        assert_eq!(read(Cn, &[], vec![dns("a1")]), Claim::Nobody);
        assert_eq!(read(SanDns, &[(DnType::CommonName, "A1")], vec![dns("b2")]), named("b2", None));
        assert_eq!(read(SanDns, &[], vec![dns("b2"), dns("b3")]), Claim::Nobody, "two names");
        assert_eq!(read(SanUri, &[], vec![uri("urn:device:c%203"), uri("https://else")]), named("c 3", None));
        assert_eq!(read(SanUri, &[], vec![uri("https://else")]), Claim::Nobody);
        assert_eq!(read(SerialNumber, &[(DnType::CommonName, "x")], vec![]), Claim::Nobody);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(serial_number(), "D4");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let mut settings = Config::default().mqtt;
        settings.client_ca_file = "ca.pem".into();
        settings.client_certificate_mapping = SerialNumber;
        let reader = Reader::new(&settings, vec![], Arc::default());
        assert_eq!(reader.read(certificate.der(), &[]).unwrap().claim, named("D4", None));
    }

    #[test]
    fn whoever_writes_our_uri_is_asked_for_a_row_in_our_registry() {
        let ours = holder("AZERTY");
        let claim = |names| read(CertificateMapping::Cn, &[(DnType::CommonName, "A1")], names);
        assert_eq!(claim(vec![uri(&ours.uri())]), Claim::Ours(ours.clone()));
        assert_eq!(claim(vec![uri(&ours.uri()), uri("urn:device:A1")]), Claim::Nobody, "two names");
        assert_eq!(claim(vec![uri("urn:mdmq:agent:nonsense")]), Claim::Nobody);
        assert_eq!(claim(vec![uri("urn:else")]), named("A1", None));
    }
}
