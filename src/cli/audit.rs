//! `mdmq audit` and `mdmq token`.

use std::{
    io::{ErrorKind, Write},
    path::PathBuf,
};

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    Done, Failure, Place,
    api::{Api, query, quoted},
    secret_file::kept_in,
    show,
    tenants::{list, one},
};
use crate::clock::Clock;

/// Entries that one request brings.
const PAGE: usize = 1000;
const DAY_MS: i64 = 86_400_000;
/// The columns of an export as CSV.
const COLUMNS: [&str; 14] = [
    "number",
    "at",
    "at_ms",
    "actor_kind",
    "actor",
    "peer",
    "action",
    "subject_kind",
    "subject",
    "serial",
    "entity",
    "detail",
    "previous",
    "hash",
];

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// The latest entries
    #[command(after_help = "Example:\n  mdmq audit list --serial AZERTY\n  mdmq audit list --action agent. --days 7")]
    List {
        /// Kind of somebody (administrator, token, person, account, device, system), or a name
        #[arg(long, value_name = "WHO")]
        actor: Option<String>,
        /// What was done, or how it begins: command.order, agent.
        #[arg(long, value_name = "WHAT")]
        action: Option<String>,
        /// Concerning this device
        #[arg(long)]
        serial: Option<String>,
        /// Concerning this tenant
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
        /// Of so many days
        #[arg(long, value_name = "N")]
        days: Option<i64>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// Walk the whole chain; says the first entry that is missing, changed or out of place, and ends with 1 then
    Verify,
    /// Print all entries, oldest first, with their hashes
    #[command(after_help = "Example:\n  mdmq audit export --format csv --days 31 > audit.csv")]
    Export {
        /// Of so many days
        #[arg(long, value_name = "N")]
        days: Option<i64>,
        /// With a higher number than this
        #[arg(long, default_value_t = 0, value_name = "NUMBER")]
        after: i64,
        /// How
        #[arg(long, default_value = "jsonl")]
        format: Format,
    },
}

/// Form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An object per line
    Jsonl,
    /// A heading and a row per entry
    Csv,
}

pub async fn audit(verb: Audit, place: &Place) -> Done {
    let api = Api::of(place)?;
    match verb {
        Audit::List { actor, action, serial, entity, days, limit } => {
            let asked = query(&[
                ("actor", actor),
                ("action", action),
                ("serial", serial),
                ("entity", entity.map(|it| it.to_string())),
                ("since", since(days)),
                ("limit", Some(limit.to_string())),
            ]);
            let found = api.get(&format!("/audit{asked}")).await?;
            let columns = [
                ("number", "NUMBER"),
                ("at", "AT"),
                ("actor_kind", "BY"),
                ("actor", "NAME"),
                ("action", "DID"),
                ("subject_kind", "TO"),
                ("subject", "WHICH"),
                ("serial", "SERIAL"),
                ("entity", "ENTITY"),
                ("detail", "MORE"),
            ];
            list(&found, &columns, "nothing was done", place)
        }
        Audit::Verify => verify(&api, place).await,
        Audit::Export { days, after, format } => export(&api, since(days), after, format).await,
    }
}

fn since(days: Option<i64>) -> Option<String> {
    days.map(|days| (Clock::System.now().0 - days.saturating_mul(DAY_MS)).to_string())
}

async fn verify(api: &Api, place: &Place) -> Done {
    let found = api.get("/audit/verify").await?;
    if place.json {
        show::json(&found);
    }
    match found["broken"].as_str() {
        Some(why) => Err(Failure(format!("the audit does not hold: {why}"))),
        None if place.json => Ok(()),
        None => {
            let (entries, head) = (&found["entries"], &found["head"]);
            let (number, hash) = (&head["number"], show::cell(&head["hash"]));
            show::say(&format!("the audit holds: {entries} entries up to {number}, hash {hash}\n"));
            if found["forgotten_until"] != 0 {
                show::say(&format!("those up to {} were forgotten, as configured\n", found["forgotten_until"]));
            }
            if let Some(why) = found["unchecked"].as_str() {
                println!("whether the last ones were cut off cannot be told: {why}");
            }
            Ok(())
        }
    }
}

