//! Many people at once, from a CSV file: each line has its own outcome, and good lines are invited although others fail.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{
    Flows,
    invite::{self, Invited, Wish},
};
use crate::{
    ids::EntityId,
    mdm::{
        audit::{Action, Deed, Subject},
        help_desk::HelpDesk,
    },
    store::{StoreError, administer::Refused, audit, invitation::NewInvitation},
};

/// Lines of one file.
pub const INVITED_LINES_MAX: usize = 10_000;
/// Lines that are written in one story, so that the writer is not held for long.
const LINES_PER_STORY: usize = 100;

/// What became of a line.
#[derive(Debug, Clone, Serialize)]
pub struct LineOutcome {
    /// Counted from 1, the header included.
    pub line: u64,
    /// As it stands there.
    pub email: String,
    /// Why nobody was invited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the person gets.
    #[serde(flatten)]
    pub invited: Option<Invited>,
}

/// The whole file.
#[derive(Debug, Clone, Serialize)]
pub struct FileOutcome {
    /// Lines that worked.
    pub invited: usize,
    /// Lines that did not.
    pub failed: usize,
    /// All of them, in order.
    pub lines: Vec<LineOutcome>,
}

/// A line as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    number: u64,
    wish: Result<Wish, (String, String)>,
}

impl Flows {
    /// Invites the people of a CSV file; `defaults` says what lines leave open. Refused as a whole when the file has no
    /// usable first line or too many lines.
    ///
    /// # Errors
    /// The database failed. What was invited before stays so.
    pub async fn invite_many(&self, csv: &[u8], defaults: &Wish) -> Result<Result<FileOutcome, Refused>, StoreError> {
        let lines = match parse(csv, defaults) {
            Ok(lines) => lines,
            Err(why) => return Ok(Err(Refused::Invalid(why))),
        };
        let mut outcomes = Vec::with_capacity(lines.len());
        let mut ready = Vec::new();
        let mut seen = HashMap::new();
        for Line { number, wish } in lines {
            let read = wish.and_then(|wish| {
                let email = wish.email.clone();
                self.read_wish(wish).map_err(|refused| (email, refused.to_string()))
            });
            let (email, error) = match read {
                Ok(new) => match seen.insert((new.email.clone(), new.entity), number) {
                    Some(first) => (new.email, Some(format!("is on line {first} already"))),
                    None => {
                        let email = new.email.clone();
                        ready.push((outcomes.len(), new));
                        (email, None)
                    }
                },
                Err((email, why)) => (email, Some(why)),
            };
            outcomes.push(LineOutcome { line: number, email, error, invited: None });
        }
        self.write_lines(ready, &mut outcomes).await?;
        let invited = outcomes.iter().filter(|it| it.invited.is_some()).count();
        Ok(Ok(FileOutcome { invited, failed: outcomes.len() - invited, lines: outcomes }))
    }

    async fn write_lines(
        &self,
        ready: Vec<(usize, NewInvitation)>,
        outcomes: &mut [LineOutcome],
    ) -> Result<(), StoreError> {
        let entities: HashSet<EntityId> = ready.iter().map(|(_, new)| new.entity).collect();
        let mut help_desks: HashMap<EntityId, HelpDesk> = HashMap::new();
        for entity in entities {
            help_desks.insert(entity, self.help_desk(entity).await?);
        }
        let mut ready = ready.into_iter().peekable();
        while ready.peek().is_some() {
            let chunk: Vec<_> = ready.by_ref().take(LINES_PER_STORY).collect();
            let told: Vec<_> = chunk.iter().map(|(at, new)| (*at, new.entity, new.is_mailed)).collect();
            let key = self.secret_key.clone();
            let made = self
                .store
                .write(move |tx| {
                    Box::pin(async move {
                        let mut made = Vec::with_capacity(chunk.len());
                        for (_, new) in chunk {
                            made.push(invite::make(tx, &key, new).await?);
                        }
                        // One entry for all of them.
                        let count = made.iter().filter(|it| it.is_ok()).count();
                        let ids = made.iter().flatten().map(|it| it.id.0);
                        let deed = Deed::new(Action::InvitationImport, Subject::Server)
                            .with("invitations", count)
                            .with("first", ids.clone().min())
                            .with("last", ids.max());
                        if count > 0 {
                            audit::append(tx, deed).await?;
                        }
                        Ok(made)
                    })
                })
                .await?;
            self.mail_waits.notify_one();
            for ((at, entity, is_mailed), made) in told.into_iter().zip(made) {
                match (made, help_desks.get(&entity)) {
                    (Ok(made), Some(desk)) => outcomes[at].invited = Some(self.invited(&made, desk, is_mailed)),
                    (Ok(_), None) => outcomes[at].error = Some("its entity vanished".into()),
                    (Err(refused), _) => outcomes[at].error = Some(refused.to_string()),
                }
            }
        }
        Ok(())
    }
}

