//! The built-in certificate authority, and what certificates say. Files under `data_dir/certs`, nothing else: no sockets, no
//! database, no TLS.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Error};
use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    config::Config,
    datadir::{make_private_directory, write_private},
};

pub mod foreign;
pub mod identity;
pub mod issue;
pub mod path;
pub mod request;
pub mod rotation;

const DAY_S: i64 = 86_400;
/// Life of the authority's own certificate.
const CA_LIFE_S: i64 = 3653 * DAY_S;
/// Life of a server certificate; some clients refuse more than 398 days.
const SERVER_LIFE_S: i64 = 397 * DAY_S;
/// A server certificate that ends sooner than this is issued again at start.
const RENEW_BEFORE_S: i64 = 30 * DAY_S;
/// Certificates are valid from a little earlier, for devices whose clock is late.
const BACKDATED_S: i64 = DAY_S;

/// A certificate or key cannot be used: one sentence for the person who started the program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertsError(pub String);

/// What a certificate says, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it names.
    pub subject: String,
    /// Host names and addresses it is good for.
    pub names: Vec<String>,
    /// First moment of its life.
    pub not_before: Timestamp,
    /// Last moment of its life.
    pub not_after: Timestamp,
}

/// The authority in a data directory.
#[derive(Debug, Clone)]
pub struct Authority {
    directory: PathBuf,
}

impl Authority {
    /// Opens the authority of a data directory; makes its key and certificate at the first call.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn open(data_dir: &Path, now: Timestamp) -> Result<Self, CertsError> {
        let directory = data_dir.join("certs");
        make_private_directory(&directory).map_err(|e| CertsError(e.0))?;
        let authority = Self { directory };
        if !authority.certificate_file().exists() {
            authority.found(now)?;
        }
        Ok(authority)
    }

    /// The authority of a data directory, which must have one.
    ///
    /// # Errors
    /// There is none.
    pub fn existing(data_dir: &Path) -> Result<Self, CertsError> {
        let authority = Self { directory: data_dir.join("certs") };
        if !authority.certificate_file().exists() {
            let place = data_dir.display();
            return Err(CertsError(format!(
                "there is no certificate authority in {place}: is that the data directory?"
            )));
        }
        Ok(authority)
    }

    /// The authority's certificate: what devices and tools have to trust.
    pub fn certificate_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Certificates whose holders are let in: those of this authority, its successor and its predecessors.
    ///
    /// # Errors
    /// A file that is damaged.
    pub fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, CertsError> {
        chain(&self.certificate_file())
    }

    /// The lists of revoked certificates, one after the other; there is none before the server first ran.
    pub fn crl_file(&self) -> PathBuf {
        self.directory.join("crl.pem")
    }

    /// Writes the lists of revoked certificates, as PEM.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_crls(&self, pem: &[u8]) -> Result<(), CertsError> {
        write_private(&self.crl_file(), pem).map_err(|e| CertsError(e.0))
    }

    /// The server's certificate followed by the authority's.
    pub fn server_file(&self) -> PathBuf {
        self.directory.join("server.pem")
    }

    /// The server's private key.
    pub fn server_key_file(&self) -> PathBuf {
        self.directory.join("server-key.pem")
    }

    /// Whether the server's certificate is missing, about to end, or made for other names or by another authority.
    pub fn wants_server_certificate(&self, names: &[String], now: Timestamp) -> bool {
        let Ok(is) = describe(&self.server_file()) else { return true };
        let is_ours = matches!((chain(&self.server_file()), chain(&self.certificate_file())),
            (Ok(server), Ok(ca)) if server.get(1) == ca.first());
        let mut wanted = names.to_vec();
        let mut held = is.names;
        wanted.sort();
        held.sort();
        !is_ours
            || !self.server_key_file().exists()
            || wanted != held
            || now < is.not_before
            || now.0 + RENEW_BEFORE_S * 1000 > is.not_after.0
    }

    /// Issues the server's certificate and key anew. The chain is the server's certificate and then the authority's, because
    /// old Android agents trust the first certificate of the chain they saw (spec/agent-behaviour.md §2.1).
    ///
    /// # Errors
    /// An authority whose files are damaged, files that cannot be written.
    pub fn issue_server(&self, names: &[String], now: Timestamp) -> Result<(), CertsError> {
        let (ca_certificate, ca) = self.issuer()?;
        let mut params = parameters(now, SERVER_LIFE_S);
        params.distinguished_name.push(DnType::CommonName, names.first().map_or("mdmq", String::as_str));
        params.subject_alt_names = names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = Zeroizing::new(KeyPair::generate().map_err(internal)?);
        let certificate = params.signed_by(&*key, &ca).map_err(internal)?;
        write(&self.server_key_file(), &Zeroizing::new(key.serialize_pem()))?;
        write(&self.server_file(), &format!("{}{}", certificate.pem(), rotation::pem_of(&[ca_certificate])))
    }
}

