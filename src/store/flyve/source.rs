//! A GLPI database with the Flyve plugin, read only, as one consistent picture. Everything comes as text: the columns differ between
//! the versions that exist, and absent ones read as nothing.

use std::{collections::HashSet, str::FromStr, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, Row as _,
    mysql::{MySqlConnectOptions, MySqlRow},
};

/// Rows of one table; a fleet with more does not fit through this door.
pub const ROWS_MAX: usize = 1_000_000;
/// How long the database may take to let us in.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

/// What is wrong with the other side, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// An open database.
pub struct Source {
    connection: MySqlConnection,
    columns: HashSet<(String, String)>,
    name: String,
}

/// One row: the wanted columns in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    names: &'static [&'static str],
    values: Vec<Option<String>>,
}

impl Line {
    #[cfg(test)]
    pub fn of(names: &'static [&'static str], values: &[&str]) -> Line {
        Line { names, values: values.iter().map(|it| Some((*it).to_owned())).collect() }
    }

    fn value(&self, name: &str) -> Option<&str> {
        let at = self.names.iter().position(|it| it.trim_start_matches('@') == name);
        self.values.get(at?)?.as_deref()
    }

    /// A text; nothing is "".
    pub fn text(&self, name: &str) -> String {
        unescaped(self.value(name).unwrap_or_default().trim())
    }

    /// The same without GLPI's escapes undone: for secrets, which have none.
    pub fn raw(&self, name: &str) -> String {
        self.value(name).unwrap_or_default().to_owned()
    }

    /// A number; nothing is 0.
    pub fn int(&self, name: &str) -> i64 {
        self.value(name).and_then(|it| it.parse().ok()).unwrap_or(0)
    }

    /// A flag.
    pub fn flag(&self, name: &str) -> bool {
        self.int(name) != 0
    }

    /// Milliseconds of a column that was asked for with `@`; nothing and the zero date are none.
    pub fn millis(&self, name: &str) -> Option<i64> {
        let seconds = self.value(name)?.split('.').next()?.parse::<i64>().ok()?;
        (seconds > 0).then(|| seconds.saturating_mul(1000))
    }
}

