//! TLS settings of the listeners, which may be exchanged while the server runs. Reads files; opens no sockets.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
};

use crate::{
    clock::Timestamp,
    config::Config,
    pki::{self, CertsError, chain, read, unusable},
};

/// What the listeners shake hands with.
pub struct Tls {
    config: Arc<Config>,
    data_dir: PathBuf,
    current: RwLock<Settings>,
}

/// Settings made of the same files.
#[derive(Clone)]
struct Settings {
    mqtt: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files that the configuration names, or issues a certificate of the built-in authority.
    ///
    /// # Errors
    /// A file that is missing, unreadable or no certificate; a key that does not belong to it.
    pub fn open(config: Arc<Config>, data_dir: &Path, now: Timestamp) -> Result<Self, CertsError> {
        let current = RwLock::new(Settings::read(&config, data_dir, now)?);
        Ok(Self { config, data_dir: data_dir.into(), current })
    }

    /// For handshakes of MQTT clients that begin now.
    pub fn mqtt(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).mqtt.clone()
    }

    /// For handshakes of HTTP clients that begin now.
    pub fn http(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).http.clone()
    }

    /// Reads the files again. Open connections stay; where this fails, the former settings stay too.
    ///
    /// # Errors
    /// As for [`Tls::open`].
    pub fn reload(&self, now: Timestamp) -> Result<(), CertsError> {
        let settings = Settings::read(&self.config, &self.data_dir, now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }
}

impl Settings {
    fn read(config: &Config, data_dir: &Path, now: Timestamp) -> Result<Self, CertsError> {
        let (chain_file, key_file) = pki::server_files(config, data_dir, now)?;
        Ok(Self { mqtt: load(&chain_file, &key_file)?, http: load(&chain_file, &key_file)? })
    }
}

fn load(chain_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, CertsError> {
    let chain = chain(chain_file)?;
    if chain.is_empty() {
        return Err(unusable(chain_file, &"it holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(read(key_file)?.as_bytes()).map_err(|e| unusable(key_file, &e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut settings = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(internal)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| {
            CertsError(format!(
                "the key {} does not fit the certificate {}: {e}",
                key_file.display(),
                chain_file.display()
            ))
        })?;
    // Tickets: a fleet that reconnects after a restart of the network resumes, at a fraction of the cost, without our memory.
    settings.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(internal)?;
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
}
