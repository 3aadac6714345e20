//! Who may say and hear what, case by case.

use proptest::prelude::*;

use super::*;
use crate::mdm::agent::tests::agent;

#[test]
fn devices_say_and_hear_only_their_own() {
    fn check(topic: &str, may_publish: bool, may_read: bool) {
        let may = (device_may_publish(&agent(), topic), device_may_read(&agent(), topic));
        assert_eq!(may, (may_publish, may_read), "{topic}");
    }
    check("3/agent/S1/Status/Ping", true, false);
    check("/3/agent/S1/Status/Ping", true, false);
    check("//3/agent/S1/Status/Ping", false, false);
    check("3/agent/S1/Status/Unheard/Of", true, false);
    check("3/agent/S1/FlyvemdmManifest/Status/Version", true, false);
    check("3/agent/S1/Command/Lock", false, true);
    check("/3/agent/S1/Policy/x/Task/1", false, true);
    check("3/agent/S1/Policy/x/Task/1/Status/Task/1", true, true);
    check("3/agent/S1", false, false);
    check("3/agent/S1/Other", false, false);
    check("3/agent/S2/Command/Lock", false, false);
    check("3/agent/S12/Command/Lock", false, false);
    check("3/agent/S2/Status/Ping", false, false);
    check("4/agent/S1/Status/Ping", false, false);
    check("3/fleet/7/Policy/x/Task/1", false, true);
    check("/3/fleet/7/file", false, true);
    check("3/fleet/8/Policy/x/Task/1", false, false);
    check("4/fleet/7/Policy/x/Task/1", false, false);
    check("3/fleet/7/Policy/x/Task/1/Status/Task/1", true, false);
    check("3/fleet/7/Status/Task/1", true, false);
    check("FlyvemdmManifest/Status/Version", false, true);
    check("/FlyvemdmManifest/Status/Version", false, true);
    check("Status/Online", false, false);
    check("/Status/Online", false, false);
    check("null/Policy/x", false, false);
    check("$SYS/x", false, false);
}

#[test]
fn the_default_fleet_is_heard_by_nobody() {
    let mut it = agent();
    it.fleet_is_default = true;
    assert!(!device_may_read(&it, "3/fleet/7/Policy/x/Task/1"));
}

#[test]
fn devices_subscribe_within_their_own() {
    fn check(filter: &str, expected: bool) {
        assert_eq!(device_may_subscribe(&agent(), filter), expected, "{filter}");
    }
    check("3/agent/S1/#", true);
    check("/3/agent/S1/#", true);
    check("/3/agent/S1/Command/+", true);
    check("3/agent/S1", true);
    check("3/fleet/8/#", true);
    check("/3/fleet/7/#", true);
    check("/FlyvemdmManifest/Status/Version", true);
    check("FlyvemdmManifest/#", true);
    check("null/#", true);
    check("3/agent/S12/#", false);
    check("#", false);
    check("+/agent/S1/#", false);
    check("3/agent/+/#", false);
    check("3/#", false);
    check("4/fleet/7/#", false);
    check("4/agent/S1/#", false);
    check("$SYS/#", false);
}

/// `"FILTER:r …"`, one blank between entries.
fn list(entries: &str, entities: Option<&[i64]>) -> AccessList {
    let entries = entries.split_whitespace().map(|it| parse_entry(it).unwrap()).collect();
    AccessList::new(entries, entities.map(|it| it.iter().copied().map(EntityId).collect()))
}

#[test]
fn services_need_a_grant_and_no_denial() {
    fn check(entries: &str, topic: &str, may_read: bool, may_write: bool) {
        let list = list(entries, None);
        assert_eq!(
            (list.may_read(topic, None), list.may_write(topic, None)),
            (may_read, may_write),
            "{entries} on {topic}"
        );
    }
    check("", "a", false, false);
    check("#:rw", "a", true, true);
    check("#:rw", "3/agent/S1/Status/Ping", true, true);
    check("#:rw", "$SYS/x", false, false);
    check("#:rw $SYS/#:rw", "$SYS/x", true, false);
    check("a:r b:w", "a", true, false);
    check("a:r b:w", "b", false, true);
    check("a:r b:w", "/a", false, false);
    check("/a:r", "a", false, false);
    check("+/agent/+/Status/#:r", "/3/agent/S1/Status/Ping", true, false);
    check("/3/agent/+/#:r", "3/agent/S1/Status/Ping", true, false);
    check("/+/agent/+/#:r", "3/agent/S1/Status/Ping", true, false);
    check("#:rw +/agent/+/Command/Wipe:deny", "/3/agent/S1/Command/Wipe", false, false);
    check("+/agent/+/Command/Wipe:deny #:rw", "3/agent/S1/Command/Wipe", false, false);
    check("#:rw +/agent/+/Command/Wipe:deny", "3/agent/S1/Command/Lock", true, true);
    for deny in ["/+/agent/S1/#", "+/3/agent/S1/#", "+/agent/S1/#", "/3/agent/S1/#", "+/+/agent/#", "/#"] {
        check(&format!("#:rw {deny}:deny"), "3/agent/S1/Status/Ping", false, false);
        check(&format!("#:rw {deny}:deny"), "/3/agent/S1/Status/Ping", false, false);
    }
    check("#:rw /#:deny", "a", true, true);
}

