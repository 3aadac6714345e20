//! Secrets of machines: made at random, stored as a keyed hash, compared in constant time. Refuses to store or log any in clear.
//!
//! Passwords and tokens that we make have more than 180 bits, so one HMAC is enough (design.md): there is nothing to guess, and a fleet that
//! reconnects at once costs little. The key lies outside the database, so a stolen database alone verifies nothing.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    clock::Timestamp,
    datadir::write_private,
    ids::{AgentId, InvitationId},
    mdm::audit::AuditKey,
};

/// Characters of an MQTT password (spec/mqtt.md §6.3).
pub const MQTT_PASSWORD_CHARS: usize = 32;
/// Characters of a person's or agent's API token.
pub const API_TOKEN_CHARS: usize = 40;
/// Characters of an invitation token.
pub const INVITATION_TOKEN_CHARS: usize = 64;
/// Rounds that an imported PBKDF2 hash may ask for: Flyve uses 901; more than this would be an attack on our processors.
const PBKDF2_ROUNDS_MAX: u32 = 100_000;
/// Bytes that an imported PBKDF2 hash may have.
const PBKDF2_BYTES_MAX: usize = 128;

const ALPHANUMERIC: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER_CASE: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const HEXADECIMAL: &[u8] = b"0123456789abcdef";
const HMAC_PREFIX: &str = "hmac$";

/// The server-side key under which passwords and tokens are hashed.
#[derive(Clone)]
pub struct SecretKey(Arc<Zeroizing<[u8; 32]>>);

