//! What the rows of a Flyve database mean here. Pure: rows in, values and complaints out.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{report::Report, source::Line, tables::Tables};
use crate::mdm::help_desk::HelpDesk;

/// GLPI's bit for "may change".
const RIGHT_UPDATE: i64 = 2;
/// GLPI's bit for "may look".
const RIGHT_READ: i64 = 1;
/// The right of the plugin that tells administrators from others.
const AGENT_RIGHT: &str = "flyvemdm:agent";
/// `authtype` of users whose password is in GLPI's own table; more are asked for elsewhere, 0 never logged in.
const KEPT_BY_GLPI: i64 = 1;
/// Longest token life that Flyve took.
const TOKEN_LIFE_DAYS_MAX: i64 = 180;

/// A tenant with its settings. Its number stays what it is: topics carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    pub id: i64,
    /// None for the root.
    pub parent: Option<i64>,
    pub name: String,
    pub help_desk: HelpDesk,
    pub token_life_days: Option<i64>,
    pub device_limit: i64,
}

/// A human being.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub id: i64,
    pub login: String,
    /// The default address first.
    pub emails: Vec<String>,
    pub firstname: String,
    pub realname: String,
    pub phone: String,
    pub phone2: String,
    pub is_active: bool,
    /// Hash of the password, where it can be verified here.
    pub secret: Option<String>,
    pub api_token: String,
    /// Whether the token travelled in a deeplink.
    pub is_invited: bool,
    /// Profile, entity, recursive.
    pub profiles: Vec<(&'static str, i64, bool)>,
}

/// A group of agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    pub id: i64,
    pub entity: i64,
    pub name: String,
    pub is_default: bool,
    pub is_recursive: bool,
}

/// The tenants, parents before children. What hangs nowhere hangs below the root.
pub fn entities(tables: &Tables, report: &mut Report) -> Vec<Entity> {
    let settings: HashMap<i64, &Line> = tables.settings.iter().map(|it| (it.int("id"), it)).collect();
    let names: BTreeMap<i64, (i64, String)> =
        tables.entities.iter().map(|it| (it.int("id"), (it.int("entities_id"), it.text("name")))).collect();
    let mut ordered = Vec::with_capacity(names.len());
    let mut placed = HashSet::from([0]);
    let mut waiting: Vec<i64> = names.keys().copied().filter(|id| *id > 0).collect();
    if names.contains_key(&0) {
        ordered.push((0, None));
    }
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|id| {
            let parent = names[id].0;
            let is_ready = placed.contains(&parent);
            if is_ready {
                placed.insert(*id);
                ordered.push((*id, Some(parent)));
            }
            !is_ready
        });
        if waiting.len() == before {
            let lost = waiting.remove(0);
            report.note(format!(
                "entity {lost} hung below entity {}, which is not there; now below the root",
                names[&lost].0
            ));
            placed.insert(lost);
            ordered.push((lost, Some(0)));
        }
    }
    let entity = |(id, parent): (i64, Option<i64>)| {
        let own = settings.get(&id);
        let text = |name: &str| own.map(|it| it.text(name)).unwrap_or_default();
        Entity {
            id,
            parent,
            name: Some(names[&id].1.clone()).filter(|it| !it.is_empty()).unwrap_or_else(|| format!("Entity {id}")),
            help_desk: HelpDesk {
                name: text("support_name"),
                phone: text("support_phone"),
                website: text("support_website"),
                email: text("support_email"),
                address: text("support_address"),
                download_url: text("download_url"),
            },
            token_life_days: days(&text("agent_token_life")),
            device_limit: own.map_or(0, |it| it.int("device_limit").max(0)),
        }
    };
    ordered.into_iter().map(entity).collect()
}

/// `P7D`.
fn days(life: &str) -> Option<i64> {
    let days = life.strip_prefix('P')?.strip_suffix('D')?.parse().ok()?;
    (1..=TOKEN_LIFE_DAYS_MAX).contains(&days).then_some(days)
}

