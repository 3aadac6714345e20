//! Names, filters and spellings, case by case and as laws.

use proptest::prelude::*;

use super::*;

#[test]
fn names_and_filters_are_told_apart() {
    fn check(text: &str, name: bool, filter: bool) {
        assert_eq!((is_name(text), is_filter(text)), (name, filter), "{text:?}");
    }
    check("", false, false);
    check("/", true, true);
    check("a/b c/ü", true, true);
    check("a//b", true, true);
    check("a\0b", false, false);
    check("#", false, true);
    check("+", false, true);
    check("a/+/b", false, true);
    check("a/#", false, true);
    check("a/#/b", false, false);
    check("a#", false, false);
    check("a+/b", false, false);
    check(&"x".repeat(TOPIC_BYTES_MAX), true, true);
    check(&"x".repeat(TOPIC_BYTES_MAX + 1), false, false);
    let longest_of_a_device = format!("3/agent/{}", "x".repeat(TOPIC_BYTES_MAX - 9));
    check(&longest_of_a_device, true, true);
    check(&format!("/{longest_of_a_device}"), true, true);
    check(&format!("{longest_of_a_device}x"), false, false);
    check(&"/".repeat(TOPIC_LEVELS_MAX - 1), true, true);
    check(&"/".repeat(TOPIC_LEVELS_MAX), false, false);
}

#[test]
fn filters_select_names_as_the_standard_says() {
    fn check(filter: &str, name: &str, expected: bool) {
        assert_eq!(matches(filter, name), expected, "{filter} on {name}");
    }
    check("sport/tennis/player1/#", "sport/tennis/player1", true);
    check("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true);
    check("sport/#", "sports", false);
    check("#", "sport", true);
    check("sport/+", "sport", false);
    check("sport/+", "sport/", true);
    check("+/+", "/finance", true);
    check("/+", "/finance", true);
    check("+", "/finance", false);
    check("#", "$SYS/x", false);
    check("+/x", "$SYS/x", false);
    check("$SYS/#", "$SYS/x", true);
    check("a/+", "a/$x", true);
}

#[test]
fn only_topics_of_the_mdm_have_two_spellings() {
    fn check(text: &str, expected: (&str, bool)) {
        assert_eq!(canonical(text), expected, "{text}");
    }
    check("/76/agent/AZERTY/Status/Ping", ("76/agent/AZERTY/Status/Ping", true));
    check("/0/fleet/3/#", ("0/fleet/3/#", true));
    check("/FlyvemdmManifest/Status/Version", ("FlyvemdmManifest/Status/Version", true));
    check("//76/agent/S", ("//76/agent/S", false));
    check("76/agent/S", ("76/agent/S", false));
    check("/a", ("/a", false));
    check("/Status/Online", ("/Status/Online", false));
    check("/x/agent/S", ("/x/agent/S", false));
}

#[test]
fn topics_of_agents_and_fleets_are_taken_apart() {
    fn check(name: &str, expected: Option<(i64, DeviceTopicKind<'_>, &str)>) {
        assert_eq!(parse_device_topic(name).map(|t| (t.entity, t.kind, t.tail)), expected, "{name}");
    }
    check("76/agent/AZERTY/Status/Task/12", Some((76, DeviceTopicKind::Agent("AZERTY"), "Status/Task/12")));
    check("/76/agent/A B", Some((76, DeviceTopicKind::Agent("A B"), "")));
    check("3/fleet/7/Policy", Some((3, DeviceTopicKind::Fleet(7), "Policy")));
    check("3/fleet/x", None);
    check("3/agent/", None);
    check("3/agent", None);
    check("03/agent/S", None);
    check("99999999999999999999/agent/S", None);
    check("3/people/S", None);
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof!["a", "b", "", r"\$c"], 1..4)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("not empty", |text| !text.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof!["a", "b", "", r"\$c", Just("+".to_owned())];
    (prop::collection::vec(level, 0..4), any::<bool>())
        .prop_map(|(mut levels, is_open)| {
            if is_open {
                levels.push("#".to_owned());
            }
            levels.join("/")
        })
        .prop_filter("not empty", |text| !text.is_empty())
}

/// The definition, written for reading.
fn selects(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, name @ ..]) => selects(filter, name),
        ([one, filter @ ..], [other, name @ ..]) => one == other && selects(filter, name),
        _ => false,
    }
}

/// Every name over a small alphabet, deep enough to tell the generated filters apart.
fn all_names() -> Vec<String> {
    let mut names = vec![String::new()];
    let mut all = Vec::new();
    for depth in 0..5 {
        names = names
            .iter()
            .flat_map(|prefix| {
                ["a", "b", "", "$c", "z"]
                    .map(|level| if depth == 0 { level.to_owned() } else { format!("{prefix}/{level}") })
            })
            .collect();
        all.extend(names.iter().filter(|name| !name.is_empty()).cloned());
    }
    all
}

proptest! {
    #[test]
    fn matching_agrees_with_its_definition(filter in filter(), name in name()) {
        let (levels, of_name): (Vec<_>, Vec<_>) = (filter.split('/').collect(), name.split('/').collect());
        let is_hidden = name.starts_with('$') && matches!(levels[0], "+" | "#");
        prop_assert_eq!(matches(&filter, &name), selects(&levels, &of_name) && !is_hidden);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn overlap_and_cover_agree_with_matching(a in filter(), b in filter()) {
        let names = all_names();
        prop_assert_eq!(filters_overlap(&a, &b), names.iter().any(|n| matches(&a, n) && matches(&b, n)), "overlap {} {}", a, b);
        prop_assert_eq!(filter_covers(&a, &b), names.iter().all(|n| !matches(&b, n) || matches(&a, n)), "{} covers {}", a, b);
    }
}
