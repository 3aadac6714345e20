//! Deeds: who did what to whom, as they are written into the audit. Values and their one canonical form; no clock, no database.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    ids::{AgentId, EntityId},
};

/// What stands before the first entry.
pub const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Characters of one text in the detail of a deed.
const TEXT_CHARS_MAX: usize = 300;
/// Members of the detail of a deed.
const MEMBERS_MAX: usize = 16;

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

/// What kind of somebody did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// Whoever holds the administrator's token of the data directory.
    Administrator,
    /// Whoever holds an admin token with a name.
    Token,
    /// A person, by a session of the HTTP API.
    Person,
    /// A service account.
    Account,
    /// A device.
    Device,
    /// The server itself.
    System,
}

impl ActorKind {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            ActorKind::Administrator => "administrator",
            ActorKind::Token => "token",
            ActorKind::Person => "person",
            ActorKind::Account => "account",
            ActorKind::Device => "device",
            ActorKind::System => "system",
        }
    }
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What kind.
    pub kind: ActorKind,
    /// Number or name; of a person the number, to which the store adds the name.
    pub name: String,
    /// The network address it came from; empty where there is none.
    pub peer: String,
}

impl Actor {
    /// The server itself.
    pub const SYSTEM: Actor = Actor { kind: ActorKind::System, name: String::new(), peer: String::new() };

    /// Somebody.
    pub fn new(kind: ActorKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), peer: String::new() }
    }

    /// The same, from this address.
    #[must_use]
    pub fn from_peer(mut self, peer: impl ToString) -> Self {
        self.peer = peer.to_string();
        self
    }
}

/// Declares the closed list of what can be done, with the words that are stored.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            /// All of them.
            pub const ALL: &[Action] = &[$(Action::$name,)*];

            /// As it is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Action::$name => $word,)* }
            }
        }
    };
}

actions! {
    /// A tenant was added.
    EntityAdd = "entity.add",
    /// A tenant got another name or place.
    EntityChange = "entity.change",
    /// A tenant was removed.
    EntityRemove = "entity.remove",
    /// Settings of a tenant were changed.
    EntitySettings = "entity.settings",
    /// A fleet was added.
    FleetAdd = "fleet.add",
    /// A fleet got another name.
    FleetRename = "fleet.rename",
    /// A fleet was removed, its agents moved.
    FleetRemove = "fleet.remove",
    /// A person was added.
    PersonAdd = "person.add",
    /// A person, or what he may do, was changed.
    PersonChange = "person.change",
    /// A person was removed.
    PersonRemove = "person.remove",
    /// A person got an API token.
    PersonToken = "person.token",
    /// All tokens and sessions of a person ended.
    PersonTokensRevoke = "person.tokens_revoke",
    /// Somebody with a profile of the staff opened a session.
    SessionOpen = "session.open",
    /// Somebody was invited.
    InvitationAdd = "invitation.add",
    /// A file of invitations was read.
    InvitationImport = "invitation.import",
    /// The mail of an invitation was sent again.
    InvitationResend = "invitation.resend",
    /// An invitation was taken back.
    InvitationRemove = "invitation.remove",
    /// A device enrolled.
    AgentEnroll = "agent.enroll",
    /// A device was not let in.
    AgentRefuse = "agent.refuse",
    /// A device left.
    AgentUnenroll = "agent.unenroll",
    /// An administrator removed an agent.
    AgentRemove = "agent.remove",
    /// An agent was moved to another fleet or tenant.
    AgentMove = "agent.move",
    /// Agents were taken over from a file.
    AgentImport = "agent.import",
    /// A device was commanded.
    CommandOrder = "command.order",
    /// A command was taken back.
    CommandCancel = "command.cancel",
    /// A policy was applied.
    TaskAdd = "task.add",
    /// A task got another value.
    TaskChange = "task.change",
    /// A task was taken back.
    TaskRemove = "task.remove",
    /// A file was uploaded.
    FileAdd = "file.add",
    /// A file got another name or comment.
    FileChange = "file.change",
    /// A file got another content.
    FileReplace = "file.replace",
    /// A file was removed.
    FileRemove = "file.remove",
    /// A package was uploaded.
    PackageAdd = "package.add",
    /// A package got another name.
    PackageChange = "package.change",
    /// A package got another content.
    PackageReplace = "package.replace",
    /// A package was removed.
    PackageRemove = "package.remove",
    /// A beginning of paths was added.
    PathAdd = "path.add",
    /// A beginning of paths was changed.
    PathChange = "path.change",
    /// A beginning of paths was removed.
    PathRemove = "path.remove",
    /// A service account was added.
    AccountAdd = "account.add",
    /// A service account was removed.
    AccountRemove = "account.remove",
    /// A service account said something in the place of the server to a device.
    AccountPublish = "account.publish",
    /// An inventory record was removed.
    ComputerRemove = "computer.remove",
    /// A position was removed.
    PositionRemove = "position.remove",
    /// Another server's data were taken over.
    MoveIn = "server.move_in",
    /// A certificate was issued.
    CertificateIssue = "certificate.issue",
    /// A certificate was revoked.
    CertificateRevoke = "certificate.revoke",
    /// Another certificate authority signs or is trusted.
    AuthorityChange = "authority.change",
    /// An admin token was made.
    TokenAdd = "token.add",
    /// An admin token was ended.
    TokenRemove = "token.remove",
    /// The oldest entries were forgotten, as configured.
    AuditPrune = "audit.prune",
}

