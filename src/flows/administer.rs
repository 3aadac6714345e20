//! What administrators do besides commanding devices: tenants, fleets, invitations, service accounts, bulk import.
//! Texts become values here; the database is asked through [`crate::store`] only.

use std::collections::HashMap;

use serde::Serialize;

use super::{Flows, SecretKey, secrets};
use crate::{
    ids::{AgentId, EntityId, FleetId, Serial},
    mail,
};

pub use crate::store::StoreError;
pub use crate::store::administer::{
    AccountView, AgentFilter, AgentView, Answer, BAD_LINES_MAX, BadLine, CommandView, EntityView, FleetView, Refused,
};
use crate::store::administer::{NewAccount, StagedAgent};

/// Entries in one access list.
pub const ACL_ENTRIES_MAX: usize = 1000;
/// Characters of a name that administrators give.
pub const NAME_CHARS_MAX: usize = 255;
/// Lines of one import.
pub const IMPORT_LINES_MAX: usize = 500_000;
/// Bytes of a password in an import.
const PASSWORD_BYTES_MAX: usize = 1024;

/// A new service account with its password, shown once.
#[derive(Debug, Clone, Serialize)]
pub struct Opened {
    /// User name.
    pub name: String,
    /// Password.
    pub password: String,
}

impl Flows {
    /// A new tenant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_entity(&self, name: &str, parent: EntityId, id: Option<EntityId>) -> Answer<EntityId> {
        match name_of(name) {
            Ok(name) if id.is_none_or(|id| id.0 > 0) => self.store.add_entity(name, parent, id, self.clock.now()).await,
            Ok(_) => Ok(Err(Refused::Invalid("the number of an entity is at least 1".into()))),
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Another name or place for a tenant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_entity(&self, id: EntityId, name: Option<&str>, parent: Option<EntityId>) -> Answer<()> {
        match name.map(name_of).transpose() {
            Ok(name) => self.store.change_entity(id, name, parent).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// A new fleet.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_fleet(&self, entity: EntityId, name: &str) -> Answer<FleetId> {
        match name_of(name) {
            Ok(name) => self.store.add_fleet(entity, name, self.clock.now()).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Another name for a fleet.
    ///
    /// # Errors
    /// The database failed.
    pub async fn rename_fleet(&self, id: FleetId, name: &str) -> Answer<()> {
        match name_of(name) {
            Ok(name) => self.store.rename_fleet(id, name).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Removes a fleet; its agents go to the default one and are told. Answers who was moved.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_fleet(&self, id: FleetId) -> Answer<Vec<AgentId>> {
        let answer = self.store.remove_fleet(id, self.removal_until()).await?;
        if let Ok(moved) = &answer {
            self.agents_changed(moved);
        }
        Ok(answer)
    }

    /// One more beginning of paths that files may be deployed to.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_path(&self, name: &str, comment: &str) -> Answer<i64> {
        match name_of(name) {
            Ok(name) => self.store.add_path(name, comment.to_owned()).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Another name, comment or default for a path.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_path(
        &self,
        id: i64,
        name: Option<String>,
        comment: Option<String>,
        is_default: bool,
    ) -> Answer<()> {
        match name.as_deref().map(name_of).transpose() {
            Ok(name) => self.store.change_path(id, name, comment, is_default).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// A service account with a random password.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open_account(&self, name: &str, acl: &[String], entity: Option<EntityId>) -> Answer<Opened> {
        let checked = name_of(name).and_then(|name| Ok((name, parse_acl(acl)?)));
        let (name, access) = match checked {
            Ok(checked) => checked,
            Err(refused) => return Ok(Err(refused)),
        };
        let password = secrets::mqtt_password();
        let secret = self.secret_key.hash(&password);
        let new = NewAccount { name: name.clone(), secret, entity, access, at: self.clock.now() };
        Ok(self.store.add_account(new).await?.map(|_| Opened { name, password }))
    }

    /// Removes a service account.
    ///
    /// # Errors
    /// The database failed.
    pub async fn close_account(&self, name: &str) -> Answer<()> {
        let removed = self.store.remove_account(name.to_owned()).await?;
        if let Ok(account) = &removed {
            self.hub.revoke_account(*account);
        }
        Ok(removed.map(|_| ()))
    }

    /// Whether the database answers.
    pub async fn answers(&self) -> bool {
        self.store.row(crate::store::administer::trivial_question()).await.is_ok()
    }

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

/// `FILTER:r`, split at the last colon, because a filter may hold one.
///
/// # Errors
/// What is wrong with the first bad entry.
pub fn parse_acl(entries: &[String]) -> Result<Vec<(String, String)>, Refused> {
    if entries.len() > ACL_ENTRIES_MAX {
        return Err(Refused::Invalid(format!("an access list has at most {ACL_ENTRIES_MAX} entries")));
    }
    entries.iter().map(|entry| acl_entry(entry)).collect()
}

fn acl_entry(entry: &str) -> Result<(String, String), Refused> {
    let invalid = |why: &str| Err(Refused::Invalid(format!("\"{entry}\" {why}")));
    let Some((filter, access)) = entry.rsplit_once(':') else {
        return invalid("is not FILTER:r, FILTER:w, FILTER:rw or FILTER:deny");
    };
    if !matches!(access, "r" | "w" | "rw" | "deny") {
        return invalid("must end with :r, :w, :rw or :deny");
    }
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    let is_filter = !filter.is_empty()
        && !filter.contains('\0')
        && filter.len() <= usize::from(u16::MAX)
        && levels.iter().enumerate().all(|(at, level)| match *level {
            "#" => at == last,
            "+" => true,
            other => !other.contains(['#', '+']),
        });
    if is_filter { Ok((filter.to_owned(), access.to_owned())) } else { invalid("does not hold a topic filter") }
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

pub(super) fn name_of(text: &str) -> Result<String, Refused> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Refused::Invalid(format!("a name has 1 to {NAME_CHARS_MAX} characters and no control characters")));
    }
    Ok(text.to_owned())
}

/// Whether mail can be sent there. Nothing with a line break is an address.
pub(super) fn is_email(text: &str) -> bool {
    text.chars().count() <= NAME_CHARS_MAX && mail::is_address(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SecretKey {
        SecretKey(std::sync::Arc::new([7; 32]))
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

    fn acl(entry: &str, expected: Option<(&str, &str)>) {
        let is = parse_acl(&[entry.to_owned()]).ok().and_then(|mut list| list.pop());
        assert_eq!(is.as_ref().map(|(filter, access)| (filter.as_str(), access.as_str())), expected, "{entry}");
    }

    #[test]
    fn access_lists_are_filters_with_a_right() {
        acl("#:r", Some(("#", "r")));
        acl("+/agent/+/Status/#:r", Some(("+/agent/+/Status/#", "r")));
        acl("a:b/c:deny", Some(("a:b/c", "deny")));
        acl("a:rw", Some(("a", "rw")));
        acl("a", None);
        acl("a:x", None);
        acl(":r", None);
        acl("a/#/b:r", None);
        acl("a+:r", None);
    }

    #[test]
    fn e_mail_addresses_have_two_halves() {
        assert!(is_email("ann@example.org"));
        for bad in ["", "ann", "@example.org", "ann@", "a b@c", "a@b@c"] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
