//! A new authority takes over from the present one, without a moment at which somebody is locked out: first everybody is told to trust
//! both, then the new one signs, then the former one is no longer believed. Files only; a running server notices.
//!
//! The first certificate of `ca.pem` is the authority that signs. A key is found by what it fits, and each step makes things ready, then
//! replaces `ca.pem`, then tidies up: a crash anywhere leaves a working authority, and the next step first ends what was begun.
//!
//! A former authority keeps its key until it is retired, because only it can sign the list of what was revoked of its own. No
//! certificate is issued with it any more.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{
    Authority, CA_LIFE_S, Certificate, CertsError, chain, describe_der, internal, issue::key_id, parameters, read,
    subjects, unusable, write,
};
use crate::clock::Timestamp;

/// What names of files with keys of former authorities begin with; the identifier of the key follows.
const FORMER: &str = "former-";

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
        self.end_activation()?;
        if self.prepared()?.is_some() {
            return Err(CertsError("the next authority is prepared already; --activate makes it sign".into()));
        }
        // Lists are told apart by the names of their authorities.
        let trusted = self.trusted()?;
        let name = format!("mdmq private authority of {}", now.rfc3339());
        let is_taken = subjects(&trusted)?.contains(&format!("CN={name}"));
        let name = if is_taken { format!("{name} ({})", trusted.len()) } else { name };
        let (certificate, key) = new_authority(&name, now)?;
        write(&self.next_key_file(), &key)?;
        write(&self.next_file(), &certificate)?;
        // Up to here nobody knows of it, and it may be made again.
        let text = read(&self.certificate_file())?;
        write(&self.certificate_file(), &format!("{}{certificate}", *text))
    }

    /// Lets the next authority sign. What the present one signed is taken until [`Authority::retire_former`].
    ///
    /// # Errors
    /// None is prepared, or files cannot be written.
    pub fn activate_next(&self) -> Result<(), CertsError> {
        let Some(next) = self.prepared()? else {
            return Err(CertsError("no next authority is prepared; run `mdmq certs rotate` first".into()));
        };
        if self.key_of(&next)?.is_none() {
            return Err(CertsError(format!(
                "{} is not the key of the next authority: bring it back, or remove {} and begin again with `mdmq certs rotate`",
                self.next_key_file().display(),
                self.next_file().display()
            )));
        }
        let mut all = self.trusted()?;
        self.keep_key(&all, &next)?;
        all.retain(|it| *it != next);
        all.insert(0, next);
        // From here on it signs; the key is found under either name.
        write(&self.certificate_file(), &pem_of(&all))?;
        self.end_activation()
    }

    /// Stops believing former authorities: what they signed is refused, the server revokes it, and their keys are removed.
    ///
    /// # Errors
    /// There is none, or files cannot be written.
    pub fn retire_former(&self) -> Result<(), CertsError> {
        self.end_activation()?;
        let (former, kept): (Vec<_>, Vec<_>) =
            self.trusted()?.into_iter().zip(self.authorities()?).partition(|(_, (role, _))| *role == Role::Former);
        let kept: Vec<_> = kept.into_iter().map(|(der, _)| der).collect();
        let strays = self.keys_of_others(&kept)?;
        if former.is_empty() && strays.is_empty() {
            return Err(CertsError("there is no former authority".into()));
        }
        if !former.is_empty() {
            write(&self.certificate_file(), &pem_of(&kept))?;
        }
        strays.iter().try_for_each(|it| self.remove(it))
    }

    /// The signing authority: its certificate, and an issuer with its key.
    pub(super) fn issuer(&self) -> Result<(CertificateDer<'static>, Issuer<'static, KeyPair>), CertsError> {
        let file = self.certificate_file();
        let der = self.trusted()?.into_iter().next().ok_or_else(|| unusable(&file, &"it holds no certificate"))?;
        let issuer = self.issuer_that_signs(&der)?;
        Ok((der, issuer))
    }

    /// An issuer with the key of this authority, which must be here.
    ///
    /// # Errors
    /// It is missing, damaged or another one.
    pub(super) fn issuer_that_signs(
        &self,
        authority: &CertificateDer<'_>,
    ) -> Result<Issuer<'static, KeyPair>, CertsError> {
        if let Some(issuer) = self.issuer_of(authority)? {
            return Ok(issuer);
        }
        read(&self.key_file())?;
        let why = format!("it does not fit {}", self.certificate_file().display());
        Err(unusable(&self.key_file(), &why))
    }

    /// An issuer with the key of this authority, if it is here.
    ///
    /// # Errors
    /// As for [`Authority::key_of`].
    pub(super) fn issuer_of(
        &self,
        authority: &CertificateDer<'_>,
    ) -> Result<Option<Issuer<'static, KeyPair>>, CertsError> {
        let issuer = |key| Issuer::from_ca_cert_der(authority, key).map_err(|e| unusable(&self.certificate_file(), &e));
        self.key_of(authority)?.map(issuer).transpose()
    }

    /// The key of an authority, if it is here.
    ///
    /// # Errors
    /// None of the files holds it, and one of them is damaged or cannot be read.
    fn key_of(&self, authority: &CertificateDer<'_>) -> Result<Option<KeyPair>, CertsError> {
        let mut problem = None;
        // The next one's first: while a server looks, an activation may give it the name of the present one's.
        for file in [self.next_key_file(), self.former_key_file(authority)?, self.key_file()] {
            match key_in(&file) {
                Ok(Some(key)) if fits(&key, authority)? => return Ok(Some(key)),
                Ok(_) => {}
                Err(e) => problem = Some(e),
            }
        }
        problem.map_or(Ok(None), Err)
    }

    /// The next authority, which everybody may know.
    fn prepared(&self) -> Result<Option<CertificateDer<'static>>, CertsError> {
        if !self.next_file().exists() {
            return Ok(None);
        }
        let next = chain(&self.next_file())?.pop();
        let trusted = self.trusted()?;
        Ok(next.filter(|it| trusted.contains(it)))
    }

    /// Keeps the key that signs, if it is that of one of these and not of the next one. One that was lost or is damaged ends no activation:
    /// that may be why there is one.
    fn keep_key(&self, all: &[CertificateDer<'_>], next: &CertificateDer<'_>) -> Result<(), CertsError> {
        let Ok(Some(key)) = key_in(&self.key_file()) else { return Ok(()) };
        for authority in all.iter().filter(|it| *it != next) {
            if fits(&key, authority)? {
                write(&self.former_key_file(authority)?, &read(&self.key_file())?)?;
            }
        }
        Ok(())
    }

    /// Ends an activation that got as far as `ca.pem`.
    fn end_activation(&self) -> Result<(), CertsError> {
        let all = self.trusted()?;
        let Some(present) = all.first() else { return Ok(()) };
        // A damaged key is nobody's.
        if let Ok(Some(key)) = key_in(&self.next_key_file())
            && fits(&key, present)?
        {
            self.keep_key(&all, present)?;
            let from = self.next_key_file();
            fs::rename(&from, self.key_file())
                .and_then(|()| self.sync())
                .map_err(|e| CertsError(format!("cannot rename {}: {e}", from.display())))?;
        }
        if self.prepared()?.as_ref() == Some(present) { self.remove(&self.next_file()) } else { Ok(()) }
    }

    /// Files with keys of authorities that are none of these, whole or not.
    fn keys_of_others(&self, kept: &[CertificateDer<'_>]) -> Result<Vec<PathBuf>, CertsError> {
        let ids: Vec<String> = kept.iter().map(key_id).collect::<Result<_, _>>()?;
        let unreadable = |e: std::io::Error| CertsError(format!("cannot read {}: {e}", self.directory.display()));
        let entries: Vec<fs::DirEntry> =
            fs::read_dir(&self.directory).and_then(Iterator::collect).map_err(unreadable)?;
        let is_other = |path: &PathBuf| {
            let name = path.file_name().and_then(|it| it.to_str());
            name.and_then(|it| it.strip_prefix(FORMER)).is_some_and(|rest| !ids.iter().any(|it| rest.starts_with(it)))
        };
        Ok(entries.into_iter().map(|it| it.path()).filter(is_other).collect())
    }

    fn remove(&self, file: &Path) -> Result<(), CertsError> {
        match fs::remove_file(file).and_then(|()| self.sync()) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(CertsError(format!("cannot remove {}: {e}", file.display())))
            }
            _ => Ok(()),
        }
    }

    fn sync(&self) -> std::io::Result<()> {
        fs::File::open(&self.directory)?.sync_all()
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

    fn former_key_file(&self, authority: &CertificateDer<'_>) -> Result<PathBuf, CertsError> {
        Ok(self.directory.join(format!("{FORMER}{}-key.pem", key_id(authority)?)))
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

/// The key in a file, if there is the file.
fn key_in(file: &Path) -> Result<Option<KeyPair>, CertsError> {
    if !file.exists() {
        return Ok(None);
    }
    KeyPair::from_pem(&read(file)?).map(Some).map_err(|e| unusable(file, &e))
}

fn fits(key: &KeyPair, authority: &CertificateDer<'_>) -> Result<bool, CertsError> {
    let (_, certificate) = X509Certificate::from_der(authority).map_err(internal)?;
    Ok(key.subject_public_key_info() == certificate.public_key().raw)
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
    use std::{
        collections::{BTreeMap, BTreeSet},
        os::unix::fs::PermissionsExt,
    };

    use super::*;
    use crate::pki::issue::Signers;

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

    /// Names and contents of everything in a directory.
    fn files(home: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(home.join("certs")).unwrap().map(Result::unwrap);
        entries.map(|it| (it.file_name().into_string().unwrap(), fs::read(it.path()).unwrap())).collect()
    }

    /// A verb leads from one directory to another by these changes of files, in this order. After each of them it may be killed: there is
    /// an authority that signs, `lists` of those that are trusted can sign lists, and the same verb once more ends what was begun.
    fn check_kills(
        before: &BTreeMap<String, Vec<u8>>,
        after: &BTreeMap<String, Vec<u8>>,
        steps: &[&str],
        lists: usize,
        verb: impl Fn(&Authority) -> Result<(), CertsError>,
    ) {
        for killed_after in 0..steps.len() {
            let home = tempfile::tempdir().unwrap();
            let authority = Authority { directory: home.path().join("certs") };
            fs::create_dir(&authority.directory).unwrap();
            let mut left = before.clone();
            for name in &steps[..killed_after] {
                match after.get(*name) {
                    Some(content) => left.insert((*name).to_owned(), content.clone()),
                    None => left.remove(*name),
                };
                // A file that got another name.
                if *name == "ca-key.pem" {
                    left.remove("next-ca-key.pem");
                }
            }
            left.iter().for_each(|(name, content)| fs::write(authority.directory.join(name), content).unwrap());
            let first = authority.trusted().unwrap().remove(0);
            assert_eq!(authority.issuer().unwrap().0, first, "{killed_after}");
            let Signers { ready, silent } = authority.signers().unwrap();
            assert!(ready.len() >= lists && silent.is_empty(), "{killed_after}: {silent:?}");
            verb(&authority).unwrap();
            assert_eq!(files(home.path()), *after, "{killed_after}");
            assert!(verb(&authority).is_err(), "it is done: {killed_after}");
        }
    }

    #[test]
    fn every_step_can_be_killed_anywhere_and_ended_later() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::open(home.path(), NOW).unwrap();
        let former_key = authority.former_key_file(&authority.issuer().unwrap().0).unwrap();
        let former_key_name = former_key.file_name().unwrap().to_str().unwrap();
        let founded = files(home.path());
        authority.prepare_next(LATER).unwrap();
        let prepared = files(home.path());
        authority.activate_next().unwrap();
        let activated = files(home.path());
        assert_eq!(activated[former_key_name], founded["ca-key.pem"]);
        assert_eq!(fs::metadata(&former_key).unwrap().permissions().mode() & 0o777, 0o600);
        authority.retire_former().unwrap();
        let retired = files(home.path());
        assert_eq!(retired.keys().collect::<Vec<_>>(), ["ca-key.pem", "ca.pem"]);

        let activation = [former_key_name, "ca.pem", "ca-key.pem", "next-ca.pem"];
        check_kills(&prepared, &activated, &activation, 2, Authority::activate_next);
        check_kills(&activated, &retired, &["ca.pem", former_key_name], 1, Authority::retire_former);
    }

    #[test]
    fn an_authority_that_was_being_made_when_the_program_was_killed_is_made_again() {
        for made in [&["next-ca-key.pem"][..], &["next-ca-key.pem", "next-ca.pem"]] {
            let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let authority = Authority::open(home.path(), NOW).unwrap();
            let killed = Authority::open(other.path(), NOW).unwrap();
            killed.prepare_next(LATER).unwrap();
            for name in made {
                fs::copy(killed.directory.join(name), authority.directory.join(name)).unwrap();
            }
            let first = authority.issuer().unwrap().0;
            assert!(authority.activate_next().is_err(), "nobody was told of it: {made:?}");
            authority.prepare_next(LATER).unwrap();
            assert_eq!(roles(&authority), [Role::Present, Role::Next]);
            authority.activate_next().unwrap();
            assert_ne!(authority.issuer().unwrap().0, first);
            assert_eq!(authority.signers().unwrap().ready.len(), 2);
        }
    }

    #[test]
    fn another_step_ends_an_activation_that_was_killed() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::open(home.path(), NOW).unwrap();
        let first = authority.issuer().unwrap().0;
        authority.prepare_next(LATER).unwrap();
        let mut all = authority.trusted().unwrap();
        all.reverse();
        // Programs that kept no keys of former authorities were killed here too.
        write(&authority.certificate_file(), &pem_of(&all)).unwrap();
        authority.prepare_next(LATER).unwrap();
        assert_eq!(roles(&authority), [Role::Present, Role::Former, Role::Next]);
        let names = subjects(&authority.trusted().unwrap()).unwrap();
        assert_eq!(BTreeSet::from_iter(&names).len(), 3, "although it is the same second: {names:?}");
        authority.activate_next().unwrap();
        assert_eq!(roles(&authority), [Role::Present, Role::Former, Role::Former]);
        let Signers { ready, silent } = authority.signers().unwrap();
        assert_eq!((ready.len(), silent), (3, vec![]), "each can sign its list");
        assert!(authority.trusted().unwrap().contains(&first));
        // Killed while it wrote.
        fs::write(authority.former_key_file(&first).unwrap().with_extension("new"), "half a key").unwrap();
        authority.retire_former().unwrap();
        assert_eq!(files(home.path()).into_keys().collect::<Vec<_>>(), ["ca-key.pem", "ca.pem"]);
    }

    #[test]
    fn an_activation_that_was_killed_is_ended_by_the_retirement_too() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::open(home.path(), NOW).unwrap();
        authority.prepare_next(LATER).unwrap();
        let next = chain(&authority.next_file()).unwrap().remove(0);
        let mut all = authority.trusted().unwrap();
        all.reverse();
        write(&authority.certificate_file(), &pem_of(&all)).unwrap();
        authority.retire_former().unwrap();
        assert_eq!(authority.issuer().unwrap().0, next);
        assert_eq!(files(home.path()).into_keys().collect::<Vec<_>>(), ["ca-key.pem", "ca.pem"]);
    }

    #[test]
    fn an_authority_without_a_key_is_not_activated() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::open(home.path(), NOW).unwrap();
        let first = authority.issuer().unwrap().0;
        authority.prepare_next(LATER).unwrap();
        fs::remove_file(authority.next_key_file()).unwrap();
        let error = authority.activate_next().unwrap_err().to_string();
        assert!(error.contains("is not the key of the next authority") && !error.contains('\n'), "{error}");
        assert_eq!(authority.issuer().unwrap().0, first, "it signs on");
        fs::remove_file(authority.next_file()).unwrap();
        authority.retire_former().unwrap();
        authority.prepare_next(LATER).unwrap();
        authority.activate_next().unwrap();
        assert_eq!(authority.trusted().unwrap().len(), 2, "as the message says");
    }

    #[test]
    fn an_authority_whose_key_is_gone_signs_no_list_and_stops_nobody() {
        for spoil in [|file: &Path| fs::remove_file(file).unwrap(), |file: &Path| fs::write(file, "nonsense").unwrap()]
        {
            let home = tempfile::tempdir().unwrap();
            let authority = Authority::open(home.path(), NOW).unwrap();
            let former = authority.issuer().unwrap().0;
            authority.prepare_next(LATER).unwrap();
            authority.activate_next().unwrap();
            spoil(&authority.former_key_file(&former).unwrap());
            let Signers { ready, silent } = authority.signers().unwrap();
            assert_eq!((ready.len(), silent.len()), (1, 1));
            assert_eq!(silent[0].name, "CN=mdmq private authority");
            authority.prepare_next(LATER).unwrap();
            // The key that signs now is lost as well, and that must not keep the next one from signing.
            fs::remove_file(authority.key_file()).unwrap();
            assert!(authority.issuer().is_err());
            authority.activate_next().unwrap();
            assert_eq!(authority.signers().unwrap().silent.len(), 2);
            authority.retire_former().unwrap();
            assert_eq!(authority.signers().unwrap().ready.len(), 1);
            assert_eq!(files(home.path()).into_keys().collect::<Vec<_>>(), ["ca-key.pem", "ca.pem"]);
        }
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
