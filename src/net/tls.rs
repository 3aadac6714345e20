//! TLS settings of the listeners, which may be exchanged while the server runs. Reads files; opens no sockets.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoClientAuth, ProducesTickets, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use sha2::{Digest as _, Sha256};

use super::verifier::Bounded;
use crate::{
    clock::Timestamp,
    config::{ClientCertificates, Config, Mqtt},
    pki::{
        self, Authority, CertsError, chain, foreign,
        identity::{ClientIdentity, Reader},
        path::Anchor,
        read, unusable,
    },
};

/// What the listeners shake hands with.
pub struct Tls {
    config: Arc<Config>,
    data_dir: PathBuf,
    current: RwLock<Settings>,
    /// What stood in files that could not be used, so that one complaint is enough.
    refused: Mutex<Option<Digest>>,
}

/// SHA-256 of everything that settings are made of.
type Digest = [u8; 32];

/// Keys of the tickets that clients resume with: a fleet that reconnects after a restart of the network pays a fraction, without our
/// memory. They outlive a reload, so that revoking one certificate does not cost everybody a handshake, but not the trust in an
/// authority: a resumed session carries past the verifier what that authority signed. Each listener has its own.
#[derive(Clone)]
struct Tickets {
    mqtt: Arc<dyn ProducesTickets>,
    http: Arc<dyn ProducesTickets>,
}

impl Tickets {
    fn new() -> Result<Self, CertsError> {
        Ok(Self { mqtt: ticketer()?, http: ticketer()? })
    }

    /// For settings that trust these authorities, after others.
    fn after(before: &Settings, trusted: &[CertificateDer<'_>]) -> Result<Self, CertsError> {
        if before.trusted.iter().all(|it| trusted.contains(it)) {
            return Ok(before.tickets.clone());
        }
        // Nobody shows a certificate to the listener of HTTP.
        Ok(Self { mqtt: ticketer()?, http: before.tickets.http.clone() })
    }
}

fn ticketer() -> Result<Arc<dyn ProducesTickets>, CertsError> {
    rustls::crypto::aws_lc_rs::Ticketer::new().map_err(internal)
}

/// Settings made of the same files.
#[derive(Clone)]
struct Settings {
    /// What stood in the files.
    source: Digest,
    /// When the server's certificate ends.
    not_after: Timestamp,
    /// Authorities whose certificates of clients are taken.
    trusted: Vec<CertificateDer<'static>>,
    tickets: Tickets,
    mqtt: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    /// Reads certificates of clients, where they are asked for any.
    reader: Option<Arc<Reader>>,
}

/// What is done about certificates of clients.
struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    reader: Option<Arc<Reader>>,
}

impl Tls {
    /// Reads the files that the configuration names, or issues a certificate of the built-in authority.
    ///
    /// # Errors
    /// A file that is missing, unreadable or no certificate; a key that does not belong to it.
    pub fn open(config: Arc<Config>, data_dir: &Path, now: Timestamp) -> Result<Self, CertsError> {
        let current = RwLock::new(Settings::read(&config, data_dir, None, now)?);
        Ok(Self { config, data_dir: data_dir.into(), current, refused: Mutex::new(None) })
    }

    /// For handshakes of MQTT clients that begin now.
    pub fn mqtt(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).mqtt.clone()
    }

    /// What the certificate of a client says that was let through; `None` where it showed none.
    ///
    /// # Errors
    /// It cannot be read, or there must be one: a resumed session may come from a time when there needed to be none.
    pub fn identity(&self, shown: Option<&[CertificateDer<'_>]>) -> Result<Option<Arc<ClientIdentity>>, CertsError> {
        let reader = self.current.read().unwrap_or_else(PoisonError::into_inner).reader.clone();
        match (reader, shown.and_then(<[_]>::split_first)) {
            (Some(reader), Some((certificate, above))) => reader.read(certificate, above).map(|it| Some(Arc::new(it))),
            _ if self.config.mqtt.client_certificates == ClientCertificates::Required => {
                Err(CertsError("it showed no certificate".into()))
            }
            _ => Ok(None),
        }
    }

    /// For handshakes of HTTP clients that begin now.
    pub fn http(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).http.clone()
    }

    /// When the server's certificate ends.
    pub fn not_after(&self) -> Timestamp {
        self.current.read().unwrap_or_else(PoisonError::into_inner).not_after
    }

    /// Takes files that changed since they were read, and a new certificate of the built-in authority where the old one is about to end.
    /// True: there is something new. Files that cannot be used are complained of once.
    ///
    /// # Errors
    /// As for [`Tls::open`]; the former settings stay.
    pub fn refresh(&self, now: Timestamp) -> Result<bool, CertsError> {
        let source = source(&self.config, &self.data_dir, now)?;
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = source == self.current.read().unwrap_or_else(PoisonError::into_inner).source;
        if is_known || *refused == Some(source) {
            return Ok(false);
        }
        *refused = Some(source);
        self.reload(now)?;
        *refused = None;
        Ok(true)
    }

    /// Reads the files again. Open connections stay; where this fails, the former settings stay too.
    ///
    /// # Errors
    /// As for [`Tls::open`].
    pub fn reload(&self, now: Timestamp) -> Result<(), CertsError> {
        let before = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let settings = Settings::read(&self.config, &self.data_dir, Some(&before), now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }
}

