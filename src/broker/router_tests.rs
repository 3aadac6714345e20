//! The router against a naive loop, and its odd cases.

use proptest::prelude::*;

use super::*;

fn router(subscriptions: &[(u64, &str, QoS)]) -> Router<()> {
    let mut router = Router::default();
    for (key, filter, qos) in subscriptions {
        router.subscribe(*key, filter, *qos, ());
    }
    router
}

fn found(router: &Router<()>, topic: &str) -> Vec<(u64, QoS, bool)> {
    let mut out = Vec::new();
    router.matches(topic, &mut out);
    out.iter().map(|it| (it.key, it.qos, it.slashed)).collect()
}

#[test]
fn names_find_the_filters_that_select_them() {
    /// `None`: not found; else whether the subscriber hears a slash in front.
    fn check(filter: &str, topic: &str, expected: Option<bool>) {
        let found = found(&router(&[(1, filter, QoS::AtMostOnce)]), topic);
        assert_eq!(found.first().map(|it| it.2), expected, "{filter} {topic}");
    }
    check("a/b", "a/b", Some(false));
    check("a/b", "/a/b", None);
    check("/a/b", "a/b", None);
    check("+/b", "a/b", Some(false));
    check("+/b", "/b", Some(false));
    check("a/#", "a", Some(false));
    check("a/#", "a/b/c", Some(false));
    check("a/+", "a", None);
    check("a/+", "a/", Some(false));
    check("#", "$SYS/x", None);
    check("+/x", "$SYS/x", None);
    check("$SYS/#", "$SYS/x", Some(false));
    check("$SYS/+", "$SYS/x", Some(false));
    check("76/agent/+/#", "76/agent/S/Status/Ping", Some(false));
    check("/76/agent/+/#", "76/agent/S/Status/Ping", Some(true));
    check("/+/agent/+/#", "76/agent/S/Status/Ping", Some(true));
    check("+/76/agent/#", "76/agent/S/Status/Ping", Some(true));
    check("/#", "76/fleet/7/Policy/x", Some(true));
    check("#", "76/agent/S/Status/Ping", Some(false));
    check("+/#", "76/agent/S/Status/Ping", Some(false));
    check("/FlyvemdmManifest/+/+", "FlyvemdmManifest/Status/Version", Some(true));
    check("/77/agent/#", "76/agent/S", None);
    check("a/#/b", "a/x/b", None);
}

#[test]
fn a_subscriber_is_found_once_with_its_highest_quality_of_service() {
    let router = router(&[
        (2, "76/agent/#", QoS::AtMostOnce),
        (2, "/76/agent/+/x", QoS::ExactlyOnce),
        (2, "#", QoS::AtLeastOnce),
        (1, "/76/agent/S/x", QoS::AtMostOnce),
        (1, "/76/#", QoS::AtLeastOnce),
    ]);
    assert_eq!(found(&router, "76/agent/S/x"), [(1, QoS::AtLeastOnce, true), (2, QoS::ExactlyOnce, false)]);
    assert_eq!(found(&router, "other"), [(2, QoS::AtLeastOnce, false)]);
}

#[test]
fn subscribing_again_replaces() {
    let router = router(&[(1, "a", QoS::ExactlyOnce), (1, "a", QoS::AtMostOnce)]);
    assert_eq!(found(&router, "a"), [(1, QoS::AtMostOnce, false)]);
    assert_eq!(router.filters(1), 1);
}

#[test]
fn what_is_left_behind_is_freed() {
    let filters = ["a/b/c", "a/+/c", "a/#", "#", "+/+", "/a", "/"];
    let mut router: Router<()> = Router::default();
    for key in 1..=2 {
        filters.iter().for_each(|it| router.subscribe(key, it, QoS::AtMostOnce, ()));
    }
    assert_eq!(router.filters(1), filters.len());
    filters.iter().for_each(|it| router.unsubscribe(1, it));
    router.unsubscribe(1, "a");
    router.unsubscribe(3, "a/b/c");
    assert_eq!((router.filters(1), router.filters(2)), (0, filters.len()));
    assert_eq!(found(&router, "a/b/c"), [(2, QoS::AtMostOnce, false)]);
    router.forget(2);
    assert!(router.root.is_empty() && router.filters.is_empty());
}

#[test]
fn the_deepest_filter_and_name_are_fine() {
    let deep = "/".repeat(topic::TOPIC_LEVELS_MAX - 1);
    let deeper = format!("{deep}/");
    assert_eq!(found(&router(&[(1, &deep, QoS::AtMostOnce), (2, &deeper, QoS::AtMostOnce)]), &deep).len(), 1);
}

/// What the router must find, the slow way.
fn naive(subscriptions: &[(u64, String, QoS)], topic: &str) -> Vec<(u64, QoS, bool)> {
    let slashed = topic::has_two_spellings(topic).then(|| format!("/{topic}"));
    let mut expected = std::collections::BTreeMap::<u64, (QoS, bool)>::new();
    for (key, filter, qos) in subscriptions {
        let plainly = topic::matches(filter, topic);
        if plainly || slashed.as_deref().is_some_and(|it| topic::matches(filter, it)) {
            let found = expected.entry(*key).or_insert((*qos, !plainly));
            *found = (found.0.max(*qos), found.1 && !plainly);
        }
    }
    expected.into_iter().map(|(key, (qos, slashed))| (key, qos, slashed)).collect()
}

proptest! {
    #[test]
    fn agrees_with_a_naive_loop(
        subscriptions in prop::collection::vec((0..6_u64, "/?([a3+$]|agent|fleet|)(/([aS3+]|agent|fleet|)){0,4}(/#)?", 0..3_u8), 0..40),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        forgotten in 0..12_u64,
        topics in prop::collection::vec("(|3|3|a|\\$)(/(S|a|3|agent|fleet|)){0,5}", 1..20),
    ) {
        let mut router = Router::default();
        let mut kept: Vec<(u64, String, QoS)> = Vec::new();
        for (key, filter, qos) in subscriptions.into_iter().filter(|it| topic::is_filter(&it.1)) {
            let qos = QoS::from_bits(qos).unwrap();
            router.subscribe(key, &filter, qos, ());
            kept.retain(|it| (it.0, &it.1) != (key, &filter));
            kept.push((key, filter, qos));
        }
        for index in removed {
            if !kept.is_empty() {
                let (key, filter, _) = kept.swap_remove(index.index(kept.len()));
                router.unsubscribe(key, &filter);
            }
        }
        router.forget(forgotten);
        kept.retain(|it| it.0 != forgotten);
        for topic in topics.iter().map(|it| topic::canonical(it).0).filter(|it| topic::is_name(it)) {
            prop_assert_eq!(found(&router, topic), naive(&kept, topic), "{}", topic);
        }
        kept.iter().for_each(|it| router.unsubscribe(it.0, &it.1));
        prop_assert!(router.root.is_empty());
    }
}