#[test]
fn services_stay_in_their_entities() {
    fn check(topic: &str, expected: bool) {
        let list = list("#:rw", Some(&[5, 3, 0]));
        assert_eq!((list.may_read(topic, None), list.may_write(topic, None)), (expected, expected), "{topic}");
    }
    check("3/agent/S1/Status/Ping", true);
    check("/5/fleet/7/Policy/x", true);
    check("0/agent/S1/Status/Ping", true);
    check("4/agent/S1/Status/Ping", false);
    check("/4/agent/S1/Status/Ping", false);
    check("4/fleet/1/x", false);
    check("4/agent", false);
    check("99999999999999999999/agent/S1/x", false);
    check("FlyvemdmManifest/Status/Version", true);
    check("other/topic", true);
    assert!(!list("#:rw", Some(&[])).may_read("3/agent/S1/Status/Ping", None));
}

#[test]
fn a_device_that_was_moved_is_judged_by_where_it_is() {
    fn check(home: Option<i64>, scope: Option<&[i64]>, expected: bool) {
        let (list, home) = (list("+/agent/#:rw", scope), home.map(EntityId));
        let may = (list.may_read("9/agent/S1/Status/Ping", home), list.may_write("9/agent/S1/Command/Ping", home));
        assert_eq!(may, (expected, expected), "{home:?} {scope:?}");
        assert!(!list.may_read("site/a", home), "a home grants nothing by itself");
    }
    check(None, Some(&[9]), true);
    check(Some(2), Some(&[9]), false);
    check(None, Some(&[2]), false);
    check(Some(2), Some(&[2]), true);
    check(Some(2), Some(&[9, 2]), true);
    check(Some(2), None, true);
}

#[test]
fn services_subscribe_where_something_may_be_heard() {
    fn check(entries: &str, filter: &str, expected: bool) {
        assert_eq!(list(entries, Some(&[3])).may_subscribe(filter), expected, "{entries} on {filter}");
    }
    check("#:rw", "#", true);
    check("#:rw", "a/+", true);
    check("#:w", "#", false);
    check("", "#", false);
    check("a/#:r", "#", true);
    check("a/#:r", "+/x", true);
    check("a/#:r", "b/#", false);
    check("a:r", "/a", false);
    check("#:r", "$SYS/#", false);
    check("$SYS/#:r", "$SYS/#", true);
    check("#:r", "3/agent/+/#", true);
    check("#:r", "/3/agent/+/#", true);
    check("+/agent/+/Status/#:r", "/+/agent/#", true);
    check("/+/agent/+/Status/#:r", "3/agent/S1/#", true);
    check("#:r", "4/agent/+/#", false);
    check("#:r", "/4/fleet/7/#", false);
    check("#:r", "+/agent/#", true);
    check("#:r a/#:deny", "a/b", false);
    check("#:r a/#:deny", "+/b", true);
    check("#:r +/agent/+/Command/#:deny", "/3/agent/S1/Command/Wipe", false);
    check("#:r /+/agent/+/Command/#:deny", "3/agent/S1/Command/Wipe", false);
    check("#:r /+/agent/+/Command/#:deny", "3/agent/S1/#", true);
    check("#:r /#:deny", "#", true);
    check("#:r /#:deny", "/#", false);
    check("#:r #:deny", "#", false);
}

#[test]
fn entries_are_read_as_people_write_them() {
    fn check(text: &str, expected: Result<(&str, Access), BadEntry>) {
        let expected = expected.map(|(filter, access)| (filter.to_owned(), access));
        assert_eq!(parse_entry(text), expected, "{text}");
    }
    check("#:r", Ok(("#", Access::Read)));
    check("a/b:w", Ok(("a/b", Access::Write)));
    check("/76/agent/+/#:rw", Ok(("/76/agent/+/#", Access::ReadWrite)));
    check("urn:x:deny", Ok(("urn:x", Access::Deny)));
    check("a", Err(BadEntry::Access));
    check("a:x", Err(BadEntry::Access));
    check("a:R", Err(BadEntry::Access));
    check("", Err(BadEntry::Access));
    check(":r", Err(BadEntry::Filter));
    check("a/#/b:r", Err(BadEntry::Filter));
    check("a+:r", Err(BadEntry::Filter));
    for access in Access::ALL {
        assert_eq!(Access::parse(access.as_str()), Some(access));
    }
}

proptest! {
    /// No subscription is refused by which something could be heard, and a deny is escaped by no spelling.
    #[test]
    fn subscribing_agrees_with_hearing(
        entries in prop::collection::vec((FILTER, 0..4_usize), 1..5),
        filter in FILTER,
        topics in prop::collection::vec("(|3|4|a|\\$)(/(S|3|agent|fleet|)){0,3}", 1..30),
    ) {
        let entries: Vec<_> = entries.into_iter().map(|(filter, at)| (filter, Access::ALL[at])).collect();
        let list = AccessList::new(entries.clone(), Some(vec![EntityId(3)]));
        for name in topics.iter().map(|it| topic::canonical(it).0).filter(|it| topic::is_name(it)) {
            let slashed = format!("/{name}");
            let is_selected = |by: &str| {
                topic::matches(by, name) || (topic::has_two_spellings(name) && topic::matches(by, &slashed))
            };
            if is_selected(&filter) && list.may_read(name, None) {
                prop_assert!(list.may_subscribe(&filter), "{:?} {} {}", entries, filter, name);
            }
            let is_denied = entries.iter().any(|it| it.1 == Access::Deny && is_selected(&it.0));
            prop_assert!(!(is_denied && (list.may_read(name, None) || list.may_write(name, None))), "{:?} {}", entries, name);
        }
    }
}

const FILTER: &str = "(/?([34a+$]|agent)|/)(/([S3+]|agent|fleet|)){0,3}(/#)?";
