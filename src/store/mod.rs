//! SQL and nothing else: what is asked, what is written, and how commits are grouped.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, oneshot},
};

use crate::{
    clock::Clock,
    config::Database,
    ids::{AccountId, CredentialId, EntityId},
    mdm::{agent::Agent, audit::AuditKey, change::Change},
};

pub mod admin_token;
pub mod administer;
pub mod agent;
mod apply;
pub mod audit;
pub mod blobs;
pub mod certificate;
pub mod command;
pub mod db;
pub mod enroll;
pub mod farewell;
pub mod files;
pub mod flyve;
pub mod invitation;
pub mod items;
mod login;
mod merge;
pub mod message_log;
pub mod meta;
pub mod person;
mod scope;
pub mod session;
pub mod task;
mod writer;

pub use crate::mdm::owed::OpenCommand;
use db::{Engine, Readers, Row, Statement, Story, Tx};
use login::{AccountNames, Lookup};
pub use writer::BatchFigures;
use writer::{Submission, Writer};

/// The database, cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: mpsc::Sender<(Submission, usize)>,
    /// Of all that wait for the writer or are being written.
    payload_bytes: Arc<AtomicUsize>,
    bell: Arc<Notify>,
    lookups: mpsc::Sender<Lookup>,
    accounts: AccountNames,
    lookup_reader: Readers,
    readers: Readers,
    /// The threads that opened it.
    home: Handle,
    clock: Clock,
    blobs: blobs::Blobs,
    audit_last: audit::Last,
}

/// The server could not do its job.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Written by a later version of mdmq.
    #[error(
        "the database is newer than this program (it has migration {0}); use the mdmq that wrote it or a later one"
    )]
    Newer(i64),
    /// More writes wait than [`Store::SUBMISSIONS_MAX`], or more of what devices said than [`Store::PAYLOAD_BYTES_MAX`].
    #[error("the database does not keep up")]
    Busy,
    /// Anything the database says.
    #[error("database: {0}")]
    Database(String),
    /// The disk under the contents of files and packages.
    #[error("disk: {0}")]
    Disk(String),
}

/// A stored MQTT login that has the user name asked for.
#[derive(Clone)]
pub struct Login {
    /// `hmac$<hex>` or an imported `PBKDF2$…`.
    pub secret: String,
    /// Whose.
    pub who: LoginOf,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("who", &self.who).field("secret", &"***").finish_non_exhaustive()
    }
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
        /// Whether it must still hear that tasks were taken back.
        has_removals: bool,
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
    /// Whether it must still hear that tasks were taken back.
    pub has_removals: bool,
}

impl Store {
    /// Submissions that may wait for the writer.
    pub const SUBMISSIONS_MAX: usize = 65_536;
    /// Bytes of what devices said that may wait for the writer: as it came, for subscribers, and as it was read, for the rows.
    pub const PAYLOAD_BYTES_MAX: usize = 128 << 20;
    /// What is larger leaves a quarter of that to others, so that a storm of inventories does not keep ordinary reports out.
    const LARGE_BYTES: usize = 64 << 10;

    /// Opens (and makes) the database, brings its schema up to date and starts the tasks that write and look up.
    /// The audit is sealed with `audit_key`; `on_commit` hears the figures of every transaction.
    ///
    /// # Errors
    /// It cannot be reached, or is newer than the program.
    pub async fn open(
        database: &Database,
        data_dir: &Path,
        clock: Clock,
        audit_key: AuditKey,
        on_commit: impl Fn(BatchFigures) + Send + Sync + 'static,
    ) -> Result<Store, StoreError> {
        let engine = Engine::choose(database, data_dir)?;
        let chain = audit::Chain::new(audit_key, clock.clone());
        let audit_last = chain.last();
        let mut tx = engine.writer(chain).await?;
        engine.migrate(&mut tx).await?;
        let readers = engine.readers();
        let (writer, queue) = mpsc::channel(Self::SUBMISSIONS_MAX);
        let (bell, payload_bytes) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (lookups, names) = mpsc::channel(login::LOOKUPS_MAX);
        let (accounts, lookup_reader) = (AccountNames::default(), engine.reader());
        accounts.load(&lookup_reader).await?;
        login::prepare_lookups(&lookup_reader).await?;
        tokio::spawn(
            Writer {
                engine,
                tx,
                clock: clock.clone(),
                queue,
                payload_bytes: payload_bytes.clone(),
                bell: bell.clone(),
                on_commit: Arc::new(on_commit),
            }
            .run_until_closed(),
        );
        tokio::spawn(login::answer_lookups(lookup_reader.clone(), accounts.clone(), names));
        let (home, blobs) = (Handle::current(), blobs::Blobs::at(data_dir));
        Ok(Store {
            writer,
            payload_bytes,
            bell,
            lookups,
            accounts,
            lookup_reader,
            readers,
            home,
            clock,
            blobs,
            audit_last,
        })
    }