/// Reads the lines, good and bad.
///
/// # Errors
/// The file as a whole is unusable: one sentence.
pub fn parse(csv: &[u8], defaults: &Wish) -> Result<Vec<Line>, String> {
    let csv = with_plain_line_ends(csv);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(csv.as_slice());
    let header = reader.headers().map_err(|_| "the first line is not UTF-8".to_owned())?;
    let columns = Columns::find(header)?;
    let mut lines = Vec::new();
    for record in reader.records() {
        if lines.len() >= INVITED_LINES_MAX {
            return Err(format!("a file has at most {INVITED_LINES_MAX} lines"));
        }
        lines.push(match record {
            Ok(record) => {
                Line { number: record.position().map_or(0, csv::Position::line), wish: columns.read(&record, defaults) }
            }
            Err(e) => Line {
                number: e.position().map_or(0, csv::Position::line),
                wish: Err((String::new(), "is not UTF-8".to_owned())),
            },
        });
    }
    Ok(lines)
}

/// The reader counts lines wrongly when they end as on Windows.
fn with_plain_line_ends(csv: &[u8]) -> Vec<u8> {
    let is_doubled = |at: usize| csv[at] == b'\r' && csv.get(at + 1) == Some(&b'\n');
    (0..csv.len()).filter(|at| !is_doubled(*at)).map(|at| csv[at]).collect()
}

/// Where the columns stand.
struct Columns {
    width: usize,
    email: usize,
    entity: Option<usize>,
    firstname: Option<usize>,
    lastname: Option<usize>,
    phone: Option<usize>,
}

impl Columns {
    const KNOWN: [&str; 5] = ["email", "entity", "firstname", "lastname", "phone"];

    fn find(header: &csv::StringRecord) -> Result<Self, String> {
        let names: Vec<String> =
            header.iter().map(|name| name.trim_start_matches('\u{feff}').to_ascii_lowercase()).collect();
        if let Some(strange) = names.iter().find(|name| !Self::KNOWN.contains(&name.as_str())) {
            let known = Self::KNOWN.join(", ");
            return Err(format!("the first line names a column \"{}\"; known are {known}", strange.escape_debug()));
        }
        let at = |wanted: &str| names.iter().position(|name| name == wanted);
        Ok(Self {
            width: names.len(),
            email: at("email").ok_or("the first line must name the column email")?,
            entity: at("entity"),
            firstname: at("firstname"),
            lastname: at("lastname"),
            phone: at("phone"),
        })
    }

    fn read(&self, record: &csv::StringRecord, defaults: &Wish) -> Result<Wish, (String, String)> {
        let email = record.get(self.email).unwrap_or_default().to_owned();
        if record.len() != self.width {
            let why = format!("has {} fields, the first line has {}", record.len(), self.width);
            return Err((email, why));
        }
        let text = |column: Option<usize>| column.map_or("", |at| &record[at]).to_owned();
        let entity = match text(self.entity).as_str() {
            "" => defaults.entity,
            number => match number.parse() {
                Ok(number) => number,
                Err(_) => return Err((email, format!("entity \"{}\" is not a number", number.escape_debug()))),
            },
        };
        Ok(Wish {
            email,
            entity,
            firstname: text(self.firstname),
            lastname: text(self.lastname),
            phone: text(self.phone),
            invited_by: defaults.invited_by.clone(),
            is_mailed: defaults.is_mailed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(csv: &str, expected: &[&str]) {
        let defaults = Wish { entity: 7, ..Wish::default() };
        let said: Vec<String> = match parse(csv.as_bytes(), &defaults) {
            Err(why) => vec![why],
            Ok(lines) => lines
                .iter()
                .map(|it| match &it.wish {
                    Ok(wish) => format!("{} {} {} {}", it.number, wish.email, wish.entity, wish.firstname),
                    Err((email, why)) => format!("{} {email} {why}", it.number),
                })
                .collect(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn lines_are_read_in_any_order_of_columns() {
        check("email\na@b.c\n", &["2 a@b.c 7 "]);
        check("Firstname, EMAIL ,entity\nAnn,a@b.c,3\nBob,b@b.c,\n", &["2 a@b.c 3 Ann", "3 b@b.c 7 Bob"]);
        check("\u{feff}email,lastname\r\na@b.c,\"Doe, J.\"\r\n", &["2 a@b.c 7 "]);
        check("email\n", &[]);
    }

    #[test]
    fn bad_lines_do_not_hurt_their_neighbours() {
        check(
            "email,entity\na@b.c,x\nb@b.c\nc@b.c,1\n",
            &["2 a@b.c entity \"x\" is not a number", "3 b@b.c has 1 fields, the first line has 2", "4 c@b.c 1 "],
        );
    }

    #[test]
    fn files_without_a_usable_first_line_are_refused() {
        check(
            "name\nAnn\n",
            &["the first line names a column \"name\"; known are email, entity, firstname, lastname, phone"],
        );
        check("entity\n3\n", &["the first line must name the column email"]);
        check("", &["the first line must name the column email"]);
        let many = format!("email\n{}", "a@b.c\n".repeat(INVITED_LINES_MAX + 1));
        check(&many, &["a file has at most 10000 lines"]);
    }
}
