//! The two engines, and all that differs between them. Refuses to know what the tables mean.

use std::{borrow::Cow, future::Future, path::Path, pin::Pin, str::FromStr, time::Duration};

use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Row as _, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};

use super::{StoreError, audit::Chain};
use crate::config;

/// Connections that answer questions, per engine.
const SQLITE_READERS_MAX: u32 = 4;
const POSTGRES_READERS_MAX: u32 = 8;
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 512;
/// Rows that SQLite's thread may read before somebody takes them; a full buffer costs two changes of thread.
const ROWS_AHEAD_MAX: usize = 512;
/// How long a question waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// An argument of a statement. The `Option` is inside so that a NULL has a type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// 64-bit integer; ids and timestamps too.
    Int(Option<i64>),
    /// Boolean.
    Bool(Option<bool>),
    /// Text.
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(it: i64) -> Self {
        Value::Int(Some(it))
    }
}

impl From<bool> for Value {
    fn from(it: bool) -> Self {
        Value::Bool(Some(it))
    }
}

impl From<&str> for Value {
    fn from(it: &str) -> Self {
        Value::Text(Some(it.to_owned()))
    }
}

impl From<String> for Value {
    fn from(it: String) -> Self {
        Value::Text(Some(it))
    }
}

impl From<Option<i64>> for Value {
    fn from(it: Option<i64>) -> Self {
        Value::Int(it)
    }
}

impl From<Option<bool>> for Value {
    fn from(it: Option<bool>) -> Self {
        Value::Bool(it)
    }
}

impl From<Option<String>> for Value {
    fn from(it: Option<String>) -> Self {
        Value::Text(it)
    }
}

/// SQL with `$1` placeholders and as many arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Accepted by both engines.
    pub sql: Cow<'static, str>,
    /// In the order of the placeholders.
    pub args: Vec<Value>,
    /// The same text with a bare `?` for each placeholder, for long lists of arguments that each stand once and in order:
    /// SQLite looks up the name of every `$n` by a linear search, which makes a thousand of them dear.
    pub(super) unnumbered: Option<&'static str>,
}

impl Statement {
    /// Pairs SQL with its arguments. Debug builds count them, because SQLite would read a missing one as NULL.
    pub fn new(sql: impl Into<Cow<'static, str>>, args: impl Into<Vec<Value>>) -> Self {
        let it = Self { sql: sql.into(), args: args.into(), unnumbered: None };
        debug_assert_eq!(placeholders(&it.sql), it.args.len(), "arguments of {}", it.sql);
        it
    }
}

/// The highest `$n` in the text.
fn placeholders(sql: &str) -> usize {
    let numbers = sql.split('$').skip(1).filter_map(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..digits].parse().ok()
    });
    numbers.max().unwrap_or(0)
}

/// One row of an answer. Getters panic on a column that the statement does not select or of another type: that is a bug of ours, not input.
#[derive(Debug)]
pub struct Row(RowOf);

