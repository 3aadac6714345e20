//! Devices with certificates, and authorities that sign what no good one would.

use std::{fs, io, path::PathBuf, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, HandshakeKind, RootCertStore},
};

use super::{
    Phone, Server,
    enrollment::{self, Profile},
    phone::Link,
    wire::Connect,
};

/// A certificate chain and its key, as a client shows it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub pem: String,
    pub key_pem: String,
}

/// A key that a device made.
pub struct DeviceKey(pub KeyPair);

impl DeviceKey {
    pub fn new() -> DeviceKey {
        DeviceKey(KeyPair::generate().unwrap())
    }

    /// The request that it sends.
    pub fn csr(&self) -> String {
        CertificateParams::default().serialize_request(&self.0).unwrap().pem().unwrap()
    }

    /// The key with the certificate that came back.
    pub fn with(&self, certificate: &str) -> Shown {
        Shown { pem: certificate.to_owned(), key_pem: self.0.serialize_pem() }
    }
}

/// Enrolls a device that asks for a certificate.
pub async fn enrolled(server: &Server, serial: &str) -> (Phone, Shown) {
    let key = DeviceKey::new();
    let phone = enrollment::enroll(server, serial, &Profile { csr: key.csr(), ..Profile::android() }).await;
    let certificate = phone.settings["certificate"].as_str().unwrap();
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"), "{certificate}");
    let shown = key.with(certificate);
    (phone, shown)
}

/// The number of the first certificate, as the registry writes it.
pub fn number_of(pem: &str) -> String {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let raw = pem.parse_x509().unwrap().raw_serial_as_string().replace(':', "");
    raw.trim_start_matches("00").to_owned()
}

impl Shown {
    /// The number of the certificate, as the registry writes it.
    pub fn number(&self) -> String {
        number_of(&self.pem)
    }

    /// Certificate and key as files of the server's data directory.
    pub fn files(&self, server: &Server, name: &str) -> (PathBuf, PathBuf) {
        let path = |end: &str| server.data_dir().join(format!("{name}-{end}.pem"));
        fs::write(path("cert"), &self.pem).unwrap();
        fs::write(path("key"), &self.key_pem).unwrap();
        (path("cert"), path("key"))
    }
}

/// An authority that signs whatever a test wants.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, and those above it.
    pub pem: String,
}

impl Ca {
    /// One that nobody trusts unless told.
    pub fn new(name: &str) -> Ca {
        Ca::with(name, IsCa::Ca(BasicConstraints::Unconstrained))
    }

    /// One that may have so many authorities below it.
    pub fn limited(name: &str, below: u8) -> Ca {
        Ca::with(name, IsCa::Ca(BasicConstraints::Constrained(below)))
    }

    fn with(name: &str, is_ca: IsCa) -> Ca {
        let key = KeyPair::generate().unwrap();
        let params = authority(name, is_ca);
        let pem = params.self_signed(&key).unwrap().pem();
        Ca { issuer: Issuer::new(params, key), pem }
    }

    /// The server's own, with its stolen key.
    pub fn of(server: &Server) -> Ca {
        let read = |name: &str| fs::read_to_string(server.data_dir().join("certs").join(name)).unwrap();
        let (pem, key) = (read("ca.pem"), KeyPair::from_pem(&read("ca-key.pem")).unwrap());
        Ca { issuer: Issuer::from_ca_cert_pem(&pem, key).unwrap(), pem }
    }

    /// Its key.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// An authority below this one.
    pub fn below(&self, name: &str) -> Ca {
        let key = KeyPair::generate().unwrap();
        let params = authority(name, IsCa::Ca(BasicConstraints::Unconstrained));
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Ca { issuer: Issuer::new(params, key), pem: format!("{pem}{}", self.pem) }
    }

    /// A client certificate with this common name, changed as the test wants.
    pub fn signs(&self, common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Shown { pem: format!("{pem}{}", self.pem), key_pem: key.serialize_pem() }
    }

    /// A revocation list with these numbers.
    pub fn crl(&self, number: u64, revoked: &[&str]) -> String {
        let entry = |digits: &&str| {
            let pairs = digits.as_bytes().chunks(2).map(|it| std::str::from_utf8(it).unwrap());
            let bytes: Vec<u8> = pairs.map(|it| u8::from_str_radix(it, 16).unwrap()).collect();
            RevokedCertParams {
                serial_number: SerialNumber::from(bytes),
                revocation_time: date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2046, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn authority(name: &str, is_ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A TLS client that keeps its tickets, with or without a certificate.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

/// What became of a connection.
pub enum Tried {
    /// TLS refused it: with TLS 1.3 the client hears of that after its side of the handshake.
    NoHandshake(io::Error),
    /// MQTT answered with this code.
    Answered(Link, u8, HandshakeKind),
}

impl Tried {
    /// The return code; -1 where there was no handshake.
    pub fn code(&self) -> i32 {
        match self {
            Tried::NoHandshake(_) => -1,
            Tried::Answered(_, code, _) => i32::from(*code),
        }
    }

    /// The conversation, which must have been let in.
    pub fn link(self) -> Link {
        match self {
            Tried::Answered(link, 0, _) => link,
            Tried::Answered(_, code, _) => panic!("refused with {code}"),
            Tried::NoHandshake(e) => panic!("no handshake: {e}"),
        }
    }
}

impl Client {
    pub fn new(server: &Server, shown: Option<&Shown>) -> Client {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(server.ca_file()).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        Client(Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(it) => {
                let chain: Vec<_> =
                    CertificateDer::pem_slice_iter(it.pem.as_bytes()).collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(it.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }))
    }

    /// Connects and says this.
    pub async fn says(&self, server: &Server, connect: &Connect) -> Tried {
        let tcp = TcpStream::connect(("127.0.0.1", server.ports.mqtt_tls)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream: TlsStream<TcpStream> = match TlsConnector::from(self.0.clone()).connect(name, tcp).await {
            Ok(stream) => stream,
            Err(e) => return Tried::NoHandshake(e),
        };
        let kind = stream.get_ref().1.handshake_kind().unwrap();
        match Link::over(stream, connect).await {
            Ok((link, code)) => Tried::Answered(link, code, kind),
            Err(e) => Tried::NoHandshake(e),
        }
    }

    /// Connects with neither user name nor password.
    pub async fn comes(&self, server: &Server) -> Tried {
        self.says(server, &bare()).await
    }
}

/// CONNECT of a client that has nothing but its certificate.
pub fn bare() -> Connect {
    Connect {
        level: 4,
        client_id: super::phone::paho_id(),
        clean_session: true,
        keep_alive_s: 60,
        username: None,
        password: None,
        will: None,
    }
}

/// The same with a user name and perhaps a password.
pub fn named(username: &str, password: Option<&str>) -> Connect {
    Connect { username: Some(username.to_owned()), password: password.map(str::to_owned), ..bare() }
}