impl From<[u8; 32]> for SecretKey {
    fn from(key: [u8; 32]) -> Self {
        Self(Arc::new(Zeroizing::new(key)))
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

impl SecretKey {
    /// Reads `data_dir/secret.key`. `None`: it does not exist.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold 32 bytes: one sentence.
    pub fn load(data_dir: &Path) -> Result<Option<SecretKey>, String> {
        let path = data_dir.join("secret.key");
        match File::open(&path) {
            Ok(mut file) => {
                let mut bytes = Zeroizing::new(Vec::with_capacity(64));
                file.read_to_end(&mut bytes).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| {
                    format!("{} must hold exactly 32 bytes; restore it from the backup", path.display())
                })?;
                Ok(Some(SecretKey::from(key)))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(format!("cannot read {}: {e}", path.display())),
        }
    }

    /// Writes `data_dir/secret.key`. Only its owner may read it.
    ///
    /// # Errors
    /// The file cannot be written: one sentence.
    pub fn save(&self, data_dir: &Path) -> Result<(), String> {
        write_private(&data_dir.join("secret.key"), self.0.as_slice()).map_err(|e| e.to_string())
    }

    /// A new key, for the first start and for tests.
    pub fn random() -> SecretKey {
        let mut key = Zeroizing::new([0; 32]);
        fill(&mut *key);
        SecretKey(Arc::new(key))
    }

    /// The key under which the audit is sealed.
    pub fn audit_key(&self) -> AuditKey {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("HMAC takes keys of every length");
        mac.update(b"key of the audit 1");
        AuditKey::new(mac.finalize().into_bytes().into())
    }

    /// Tells keys apart: the database keeps it, to know the key again.
    pub fn number(&self) -> i64 {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("HMAC takes keys of every length");
        mac.update(b"number of the key 1");
        let bytes: [u8; 32] = mac.finalize().into_bytes().into();
        let (number, _) = bytes.split_first_chunk().expect("32 bytes hold 8");
        i64::from_be_bytes(*number)
    }

    /// What is stored instead of the secret: `hmac$<hex>`. The same secret always gives the same text, so tokens are found by it.
    pub fn hash(&self, secret: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("HMAC takes keys of every length");
        mac.update(secret.as_bytes());
        let mut text = String::with_capacity(HMAC_PREFIX.len() + 64);
        text.push_str(HMAC_PREFIX);
        for byte in mac.finalize().into_bytes() {
            text.push(char::from(HEXADECIMAL[usize::from(byte >> 4)]));
            text.push(char::from(HEXADECIMAL[usize::from(byte & 15)]));
        }
        text
    }

    /// The API token of an agent. Derived, not drawn: the settings may be asked for again and again, and must always show the
    /// token that the device already keeps, of which the database has only the hash.
    pub fn agent_token(&self, agent: AgentId, created_at: Timestamp) -> String {
        self.derived(&format!("api_token {agent} {}", created_at.0), LOWER_CASE, API_TOKEN_CHARS)
    }

    /// The token of an invitation: 64 hexadecimal digits. Derived, so that a second mail carries the same one although the
    /// database has only its hash.
    pub fn invitation_token(&self, invitation: InvitationId, created_at: Timestamp) -> String {
        self.derived(&format!("invitation_token {invitation} {}", created_at.0), HEXADECIMAL, INVITATION_TOKEN_CHARS)
    }

    /// The token of the invited person that goes with an invitation.
    pub fn user_token(&self, invitation: InvitationId, created_at: Timestamp) -> String {
        self.derived(&format!("user_token {invitation} {}", created_at.0), LOWER_CASE, API_TOKEN_CHARS)
    }

    /// A secret that the key gives for this text, as long as wanted.
    fn derived(&self, of: &str, alphabet: &[u8], chars: usize) -> String {
        let mut token = String::with_capacity(chars);
        for block in 0_u32.. {
            let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("HMAC takes keys of every length");
            mac.update(format!("{of} {block}").as_bytes());
            let bytes: [u8; 32] = mac.finalize().into_bytes().into();
            append_letters(&mut token, alphabet, chars, &bytes);
            if token.len() == chars {
                break;
            }
        }
        token
    }
}

/// Whether a text has the form of a password or token of ours: log lines leave it out wherever it stands.
pub fn may_be_ours(text: &str) -> bool {
    let lengths = [MQTT_PASSWORD_CHARS, API_TOKEN_CHARS, INVITATION_TOKEN_CHARS];
    lengths.contains(&text.len()) && text.bytes().all(|it| it.is_ascii_alphanumeric())
}

/// Whether `presented` is the secret behind `stored` (`hmac$<hex>`, or `PBKDF2$sha256$…` from a Flyve database).
/// An unknown form is nobody's secret. The time taken does not depend on where they differ.
pub fn verify(key: &SecretKey, stored: &str, presented: &[u8]) -> bool {
    if stored.starts_with(HMAC_PREFIX) {
        // Passwords are made of ASCII; what is no text cannot be one.
        std::str::from_utf8(presented).is_ok_and(|it| bool::from(key.hash(it).as_bytes().ct_eq(stored.as_bytes())))
    } else {
        verify_pbkdf2(stored, presented)
    }
}

/// Whether `stored` is a hash that [`verify`] understands: for the import, which must refuse what nobody could log in with.
pub fn is_imported_hash(stored: &str) -> bool {
    parse_pbkdf2(stored).is_some()
}

/// The salt is the base64 *text*, not the bytes it stands for (spec/mqtt.md §6.3).
fn verify_pbkdf2(stored: &str, presented: &[u8]) -> bool {
    let Some((rounds, salt, expected)) = parse_pbkdf2(stored) else { return false };
    let mut derived = vec![0; expected.len()];
    pbkdf2::pbkdf2_hmac::<Sha256>(presented, salt.as_bytes(), rounds, &mut derived);
    derived.ct_eq(&expected).into()
}

fn parse_pbkdf2(stored: &str) -> Option<(u32, &str, Vec<u8>)> {
    let mut parts = stored.split('$');
    let (scheme, digest) = (parts.next()?, parts.next()?);
    let (rounds, salt, hash) = (parts.next()?.parse().ok()?, parts.next()?, STANDARD.decode(parts.next()?).ok()?);
    let is_sound = scheme == "PBKDF2"
        && digest == "sha256"
        && parts.next().is_none()
        && (1..=PBKDF2_ROUNDS_MAX).contains(&rounds)
        && (16..=PBKDF2_BYTES_MAX).contains(&hash.len());
    is_sound.then_some((rounds, salt, hash))
}

/// Shows a secret to the one answer that may hold it.
///
/// # Errors
/// The answer's.
pub fn shown_once<S: serde::Serializer>(secret: &Zeroizing<String>, answer: S) -> Result<S::Ok, S::Error> {
    answer.serialize_str(secret)
}

/// A password for MQTT: 32 characters of `[0-9a-zA-Z]`.
pub fn mqtt_password() -> Zeroizing<String> {
    random_text(ALPHANUMERIC, MQTT_PASSWORD_CHARS)
}

/// A token of a person, an agent or a session: 40 characters of `[0-9a-z]`.
pub fn api_token() -> Zeroizing<String> {
    random_text(LOWER_CASE, API_TOKEN_CHARS)
}

fn random_text(alphabet: &[u8], chars: usize) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(chars));
    let mut bytes = [0; 64];
    while text.len() < chars {
        fill(&mut bytes);
        append_letters(&mut text, alphabet, chars, &bytes);
    }
    bytes.zeroize();
    text
}

