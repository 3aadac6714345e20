//! Who of the service accounts subscribed what: a trie of filters. Knows no rights and delivers nothing; agents are not in
//! here, they are found by their address.
//!
//! A lookup costs what the levels of the name and the filters that select it cost, however many other filters there are.

use std::collections::{HashMap, HashSet};

use crate::mqtt::{packet::QoS, topic};

/// Subscriptions by filter. `H` is what the caller needs to reach a subscriber.
pub struct Router<H: Clone> {
    root: Node<H>,
    filters: HashMap<u64, HashSet<Box<str>>>,
}

/// A subscriber of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<H> {
    /// Who.
    pub key: u64,
    /// How to reach it.
    pub handle: H,
    /// Highest quality of service that was granted to it for this name [MQTT-3.3.5-1].
    pub qos: QoS,
    /// Whether it asked for the spelling with a slash in front only.
    pub slashed: bool,
}

struct Node<H> {
    children: HashMap<Box<str>, Node<H>>,
    plus: Option<Box<Node<H>>>,
    /// Filters that end here, by key.
    ends: Vec<Subscription<H>>,
    /// Filters that end in a `#` below here, by key.
    hashes: Vec<Subscription<H>>,
}

struct Subscription<H> {
    key: u64,
    handle: H,
    qos: QoS,
}

impl<H: Clone> Default for Router<H> {
    fn default() -> Self {
        Self { root: Node::default(), filters: HashMap::new() }
    }
}

impl<H: Clone> Router<H> {
    /// Adds a filter, or replaces its quality of service and handle [MQTT-3.8.4-3]. What is no filter is not taken.
    pub fn subscribe(&mut self, key: u64, filter: &str, qos: QoS, handle: H) {
        // Depth of the trie, and so of every recursion here, is bounded by `TOPIC_LEVELS_MAX`.
        if !topic::is_filter(filter) {
            return;
        }
        self.root.insert(Some(filter), Subscription { key, handle, qos });
        self.filters.entry(key).or_default().insert(filter.into());
    }

    /// Removes a filter, if it is there.
    pub fn unsubscribe(&mut self, key: u64, filter: &str) {
        let Some(own) = self.filters.get_mut(&key) else { return };
        if own.remove(filter) {
            self.root.remove(Some(filter), key);
        }
        if own.is_empty() {
            self.filters.remove(&key);
        }
    }

    /// Removes all filters of a subscriber.
    pub fn forget(&mut self, key: u64) {
        for filter in self.filters.remove(&key).unwrap_or_default() {
            self.root.remove(Some(&filter), key);
        }
    }

    /// How many filters a subscriber has.
    pub fn filters(&self, key: u64) -> usize {
        self.filters.get(&key).map_or(0, HashSet::len)
    }

    /// Whether a subscriber has this filter.
    pub fn has(&self, key: u64, filter: &str) -> bool {
        self.filters.get(&key).is_some_and(|own| own.contains(filter))
    }

    /// Replaces `out` by the subscribers of a message with this canonical topic, each once. A topic of an agent, a fleet or
    /// the manifest is looked up in both spellings; who asked for both hears the one without slash.
    pub fn matches(&self, topic: &str, out: &mut Vec<Match<H>>) {
        out.clear();
        if topic.starts_with('$') {
            // Wildcards in front do not reach these names [MQTT-4.7.2-1].
            self.root.visit_spelled(topic, &mut |it| out.push(it.found(false)));
        } else {
            self.root.visit(Some(topic), &mut |it| out.push(it.found(false)));
        }
        if topic::has_two_spellings(topic) {
            self.root.visit_slashed(topic, &mut |it| out.push(it.found(true)));
        }
        if out.len() > 1 {
            out.sort_unstable_by_key(|it| (it.key, it.slashed));
            out.dedup_by(|next, kept| {
                let is_same = next.key == kept.key;
                if is_same {
                    kept.qos = kept.qos.max(next.qos);
                }
                is_same
            });
        }
    }
}

impl<H> Default for Node<H> {
    fn default() -> Self {
        Self { children: HashMap::new(), plus: None, ends: Vec::new(), hashes: Vec::new() }
    }
}

impl<H: Clone> Node<H> {
    fn insert(&mut self, rest: Option<&str>, subscription: Subscription<H>) {
        let Some(rest) = rest else { return put(&mut self.ends, subscription) };
        let (level, below) = first_level(rest);
        match level {
            "#" => put(&mut self.hashes, subscription),
            "+" => self.plus.get_or_insert_default().insert(below, subscription),
            _ => match self.children.get_mut(level) {
                Some(child) => child.insert(below, subscription),
                None => self.children.entry(level.into()).or_default().insert(below, subscription),
            },
        }
    }

    /// Frees the nodes that nobody needs any more on its way back.
    fn remove(&mut self, rest: Option<&str>, key: u64) {
        let Some(rest) = rest else { return take(&mut self.ends, key) };
        let (level, below) = first_level(rest);
        match level {
            "#" => take(&mut self.hashes, key),
            "+" => {
                if let Some(child) = &mut self.plus {
                    child.remove(below, key);
                    self.plus.take_if(|it| it.is_empty());
                }
            }
            _ => {
                if let Some(child) = self.children.get_mut(level) {
                    child.remove(below, key);
                    if child.is_empty() {
                        self.children.remove(level);
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.ends.is_empty() && self.hashes.is_empty()
    }

    fn visit(&self, rest: Option<&str>, found: &mut impl FnMut(&Subscription<H>)) {
        // `a/#` selects `a` too [MQTT-4.7.1-2].
        self.hashes.iter().for_each(&mut *found);
        let Some(rest) = rest else { return self.ends.iter().for_each(found) };
        if let Some(plus) = &self.plus {
            plus.visit(first_level(rest).1, found);
        }
        self.visit_spelled(rest, found);
    }

    /// Without the wildcards of this level.
    fn visit_spelled(&self, rest: &str, found: &mut impl FnMut(&Subscription<H>)) {
        let (level, below) = first_level(rest);
        if let Some(child) = self.children.get(level) {
            child.visit(below, found);
        }
    }

    /// As if there were a slash in front.
    fn visit_slashed(&self, topic: &str, found: &mut impl FnMut(&Subscription<H>)) {
        self.hashes.iter().for_each(&mut *found);
        for child in [self.plus.as_deref(), self.children.get("")].into_iter().flatten() {
            child.visit(Some(topic), found);
        }
    }
}

impl<H: Clone> Subscription<H> {
    fn found(&self, slashed: bool) -> Match<H> {
        Match { key: self.key, handle: self.handle.clone(), qos: self.qos, slashed }
    }
}

/// The first level and, if there is a slash, what follows it.
fn first_level(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, below)| (level, Some(below)))
}

fn put<H>(list: &mut Vec<Subscription<H>>, subscription: Subscription<H>) {
    match list.binary_search_by_key(&subscription.key, |it| it.key) {
        Ok(at) => list[at] = subscription,
        Err(at) => list.insert(at, subscription),
    }
}

fn take<H>(list: &mut Vec<Subscription<H>>, key: u64) {
    if let Ok(at) = list.binary_search_by_key(&key, |it| it.key) {
        list.remove(at);
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
