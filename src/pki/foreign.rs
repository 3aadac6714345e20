//! Foreign authorities and their revocation lists: read from files, verified, asked who stands. Fetches nothing.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::{
    CertsError, chain,
    identity::{ClientIdentity, fingerprint, serial_number},
    unusable,
};
use crate::{clock::Timestamp, config::Mqtt};

/// Largest revocation list, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Who is trusted besides the built-in authority, and whom they revoked.
#[derive(Debug, Default)]
pub struct Foreign {
    /// SHA-256 of each authority.
    trusted: HashSet<String>,
    lists: ForeignCrls,
}

impl Foreign {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// As for [`ForeignCrls::load`]; a file of authorities without any.
    pub fn load(settings: &Mqtt) -> Result<Self, CertsError> {
        if settings.client_ca_file.is_empty() {
            return Ok(Self::default());
        }
        let file = Path::new(&settings.client_ca_file);
        let authorities = chain(file)?;
        if authorities.is_empty() {
            return Err(unusable(file, &"it holds no certificate"));
        }
        let lists = ForeignCrls::load(&settings.client_crl_files, &authorities)?;
        Ok(Self { trusted: authorities.iter().map(|it| fingerprint(it)).collect(), lists })
    }

    /// Whether a foreign certificate, an authority above it, or the trust in the last of them was revoked. TLS says so of new handshakes;
    /// resumed sessions and open connections are older.
    pub fn is_fallen(&self, identity: &ClientIdentity) -> bool {
        let leaf = (&identity.issuer, &identity.serial_number);
        let above = identity.way.between.iter().map(|(issuer, number)| (issuer, number));
        let anchors = &identity.way.anchors;
        anchors.is_empty()
            || anchors.iter().any(|it| !self.trusted.contains(it))
            || above.chain([leaf]).any(|(issuer, number)| self.lists.is_revoked(issuer, number))
    }

    /// Whether what stood under `before` may have fallen.
    pub fn is_stricter_than(&self, before: &Foreign) -> bool {
        !before.trusted.is_subset(&self.trusted) || self.lists.by_issuer != before.lists.by_issuer
    }

    /// What the lists say.
    pub fn lists(&self) -> &ForeignCrls {
        &self.lists
    }
}

/// What the lists say.
#[derive(Debug, Default)]
pub struct ForeignCrls {
    by_issuer: HashMap<String, HashSet<String>>,
    /// Files, and when their authorities promised newer ones.
    next_updates: Vec<(String, Timestamp)>,
}

impl ForeignCrls {
    /// Reads the files, PEM or DER, each signed by one of the authorities.
    ///
    /// # Errors
    /// A file that is missing, damaged or signed by somebody else.
    pub fn load(files: &[String], authorities: &[CertificateDer<'_>]) -> Result<Self, CertsError> {
        let mut lists = Self::default();
        for file in files {
            for der in read(Path::new(file))? {
                let (_, list) = CertificateRevocationList::from_der(&der).map_err(|e| unusable(Path::new(file), &e))?;
                if !is_signed_by_one(&list, authorities) {
                    return Err(unusable(Path::new(file), &"it is not signed by an authority of mqtt.client_ca_file"));
                }
                if let Some(next) = list.next_update() {
                    lists.next_updates.push((file.clone(), Timestamp(next.timestamp() * 1000)));
                }
                let numbers = list.iter_revoked_certificates().map(|it| serial_number(it.raw_serial()));
                lists.by_issuer.entry(list.issuer().to_string()).or_default().extend(numbers);
            }
        }
        Ok(lists)
    }

    /// Whether this certificate was revoked by who signed it.
    pub fn is_revoked(&self, issuer: &str, serial_number: &str) -> bool {
        self.by_issuer.get(issuer).is_some_and(|it| it.contains(serial_number))
    }

    /// The files that should have been replaced by now (RFC 5280 §5.1.2.5). What they say holds all the same: a revocation is not taken
    /// back, and devices must not stay out because somebody else's list is late.
    pub fn overdue(&self, now: Timestamp) -> Vec<String> {
        let is_overdue = |it: &&(String, Timestamp)| it.1 < now;
        self.next_updates.iter().filter(is_overdue).map(|(file, _)| file.clone()).collect()
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.by_issuer.values().all(HashSet::is_empty)
    }
}

/// The lists in a file, PEM or DER.
///
/// # Errors
/// It is missing, too large or holds none.
pub fn read(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, CertsError> {
    let unreadable = |e: std::io::Error| CertsError(format!("cannot read {}: {e}", file.display()));
    if std::fs::metadata(file).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(unusable(file, &"it is larger than 64 MiB"));
    }
    let content = std::fs::read(file).map_err(unreadable)?;
    if !content.starts_with(b"-----BEGIN") {
        return Ok(vec![CertificateRevocationListDer::from(content)]);
    }
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&content)
        .collect::<Result<_, _>>()
        .map_err(|e| unusable(file, &e))?;
    if lists.is_empty() { Err(unusable(file, &"it holds no revocation list")) } else { Ok(lists) }
}

fn is_signed_by_one(list: &CertificateRevocationList<'_>, authorities: &[CertificateDer<'_>]) -> bool {
    authorities.iter().any(|der| {
        X509Certificate::from_der(der)
            .is_ok_and(|(_, it)| it.subject() == list.issuer() && list.verify_signature(it.public_key()).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        pki::{Authority, chain, issue::Revoked},
    };

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    #[test]
    fn lists_are_read_as_text_and_as_bytes_and_only_from_who_may_write_them() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = Authority::open(home.path(), NOW).unwrap();
        let ca = chain(&authority.certificate_file()).unwrap();
        let revoked = [Revoked { serial_number: "4a01".into(), at: NOW, reason: String::new() }];
        let crl = authority.signer().unwrap().crl(&revoked, NOW).unwrap();
        let (text, bytes) = (home.path().join("crl.pem"), home.path().join("crl.der"));
        std::fs::write(&text, &crl.pem).unwrap();
        std::fs::write(&bytes, &crl.der).unwrap();
        for file in [&text, &bytes] {
            let lists = ForeignCrls::load(&[file.display().to_string()], &ca).unwrap();
            assert!(lists.is_revoked("CN=mdmq private authority", "4a01"));
            assert!(!lists.is_revoked("CN=mdmq private authority", "4a02"));
            assert!(!lists.is_revoked("CN=other", "4a01"));
            let end = crl.next_update.0;
            assert_eq!(lists.overdue(Timestamp(end)), [""; 0]);
            assert_eq!(lists.overdue(Timestamp(end + 1000)), [file.display().to_string()]);
        }
        let stranger = Authority::open(other.path(), NOW).unwrap();
        let stranger = chain(&stranger.certificate_file()).unwrap();
        let error = ForeignCrls::load(&[text.display().to_string()], &stranger).unwrap_err();
        assert!(error.0.contains("not signed by"), "{error}");
        assert!(ForeignCrls::load(&["nowhere".into()], &ca).unwrap_err().0.contains("cannot read"));
        assert!(ForeignCrls::load(&[], &ca).unwrap().is_empty());
    }
}
