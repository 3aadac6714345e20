//! Deeds: who did what to whom, as they are written into the audit. Values and their one canonical form; no clock, no database.

mod chain;

use serde_json::{Map, Value};

pub use chain::{AuditKey, BEGINNING, Entry, Head, time_of};

use crate::ids::{AgentId, EntityId};

/// Characters of one text in the detail of a deed.
const TEXT_CHARS_MAX: usize = 300;
/// Members of the detail of a deed.
const MEMBERS_MAX: usize = 16;

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
    /// A fleet is seen from below its entity now, or no longer; maybe under another name, too.
    FleetChange = "fleet.change",
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

    /// Which members of the thing change, by name.
    #[must_use]
    pub fn with_changed(self, members: &[(&str, bool)]) -> Self {
        self.with("changed", members.iter().filter(|it| it.1).map(|it| it.0).collect::<Vec<_>>())
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

#[cfg(test)]
mod tests {
    use super::*;

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
