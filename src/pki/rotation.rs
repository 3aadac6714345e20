//! A new authority takes over from the present one, without a moment at which somebody is locked out: first everybody is told to trust
//! both, then the new one signs, then the former one is no longer believed. Files only; a running server notices.
//!
//! The first certificate of `ca.pem` is the authority that signs. Each step changes that file last or in one rename, and the key is
//! found by what it fits, so a crash between two steps leaves a working authority.

use std::path::PathBuf;

use rcgen::{BasicConstraints, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{
    Authority, CA_LIFE_S, Certificate, CertsError, chain, describe_der, internal, parameters, read, unusable, write,
};
use crate::clock::Timestamp;

/// What an authority in `ca.pem` is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It signs.
    Present,
    /// It will sign once it is activated; it is trusted already.
    Next,
    /// It signed once; what it signed is still taken.
    Former,
}

impl Role {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Present => "authority",
            Role::Next => "next authority",
            Role::Former => "former authority",
        }
    }
}

impl Authority {
    /// All authorities of this data directory, the signing one first.
    ///
    /// # Errors
    /// Files that are damaged.
    pub fn authorities(&self) -> Result<Vec<(Role, Certificate)>, CertsError> {
        let file = self.certificate_file();
        let next = if self.next_file().exists() { chain(&self.next_file())?.pop() } else { None };
        let role = |(place, der): (usize, &CertificateDer<'_>)| match place {
            0 => Role::Present,
            _ if Some(der.as_ref()) == next.as_deref() => Role::Next,
            _ => Role::Former,
        };
        let all = chain(&file)?;
        all.iter().enumerate().map(|it| Ok((role(it), describe_der(it.1).map_err(|e| unusable(&file, &e))?))).collect()
    }

    /// Makes the next authority and adds it to those that are to be trusted. It signs nothing yet.
    ///
    /// # Errors
    /// There is one already, or files cannot be written.
    pub fn prepare_next(&self, now: Timestamp) -> Result<(), CertsError> {
        if self.next_file().exists() {
            return Err(CertsError("the next authority is prepared already; --activate makes it sign".into()));
        }
        let (certificate, key) = new_authority(&format!("mdmq private authority of {}", now.rfc3339()), now)?;
        write(&self.next_key_file(), &key)?;
        write(&self.next_file(), &certificate)?;
        let trusted = read(&self.certificate_file())?;
        write(&self.certificate_file(), &format!("{}{certificate}", *trusted))
    }

    /// Lets the next authority sign. What the present one signed is taken until [`Authority::retire_former`].
    ///
    /// # Errors
    /// None is prepared, or files cannot be written.
    pub fn activate_next(&self) -> Result<(), CertsError> {
        if !self.next_file().exists() {
            return Err(CertsError("no next authority is prepared; run `mdmq certs rotate` first".into()));
        }
        let next = chain(&self.next_file())?;
        let mut all = chain(&self.certificate_file())?;
        all.retain(|it| !next.contains(it));
        all.splice(0..0, next);
        // From here on it signs; the key is found under either name.
        write(&self.certificate_file(), &pem_of(&all))?;
        let rename = |from: PathBuf, to: PathBuf| {
            std::fs::rename(&from, &to).map_err(|e| CertsError(format!("cannot rename {}: {e}", from.display())))
        };
        rename(self.next_key_file(), self.key_file())?;
        std::fs::remove_file(self.next_file()).map_err(|e| unusable(&self.next_file(), &e))
    }

    /// Stops believing former authorities: what they signed is refused, and the server revokes it.
    ///
    /// # Errors
    /// There is none, or files cannot be written.
    pub fn retire_former(&self) -> Result<(), CertsError> {
        let roles = self.authorities()?;
        if !roles.iter().any(|(role, _)| *role == Role::Former) {
            return Err(CertsError("there is no former authority".into()));
        }
        let all = chain(&self.certificate_file())?;
        let kept: Vec<_> =
            all.into_iter().zip(roles).filter(|(_, (role, _))| *role != Role::Former).map(|(der, _)| der).collect();
        write(&self.certificate_file(), &pem_of(&kept))
    }