/// The people who have to do with devices: invited, owners, or with a profile that may. The accounts of agents are no people.
pub fn people(tables: &Tables, is_password: fn(&str) -> Result<(), &'static str>, report: &mut Report) -> Vec<Person> {
    let accounts: HashSet<i64> = tables.agents.iter().map(|it| it.int("users_id")).filter(|id| *id > 0).collect();
    let on_devices: HashSet<i64> = tables.agents.iter().map(|it| it.int("computers_id")).collect();
    let owners = tables.computers.iter().filter(|it| on_devices.contains(&it.int("id"))).map(|it| it.int("users_id"));
    let invited: HashSet<i64> = tables.invitations.iter().map(|it| it.int("users_id")).collect();
    let mut wanted: HashSet<i64> = invited.iter().copied().chain(owners).collect();
    let profiles = profiles(tables);
    wanted.extend(profiles.keys());
    let mut addresses: HashMap<i64, Vec<String>> = HashMap::new();
    let mut sorted: Vec<&Line> = tables.emails.iter().collect();
    sorted.sort_by_key(|it| (!it.flag("is_default"), it.int("id")));
    for line in sorted {
        let email = line.text("email").to_lowercase();
        if email.contains('@') {
            addresses.entry(line.int("users_id")).or_default().push(email);
        }
    }
    let mut people = Vec::new();
    for user in tables.users.iter().filter(|it| wanted.contains(&it.int("id")) && !accounts.contains(&it.int("id"))) {
        let (id, login) = (user.int("id"), user.text("name"));
        let mut emails = addresses.remove(&id).unwrap_or_default();
        if emails.is_empty() && login.contains('@') {
            emails.push(login.to_lowercase());
        }
        if emails.is_empty() {
            report.skip("users", id, &login, "has no e-mail address");
        } else if user.flag("is_deleted") {
            report.skip("users", id, &login, "is in the dustbin");
        } else {
            let profiles = profiles.get(&id).cloned().unwrap_or_default();
            people.push(Person {
                id,
                secret: if profiles.is_empty() { None } else { secret(user, is_password, report) },
                login,
                emails,
                firstname: user.text("firstname"),
                realname: user.text("realname"),
                phone: user.text("phone"),
                phone2: user.text("phone2"),
                is_active: user.flag("is_active"),
                api_token: user.raw("api_token"),
                is_invited: invited.contains(&id),
                profiles,
            });
        }
    }
    if report.taken.get("passwords").is_some_and(|it| it.skipped > 0) {
        report.note("people whose passwords stay behind need new ones: mdmq user change LOGIN --password-file FILE");
    }
    people
}

/// The hash of somebody's password, if it can be verified here.
fn secret(user: &Line, is_password: fn(&str) -> Result<(), &'static str>, report: &mut Report) -> Option<String> {
    let (stored, kept_by) = (user.raw("password"), user.int("authtype"));
    let why = match is_password(&stored) {
        _ if stored.is_empty() && kept_by <= KEPT_BY_GLPI => return None,
        _ if kept_by != KEPT_BY_GLPI => "is not GLPI's own: a directory or a mail server is asked at each login",
        Ok(()) => return Some(stored),
        Err(why) => why,
    };
    report.skip("passwords", user.int("id"), &user.text("name"), format!("the password {why}"));
    None
}

