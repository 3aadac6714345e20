//! Retained messages of service accounts, in memory. What agents find retained is computed from the database instead.

use std::{collections::HashMap, sync::Arc};

use crate::mqtt::{packet::Message, topic};

/// The last retained message of every topic, within bounds.
pub struct Retained {
    root: Node,
    messages: usize,
    bytes: u64,
    messages_max: usize,
    bytes_max: u64,
}

#[derive(Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    message: Option<Arc<Message>>,
}

impl Retained {
    /// Empty. Refuses what would make it hold more messages, or more bytes of topics and payloads.
    pub fn new(messages_max: usize, bytes_max: u64) -> Self {
        Self { root: Node::default(), messages: 0, bytes: 0, messages_max, bytes_max }
    }

    /// Keeps the message in place of an earlier one of its canonical topic; an empty payload only removes that one
    /// [MQTT-3.3.1-10]. False if it was refused: because there is no room, in which case the earlier one stays, or because the
    /// topic is none.
    pub fn set(&mut self, message: &Arc<Message>) -> bool {
        if message.payload.is_empty() {
            if let Some(old) = self.root.remove(Some(&message.topic)) {
                self.messages -= 1;
                self.bytes -= size(&old);
            }
            return true;
        }
        let old = self.root.get(&message.topic);
        let messages = self.messages + usize::from(old.is_none());
        let bytes = self.bytes - old.map_or(0, |it| size(it)) + size(message);
        if messages > self.messages_max || bytes > self.bytes_max || !topic::is_name(&message.topic) {
            return false;
        }
        (self.messages, self.bytes) = (messages, bytes);
        self.root.insert(Some(&message.topic), message);
        true
    }

    /// What a new subscription finds, and whether it asked for the spelling with a slash in front. A topic of an agent, a fleet
    /// or the manifest is found by either spelling, once.
    pub fn matching(&self, filter: &str) -> Vec<(Arc<Message>, bool)> {
        let mut found = Vec::new();
        if !topic::is_filter(filter) {
            return found;
        }
        self.root.find(Some(filter), filter.starts_with(['+', '#']), &mut |it| found.push((it.clone(), false)));
        // A filter that selects what begins with a slash selects these topics below that empty level.
        if let Some(rest) = filter.strip_prefix('/').or_else(|| filter.strip_prefix("+/")) {
            let is_new = |it: &Message| topic::has_two_spellings(&it.topic) && !topic::matches(filter, &it.topic);
            let mut keep = |it: &Arc<Message>| {
                if is_new(it) {
                    found.push((it.clone(), true));
                }
            };
            self.root.find(Some(rest), true, &mut keep);
        }
        found
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Bytes of the topics and payloads that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Node {
    fn get(&self, topic: &str) -> Option<&Arc<Message>> {
        let mut node = self;
        for level in topic.split('/') {
            node = node.children.get(level)?;
        }
        node.message.as_ref()
    }

    fn insert(&mut self, rest: Option<&str>, message: &Arc<Message>) {
        let Some(rest) = rest else {
            self.message = Some(message.clone());
            return;
        };
        let (level, below) = first_level(rest);
        match self.children.get_mut(level) {
            Some(child) => child.insert(below, message),
            None => self.children.entry(level.into()).or_default().insert(below, message),
        }
    }

    /// Frees the nodes that nobody needs any more on its way back.
    fn remove(&mut self, rest: Option<&str>) -> Option<Arc<Message>> {
        let Some(rest) = rest else { return self.message.take() };
        let (level, below) = first_level(rest);
        let child = self.children.get_mut(level)?;
        let removed = child.remove(below);
        if child.message.is_none() && child.children.is_empty() {
            self.children.remove(level);
        }
        removed
    }

    /// `hides` says that names which begin with `$` on this level are not selected by wildcards [MQTT-4.7.2-1].
    fn find(&self, rest: Option<&str>, hides: bool, found: &mut impl FnMut(&Arc<Message>)) {
        let Some(rest) = rest else { return self.message.iter().for_each(found) };
        let (level, below) = first_level(rest);
        match level {
            "#" => self.all(hides, found),
            "+" => self.visible(hides).for_each(|child| child.find(below, false, found)),
            _ => {
                if let Some(child) = self.children.get(level) {
                    child.find(below, false, found);
                }
            }
        }
    }

    fn all(&self, hides: bool, found: &mut impl FnMut(&Arc<Message>)) {
        self.message.iter().for_each(&mut *found);
        self.visible(hides).for_each(|child| child.all(false, found));
    }

    fn visible(&self, hides: bool) -> impl Iterator<Item = &Node> {
        self.children.iter().filter(move |(level, _)| !(hides && level.starts_with('$'))).map(|(_, child)| child)
    }
}

fn first_level(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, below)| (level, Some(below)))
}

