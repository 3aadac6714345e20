//! A CSV file of devices that have passwords already: all of its lines become agents, or none and every bad line is named.

use std::collections::HashMap;

use super::{Flows, SecretKey, administer::NAME_CHARS_MAX, secrets};
use crate::{
    ids::{EntityId, Serial},
    store::{
        StoreError,
        administer::{BAD_LINES_MAX, BadLine, StagedAgent},
    },
};

/// Lines of one import.
pub const IMPORT_LINES_MAX: usize = 500_000;
/// Bytes of a password in an import.
const PASSWORD_BYTES_MAX: usize = 1024;

impl Flows {
    /// Stages the agents of a CSV file: all of them, or none and what is wrong.
    ///
    /// # Errors
    /// The database failed.
    pub async fn import_agents(&self, csv: &[u8]) -> Result<Result<usize, Vec<BadLine>>, StoreError> {
        match parse_import(csv, &self.secret_key) {
            Ok(staged) => self.store.stage_agents(staged, self.clock.now()).await,
            Err(bad) => Ok(Err(bad)),
        }
    }
}

/// Checks a file as far as that is possible without the database.
///
/// # Errors
/// What is wrong with its lines, at most [`BAD_LINES_MAX`] of them.
pub fn parse_import(csv: &[u8], key: &SecretKey) -> Result<Vec<StagedAgent>, Vec<BadLine>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(csv);
    let columns = match reader.headers() {
        Ok(header) => Columns::find(header).map_err(|bad| vec![bad])?,
        Err(e) => return Err(vec![BadLine { line: 1, column: "", error: reason(&e) }]),
    };
    let mut staged = Vec::new();
    let mut seen: HashMap<(EntityId, String), u64> = HashMap::new();
    let mut bad = Vec::new();
    for record in reader.records() {
        if bad.len() >= BAD_LINES_MAX {
            break;
        }
        let record = match record {
            Ok(record) => record,
            Err(e) => {
                let line = e.position().map_or(0, csv::Position::line);
                bad.push(BadLine { line, column: "", error: reason(&e) });
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        match columns.read(&record, line, key) {
            Err(problem) => bad.push(problem),
            Ok(agent) => {
                let address = (agent.entity, agent.serial.clone());
                if let Some(first) = seen.insert(address, line) {
                    let error = format!("{} of entity {} is on line {first} already", agent.serial, agent.entity);
                    bad.push(BadLine { line, column: "serial", error });
                }
                staged.push(agent);
            }
        }
        if staged.len() > IMPORT_LINES_MAX {
            let error = format!("a file has at most {IMPORT_LINES_MAX} lines");
            return Err(vec![BadLine { line, column: "", error }]);
        }
    }
    if bad.is_empty() { Ok(staged) } else { Err(bad) }
}

/// Where the columns stand.
struct Columns {
    width: usize,
    entity: usize,
    serial: usize,
    mqttpasswd: usize,
    fleet: Option<usize>,
    name: Option<usize>,
    uuid: Option<usize>,
}

impl Columns {
    const KNOWN: [&str; 6] = ["entity", "serial", "mqttpasswd", "fleet", "name", "uuid"];

    fn find(header: &csv::StringRecord) -> Result<Self, BadLine> {
        let bad = |column, error: String| BadLine { line: 1, column, error };
        let names: Vec<String> =
            header.iter().map(|name| name.trim_start_matches('\u{feff}').to_ascii_lowercase()).collect();
        if let Some(strange) = names.iter().find(|name| !Self::KNOWN.contains(&name.as_str())) {
            return Err(bad("", format!("there is no column \"{strange}\"; known are {}", Self::KNOWN.join(", "))));
        }
        let at = |wanted: &str| names.iter().position(|name| name == wanted);
        let required = |wanted: &'static str| {
            at(wanted).ok_or_else(|| bad(wanted, format!("the first line must name the column {wanted}")))
        };
        Ok(Self {
            width: names.len(),
            entity: required("entity")?,
            serial: required("serial")?,
            mqttpasswd: required("mqttpasswd")?,
            fleet: at("fleet"),
            name: at("name"),
            uuid: at("uuid"),
        })
    }

    fn read(&self, record: &csv::StringRecord, line: u64, key: &SecretKey) -> Result<StagedAgent, BadLine> {
        let bad = |column, error: String| BadLine { line, column, error };
        if record.len() != self.width {
            return Err(bad("", format!("has {} fields, the first line has {}", record.len(), self.width)));
        }
        let entity = record[self.entity]
            .parse::<EntityId>()
            .map_err(|_| bad("entity", format!("\"{}\" is not a number", &record[self.entity])))?;
        let serial = Serial::parse(&record[self.serial]).map_err(|e| bad("serial", e.to_string()))?;
        let secret = stored_secret(&record[self.mqttpasswd], key).map_err(|why| bad("mqttpasswd", why.into()))?;
        let optional = |column: Option<usize>, name| match column.map_or("", |at| &record[at]) {
            text if text.chars().count() > NAME_CHARS_MAX => {
                Err(bad(name, format!("has more than {NAME_CHARS_MAX} characters")))
            }
            text => Ok(text.to_owned()),
        };
        Ok(StagedAgent {
            line,
            entity,
            serial: serial.as_str().to_owned(),
            secret,
            fleet: optional(self.fleet, "fleet")?,
            name: optional(self.name, "name")?,
            uuid: optional(self.uuid, "uuid")?,
        })
    }
}

