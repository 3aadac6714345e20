//! The policies that hold for one agent: its own, and those of its fleet that it does not override. Computed from tasks; says what
//! must be told when they change.

use bytes::Bytes;

use crate::ids::{FleetId, TaskId};

/// A task as its target must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Which.
    pub task: TaskId,
    /// Of which policy.
    pub symbol: &'static str,
    /// What it is about, where a target may have several of one policy.
    pub subject: String,
    /// Changes when it is to be published again.
    pub revision: i64,
    /// What the device reads; none while what it deploys is not ready.
    pub body: Option<Bytes>,
    /// Its part of the grouped form for iOS.
    pub element: Option<String>,
}

/// A task that was taken back, as long as its device has not heard so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Which.
    pub task: TaskId,
    /// Of which policy.
    pub symbol: String,
    /// The fleet that it was for; none: the agent itself.
    pub fleet: Option<FleetId>,
}

impl Applied {
    /// Whether one of the agent's own tasks stands in its place.
    pub fn is_overridden_by(&self, own: &[Applied]) -> bool {
        own.iter().any(|it| it.symbol == self.symbol && it.subject == self.subject)
    }
}

/// Whether exactly this is in a list that is sorted by task.
pub fn contains(sorted: &[Applied], wanted: &Applied) -> bool {
    find(sorted, wanted.task) == Some(wanted)
}

/// What is new or different in `new`, in its order. Both lists are sorted by task.
pub fn news<'t>(old: &[Applied], new: &'t [Applied]) -> impl Iterator<Item = &'t Applied> {
    new.iter().filter(move |it| !contains(old, it))
}

/// Tasks of `old` that are not in `new` any more, whatever they say. Both lists are sorted by task.
pub fn gone<'t>(old: &'t [Applied], new: &[Applied]) -> impl Iterator<Item = &'t Applied> {
    old.iter().filter(move |it| find(new, it.task).is_none())
}

fn find(sorted: &[Applied], task: TaskId) -> Option<&Applied> {
    sorted.binary_search_by_key(&task, |it| it.task).ok().map(|at| &sorted[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(task: i64, symbol: &'static str, revision: i64) -> Applied {
        let body = Some(Bytes::from_static(b"{}"));
        Applied { task: TaskId(task), symbol, subject: String::new(), revision, body, element: None }
    }

    #[test]
    fn a_task_is_told_again_when_it_was_published_again() {
        let old = [applied(1, "disableWifi", 1), applied(2, "disableGPS", 1)];
        let new = [applied(1, "disableWifi", 2), applied(3, "disableNfc", 1)];
        assert_eq!(news(&old, &new).map(|it| it.task.0).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(gone(&old, &new).map(|it| it.task.0).collect::<Vec<_>>(), [2]);
        assert_eq!(news(&new, &new).count() + gone(&new, &new).count(), 0);
    }

    #[test]
    fn an_own_task_stands_in_the_place_of_one_about_the_same() {
        let own = [applied(9, "disableWifi", 1), Applied { subject: "a".into(), ..applied(8, "removeApp", 1) }];
        assert!(applied(1, "disableWifi", 1).is_overridden_by(&own));
        assert!(!applied(1, "disableGPS", 1).is_overridden_by(&own));
        assert!(!Applied { subject: "b".into(), ..applied(1, "removeApp", 1) }.is_overridden_by(&own));
    }
}