/// Names in the built-in server certificate: this machine's, and those that agents are told.
pub fn server_names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    let told = [hostname(), Some(config.mqtt.public_host.clone()), host_of(&config.http.public_url)];
    for name in told.into_iter().flatten() {
        let name = name.trim_matches(['[', ']']).to_ascii_lowercase();
        if alternative_name(&name).is_ok() && !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The files of the server's certificate chain and key: those that the configuration names, or those of the built-in authority,
/// issued again when they are about to end or the names changed.
///
/// # Errors
/// An authority whose files are damaged, files that cannot be written.
pub fn server_files(config: &Config, data_dir: &Path, now: Timestamp) -> Result<(PathBuf, PathBuf), CertsError> {
    if !config.mqtt.certificate_file.is_empty() {
        return Ok((PathBuf::from(&config.mqtt.certificate_file), PathBuf::from(&config.mqtt.key_file)));
    }
    let authority = Authority::open(data_dir, now)?;
    let names = server_names(config);
    if authority.wants_server_certificate(&names, now) {
        authority.issue_server(&names, now)?;
    }
    Ok((authority.server_file(), authority.server_key_file()))
}

/// The subjects of certificates.
///
/// # Errors
/// One of them is damaged.
pub fn subjects(certificates: &[CertificateDer<'_>]) -> Result<Vec<String>, CertsError> {
    let subject = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der).map(|(_, it)| it.subject().to_string()).map_err(internal)
    };
    certificates.iter().map(subject).collect()
}

/// The life of the first certificate in a PEM text; `None` when there is none.
pub fn life(pem: &str) -> Option<(Timestamp, Timestamp)> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let validity = certificate.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp(time.timestamp() * 1000);
    Some((at(validity.not_before), at(validity.not_after)))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the first certificate of a PEM file says.
///
/// # Errors
/// A file that is missing, unreadable or no certificate.
pub fn describe(file: &Path) -> Result<Certificate, CertsError> {
    let chain = chain(file)?;
    let first = chain.first().ok_or_else(|| unusable(file, &"it holds no certificate"))?;
    describe_der(first).map_err(|e| unusable(file, &e))
}

fn describe_der(certificate: &CertificateDer<'_>) -> Result<Certificate, x509_parser::nom::Err<X509Error>> {
    let (_, parsed) = X509Certificate::from_der(certificate)?;
    let names = parsed
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| extension.value.general_names.iter().filter_map(name_of).collect())
        .unwrap_or_default();
    Ok(Certificate {
        subject: parsed.subject().to_string(),
        names,
        not_before: Timestamp(parsed.validity().not_before.timestamp() * 1000),
        not_after: Timestamp(parsed.validity().not_after.timestamp() * 1000),
    })
}

fn parameters(now: Timestamp, life_s: i64) -> CertificateParams {
    let seconds = |s: i64| Duration::from_secs(u64::try_from(s).unwrap_or(0));
    let epoch = date_time_ymd(1970, 1, 1);
    let now_s = now.0.div_euclid(1000);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = epoch + seconds(now_s - BACKDATED_S);
    params.not_after = epoch + seconds(now_s + life_s - BACKDATED_S);
    params
}