/// What it was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the thing that it is called after")]
pub enum Subject {
    Entity,
    Fleet,
    Person,
    Invitation,
    Agent,
    Command,
    Task,
    File,
    Package,
    Path,
    Account,
    Computer,
    Position,
    Certificate,
    Token,
    Server,
}

impl Subject {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Entity => "entity",
            Subject::Fleet => "fleet",
            Subject::Person => "person",
            Subject::Invitation => "invitation",
            Subject::Agent => "agent",
            Subject::Command => "command",
            Subject::Task => "task",
            Subject::File => "file",
            Subject::Package => "package",
            Subject::Path => "path",
            Subject::Account => "account",
            Subject::Computer => "computer",
            Subject::Position => "position",
            Subject::Certificate => "certificate",
            Subject::Token => "token",
            Subject::Server => "server",
        }
    }
}

/// One thing that somebody did. What is unknown here (the number of what was made, whose it is) the store finds out.
#[derive(Debug, Clone, PartialEq)]
pub struct Deed {
    /// Who; `None`: on whose behalf the story runs.
    pub by: Option<Actor>,
    /// What.
    pub action: Action,
    /// To what kind of thing.
    pub subject: Subject,
    /// Its number or name; empty: the number of what the story made.
    pub id: String,
    /// Serial of the device concerned, where there is one.
    pub serial: String,
    /// The tenant concerned, where there is one.
    pub entity: Option<EntityId>,
    /// More, in public: never a secret, a payload or a position.
    pub detail: Map<String, Value>,
}

impl Deed {
    /// To something that is about to get its number.
    pub fn new(action: Action, subject: Subject) -> Self {
        let (id, serial) = (String::new(), String::new());
        Self { by: None, action, subject, id, serial, entity: None, detail: Map::new() }
    }

    /// To this thing.
    pub fn to(action: Action, subject: Subject, id: impl ToString) -> Self {
        Self { id: id.to_string(), ..Self::new(action, subject) }
    }

    /// To this agent.
    pub fn to_agent(action: Action, agent: AgentId) -> Self {
        Self::to(action, Subject::Agent, agent)
    }

    /// Done by this one, whoever's behalf the story runs on.
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.by = Some(actor);
        self
    }

    /// In this tenant.
    #[must_use]
    pub fn in_entity(mut self, entity: EntityId) -> Self {
        self.entity = Some(entity);
        self
    }

    /// Concerning the device with this serial.
    #[must_use]
    pub fn with_serial(mut self, serial: impl Into<String>) -> Self {
        self.serial = clipped(serial.into());
        self
    }

    /// One more fact; null is none.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = match value.into() {
            Value::Null => return self,
            Value::String(text) => Value::String(clipped(text)),
            other => other,
        };
        if self.detail.len() < MEMBERS_MAX {
            self.detail.insert(name.to_owned(), value);
        }
        self
    }
}

/// A text as it may stand in an entry.
pub fn clipped(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
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

    #[test]
    fn words_are_used_once_and_details_are_bounded() {
        let words: std::collections::BTreeSet<&str> = Action::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words.len(), Action::ALL.len());
        let mut deed =
            Deed::new(Action::FleetAdd, Subject::Fleet).with("name", "é".repeat(5000)).with("none", Value::Null);
        assert_eq!(deed.detail.len(), 1);
        assert!(deed.detail["name"].as_str().unwrap().chars().count() <= TEXT_CHARS_MAX + 1);
        for at in 0..100 {
            deed = deed.with(&at.to_string(), at);
        }
        assert_eq!(deed.detail.len(), MEMBERS_MAX);
    }
}