    /// Commits what waits, folds the log into the database file and closes. What is submitted afterwards fails.
    ///
    /// # Errors
    /// The database failed; acknowledged changes are safe nevertheless.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (done, closed) = oneshot::channel();
        self.readers.close().await;
        self.lookup_reader.close().await;
        self.writer.send((Submission::Close(done), 0)).await.map_err(|_| closing())?;
        self.bell.notify_one();
        closed.await.map_err(|_| closing())?
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn health(&self) -> Result<(), StoreError> {
        self.rows(Statement::new("select 1 as one", [])).await.map(drop)
    }

    /// Submissions that wait for the writer now.
    pub fn waiting(&self) -> usize {
        self.writer.max_capacity() - self.writer.capacity()
    }

    /// Bytes of what devices said that wait for the writer or are being written now.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes.load(Ordering::Relaxed)
    }

    /// Gives the changes to the writer, which commits them together with those of others, in order, and then calls `done`.
    pub fn submit(&self, changes: Vec<Change>, done: impl FnOnce(Result<(), StoreError>) + Send + 'static) {
        self.submit_with(0, changes, done);
    }

    /// The same where so many bytes more of what a device said are kept until `done` is called.
    pub fn submit_with(
        &self,
        kept_bytes: usize,
        changes: Vec<Change>,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        let bytes = kept_bytes + changes.iter().map(Change::payload_bytes).sum::<usize>();
        if self.has_room_for(bytes) {
            self.enqueue(Submission::Changes(changes, Box::new(done)), bytes);
        } else {
            done(Err(StoreError::Busy));
        }
    }

    /// Takes the room as well. What is larger than all of it is taken when nothing else waits.
    fn has_room_for(&self, bytes: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        let max = if bytes > Self::LARGE_BYTES { Self::PAYLOAD_BYTES_MAX / 4 * 3 } else { Self::PAYLOAD_BYTES_MAX };
        let before = self.payload_bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before == 0 || before + bytes <= max;
        if !has_room {
            self.payload_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        has_room
    }

    /// The same for what nobody waits for: it may be written some milliseconds later, to share a commit with more of its kind.
    pub fn note(&self, changes: Vec<Change>, done: impl FnOnce(Result<(), StoreError>) + Send + 'static) {
        self.enqueue(Submission::Notes(changes, Box::new(done)), 0);
    }

    fn enqueue(&self, submission: Submission, bytes: usize) {
        let is_awaited = !matches!(submission, Submission::Notes(..));
        let (refused, error) = match self.writer.try_send((submission, bytes)) {
            Ok(()) if is_awaited => return self.bell.notify_one(),
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full((it, _))) => (it, StoreError::Busy),
            Err(mpsc::error::TrySendError::Closed((it, _))) => (it, closing()),
        };
        self.payload_bytes.fetch_sub(bytes, Ordering::Relaxed);
        refused.refuse(error);
    }

    /// The logins with this user name: service account first, then credentials of agents, newest first, at most 64 of
    /// them (when a placeholder serial names more agents than that, the oldest cannot log in by password).
    /// Lookups that arrive together travel in one question.
    ///
    /// # Errors
    /// The database failed.
    pub async fn logins(&self, username: &str) -> Result<Vec<Login>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let lookup = Lookup { username: username.to_owned(), answer };
        self.lookups.try_send(lookup).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => closing(),
        })?;
        answered.await.map_err(|_| closing())?
    }

    /// Runs a story inside the writer's transaction, under a savepoint of its own, and answers after the commit. A story that
    /// returns an error leaves nothing behind. What it writes into the audit is done by whoever this task works for.
    ///
    /// # Errors
    /// The story's, or that of the commit.
    pub async fn write<T, F>(&self, story: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Story<'t, T> + Send + 'static,
    {
        let (done, answered) = oneshot::channel();
        self.enqueue(Submission::story(audit::actor(), story, |outcome| drop(done.send(outcome))), 0);
        answered.await.map_err(|_| closing())?
    }

    /// Asks outside any transaction.
    ///
    /// # Errors
    /// The database refused.
    pub async fn rows(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        if Handle::current().id() == self.home.id() {
            return self.readers.rows(statement).await;
        }
        // A connection belongs to the threads that opened it, and weighs as much: those who give way must not open any for all others.
        let readers = self.readers.clone();
        let asked = self.home.spawn(async move { readers.rows(statement).await });
        asked.await.unwrap_or_else(|_| Err(closing()))
    }

    /// The first row, if any.
    ///
    /// # Errors
    /// The database refused.
    pub async fn row(&self, statement: Statement) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// What time it is for the rows.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }
}

fn closing() -> StoreError {
    StoreError::Database("the server is stopping".into())
}