async fn export(api: &Api, since: Option<String>, mut after: i64, format: Format) -> Done {
    let mut page = if format == Format::Csv { format!("{}\n", COLUMNS.join(",")).into_bytes() } else { Vec::new() };
    loop {
        let asked =
            query(&[("after", Some(after.to_string())), ("since", since.clone()), ("limit", Some(PAGE.to_string()))]);
        let found = api.get(&format!("/audit{asked}")).await?;
        let entries = found.as_array().map(Vec::as_slice).unwrap_or_default();
        for entry in entries {
            match format {
                Format::Jsonl => writeln!(page, "{entry}")?,
                Format::Csv => page.extend(csv_row(entry)?),
            }
            after =
                entry["number"].as_i64().ok_or_else(|| Failure("the server sent an entry without number".into()))?;
        }
        let mut out = std::io::stdout();
        match out.write_all(&page).and_then(|()| out.flush()) {
            // `mdmq audit export | head` has what it wants.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        if entries.is_empty() {
            return Ok(());
        }
        page.clear();
    }
}

fn csv_row(entry: &Value) -> Result<Vec<u8>, Failure> {
    let cell = |column: &&str| match &entry[*column] {
        Value::Null => String::new(),
        Value::String(text) => harmless(text),
        other => harmless(&other.to_string()),
    };
    let mut row = csv::Writer::from_writer(Vec::new());
    row.write_record(COLUMNS.iter().map(cell))?;
    Ok(row.into_inner()?)
}

/// Spreadsheets run what begins like a formula.
fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// All admin tokens, without their secrets
    List,
    /// A new admin token; it is shown once
    #[command(
        after_help = "Example:\n  mdmq token add helpdesk --role operator --entity 76 --days 90 --out helpdesk.token\n  mdmq --server http://127.0.0.1:8081 --admin-token-file helpdesk.token agent list"
    )]
    Add {
        /// What it is called, here and in the audit
        name: String,
        /// What it may do
        #[arg(long)]
        role: Role,
        /// Only in this tenant and those below it [default: everywhere]
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
        /// It ends by itself after so many days [default: never]
        #[arg(long, value_name = "N")]
        days: Option<u32>,
        /// Write the token to this new file instead of the terminal
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// End a token at once
    Remove {
        /// What it is called
        name: String,
    },
}

/// What holders of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Looks
    Viewer,
    /// Also commands and moves devices, applies policies, uploads files, invites
    Operator,
    /// Everything
    Administrator,
}

pub async fn token(verb: Token, place: &Place) -> Done {
    let api = Api::of(place)?;
    match verb {
        Token::List => {
            let columns = [
                ("name", "NAME"),
                ("role", "ROLE"),
                ("entity", "ENTITY"),
                ("created_at", "MADE"),
                ("expires_at", "ENDS"),
                ("last_used_at", "LAST USED"),
            ];
            let none = "no tokens besides that of the data directory; add one with: mdmq token add NAME --role viewer";
            list(&api.get("/tokens").await?, &columns, none, place)
        }
        Token::Add { name, role, entity, days, out } => {
            let role = match role {
                Role::Viewer => "viewer",
                Role::Operator => "operator",
                Role::Administrator => "administrator",
            };
            let body = json!({ "name": name, "role": role, "entity": entity, "days": days });
            one(&kept_in(out, "token", "token_file", api.post("/tokens", &body)).await?, place)
        }
        Token::Remove { name } => one(&api.delete(&format!("/tokens/{}", quoted(&name))).await?, place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_runs_nothing() {
        let entry = json!({ "number": 1, "actor": "=cmd()", "entity": null, "detail": {"a": "b,c"} });
        let row = String::from_utf8(csv_row(&entry).unwrap()).unwrap();
        assert_eq!(row, "1,,,,'=cmd(),,,,,,,\"{\"\"a\"\":\"\"b,c\"\"}\",,\n");
    }
}
