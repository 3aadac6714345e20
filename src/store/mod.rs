//! SQL and nothing else: what is asked, what is written, and how commits are grouped.

use std::path::Path;


use crate::{
    config::Database,
    ids::{AccountId, AgentId, CredentialId, EntityId},
    mdm::{agent::Agent, change::Change},
};

pub use crate::mdm::owed::OpenCommand;

pub mod db;

use db::{Row, Statement, Story, Tx};

/// The database, cheap to clone.
#[derive(Clone)]
pub struct Store {}

/// The server could not do its job.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Written by a later version of mdmq.
    #[error("the database is newer than this program (it has migration {0}); use the mdmq that wrote it or a later one")]
    Newer(i64),
    /// More writes wait than [`Store::SUBMISSIONS_MAX`].
    #[error("the database does not keep up")]
    Busy,
    /// Anything the database says.
    #[error("database: {0}")]
    Database(String),
}

/// A stored MQTT login that has the user name asked for.
#[derive(Debug, Clone)]
pub struct Login {
    /// `hmac$<hex>` or an imported `PBKDF2$…`.
    pub secret: String,
    /// Whose.
    pub who: LoginOf,
}

/// Whose login it is.
#[derive(Debug, Clone)]
pub enum LoginOf {
    /// An agent's.
    Agent {
        /// Its row.
        agent: Agent,
        /// Which of its passwords.
        credential: CredentialId,
        /// Whether an older password must be ended when this one is used.
        has_older_credentials: bool,
        /// Whether queued or sent commands wait for it.
        has_open_commands: bool,
    },
    /// A service account's.
    Service {
        /// Key.
        id: AccountId,
        /// User name.
        name: String,
        /// Entries as text: filter and `r|w|rw|deny`.
        access: Vec<(String, String)>,
        /// Resolved sub-tree of entities, `None` for all.
        entities: Option<Vec<EntityId>>,
    },
}

/// What an agent is owed: its row as it is now and the commands that wait for it. `None`: there is no such agent any more.
#[derive(Debug, Clone)]
pub struct Owed {
    /// Its row.
    pub agent: Agent,
    /// Queued and sent commands that have not expired, oldest first.
    pub commands: Vec<OpenCommand>,
}

impl Store {
    /// Submissions that may wait for the writer.
    pub const SUBMISSIONS_MAX: usize = 65_536;

    /// Opens (and makes) the database and brings its schema up to date.
    ///
    /// # Errors
    /// It cannot be reached, or is newer than the program.
    pub async fn open(_database: &Database, _data_dir: &Path) -> Result<Store, StoreError> {
        todo!()
    }

    /// Gives the changes to the writer, which commits them together with those of others, in order, and then calls `done`.
    pub fn submit(&self, _changes: Vec<Change>, _done: impl FnOnce(Result<(), StoreError>) + Send + 'static) {
        todo!()
    }

    /// All logins with this user name. Lookups that arrive together travel in one question.
    ///
    /// # Errors
    /// The database failed.
    pub async fn logins(&self, _username: &str) -> Result<Vec<Login>, StoreError> {
        todo!()
    }

    /// What this agent is owed.
    ///
    /// # Errors
    /// The database failed.
    pub async fn owed(&self, _agent: AgentId) -> Result<Option<Owed>, StoreError> {
        todo!()
    }

    /// Runs a story inside the writer's transaction, under a savepoint of its own, and answers after the commit. A story that
    /// returns an error leaves nothing behind.
    ///
    /// # Errors
    /// The story's, or that of the commit.
    pub async fn write<T, F>(&self, _story: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Story<'t, T> + Send + 'static,
    {
        todo!()
    }

    /// Asks outside any transaction.
    ///
    /// # Errors
    /// The database refused.
    pub async fn rows(&self, _statement: Statement) -> Result<Vec<Row>, StoreError> {
        todo!()
    }

    /// The first row, if any.
    ///
    /// # Errors
    /// The database refused.
    pub async fn row(&self, _statement: Statement) -> Result<Option<Row>, StoreError> {
        todo!()
    }
}
