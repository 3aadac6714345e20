//! The chain of entries: each is sealed together with the hash of the one before it.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::clock::Timestamp;

/// What stands before the first entry.
pub const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The key of the chain. It lies outside the database: whoever can write rows cannot forge entries.
#[derive(Clone)]
pub struct AuditKey(Arc<Zeroizing<[u8; 32]>>);

impl AuditKey {
    /// From 32 secret bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// HMAC-SHA-256 in hexadecimal.
    pub fn seal(&self, bytes: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("HMAC takes keys of every length");
        mac.update(bytes);
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditKey(***)")
    }
}

/// One entry of the audit, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// Grows by one; no number is missing.
    pub number: i64,
    /// When, milliseconds since 1970.
    #[serde(rename = "at_ms")]
    pub at: i64,
    /// Who: what kind.
    pub actor_kind: String,
    /// Who: number or name.
    pub actor: String,
    /// From where.
    pub peer: String,
    /// What.
    pub action: String,
    /// To what kind of thing.
    pub subject_kind: String,
    /// Its number or name.
    pub subject: String,
    /// Of which device.
    pub serial: String,
    /// In which tenant.
    pub entity: Option<i64>,
    /// JSON.
    pub detail: String,
    /// Hash of the entry before.
    pub previous: String,
    /// Hash of this entry.
    pub hash: String,
}

impl Entry {
    /// What the hash of this entry must be: every member with its length before it, so that no two entries look alike.
    pub fn sealed(&self, key: &AuditKey) -> String {
        let mut bytes = b"mdmq audit entry 1".to_vec();
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(self.at.to_be_bytes());
        match self.entity {
            Some(entity) => {
                bytes.push(1);
                bytes.extend(entity.to_be_bytes());
            }
            None => bytes.push(0),
        }
        for text in [
            &self.actor_kind,
            &self.actor,
            &self.peer,
            &self.action,
            &self.subject_kind,
            &self.subject,
            &self.serial,
            &self.detail,
            &self.previous,
        ] {
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        key.seal(&bytes)
    }
}

/// Where the chain stands: the last entry, or the last of those that were forgotten.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// Its number; 0: nothing was ever written.
    pub number: i64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    /// Before the first entry.
    pub fn beginning() -> Self {
        Self { number: 0, hash: BEGINNING.to_owned() }
    }

    /// The seal under a head that stands for entries that were forgotten.
    pub fn sealed(&self, key: &AuditKey) -> String {
        key.seal(format!("mdmq audit anchor 1 {} {}", self.number, self.hash).as_bytes())
    }

    /// Takes the next entry in.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn follow(&mut self, entry: &Entry, key: &AuditKey) -> Result<(), String> {
        let expected = self.number + 1;
        if entry.number != expected {
            return Err(format!("entry {expected} is missing"));
        }
        if entry.previous != self.hash {
            return Err(format!("entry {} does not follow the one before it", entry.number));
        }
        if entry.hash != entry.sealed(key) {
            return Err(format!("entry {} was changed", entry.number));
        }
        *self = Self { number: entry.number, hash: entry.hash.clone() };
        Ok(())
    }
}

/// The time of an entry as people read it.
pub fn time_of(entry: &Entry) -> String {
    Timestamp(entry.at).rfc3339()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &AuditKey, after: &Head, subject: &str) -> Entry {
        let mut entry = Entry {
            number: after.number + 1,
            at: 5,
            actor_kind: "administrator".into(),
            actor: String::new(),
            peer: "127.0.0.1".into(),
            action: "fleet.add".into(),
            subject_kind: "fleet".into(),
            subject: subject.into(),
            serial: String::new(),
            entity: Some(3),
            detail: "{}".into(),
            previous: after.hash.clone(),
            hash: String::new(),
        };
        entry.hash = entry.sealed(key);
        entry
    }

    fn chain(key: &AuditKey) -> [Entry; 3] {
        let mut head = Head::beginning();
        [1, 2, 3].map(|subject| {
            let it = entry(key, &head, &subject.to_string());
            head.follow(&it, key).unwrap();
            it
        })
    }

    fn follow(entries: &[Entry], key: &AuditKey) -> Result<i64, String> {
        let mut head = Head::beginning();
        entries.iter().try_for_each(|it| head.follow(it, key)).map(|()| head.number)
    }

    #[test]
    fn a_chain_that_nobody_touched_holds() {
        let key = AuditKey::new([7; 32]);
        assert_eq!(follow(&chain(&key), &key), Ok(3));
    }

    #[test]
    #[rustfmt::skip]
    fn every_kind_of_tampering_is_named() {
        let key = AuditKey::new([7; 32]);
        let check = |change: fn(&mut Vec<Entry>), expected: &str| {
            let mut entries = chain(&key).to_vec();
            change(&mut entries);
            assert_eq!(follow(&entries, &key), Err(expected.to_owned()));
        };
        check(|it| it[1].subject = "9".into(),            "entry 2 was changed");
        check(|it| it[1].at += 1,                         "entry 2 was changed");
        check(|it| it[1].entity = None,                   "entry 2 was changed");
        check(|it| it[1].actor = "ann".into(),            "entry 2 was changed");
        check(|it| it[1].hash = BEGINNING.into(),         "entry 2 was changed");
        check(|it| it[1].previous = BEGINNING.into(),     "entry 2 does not follow the one before it");
        check(|it| { it.remove(1); },                     "entry 2 is missing");
        check(|it| { it.remove(0); },                     "entry 1 is missing");
        check(|it| it.swap(0, 1),                         "entry 1 is missing");
        // Moved from one member to its neighbour.
        check(|it| { it[1].serial = it[1].subject.clone(); it[1].subject.clear(); }, "entry 2 was changed");
    }

    #[test]
    fn whoever_has_another_key_cannot_forge() {
        let (key, other) = (AuditKey::new([7; 32]), AuditKey::new([8; 32]));
        assert_eq!(follow(&chain(&other), &key), Err("entry 1 was changed".into()));
        assert_eq!(format!("{key:?}"), "AuditKey(***)");
    }
}