/// GLPI stores what would be markup escaped.
fn unescaped(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    [("&lt;", "<"), ("&gt;", ">"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

impl Source {
    /// Opens `mysql://user@host/database`. What is read afterwards is the state of this moment.
    ///
    /// # Errors
    /// It cannot be reached, or is no GLPI with Flyve.
    pub async fn open(url: &str, password: Option<&str>) -> Result<Source, SourceError> {
        let malformed = || SourceError("the address must look like mysql://user@host/database".into());
        if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
            return Err(malformed());
        }
        let mut options = MySqlConnectOptions::from_str(url).map_err(|_| malformed())?;
        if let Some(password) = password {
            options = options.password(password);
        }
        let database = options.get_database().ok_or_else(malformed)?.to_owned();
        // Dates mean what they meant to GLPI: the time zone of the database server.
        let options = options.timezone(None).disable_statement_logging();
        let name = format!("{}:{}/{database}", options.get_host(), options.get_port());
        let opening = tokio::time::timeout(CONNECT_WITHIN, options.connect());
        let connection = opening
            .await
            .map_err(|_| SourceError(format!("{name} did not answer in time")))?
            .map_err(|e| SourceError(format!("cannot open {name}: {e}")))?;
        let mut source = Source { connection, columns: HashSet::new(), name };
        source.run("set session transaction isolation level repeatable read").await?;
        source.run("start transaction with consistent snapshot, read only").await?;
        source.learn_columns(&database).await?;
        for table in
            ["glpi_entities", "glpi_computers", "glpi_plugin_flyvemdm_agents", "glpi_plugin_flyvemdm_mqttusers"]
        {
            if !source.has(table) {
                let why = format!("{} has no table {table}: it is no GLPI 9 with Flyve 2", source.name);
                return Err(SourceError(why));
            }
        }
        Ok(source)
    }

    /// Host, port and database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is such a table.
    pub fn has(&self, table: &str) -> bool {
        self.columns.iter().any(|(name, _)| name == table)
    }

    /// All rows of a table, in the order of their numbers. `@column` is a date as seconds since 1970. Columns and tables that this
    /// version does not have read as nothing.
    pub async fn table(
        &mut self,
        table: &'static str,
        columns: &'static [&'static str],
    ) -> Result<Vec<Line>, SourceError> {
        self.table_from(table, columns, 0, ROWS_MAX).await.and_then(|lines| {
            if lines.len() < ROWS_MAX {
                return Ok(lines);
            }
            Err(SourceError(format!("{table} has more than {ROWS_MAX} rows")))
        })
    }

    /// The same, only rows with a higher number than `after`, and so many.
    pub async fn table_from(
        &mut self,
        table: &'static str,
        columns: &'static [&'static str],
        after: i64,
        rows_max: usize,
    ) -> Result<Vec<Line>, SourceError> {
        if !self.has(table) {
            return Ok(Vec::new());
        }
        let mut wanted = Vec::with_capacity(columns.len());
        for column in columns {
            let (name, is_date) = column.strip_prefix('@').map_or((*column, false), |name| (name, true));
            wanted.push(match (self.has_column(table, name), is_date) {
                (false, _) => "cast(null as char)".to_owned(),
                (true, false) => format!("cast(`{name}` as char)"),
                // Years beyond 2038 are no timestamps to most MariaDBs.
                (true, true) => format!(
                    "cast(coalesce(unix_timestamp(`{name}`), timestampdiff(second, '1970-01-01', `{name}`)) as char)"
                ),
            });
        }
        let only = if after > 0 { format!("where `id` > {after}") } else { String::new() };
        let sql = format!("select {} from `{table}` {only} order by `id` limit {rows_max}", wanted.join(", "));
        let rows =
            sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await.map_err(|e| self.failed(&e))?;
        rows.iter().map(|row| Ok(Line { names: columns, values: texts(row, columns.len())? })).collect()
    }

    /// A setting of the plugin.
    pub async fn setting(&mut self, name: &str) -> Result<Option<String>, SourceError> {
        if !self.has("glpi_configs") {
            return Ok(None);
        }
        let question = "select cast(value as char) from glpi_configs where context = 'flyvemdm' and name = ? limit 1";
        let row = sqlx::query(question).bind(name).fetch_optional(&mut self.connection).await;
        let row = row.map_err(|e| self.failed(&e))?;
        Ok(row.map(|row| texts(&row, 1)).transpose()?.and_then(|mut it| it.pop().flatten()))
    }

    /// Ends the reading.
    pub async fn close(self) {
        // Nothing was written, so nothing can be lost.
        let _ = self.connection.close().await;
    }

    fn has_column(&self, table: &str, column: &str) -> bool {
        self.columns.contains(&(table.to_owned(), column.to_owned()))
    }

    async fn learn_columns(&mut self, database: &str) -> Result<(), SourceError> {
        let question = "select cast(table_name as char), cast(column_name as char) from information_schema.columns \
                        where table_schema = ? and table_name like 'glpi\\_%'";
        let rows = sqlx::query(question).bind(database).fetch_all(&mut self.connection).await;
        for row in rows.map_err(|e| self.failed(&e))? {
            if let [Some(table), Some(column)] = texts(&row, 2)?.as_slice() {
                self.columns.insert((table.clone(), column.clone()));
            }
        }
        Ok(())
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), SourceError> {
        sqlx::raw_sql(sql).execute(&mut self.connection).await.map(drop).map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &sqlx::Error) -> SourceError {
        SourceError(format!("{}: {error}", self.name))
    }
}

fn texts(row: &MySqlRow, count: usize) -> Result<Vec<Option<String>>, SourceError> {
    let text = |at| row.try_get::<Option<String>, _>(at).map_err(|e| SourceError(format!("column {at}: {e}")));
    (0..count).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_what_is_not_there_as_nothing() {
        let line = Line::of(&["id", "name", "@date"], &["7", " A &lt;b&gt; &#38; c ", "1499364642"]);
        assert_eq!((line.int("id"), line.text("name").as_str()), (7, "A <b> & c"));
        assert_eq!((line.int("none"), line.text("none").as_str(), line.millis("none")), (0, "", None));
        assert_eq!(line.millis("date"), Some(1_499_364_642_000));
        assert_eq!(Line::of(&["@date"], &["0"]).millis("date"), None, "the zero date");
    }
}