fn size(message: &Message) -> u64 {
    (message.topic.len() + message.payload.len()) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::mqtt::packet::QoS;

    const TOPICS: [&str; 8] =
        ["a", "a/b", "/a", "a//b", "$SYS/a", "3/agent/S1/Command/Lock", "3/fleet/x", "FlyvemdmManifest/Status/Version"];

    fn message(topic: &str, payload: &'static str) -> Arc<Message> {
        let payload = Bytes::from_static(payload.as_bytes());
        Arc::new(Message { topic: topic.into(), payload, qos: QoS::AtLeastOnce, retain: true })
    }

    #[test]
    fn subscriptions_find_what_they_select_in_either_spelling() {
        fn check(filter: &str, expected: &[(&str, bool)]) {
            let mut it = Retained::new(100, 1000);
            assert!(TOPICS.iter().all(|topic| it.set(&message(topic, "x"))));
            let mut found: Vec<_> =
                it.matching(filter).iter().map(|(it, slashed)| (it.topic.to_string(), *slashed)).collect();
            found.sort();
            let expected: Vec<_> = expected.iter().map(|(topic, slashed)| (topic.to_string(), *slashed)).collect();
            assert_eq!(found, expected, "{filter}");
        }
        check("a", &[("a", false)]);
        check("/a", &[("/a", false)]);
        check("+", &[("a", false)]);
        check("/+", &[("/a", false)]);
        check("a/#", &[("a", false), ("a//b", false), ("a/b", false)]);
        check("a/+/b", &[("a//b", false)]);
        check("+/a", &[("/a", false)]);
        check("$SYS/#", &[("$SYS/a", false)]);
        check("3/agent/+/#", &[("3/agent/S1/Command/Lock", false)]);
        check("/3/agent/+/#", &[("3/agent/S1/Command/Lock", true)]);
        check("/+/agent/#", &[("3/agent/S1/Command/Lock", true)]);
        check("+/3/fleet/x", &[("3/fleet/x", true)]);
        check(
            "/#",
            &[
                ("/a", false),
                ("3/agent/S1/Command/Lock", true),
                ("3/fleet/x", true),
                ("FlyvemdmManifest/Status/Version", true),
            ],
        );
        check("/FlyvemdmManifest/Status/Version", &[("FlyvemdmManifest/Status/Version", true)]);
        check("+/+/Status/Version", &[("FlyvemdmManifest/Status/Version", true)]);
        check("a/#/b", &[]);
        let mut all: Vec<_> = TOPICS.iter().filter(|it| !it.starts_with('$')).map(|it| (*it, false)).collect();
        all.sort();
        check("#", &all);
        check("+/#", &all);
    }

    #[test]
    fn an_empty_payload_removes() {
        let mut it = Retained::new(10, 100);
        assert!(it.set(&message("a/b/c", "x")) && it.set(&message("a/b/c", "")) && it.set(&message("never", "")));
        assert!(it.is_empty() && it.bytes() == 0 && it.root.children.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_was_there_stays() {
        let mut it = Retained::new(2, 8);
        assert!(it.set(&message("a", "1")) && it.set(&message("b", "1")));
        assert!(!it.set(&message("c", "1")), "too many");
        assert!(it.set(&message("b", "12")), "replacing adds none");
        assert!(!it.set(&message("b", "1234567")), "too large");
        assert_eq!((it.len(), it.bytes(), &*it.matching("b")[0].0.payload), (2, 5, &b"12"[..]));
        assert!(it.set(&message("a", "")) && it.set(&message("c", "1")), "room again");
        assert!(!Retained::new(9, 99).set(&message(&"/".repeat(200), "x")), "too deep");
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_loop(
            topics in prop::collection::btree_set("(/?(3|a|\\$)|)(/(S|a|3|agent|fleet|)){0,4}", 0..30),
            filter in "(/?([a3+$]|agent)|/|)(/([aS3+]|agent|fleet|)){0,4}(/#)?",
        ) {
            let mut it = Retained::new(100, 10_000);
            let names: BTreeSet<_> = topics.iter().map(|it| topic::canonical(it).0).filter(|it| topic::is_name(it)).collect();
            for name in &names {
                prop_assert!(it.set(&message(name, "x")));
            }
            let found: BTreeMap<_, _> = it.matching(&filter).iter().map(|(it, slashed)| (it.topic.to_string(), *slashed)).collect();
            prop_assert_eq!(it.matching(&filter).len(), found.len(), "each once");
            for name in names {
                let has_slashed = topic::has_two_spellings(name) && topic::matches(&filter, &format!("/{name}"));
                let plainly = topic::matches(&filter, name);
                let expected = (topic::is_filter(&filter) && (plainly || has_slashed)).then_some(!plainly);
                prop_assert_eq!(found.get(name).copied(), expected, "{} {}", filter, name);
                it.set(&message(name, ""));
            }
            prop_assert!(it.is_empty() && it.bytes() == 0 && it.root.children.is_empty());
        }
    }
}
