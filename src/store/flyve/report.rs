//! What a move from Flyve took over, and what it left behind and why.

use std::collections::BTreeMap;

use serde::Serialize;

/// Rows left behind that are listed one by one; the rest is counted.
pub const SKIPPED_MAX: usize = 1000;
/// Notes that are listed.
const NOTES_MAX: usize = 200;

/// The whole move.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Where it came from.
    pub source: String,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// By kind.
    pub taken: BTreeMap<&'static str, Count>,
    /// What was left behind.
    pub skipped: Vec<Skipped>,
    /// How much more was left behind than is listed.
    pub skipped_more: usize,
    /// What to know besides.
    pub notes: Vec<String>,
}

/// How many of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// New here.
    pub added: usize,
    /// Known from an earlier run, or already here.
    pub updated: usize,
    /// Left behind.
    pub skipped: usize,
}

/// One row that was left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// What it is.
    pub kind: &'static str,
    /// Its number there.
    pub id: i64,
    /// What people call it.
    pub name: String,
    /// Why it stayed.
    pub why: String,
}

impl Report {
    /// One more that is new here.
    pub fn added(&mut self, kind: &'static str) {
        self.taken.entry(kind).or_default().added += 1;
    }

    /// One more that was here before.
    pub fn updated(&mut self, kind: &'static str) {
        self.taken.entry(kind).or_default().updated += 1;
    }

    /// One more that stays behind.
    pub fn skip(&mut self, kind: &'static str, id: i64, name: &str, why: impl Into<String>) {
        self.taken.entry(kind).or_default().skipped += 1;
        if self.skipped.len() < SKIPPED_MAX {
            self.skipped.push(Skipped { kind, id, name: name.to_owned(), why: why.into() });
        } else {
            self.skipped_more += 1;
        }
    }

    /// Something to know.
    pub fn note(&mut self, sentence: impl Into<String>) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(sentence.into());
        }
    }
}
