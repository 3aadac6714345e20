//! Keys of authorities at work: certificates for devices, and the lists of those that were revoked. Opens no files of its own.

use std::time::Duration;

use bytes::Bytes;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::{
    Authority, BACKDATED_S, CertsError, hexadecimal,
    identity::{Holder, fingerprint, serial_number},
    internal,
    request::Request,
    subjects, unusable,
};
use crate::clock::Timestamp;

/// Bytes of a serial number. More than 64 random bits, and no more than the 20 bytes that everybody can read.
const SERIAL_NUMBER_BYTES: usize = 16;
/// Longest common name that X.520 allows, in characters.
const COMMON_NAME_CHARS_MAX: usize = 64;
/// How long a revocation list may be believed.
pub const CRL_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// The authority with its key in memory.
pub struct Signer {
    issuer: Issuer<'static, KeyPair>,
    key_id: String,
    name: String,
    not_after: Timestamp,
}

/// The authorities that are trusted.
pub struct Signers {
    /// Those whose keys are here, the one that signs certificates first.
    pub ready: Vec<Signer>,
    /// Former ones that can sign no list.
    pub silent: Vec<Silent>,
}

/// An authority whose key is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// Whom its certificates name as their issuer.
    pub name: String,
    /// Why it cannot sign.
    pub why: String,
}

/// What a certificate is issued under.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Now.
    pub now: Timestamp,
    /// Seconds that it lives; less when the authority ends sooner.
    pub life_s: u32,
    /// Where the revocation list of the authority is, if devices can know.
    pub crl_url: Option<String>,
}

/// A certificate for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate alone.
    pub pem: String,
    /// In hexadecimal digits.
    pub serial_number: String,
    /// SHA-256, in hexadecimal digits.
    pub fingerprint: String,
    /// First moment of its life.
    pub not_before: Timestamp,
    /// Last moment of its life.
    pub not_after: Timestamp,
}

/// A line of the revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// In hexadecimal digits.
    pub serial_number: String,
    /// When.
    pub at: Timestamp,
    /// One of [`REASONS`].
    pub reason: String,
}

/// A signed revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// [`Signer::key_id`] of who signed it.
    pub key_id: String,
    /// As `application/pkix-crl`.
    pub der: Bytes,
    /// The same as text.
    pub pem: Bytes,
    /// When a newer one will be there.
    pub next_update: Timestamp,
}

/// Words for why a certificate was revoked.
#[rustfmt::skip]
pub const REASONS: &[(&str, RevocationReason)] = &[
    ("unspecified",            RevocationReason::Unspecified),
    ("key_compromise",         RevocationReason::KeyCompromise),
    ("ca_compromise",          RevocationReason::CaCompromise),
    ("affiliation_changed",    RevocationReason::AffiliationChanged),
    ("superseded",             RevocationReason::Superseded),
    ("cessation_of_operation", RevocationReason::CessationOfOperation),
    ("privilege_withdrawn",    RevocationReason::PrivilegeWithdrawn),
];

impl Authority {
    /// The authority, ready to sign.
    ///
    /// # Errors
    /// Files that are damaged.
    pub fn signer(&self) -> Result<Signer, CertsError> {
        let (der, issuer) = self.issuer()?;
        Signer::new(&der, issuer)
    }

    /// All authorities that are trusted: each of them alone can say what is revoked of its own.
    ///
    /// # Errors
    /// Files that are damaged, those with keys of former authorities aside.
    pub fn signers(&self) -> Result<Signers, CertsError> {
        let trusted = self.trusted()?;
        let (first, others) =
            trusted.split_first().ok_or_else(|| unusable(&self.certificate_file(), &"it holds no certificate"))?;
        let (mut ready, mut silent) = (vec![Signer::new(first, self.issuer_that_signs(first)?)?], Vec::new());
        for der in others {
            let why = match self.issuer_of(der) {
                Ok(Some(issuer)) => {
                    ready.push(Signer::new(der, issuer)?);
                    continue;
                }
                Ok(None) => "its key is not kept here".to_owned(),
                Err(problem) => problem.0,
            };
            silent
                .extend(subjects(std::slice::from_ref(der))?.into_iter().map(|name| Silent { name, why: why.clone() }));
        }
        Ok(Signers { ready, silent })
    }
}