/// Every letter equally likely: bytes beyond the largest multiple of the alphabet are thrown away, not folded back.
fn append_letters(text: &mut String, alphabet: &[u8], chars: usize, bytes: &[u8]) {
    let accepted_below = 256 - 256 % alphabet.len();
    let accepted = bytes.iter().map(|it| usize::from(*it)).filter(|it| *it < accepted_below);
    text.extend(accepted.take(chars - text.len()).map(|it| char::from(alphabet[it % alphabet.len()])));
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system has random numbers; without them nothing here is safe");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imported_flyve_hashes_verify() {
        let stored =
            "PBKDF2$sha256$901$AAECAwQFBgcICQoL$qRak5VvzYwNL8Ayz/ou9K6G1EOeqzJCTikVYf1mFdixaoy0gfnnNaQKa1HzDZOLG";
        let key = SecretKey::random();
        assert!(verify(&key, stored, b"abcdefghijklmnopqrstuvwxyz012345"));
        assert!(!verify(&key, stored, b"abcdefghijklmnopqrstuvwxyz012346"));
        assert!(is_imported_hash(stored));
    }

    #[test]
    fn hashes_of_an_unknown_form_are_nobodys() {
        let key = SecretKey::random();
        for stored in [
            "",
            "hmac$",
            "plain",
            "PBKDF2$sha256$901$salt$",
            "PBKDF2$md5$901$AAEC$qRak5VvzYwNL8Ayz",
            "PBKDF2$sha256$4000000000$a$qRak",
        ] {
            assert!(!verify(&key, stored, b""), "{stored}");
            assert!(!verify(&key, stored, b"plain"), "{stored}");
        }
    }

    #[test]
    fn a_secret_verifies_under_its_own_key_only() {
        let (key, other) = (SecretKey::random(), SecretKey::random());
        let stored = key.hash("secret");
        assert!(verify(&key, &stored, b"secret"));
        assert!(!verify(&key, &stored, b"secreT"));
        assert!(!verify(&other, &stored, b"secret"));
        assert!(!verify(&key, &stored, b"\xff"));
    }

    #[test]
    fn random_texts_have_the_length_and_letters_they_should() {
        assert!(mqtt_password().bytes().all(|it| it.is_ascii_alphanumeric()));
        assert_eq!(mqtt_password().len(), 32);
        assert_eq!(api_token().len(), 40);
        assert_ne!(api_token(), api_token());
        let key = SecretKey::random();
        let token = key.agent_token(AgentId(1), Timestamp(2));
        assert_eq!(token.len(), 40);
        assert_eq!(token, key.agent_token(AgentId(1), Timestamp(2)));
        assert_ne!(token, key.agent_token(AgentId(1), Timestamp(3)));
        assert_ne!(token, key.agent_token(AgentId(2), Timestamp(2)));
        let (invitation, user) =
            (key.invitation_token(InvitationId(1), Timestamp(2)), key.user_token(InvitationId(1), Timestamp(2)));
        assert!(invitation.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')));
        assert_eq!((invitation.len(), user.len()), (64, 40));
        assert_ne!(invitation, key.invitation_token(InvitationId(2), Timestamp(2)));
        assert_ne!(user, token);
    }

    #[test]
    fn what_may_be_a_secret_is_known_by_its_form() {
        assert!(may_be_ours(&mqtt_password()) && may_be_ours(&"a".repeat(64)));
        assert!(!may_be_ours("AZERTY") && !may_be_ours("") && !may_be_ours(&"-".repeat(32)));
    }

    #[test]
    fn the_key_is_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        assert!(SecretKey::load(directory.path()).unwrap().is_none());
        let first = SecretKey::random();
        first.save(directory.path()).unwrap();
        let second = SecretKey::load(directory.path()).unwrap().unwrap();
        assert_eq!(first.hash("x"), second.hash("x"));
        #[cfg(unix)]
        {
            let mode = std::fs::metadata(directory.path().join("secret.key")).unwrap();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
        }
        std::fs::write(directory.path().join("secret.key"), b"short").unwrap();
        assert!(SecretKey::load(directory.path()).unwrap_err().contains("32 bytes"));
    }
}