impl Settings {
    fn read(config: &Config, data_dir: &Path, before: Option<&Settings>, now: Timestamp) -> Result<Self, CertsError> {
        let (chain_file, key_file) = pki::server_files(config, data_dir, now)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let Clients { verifier, trusted, reader } = match config.mqtt.client_certificates {
            ClientCertificates::Off => Clients { verifier: no_clients(), trusted: Vec::new(), reader: None },
            _ => clients(&config.mqtt, data_dir, &provider, now)?,
        };
        let tickets = before.map_or_else(Tickets::new, |it| Tickets::after(it, &trusted))?;
        let settings = |verifier, tickets: &Arc<dyn ProducesTickets>| {
            load(&provider, &chain_file, &key_file, verifier, tickets.clone())
        };
        Ok(Self {
            source: source(config, data_dir, now)?,
            not_after: pki::describe(&chain_file)?.not_after,
            mqtt: settings(verifier, &tickets.mqtt)?,
            http: settings(no_clients(), &tickets.http)?,
            trusted,
            tickets,
            reader,
        })
    }
}

/// A digest of the files that settings are made of, revocation lists aside.
fn source(config: &Config, data_dir: &Path, now: Timestamp) -> Result<Digest, CertsError> {
    let (chain_file, key_file) = pki::server_files(config, data_dir, now)?;
    let mut files = vec![chain_file, key_file];
    if config.mqtt.client_certificates != ClientCertificates::Off {
        files.push(Authority::open(data_dir, now)?.certificate_file());
        files.extend((!config.mqtt.client_ca_file.is_empty()).then(|| PathBuf::from(&config.mqtt.client_ca_file)));
    }
    let mut digest = Sha256::new();
    for file in files {
        let text = read(&file)?;
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text.as_bytes());
    }
    Ok(digest.finalize().into())
}

fn no_clients() -> Arc<dyn ClientCertVerifier> {
    Arc::new(NoClientAuth)
}

/// Who verifies certificates of clients, whose are taken, and who reads them.
fn clients(
    settings: &Mqtt,
    data_dir: &Path,
    provider: &Arc<CryptoProvider>,
    now: Timestamp,
) -> Result<Clients, CertsError> {
    let authority = Authority::open(data_dir, now)?;
    let mut trusted = authority.trusted()?;
    let ours = pki::subjects(&trusted)?;
    let (mut roots, mut anchors) = (RootCertStore::empty(), Vec::new());
    for certificate in trusted.clone() {
        anchors.push(Anchor::read(&certificate)?);
        roots.add(certificate).map_err(|e| unusable(&authority.certificate_file(), &e))?;
    }
    let mut lists = Vec::new();
    if authority.crl_file().exists() {
        lists.extend(foreign::read(&authority.crl_file())?);
    }
    if !settings.client_ca_file.is_empty() {
        trusted.extend(add_authorities(Path::new(&settings.client_ca_file), &mut roots, &mut anchors)?);
        for file in &settings.client_crl_files {
            lists.extend(foreign::read(Path::new(file))?);
        }
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .with_crls(lists)
        // Not every authority publishes a list.
        .allow_unknown_revocation_status();
    let builder = match settings.client_certificates {
        ClientCertificates::Required => builder,
        ClientCertificates::Optional | ClientCertificates::Off => builder.allow_unauthenticated(),
    };
    let anchors: Arc<[Anchor]> = anchors.into();
    let reader = Some(Arc::new(Reader::new(settings, ours, anchors.clone())));
    let verifier = Arc::new(Bounded { inner: builder.build().map_err(internal)?, anchors });
    Ok(Clients { verifier, trusted, reader })
}

/// Trusts the authorities in a file.
///
/// # Errors
/// It cannot be read, or not all of it can be used.
pub(super) fn add_authorities(
    file: &Path,
    roots: &mut RootCertStore,
    anchors: &mut Vec<Anchor>,
) -> Result<Vec<CertificateDer<'static>>, CertsError> {
    let certificates = chain(file)?;
    if certificates.is_empty() {
        return Err(unusable(file, &"it holds no certificate"));
    }
    for certificate in &certificates {
        anchors.push(Anchor::read(certificate)?);
        roots.add(certificate.clone()).map_err(|e| unusable(file, &e))?;
    }
    Ok(certificates)
}