#[derive(Debug)]
enum RowOf {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! get {
    ($row:expr, $column:expr, $type:ty) => {{
        let got = match &$row.0 {
            RowOf::Sqlite(row) => row.try_get::<$type, _>($column),
            RowOf::Postgres(row) => row.try_get::<$type, _>($column),
        };
        got.unwrap_or_else(|error| panic!("column {}: {error}", $column))
    }};
}

impl Row {
    /// Not null.
    pub fn int(&self, column: &str) -> i64 {
        get!(self, column, i64)
    }
    /// May be null.
    pub fn opt_int(&self, column: &str) -> Option<i64> {
        get!(self, column, Option<i64>)
    }
    /// Not null.
    pub fn text(&self, column: &str) -> String {
        get!(self, column, String)
    }
    /// May be null.
    pub fn opt_text(&self, column: &str) -> Option<String> {
        get!(self, column, Option<String>)
    }
    /// Not null.
    pub fn flag(&self, column: &str) -> bool {
        get!(self, column, bool)
    }
}

/// The open transaction of the writer.
pub struct Tx {
    connection: WriterConnection,
    /// Where the audit stands.
    pub(super) chain: Chain,
}

enum WriterConnection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// What a story given to [`super::Store::write`] returns.
pub type Story<'t, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 't>>;

impl Tx {
    /// Runs a statement and says how many rows it touched.
    ///
    /// # Errors
    /// The database refused.
    pub async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        Ok(match &mut self.connection {
            WriterConnection::Sqlite(it) => {
                let sql = AssertSqlSafe(statement.unnumbered.map_or(statement.sql, Cow::Borrowed));
                sqlx::query_with(sql, sqlite_arguments(statement.args)?).execute(it).await?.rows_affected()
            }
            WriterConnection::Postgres(it) => {
                let sql = AssertSqlSafe(statement.sql);
                sqlx::query_with(sql, postgres_arguments(statement.args)?).execute(it).await?.rows_affected()
            }
        })
    }
    /// Runs a question (or a statement with `returning`).
    ///
    /// # Errors
    /// The database refused.
    pub async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let sql = AssertSqlSafe(statement.sql);
        Ok(match &mut self.connection {
            WriterConnection::Sqlite(it) => {
                sqlite_rows(sqlx::query_with(sql, sqlite_arguments(statement.args)?).fetch_all(it).await?)
            }
            WriterConnection::Postgres(it) => {
                postgres_rows(sqlx::query_with(sql, postgres_arguments(statement.args)?).fetch_all(it).await?)
            }
        })
    }
    /// The first row, if any.
    ///
    /// # Errors
    /// The database refused.
    pub async fn row(&mut self, statement: Statement) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// Begin, commit, savepoints: text without arguments.
    pub(super) async fn control(&mut self, sql: &'static str) -> Result<(), StoreError> {
        if sql.starts_with("rollback") {
            self.chain.forget();
        }
        self.execute(Statement::new(sql, [])).await?;
        if sql == "commit" {
            self.chain.committed();
        }
        Ok(())
    }

    /// Whether the connection still answers.
    pub(super) async fn is_alive(&mut self) -> bool {
        match &mut self.connection {
            WriterConnection::Sqlite(it) => it.ping().await.is_ok(),
            WriterConnection::Postgres(it) => it.ping().await.is_ok(),
        }
    }

    /// Folds the log into the database file and closes.
    pub(super) async fn close(mut self) -> Result<(), StoreError> {
        if let WriterConnection::Sqlite(_) = self.connection {
            self.rows(Statement::new("pragma wal_checkpoint(truncate)", [])).await?;
        }
        match self.connection {
            WriterConnection::Sqlite(it) => it.close().await?,
            WriterConnection::Postgres(it) => it.close().await?,
        }
        Ok(())
    }
}

/// Where the database is and how to speak to it.
#[derive(Debug, Clone)]
pub(super) enum Engine {
    /// A file in the data directory.
    Sqlite(Box<SqliteConnectOptions>),
    /// A server.
    Postgres(Box<PgConnectOptions>),
}

impl Engine {
    /// Chooses by the configured URL; empty is a file in the data directory.
    pub(super) fn choose(database: &config::Database, data_dir: &Path) -> Result<Self, StoreError> {
        let url = &database.url.0;
        if url.is_empty() {
            std::fs::create_dir_all(data_dir)
                .map_err(|error| StoreError::Database(format!("{}: {error}", data_dir.display())))?;
            let options = SqliteConnectOptions::new()
                .filename(data_dir.join("mdmq.sqlite"))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(10))
                .statement_cache_capacity(STATEMENTS_MAX)
                .row_buffer_size(ROWS_AHEAD_MAX)
                .thread_name(|id| format!("sqlite-{id}"))
                .disable_statement_logging();
            Ok(Engine::Sqlite(Box::new(options)))
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(url)
                .map_err(|_| StoreError::Database("the PostgreSQL URL in [database] is malformed".into()))?
                .application_name("mdmq")
                .statement_cache_capacity(STATEMENTS_MAX)
                .disable_statement_logging();
            Ok(Engine::Postgres(Box::new(options)))
        } else {
            Err(StoreError::Database("[database] url must be empty or start with postgres://".into()))
        }
    }

    /// Opens the connection of the writer.
    pub(super) async fn writer(&self, chain: Chain) -> Result<Tx, StoreError> {
        let connection = match self {
            Engine::Sqlite(options) => {
                make_private(options.get_filename())?;
                WriterConnection::Sqlite(options.connect().await?)
            }
            Engine::Postgres(options) => WriterConnection::Postgres(options.connect().await?),
        };
        Ok(Tx { connection, chain })
    }

    /// Brings the schema up to date.
    pub(super) async fn migrate(&self, writer: &mut Tx) -> Result<(), StoreError> {
        let done = match &mut writer.connection {
            WriterConnection::Sqlite(it) => SQLITE_MIGRATIONS.run(it).await,
            WriterConnection::Postgres(it) => POSTGRES_MIGRATIONS.run(it).await,
        };
        done.map_err(|error| match error {
            MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
                StoreError::Newer(version)
            }
            other => StoreError::Database(one_line(&other.to_string())),
        })
    }

    /// Prepares the connections that answer questions; they open when first needed.
    pub(super) fn readers(&self) -> Readers {
        self.readers_max(SQLITE_READERS_MAX, POSTGRES_READERS_MAX)
    }

    /// Prepares one connection for questions that are asked one after the other: it finds its statements prepared every time.
    pub(super) fn reader(&self) -> Readers {
        self.readers_max(1, 1)
    }

    fn readers_max(&self, sqlite_max: u32, postgres_max: u32) -> Readers {
        match self {
            Engine::Sqlite(options) => Readers::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(sqlite_max)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .test_before_acquire(false)
                    .connect_lazy_with((**options).clone().create_if_missing(false).pragma("query_only", "on")),
            ),
            Engine::Postgres(options) => Readers::Postgres(
                PgPoolOptions::new()
                    .max_connections(postgres_max)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .connect_lazy_with((**options).clone()),
            ),
        }
    }
}