    /// The signing authority: its certificate, and an issuer with its key.
    pub(super) fn issuer(&self) -> Result<(CertificateDer<'static>, Issuer<'static, KeyPair>), CertsError> {
        let file = self.certificate_file();
        let der = chain(&file)?.into_iter().next().ok_or_else(|| unusable(&file, &"it holds no certificate"))?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|e| unusable(&file, &e))?;
        let mut problem = None;
        for key_file in [self.key_file(), self.next_key_file()] {
            if problem.is_some() && !key_file.exists() {
                continue;
            }
            match read(&key_file).and_then(|pem| KeyPair::from_pem(&pem).map_err(|e| unusable(&key_file, &e))) {
                Ok(key) if key.subject_public_key_info() == certificate.public_key().raw => {
                    let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|e| unusable(&file, &e))?;
                    return Ok((der, issuer));
                }
                Ok(_) => problem = Some(unusable(&key_file, &format!("it does not fit {}", file.display()))),
                Err(e) => problem = problem.or(Some(e)),
            }
        }
        Err(problem.unwrap_or_else(|| unusable(&file, &"it has no key")))
    }

    fn key_file(&self) -> PathBuf {
        self.directory.join("ca-key.pem")
    }

    fn next_file(&self) -> PathBuf {
        self.directory.join("next-ca.pem")
    }

    fn next_key_file(&self) -> PathBuf {
        self.directory.join("next-ca-key.pem")
    }

    pub(super) fn found(&self, now: Timestamp) -> Result<(), CertsError> {
        let (certificate, key) = new_authority("mdmq private authority", now)?;
        write(&self.key_file(), &key)?;
        write(&self.certificate_file(), &certificate)
    }
}

/// Certificate and key of a new authority, as PEM.
fn new_authority(name: &str, now: Timestamp) -> Result<(String, Zeroizing<String>), CertsError> {
    let mut params = parameters(now, CA_LIFE_S);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = Zeroizing::new(KeyPair::generate().map_err(internal)?);
    let certificate = params.self_signed(&*key).map_err(internal)?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

/// Certificates as PEM (RFC 7468).
pub(super) fn pem_of(certificates: &[CertificateDer<'_>]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut text = String::new();
    for der in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(der);
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);
    const LATER: Timestamp = Timestamp(1_790_000_900_000);

    fn roles(authority: &Authority) -> Vec<Role> {
        authority.authorities().unwrap().into_iter().map(|it| it.0).collect()
    }

    #[test]
    fn a_successor_is_trusted_before_it_signs_and_its_predecessor_after() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::open(home.path(), NOW).unwrap();
        let names = vec!["localhost".to_owned()];
        authority.issue_server(&names, NOW).unwrap();
        let first = authority.issuer().unwrap().0;
        assert!(authority.activate_next().is_err(), "nothing is prepared");
        assert!(authority.retire_former().is_err(), "nothing is over");

        authority.prepare_next(LATER).unwrap();
        assert!(authority.prepare_next(LATER).is_err(), "one at a time");
        assert_eq!(roles(&authority), [Role::Present, Role::Next]);
        assert_eq!(authority.issuer().unwrap().0, first);
        assert!(!authority.wants_server_certificate(&names, LATER), "the present one still signs");

        authority.activate_next().unwrap();
        assert_eq!(roles(&authority), [Role::Present, Role::Former]);
        let second = authority.issuer().unwrap().0;
        assert_ne!(second, first);
        assert_eq!(authority.trusted().unwrap(), [second.clone(), first]);
        assert!(authority.wants_server_certificate(&names, LATER), "signed by the former one");
        authority.issue_server(&names, LATER).unwrap();
        assert_eq!(chain(&authority.server_file()).unwrap()[1], second);

        authority.retire_former().unwrap();
        assert_eq!(authority.trusted().unwrap(), [second]);
        authority.prepare_next(LATER).unwrap();
        assert_eq!(roles(&authority), [Role::Present, Role::Next], "and so on");
    }

    #[test]
    fn a_crash_in_the_middle_of_the_activation_leaves_an_authority_that_signs() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::open(home.path(), NOW).unwrap();
        authority.prepare_next(LATER).unwrap();
        let next = chain(&authority.next_file()).unwrap();
        let mut all = chain(&authority.certificate_file()).unwrap();
        all.reverse();
        write(&authority.certificate_file(), &pem_of(&all)).unwrap();
        assert_eq!(authority.issuer().unwrap().0, next[0], "its key is still called the next one");
        authority.activate_next().unwrap();
        assert_eq!(authority.issuer().unwrap().0, next[0]);
        assert_eq!(roles(&authority), [Role::Present, Role::Former]);
    }

    #[test]
    fn a_key_that_does_not_fit_is_one_clear_line() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = Authority::open(home.path(), NOW).unwrap();
        let stranger = Authority::open(other.path(), NOW).unwrap();
        std::fs::copy(stranger.key_file(), authority.key_file()).unwrap();
        let error = authority.issuer().err().unwrap().to_string();
        assert!(error.contains("does not fit") && !error.contains('\n'), "{error}");
    }
}