/// Whether a server could shake hands with this chain and key.
///
/// # Errors
/// As for [`Tls::open`].
pub(super) fn try_out(chain_file: &Path, key_file: &Path) -> Result<(), CertsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    load(&provider, chain_file, key_file, no_clients(), ticketer()?).map(drop)
}

fn load(
    provider: &Arc<CryptoProvider>,
    chain_file: &Path,
    key_file: &Path,
    verifier: Arc<dyn ClientCertVerifier>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, CertsError> {
    let chain = chain(chain_file)?;
    if chain.is_empty() {
        return Err(unusable(chain_file, &"it holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(read(key_file)?.as_bytes()).map_err(|e| unusable(key_file, &e))?;
    let mut settings = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(internal)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| {
            CertsError(format!(
                "the key {} does not fit the certificate {}: {e}",
                key_file.display(),
                chain_file.display()
            ))
        })?;
    settings.ticketer = tickets;
    settings.send_tls13_tickets = 1;
    Ok(Arc::new(settings))
}

fn internal(error: impl std::fmt::Display) -> CertsError {
    CertsError(format!("cannot prepare TLS: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn open(config: &Config, home: &Path) -> Result<Tls, CertsError> {
        Tls::open(Arc::new(config.clone()), home, NOW)
    }

    #[test]
    fn serving_needs_no_configuration() {
        let home = tempfile::tempdir().unwrap();
        assert!(open(&Config::default(), home.path()).is_ok());
        assert_eq!(chain(&home.path().join("certs/server.pem")).unwrap().len(), 2, "leaf and authority");
    }

    #[test]
    fn files_that_cannot_be_used_are_one_clear_line() {
        let home = tempfile::tempdir().unwrap();
        let (one, other) = (home.path().join("one"), home.path().join("other"));
        let mut config = Config::default();
        open(&config, &one).unwrap();
        open(&config, &other).unwrap();
        let mut check = |certificate: PathBuf, key: PathBuf, expected: &str| {
            config.mqtt.certificate_file = certificate.display().to_string();
            config.mqtt.key_file = key.display().to_string();
            let error = open(&config, home.path()).err().unwrap().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        };
        check(home.path().join("none"), home.path().join("none"), "cannot read");
        check(one.join("certs/server.pem"), other.join("certs/server-key.pem"), "does not fit");
        check(one.join("certs/server-key.pem"), one.join("certs/server-key.pem"), "holds no certificate");
        check(one.join("certs/server.pem"), one.join("certs/ca.pem"), "cannot use");
    }

    #[test]
    fn the_servers_certificate_is_renewed_before_it_ends_while_the_server_runs() {
        let home = tempfile::tempdir().unwrap();
        let tls = open(&Config::default(), home.path()).unwrap();
        let at = |before_end_days: i64| Timestamp(tls.not_after().0 - before_end_days * 86_400_000);
        let (mqtt, http, first_end) = (tls.mqtt(), tls.http(), tls.not_after());
        assert!(!tls.refresh(at(31)).unwrap(), "not before");
        assert!(Arc::ptr_eq(&tls.mqtt(), &mqtt));
        let due = at(29);
        assert!(tls.refresh(due).unwrap());
        assert!(tls.not_after().0 > first_end.0 + 300 * 86_400_000, "it lives for another year");
        assert!(!Arc::ptr_eq(&tls.mqtt(), &mqtt) && !Arc::ptr_eq(&tls.http(), &http), "handshakes present it");
        assert_eq!(pki::describe(&home.path().join("certs/server.pem")).unwrap().not_after, tls.not_after());
        assert!(!tls.refresh(due).unwrap(), "once");
    }
}