fn alternative_name(name: &str) -> Result<SanType, CertsError> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => {
            let host = name.to_owned().try_into().map_err(|_| CertsError(format!("\"{name}\" is not a host name")))?;
            Ok(SanType::DnsName(host))
        }
    }
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(host) => Some((*host).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|it| IpAddr::from(it).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|it| IpAddr::from(it).to_string()),
        },
        _ => None,
    }
}

/// Asked of the kernel: a sandbox may hide `/proc/sys`.
fn hostname() -> Option<String> {
    rustix::system::uname().nodename().to_str().ok().map(str::to_owned)
}

/// The host of `http://host:port/path`.
fn host_of(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().map(str::to_owned),
        None => authority.split(':').next().map(str::to_owned),
    }
}

/// The certificates of a PEM file, in its order.
///
/// # Errors
/// A file that is missing, unreadable or no PEM.
pub fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertsError> {
    CertificateDer::pem_slice_iter(read(file)?.as_bytes()).collect::<Result<_, _>>().map_err(|e| unusable(file, &e))
}

/// The text of a file, which may hold a key, or a sentence about it.
///
/// # Errors
/// It cannot be read.
pub fn read(file: &Path) -> Result<Zeroizing<String>, CertsError> {
    fs::read_to_string(file).map(Zeroizing::new).map_err(|e| CertsError(format!("cannot read {}: {e}", file.display())))
}

fn write(file: &Path, text: &str) -> Result<(), CertsError> {
    write_private(file, text.as_bytes()).map_err(|e| CertsError(e.0))
}

/// A sentence about a file that cannot be used.
pub fn unusable(file: &Path, why: &dyn std::fmt::Display) -> CertsError {
    CertsError(format!("cannot use {}: {why}", file.display()))
}

/// A sentence about a fault of our own.
pub fn internal(error: impl std::fmt::Display) -> CertsError {
    CertsError(format!("cannot make a certificate: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn the_host_of_a_url_is_found() {
        assert_eq!(host_of("http://mdm.example.org:8080/api").as_deref(), Some("mdm.example.org"));
        assert_eq!(host_of("https://[::1]:8080").as_deref(), Some("::1"));
        assert_eq!(host_of("nothing"), None);
    }

    #[test]
    fn the_name_of_this_machine_is_in_its_certificate() {
        let said = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(hostname().as_deref(), Some(said.trim()));
        assert!(server_names(&Config::default()).contains(&said.trim().to_ascii_lowercase()));
    }

    #[test]
    fn who_only_looks_makes_no_authority() {
        let home = tempfile::tempdir().unwrap();
        let data_dir = home.path().join("wrong");
        assert!(Authority::existing(&data_dir).unwrap_err().0.contains("there is no certificate authority in"));
        assert!(!data_dir.exists());
        Authority::open(&data_dir, NOW).unwrap();
        assert!(Authority::existing(&data_dir).is_ok());
    }

    #[test]
    fn a_server_certificate_is_issued_again_only_when_needed() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::open(home.path(), NOW).unwrap();
        let wanted = names(&["localhost", "127.0.0.1", "::1", "mdm.example.org"]);
        assert!(authority.wants_server_certificate(&wanted, NOW));
        authority.issue_server(&wanted, NOW).unwrap();
        assert_eq!(describe(&authority.server_file()).unwrap().names, wanted);
        assert!(!authority.wants_server_certificate(&wanted, NOW));
        assert!(authority.wants_server_certificate(&wanted[..3], NOW), "other names");
        let almost_over = Timestamp(NOW.0 + (SERVER_LIFE_S - 10 * DAY_S) * 1000);
        assert!(authority.wants_server_certificate(&wanted, almost_over));
    }

    #[test]
    fn the_authority_lives_ten_years_and_is_made_once() {
        let home = tempfile::tempdir().unwrap();
        let first = fs::read(Authority::open(home.path(), NOW).unwrap().certificate_file()).unwrap();
        let again = Authority::open(home.path(), NOW).unwrap();
        assert_eq!(fs::read(again.certificate_file()).unwrap(), first);
        let years = (describe(&again.certificate_file()).unwrap().not_after.0 - NOW.0) / 1000 / DAY_S / 365;
        assert_eq!(years, 10);
    }
}