/// By user: guests by the plugin's own setting, administrators by what their profile may do with agents.
fn profiles(tables: &Tables) -> HashMap<i64, Vec<(&'static str, i64, bool)>> {
    let on_agents: HashMap<i64, i64> = tables
        .rights
        .iter()
        .filter(|it| it.text("name") == AGENT_RIGHT)
        .map(|it| (it.int("profiles_id"), it.int("rights")))
        .collect();
    let mut found: HashMap<i64, Vec<(&'static str, i64, bool)>> = HashMap::new();
    for line in &tables.profiles {
        let profile = line.int("profiles_id");
        let rights = on_agents.get(&profile).copied().unwrap_or(0);
        let name = if profile == tables.guest_profile {
            "guest"
        } else if profile == tables.agent_profile {
            continue;
        } else if rights & RIGHT_UPDATE != 0 {
            "administrator"
        } else if rights & RIGHT_READ != 0 {
            "viewer"
        } else {
            continue;
        };
        let place = (name, line.int("entities_id"), line.flag("is_recursive"));
        let places = found.entry(line.int("users_id")).or_default();
        if !places.contains(&place) {
            places.push(place);
        }
    }
    found
}

/// The fleets, with names that are different within a tenant.
pub fn fleets(tables: &Tables) -> Vec<Fleet> {
    let mut names: HashSet<(i64, String)> = HashSet::new();
    let fleet = |line: &Line| {
        let (id, entity) = (line.int("id"), line.int("entities_id"));
        let given = Some(line.text("name")).filter(|it| !it.is_empty()).unwrap_or_else(|| "fleet".into());
        let name = if names.insert((entity, given.clone())) { given } else { format!("{given} ({id})") };
        Fleet { id, entity, name, is_default: line.flag("is_default"), is_recursive: line.flag("is_recursive") }
    };
    tables.fleets.iter().map(fleet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTITY: &[&str] = &["id", "name", "entities_id"];

    fn tree(rows: &[[&str; 3]]) -> (Vec<(i64, Option<i64>)>, usize) {
        let entities_read = rows.iter().map(|row| Line::of(ENTITY, row)).collect();
        let mut report = Report::default();
        let found = entities(&Tables { entities: entities_read, ..Tables::default() }, &mut report);
        (found.iter().map(|it| (it.id, it.parent)).collect(), report.notes.len())
    }

    #[test]
    fn parents_come_before_children_and_lost_ones_hang_below_the_root() {
        let rows = [["0", "Root", "-1"], ["3", "C", "5"], ["5", "E", "0"], ["7", "G", "99"]];
        assert_eq!(tree(&rows), (vec![(0, None), (5, Some(0)), (3, Some(5)), (7, Some(0))], 1));
        assert_eq!(tree(&[["1", "A", "2"], ["2", "B", "1"]]).0.len(), 2, "a circle ends");
    }

    #[test]
    fn token_lives_are_days() {
        for (life, expected) in [("P7D", Some(7)), ("P0D", None), ("P181D", None), ("", None), ("P1M", None)] {
            assert_eq!(days(life), expected, "{life}");
        }
    }

    #[test]
    fn people_are_those_who_have_to_do_with_devices() {
        let user = |id, name| {
            Line::of(&["id", "name", "is_active", "is_deleted"], &[id, name, "1", if id == "5" { "1" } else { "0" }])
        };
        let email = |id, user, email, default| {
            Line::of(&["id", "users_id", "email", "is_default"], &[id, user, email, default])
        };
        let profile = |user, profile| {
            Line::of(&["users_id", "profiles_id", "entities_id", "is_recursive"], &[user, profile, "0", "1"])
        };
        let tables = Tables {
            users: ["1", "2", "3", "4", "5"].map(|id| user(id, &*format!("user{id}").leak())).to_vec(),
            emails: vec![
                email("1", "1", "second@x.example", "0"),
                email("2", "1", "First@x.example", "1"),
                email("3", "4", "agent@x.example", "1"),
                email("4", "5", "gone@x.example", "1"),
            ],
            profiles: vec![
                profile("1", "9"),
                profile("1", "4"),
                profile("2", "4"),
                profile("5", "4"),
                profile("3", "1"),
            ],
            rights: vec![Line::of(&["profiles_id", "name", "rights"], &["4", "flyvemdm:agent", "19"])],
            agents: vec![Line::of(&["users_id"], &["4"])],
            guest_profile: 9,
            ..Tables::default()
        };
        let mut report = Report::default();
        let found = people(&tables, |_| Ok(()), &mut report);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].emails, ["first@x.example", "second@x.example"]);
        assert_eq!(found[0].profiles, [("guest", 0, true), ("administrator", 0, true)]);
        let why: Vec<&str> = report.skipped.iter().map(|it| it.why.as_str()).collect();
        assert_eq!(why, ["has no e-mail address", "is in the dustbin"]);
    }

    #[test]
    fn passwords_come_when_glpi_keeps_them_and_they_can_be_verified() {
        let check = |stored: &str, authtype: &str, expected: Option<&str>, why: &str| {
            let user = Line::of(&["id", "name", "password", "authtype"], &["7", "ann", stored, authtype]);
            let mut report = Report::default();
            let is_good = |it: &str| if it == "good" { Ok(()) } else { Err("is bad") };
            assert_eq!(secret(&user, is_good, &mut report).as_deref(), expected, "{stored} {authtype}");
            let told: Vec<&str> = report.skipped.iter().map(|it| it.why.as_str()).collect();
            assert!(told.len() == usize::from(!why.is_empty()) && told.iter().all(|it| it.contains(why)), "{told:?}");
        };
        check("good", "1", Some("good"), "");
        check("md5", "1", None, "the password is bad");
        check("", "1", None, "");
        check("", "0", None, "");
        check("good", "0", None, "not GLPI's own");
        check("good", "3", None, "not GLPI's own");
        check("", "3", None, "directory");
    }
}
