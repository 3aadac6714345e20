//! Topic names and filters: what is valid, what matches what, and the two spellings of a device's topics.
//! Knows nothing of who may use a topic.

/// Longest topic name or filter, in bytes: what the wire can carry [MQTT-4.7.3-3]. One less where a leading slash must still fit
/// (spec/mqtt.md §2.1).
pub const TOPIC_BYTES_MAX: usize = 65_535;
/// Most levels of a topic name or filter; keeps tries shallow.
pub const TOPIC_LEVELS_MAX: usize = 128;

/// Whether a text can be the topic of a message [MQTT-3.3.2-2], [MQTT-4.7.3-1], [MQTT-4.7.3-2].
pub fn is_name(text: &str) -> bool {
    has_bounds(text) && !text.bytes().any(|b| matches!(b, b'+' | b'#' | 0))
}

/// Whether a text can be subscribed to: `+` fills a whole level, `#` is the whole last one [MQTT-4.7.1-2], [MQTT-4.7.1-3].
pub fn is_filter(text: &str) -> bool {
    if !has_bounds(text) || text.bytes().any(|b| b == 0) {
        return false;
    }
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_valid = match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            literal => !literal.bytes().any(|b| matches!(b, b'+' | b'#')),
        };
        if !is_valid {
            return false;
        }
    }
    true
}

fn has_bounds(text: &str) -> bool {
    !text.is_empty()
        && (text.len() < TOPIC_BYTES_MAX || text.len() == TOPIC_BYTES_MAX && !has_two_spellings(text))
        && (text.len() < TOPIC_LEVELS_MAX || text.bytes().filter(|&b| b == b'/').count() < TOPIC_LEVELS_MAX)
}

/// Whether a valid filter selects a valid name. Wildcards in front do not reach names that begin with `$` [MQTT-4.7.2-1].
pub fn matches(filter: &str, name: &str) -> bool {
    if is_hidden_from(filter, name) {
        return false;
    }
    let (mut filter, mut name) = (filter.split('/'), name.split('/'));
    loop {
        match (filter.next(), name.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// Whether some name is selected by both filters.
pub fn filters_overlap(a: &str, b: &str) -> bool {
    if is_hidden_from(a, b) || is_hidden_from(b, a) {
        return false;
    }
    let (mut a, mut b) = (spelled_out(a).split('/'), spelled_out(b).split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether `wide` selects every name that `narrow` selects.
pub fn filter_covers(wide: &str, narrow: &str) -> bool {
    if is_hidden_from(wide, narrow) {
        return false;
    }
    let (mut wide, mut narrow) = (spelled_out(wide).split('/'), spelled_out(narrow).split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some("#"), _) | (None, None) => return true,
            (_, Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// No name is empty, so these two filters, which would select the empty one, have a longer spelling that selects the same.
fn spelled_out(filter: &str) -> &str {
    match filter {
        "#" => "+/#",
        "/#" => "/+/#",
        other => other,
    }
}

/// A `$` in front is only reached by a filter that spells it out [MQTT-4.7.2-1].
fn is_hidden_from(filter: &str, text: &str) -> bool {
    text.starts_with('$') && filter.starts_with(['+', '#'])
}

/// The spelling under which a topic name or filter is known inside, and whether a leading slash was dropped to get there.
///
/// Only topics that name an agent, a fleet or the manifest have two spellings (spec/mqtt.md §2.1); all others stay as the standard
/// says, where `/a` and `a` are different topics.
pub fn canonical(text: &str) -> (&str, bool) {
    match text.strip_prefix('/') {
        Some(rest) if has_two_spellings(rest) => (rest, true),
        _ => (text, false),
    }
}

/// Whether a name or filter without slash in front means the same with one.
pub fn has_two_spellings(text: &str) -> bool {
    if text.starts_with("FlyvemdmManifest/") {
        return true;
    }
    let Some((entity, rest)) = text.split_once('/') else { return false };
    is_number(entity) && (rest.starts_with("agent/") || rest.starts_with("fleet/"))
}

/// Digits as we write them ourselves: no sign, no zeros in front, so that one number has one spelling.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

/// A topic below an agent or a fleet, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceTopic<'a> {
    /// Number of the entity.
    pub entity: i64,
    /// Whose topic it is.
    pub kind: DeviceTopicKind<'a>,
    /// What follows, without slash in front; empty for the bare address.
    pub tail: &'a str,
}

/// Whose topic it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceTopicKind<'a> {
    /// The agent with this serial.
    Agent(&'a str),
    /// The fleet with this number.
    Fleet(i64),
}

/// Takes a topic of an agent or a fleet apart, in either spelling (spec/mqtt.md §2.2). Works for filters too, whose serial or tail may then
/// be a wildcard.
pub fn parse_device_topic(name: &str) -> Option<DeviceTopic<'_>> {
    let (name, _) = canonical(name);
    let mut levels = name.splitn(4, '/');
    let entity = parse_number(levels.next()?)?;
    let noun = levels.next()?;
    let who = levels.next().filter(|who| !who.is_empty())?;
    let kind = match noun {
        "agent" => DeviceTopicKind::Agent(who),
        "fleet" => DeviceTopicKind::Fleet(parse_number(who)?),
        _ => return None,
    };
    Some(DeviceTopic { entity, kind, tail: levels.next().unwrap_or("") })
}

fn parse_number(text: &str) -> Option<i64> {
    if is_number(text) { text.parse().ok() } else { None }
}

#[cfg(test)]
#[path = "topic_tests.rs"]
mod tests;