fn stored_secret(given: &str, key: &SecretKey) -> Result<String, &'static str> {
    if given.is_empty() {
        Err("must not be empty")
    } else if given.len() > PASSWORD_BYTES_MAX {
        Err("is too long")
    } else if !given.starts_with("PBKDF2$") {
        Ok(key.hash(given))
    } else if secrets::is_imported_hash(given) {
        Ok(given.to_owned())
    } else {
        Err("is not a PBKDF2 hash as Flyve writes it (PBKDF2$sha256$rounds$salt$hash)")
    }
}

fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SecretKey {
        SecretKey::from([7; 32])
    }

    fn complaints(csv: &str) -> Vec<String> {
        match parse_import(csv.as_bytes(), &key()) {
            Ok(staged) => vec![format!("{} fine", staged.len())],
            Err(bad) => bad.iter().map(|it| format!("{} {} {}", it.line, it.column, it.error)).collect(),
        }
    }

    fn check(csv: &str, expected: &[&str]) {
        let is = complaints(csv);
        assert_eq!(is.len(), expected.len(), "{is:?}");
        for (is, expected) in is.iter().zip(expected) {
            assert!(is.starts_with(expected), "{is} / {expected}");
        }
    }

    #[test]
    fn good_files_are_read_in_any_order_of_columns() {
        check("entity,serial,mqttpasswd\n0,A,secret\n76,A,secret\n", &["2 fine"]);
        check("\u{feff}Serial, Entity ,mqttpasswd,fleet,name,uuid\nA,0,x,floor 1,Ann's phone,u-1\n", &["1 fine"]);
        check("entity,serial,mqttpasswd\n", &["0 fine"]);
    }

    #[test]
    fn every_bad_line_is_named_with_its_column() {
        check(
            "entity,serial,mqttpasswd\nx,A,p\n0,,p\n0,B/C,p\n0,D,\n0,E\n0,F,PBKDF2$x\n0,G,p\n0,G,p\n",
            &[
                "2 entity \"x\" is not a number",
                "3 serial a serial must not be empty",
                "4 serial a serial must not contain",
                "5 mqttpasswd must not be empty",
                "6  has 2 fields, the first line has 3",
                "7 mqttpasswd is not a PBKDF2 hash",
                "9 serial G of entity 0 is on line 8 already",
            ],
        );
    }

    #[test]
    fn a_bad_header_is_named() {
        check("entity,serial\n0,A\n", &["1 mqttpasswd the first line must name"]);
        check("entity,serial,mqttpasswd,colour\n", &["1  there is no column \"colour\""]);
        check("", &["1 entity the first line must name"]);
    }

    #[test]
    fn only_the_first_hundred_bad_lines_are_reported() {
        let file = format!("entity,serial,mqttpasswd\n{}", "x,A,p\n".repeat(500));
        assert_eq!(complaints(&file).len(), BAD_LINES_MAX);
    }

    #[test]
    fn passwords_in_clear_text_are_stored_hashed() {
        let staged = parse_import(b"entity,serial,mqttpasswd\n0,A,secret\n", &key()).unwrap();
        assert_eq!(staged[0].secret, key().hash("secret"));
    }
}