/// The connections that answer questions.
#[derive(Debug, Clone)]
pub(super) enum Readers {
    /// To the file.
    Sqlite(SqlitePool),
    /// To the server.
    Postgres(PgPool),
}

impl Readers {
    /// Asks.
    pub(super) async fn rows(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let sql = AssertSqlSafe(statement.sql);
        Ok(match self {
            Readers::Sqlite(pool) => {
                sqlite_rows(sqlx::query_with(sql, sqlite_arguments(statement.args)?).fetch_all(pool).await?)
            }
            Readers::Postgres(pool) => {
                postgres_rows(sqlx::query_with(sql, postgres_arguments(statement.args)?).fetch_all(pool).await?)
            }
        })
    }

    /// Ends the connections.
    pub(super) async fn close(&self) {
        match self {
            Readers::Sqlite(pool) => pool.close().await,
            Readers::Postgres(pool) => pool.close().await,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::Database(one_line(&match error {
            sqlx::Error::Database(it) => it.message().to_owned(),
            sqlx::Error::Io(it) => format!("cannot be reached: {it}"),
            sqlx::Error::PoolTimedOut => "no connection became free in time".to_owned(),
            other => other.to_string(),
        }))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Makes the file before SQLite does, so that only its owner can ever read it; log and index files inherit the mode.
fn make_private(file: &Path) -> Result<(), StoreError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let failed = |error: std::io::Error| StoreError::Database(format!("{}: {error}", file.display()));
        let made = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(file)
            .map_err(failed)?;
        made.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    }
    Ok(())
}

fn sqlite_rows(rows: Vec<SqliteRow>) -> Vec<Row> {
    rows.into_iter().map(|row| Row(RowOf::Sqlite(row))).collect()
}

fn postgres_rows(rows: Vec<PgRow>) -> Vec<Row> {
    rows.into_iter().map(|row| Row(RowOf::Postgres(row))).collect()
}

/// The two engines' argument lists have no common type.
macro_rules! arguments {
    ($values:expr, $list:ty) => {{
        let (values, mut arguments) = ($values, <$list>::default());
        add_all(&mut arguments, values.len(), |to| {
            for value in values {
                match value {
                    Value::Int(it) => to.add(it)?,
                    Value::Bool(it) => to.add(it)?,
                    Value::Text(it) => to.add(it.map(without_nul))?,
                }
            }
            Ok(())
        })?;
        Ok(arguments)
    }};
}

fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments, StoreError> {
    arguments!(values, SqliteArguments)
}

fn postgres_arguments(values: Vec<Value>) -> Result<PgArguments, StoreError> {
    arguments!(values, PgArguments)
}

fn add_all<A: Arguments>(
    to: &mut A,
    count: usize,
    add: impl FnOnce(&mut A) -> Result<(), sqlx::error::BoxDynError>,
) -> Result<(), StoreError> {
    to.reserve(count, count * 8);
    add(to).map_err(|error| StoreError::Database(one_line(&error.to_string())))
}

/// PostgreSQL text cannot hold NUL, and what a device sends may: both engines store the replacement character.
fn without_nul(text: String) -> String {
    if text.as_bytes().contains(&0) { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_counted() {
        assert_eq!(placeholders("select 1"), 0);
        assert_eq!(placeholders("select $1, $12 where a = $2"), 12);
    }

    #[test]
    fn nul_becomes_the_replacement_character() {
        assert_eq!(without_nul("a\0b".into()), "a\u{fffd}b");
        assert_eq!(without_nul("plain".into()), "plain");
    }
}
