//! The table of item types: names, members, search options, rights. Adding a type is adding a row to one of the files below.
//! Numbers of search options are for ever: dashboards rely on them (spec/admin.md §4, spec/http.md §6.2, and GLPI's own for its types).

use super::{Field, ItemType, Kind, SearchOption};
use crate::mdm::rights::{Profile, Rights};

mod deployment;
mod devices;
mod policies;
mod tenants;

/// Every type, one row each.
pub static ITEM_TYPES: &[&ItemType] = &[
    &devices::AGENT,
    &devices::COMPUTER,
    &devices::GEOLOCATION,
    &devices::MESSAGE,
    &deployment::FLEET,
    &deployment::FILE,
    &deployment::PACKAGE,
    &deployment::PATH,
    &policies::POLICY,
    &policies::CATEGORY,
    &policies::TASK,
    &policies::TASK_STATUS,
    &tenants::ENTITY,
    &tenants::SETTINGS,
    &tenants::PERSON,
    &tenants::EMAIL,
    &tenants::INVITATION,
    &tenants::INVITATION_LOG,
];

/// Tables that are constants of the program, by the name under which a type joins them.
pub(super) fn constants() -> [(&'static str, &'static str); 2] {
    [("{policies}", &policies::POLICY_TABLE), ("{categories}", &policies::CATEGORY_TABLE)]
}

/// The type with this name. Names of the first releases, which began with `PluginStorkmdm`, mean the same.
pub fn item_type(name: &str) -> Option<&'static ItemType> {
    let today = name.strip_prefix("PluginStorkmdm").map(|rest| format!("PluginFlyvemdm{rest}"));
    let name = today.as_deref().unwrap_or(name);
    ITEM_TYPES.iter().find(|it| it.name.eq_ignore_ascii_case(name)).copied()
}

const fn field(name: &'static str, sql: &'static str, kind: Kind) -> Field {
    Field { name, sql, kind, link: "" }
}

const fn int(name: &'static str, sql: &'static str) -> Field {
    field(name, sql, Kind::Int)
}

const fn flag(name: &'static str, sql: &'static str) -> Field {
    field(name, sql, Kind::Flag)
}

const fn text(name: &'static str, sql: &'static str) -> Field {
    field(name, sql, Kind::Text)
}

const fn time(name: &'static str, sql: &'static str) -> Field {
    field(name, sql, Kind::Time)
}

const fn link(name: &'static str, sql: &'static str, link: &'static str) -> Field {
    Field { name, sql, kind: Kind::Int, link }
}

const fn option(number: u16, title: &'static str, uid: &'static str, sql: &'static str, kind: Kind) -> SearchOption {
    SearchOption { number, title, uid, sql, kind }
}

/// The rights of what operators work with.
const OPERATED: Rights = Rights::changed_by(Profile::Operator);
/// The rights of what administrators arrange.
const ARRANGED: Rights = Rights::changed_by(Profile::Administrator);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_both_its_names() {
        for it in ITEM_TYPES {
            assert_eq!(item_type(it.name).unwrap().name, it.name);
            if let Some(rest) = it.name.strip_prefix("PluginFlyvemdm") {
                assert_eq!(item_type(&format!("PluginStorkmdm{rest}")).unwrap().name, it.name);
            }
        }
        assert!(item_type("Monitor").is_none());
    }

    #[test]
    fn names_and_numbers_are_unique_within_a_type_and_links_lead_somewhere() {
        for it in ITEM_TYPES {
            let mut names: Vec<&str> = it.fields.iter().map(|field| field.name).collect();
            let mut numbers: Vec<u16> = it.options.iter().map(|option| option.number).collect();
            names.sort_unstable();
            numbers.sort_unstable();
            let (count, options) = (names.len(), numbers.len());
            names.dedup();
            numbers.dedup();
            assert_eq!((names.len(), numbers.len()), (count, options), "{}", it.name);
            assert_eq!(it.fields[0].name, "id", "{}", it.name);
            assert!(it.option(2).is_some_and(|option| option.uid == "id"), "{}", it.name);
            let links = it.fields.iter().map(|field| field.link).filter(|link| !link.is_empty());
            for link in links.chain(it.parents.iter().map(|parent| parent.0)) {
                assert!(item_type(link).is_some(), "{} leads to {link}", it.name);
            }
        }
    }

    #[test]
    fn the_numbers_in_the_documents_stay() {
        let check = |name: &str, expected: &[(u16, &str)]| {
            let it = item_type(name).unwrap();
            for (number, uid) in expected {
                assert_eq!(it.option(*number).map(|option| option.uid), Some(*uid), "{name} {number}");
            }
        };
        #[rustfmt::skip]
        check("PluginFlyvemdmAgent", &[
            (2, "id"), (3, "PluginFlyvemdmFleet.name"), (4, "Computer.id"), (7, "PluginFlyvemdmFleet.id"), (8, "last_contact"),
            (10, "version"), (11, "is_online"), (12, "mdm_type"), (13, "has_system_permission"), (14, "enroll_status"), (15, "wipe"),
            (16, "lock"), (17, "Entity.name"), (18, "PluginFlyvemdmTask.policy"),
        ]);
        #[rustfmt::skip]
        check("PluginFlyvemdmTaskstatus", &[
            (2, "id"), (3, "date_creation"), (4, "date_mod"), (5, "PluginFlyvemdmAgent.id"), (6, "PluginFlyvemdmTask.id"),
        ]);
    }
}