impl Signer {
    fn new(der: &CertificateDer<'_>, issuer: Issuer<'static, KeyPair>) -> Result<Self, CertsError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(internal)?;
        let not_after = Timestamp(certificate.validity().not_after.timestamp() * 1000);
        Ok(Self { issuer, key_id: key_id(der)?, name: certificate.subject().to_string(), not_after })
    }

    /// The key in hexadecimal digits, as certificates name it that it signs (RFC 5280 §4.2.1.1).
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Whom its certificates name as their issuer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A certificate for a device: our words, its public key.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn issue_client(&self, request: &Request, holder: &Holder, terms: &Terms) -> Result<Issued, CertsError> {
        let not_before = Timestamp(terms.now.0 - BACKDATED_S * 1000);
        // Certificates count in seconds; so does the registry.
        let ends_at = (terms.now.0 + i64::from(terms.life_s) * 1000).min(self.not_after.0).div_euclid(1000) * 1000;
        let not_after = Timestamp(ends_at);
        let number = random_serial_number()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let serial = holder.serial.as_str();
        // The URI binds; the common name is for people and tools.
        let common_name: String = serial.chars().take(COMMON_NAME_CHARS_MAX).collect();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = vec![SanType::URI(holder.uri().try_into().map_err(internal)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&number));
        (params.not_before, params.not_after) = (moment(not_before), moment(not_after));
        params.crl_distribution_points =
            terms.crl_url.iter().map(|url| CrlDistributionPoint { uris: vec![url.clone()] }).collect();
        let certificate = params.signed_by(&request.public_key, &self.issuer).map_err(internal)?;
        Ok(Issued {
            pem: certificate.pem(),
            serial_number: serial_number(&number),
            fingerprint: fingerprint(certificate.der()),
            not_before: Timestamp(not_before.0.div_euclid(1000) * 1000),
            not_after,
        })
    }

    /// The list of revoked certificates. Its number is the time, so it grows without being kept anywhere.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn crl(&self, revoked: &[Revoked], now: Timestamp) -> Result<Crl, CertsError> {
        let next_update = now.after(CRL_LIFE);
        let entry = |it: &Revoked| {
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&bytes(&it.serial_number)?),
                revocation_time: moment(it.at),
                reason_code: REASONS.iter().find(|(word, _)| *word == it.reason).map(|(_, code)| *code),
                invalidity_date: None,
            })
        };
        let list = CertificateRevocationListParams {
            this_update: moment(now),
            next_update: moment(next_update),
            crl_number: SerialNumber::from(now.0.unsigned_abs()),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().filter_map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).map_err(internal)?;
        let pem = list.pem().map_err(internal)?.into();
        Ok(Crl { key_id: self.key_id.clone(), der: list.der().to_vec().into(), pem, next_update })
    }
}

/// The identifier of an authority's key, in hexadecimal digits.
///
/// # Errors
/// It is no certificate.
pub(super) fn key_id(authority: &CertificateDer<'_>) -> Result<String, CertsError> {
    let (_, certificate) = X509Certificate::from_der(authority).map_err(internal)?;
    let said = certificate.extensions().iter().find_map(|it| match it.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(hexadecimal(id.0)),
        _ => None,
    });
    Ok(said.unwrap_or_else(|| fingerprint(certificate.public_key().raw)))
}

fn random_serial_number() -> Result<[u8; SERIAL_NUMBER_BYTES], CertsError> {
    let mut bytes = [0; SERIAL_NUMBER_BYTES];
    getrandom::fill(&mut bytes).map_err(internal)?;
    // Positive, and as long as it looks.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(bytes)
}

