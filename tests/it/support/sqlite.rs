//! The server's SQLite file, read beside the server.

use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::Server;

/// The rows of a question about two columns, the first text, the second a number.
pub async fn pairs(server: &Server, question: &'static str) -> Vec<(String, i64)> {
    let mut connection = open(server).await;
    let rows = sqlx::query(question).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// One number.
pub async fn number(server: &Server, question: &'static str) -> i64 {
    let mut connection = open(server).await;
    sqlx::query(question).fetch_one(&mut connection).await.unwrap().get(0)
}

/// Changes something behind the back of a stopped server.
pub async fn execute(server: &Server, statement: &'static str) {
    let mut connection = open(server).await;
    sqlx::query(statement).execute(&mut connection).await.unwrap();
}

async fn open(server: &Server) -> SqliteConnection {
    let file = std::fs::read_dir(server.data_dir()).unwrap().map(|it| it.unwrap().path());
    let file = file.filter(|it| it.extension().is_some_and(|it| it == "db" || it == "sqlite" || it == "sqlite3"));
    let file = file.last().expect("a SQLite file in the data directory");
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap()
}

/// The same with a text that is made at run time.
pub async fn execute_text(server: &Server, statement: String) {
    let mut connection = open(server).await;
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
}

/// What the database says against a statement.
pub async fn refusal(server: &Server, statement: &'static str) -> String {
    let mut connection = open(server).await;
    sqlx::query(statement).execute(&mut connection).await.unwrap_err().to_string()
}