fn moment(at: Timestamp) -> time::OffsetDateTime {
    date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(at.0.div_euclid(1000)).unwrap_or(0))
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digits = hexadecimal.as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{CertificateRevocationList, ParsedExtension, parse_x509_pem};

    use super::*;
    use crate::{
        ids::{AgentId, EntityId, Serial},
        pki::{identity::Claim, identity::Reader, request},
    };

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn signer() -> (tempfile::TempDir, Signer) {
        let home = tempfile::tempdir().unwrap();
        let signer = Authority::open(home.path(), NOW).unwrap().signer().unwrap();
        (home, signer)
    }

    fn holder(serial: &str) -> Holder {
        Holder { agent: AgentId(3), entity: EntityId(76), serial: Serial::parse(serial).unwrap() }
    }

    fn terms() -> Terms {
        Terms { now: NOW, life_s: 86_400, crl_url: Some("http://mdm.example/crl".into()) }
    }

    fn asked_by(change: impl FnOnce(&mut CertificateParams)) -> Request {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        change(&mut params);
        request::read(&params.serialize_request(&key).unwrap().pem().unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_certificate_says_what_we_say_and_nothing_that_was_asked_for() {
        let (_home, signer) = signer();
        let request = asked_by(|it| {
            it.distinguished_name.push(DnType::CommonName, "root");
            it.subject_alt_names = vec![SanType::DnsName("mdm.example".try_into().unwrap())];
            it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let issued = signer.issue_client(&request, &holder("AZ ERTY"), &terms()).unwrap();
        let (_, pem) = parse_x509_pem(issued.pem.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=AZ ERTY");
        assert_eq!(certificate.issuer().to_string(), signer.name());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        assert!(certificate.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(!certificate.is_ca());
        let kinds = certificate.extensions().iter().map(|it| it.parsed_extension());
        assert!(kinds.clone().any(|it| matches!(it, ParsedExtension::AuthorityKeyIdentifier(_))));
        assert!(kinds.clone().any(|it| matches!(it, ParsedExtension::CRLDistributionPoints(_))));
        assert!(certificate.raw_serial().len() * 8 >= 64);
        assert_eq!(serial_number(certificate.raw_serial()), issued.serial_number);
        let settings = crate::config::Config::default().mqtt;
        let identity = Reader::new(&settings, Vec::new(), Default::default()).read(&pem.contents.into(), &[]).unwrap();
        assert_eq!(identity.claim, Claim::Ours(holder("AZ ERTY")));
        assert_eq!((identity.fingerprint, identity.serial_number), (issued.fingerprint, issued.serial_number));
        assert_eq!((identity.not_before, identity.not_after), (issued.not_before, issued.not_after));
        assert_eq!(issued.not_after.0, NOW.0 + 86_400_000);
    }

    #[test]
    fn a_certificate_never_outlives_the_authority_and_takes_long_serials() {
        let (_home, signer) = signer();
        let terms = Terms { life_s: u32::MAX, crl_url: None, ..terms() };
        let issued = signer.issue_client(&asked_by(|_| {}), &holder(&"x".repeat(200)), &terms).unwrap();
        assert_eq!(issued.not_after, signer.not_after);
    }

    #[test]
    fn the_revocation_list_names_what_was_revoked_and_can_be_verified() {
        let (home, signer) = signer();
        let revoked = |number: &str, reason: &str| Revoked {
            serial_number: number.into(),
            at: Timestamp(NOW.0 - 5000),
            reason: reason.into(),
        };
        let crl = signer.crl(&[revoked("4a01", "key_compromise"), revoked("4b", "unknown word")], NOW).unwrap();
        let (_, list) = CertificateRevocationList::from_der(&crl.der).unwrap();
        let numbers: Vec<String> = list.iter_revoked_certificates().map(|it| serial_number(it.raw_serial())).collect();
        assert_eq!(numbers, ["4a01", "4b"]);
        assert!(list.next_update().unwrap().timestamp() * 1000 > NOW.0);
        let ca = crate::pki::chain(&home.path().join("certs/ca.pem")).unwrap();
        let (_, ca) = X509Certificate::from_der(&ca[0]).unwrap();
        list.verify_signature(ca.public_key()).unwrap();
        assert!(crl.pem.starts_with(b"-----BEGIN X509 CRL-----"));
        let later = signer.crl(&[], NOW.after(Duration::from_secs(1))).unwrap();
        let (_, later) = CertificateRevocationList::from_der(&later.der).unwrap();
        assert!(later.crl_number() > list.crl_number());
    }
}
