//! What was counted and measured, and how it is summed up for people and for scripts. Measures nothing itself.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

/// Measurements kept of one kind; further ones are counted only.
const SAMPLES_MAX: usize = 1_000_000;
/// Different kinds of errors told apart; further ones are counted as `other`.
const KINDS_MAX: usize = 200;

/// Everything that the simulated fleet and its administrator counted.
#[derive(Debug, Default)]
pub struct Figures {
    /// Agents that have their settings.
    pub enrolled: AtomicU64,
    /// CONNECTs that were accepted and subscribed, first ones and later ones.
    pub connects: AtomicU64,
    /// Reports that the server acknowledged (PUBACK or 2xx).
    pub reports: AtomicU64,
    /// Messages heard.
    pub heard: AtomicU64,
    /// Commands sent by the simulated administrator.
    pub commands: AtomicU64,
    /// Connections that were cut on purpose.
    pub cuts: AtomicU64,
    /// Connections that were taken over by the same device on purpose.
    pub takeovers: AtomicU64,
    /// Agents that asked for other settings and will not come back (unenrolled, wiped).
    pub forgotten: AtomicU64,
    timings: Mutex<BTreeMap<&'static str, Vec<Duration>>>,
    errors: Mutex<BTreeMap<String, u64>>,
    tolerated: Mutex<BTreeMap<String, u64>>,
}

/// How long the phases took and what the server showed at the end.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Agents wished for.
    pub agents: u64,
    /// From the first invitation to the last settings.
    pub enroll: Duration,
    /// From the first CONNECT to the last subscription.
    pub connect: Duration,
    /// Agents that the server showed online at the end.
    pub online: u64,
    /// Agents that were enrolled, but that the server did not show online at the end.
    pub lost: u64,
}

impl Figures {
    /// Counts one.
    pub fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how long something took.
    pub fn took(&self, what: &'static str, duration: Duration) {
        let mut timings = hold(&self.timings);
        let samples = timings.entry(what).or_default();
        if samples.len() < SAMPLES_MAX {
            samples.push(duration);
        }
    }

    /// Notes that something went wrong.
    pub fn error(&self, kind: impl Into<String>) {
        note(&self.errors, kind.into());
    }

    /// Notes a refusal that this server is entitled to.
    pub fn tolerated(&self, kind: impl Into<String>) {
        note(&self.tolerated, kind.into());
    }

    /// Errors of all kinds.
    pub fn errors(&self) -> u64 {
        hold(&self.errors).values().sum()
    }

    /// The summary for scripts.
    pub fn json(&self, outcome: &Outcome) -> Value {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let timings: BTreeMap<_, _> = hold(&self.timings)
            .iter()
            .map(|(what, samples)| {
                let [p50, p95, p99, max] = percentiles_ms(samples);
                (*what, json!({"count": samples.len(), "p50": p50, "p95": p95, "p99": p99, "max": max}))
            })
            .collect();
        let first_connects = get(&self.enrolled).min(get(&self.connects));
        json!({
            "agents": outcome.agents,
            "enrolled": get(&self.enrolled),
            "enroll_per_s": rate(get(&self.enrolled), outcome.enroll),
            "connects": get(&self.connects),
            "connect_per_s": rate(first_connects, outcome.connect),
            "online": outcome.online,
            "lost": outcome.lost,
            "commands": get(&self.commands),
            "reports": get(&self.reports),
            "heard": get(&self.heard),
            "cuts": get(&self.cuts),
            "takeovers": get(&self.takeovers),
            "milliseconds": timings,
            "tolerated": *hold(&self.tolerated),
            "errors": *hold(&self.errors),
        })
    }

    /// The summary for people.
    pub fn table(&self, outcome: &Outcome) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let enrolled = get(&self.enrolled);
        let mut text = String::new();
        let mut line = |name: &str, value: String| _ = writeln!(text, "{name:<22}{value}");
        line("enrolled", format!("{enrolled} of {} ({:.0}/s)", outcome.agents, rate(enrolled, outcome.enroll)));
        let first = enrolled.min(get(&self.connects));
        line(
            "connected",
            format!("{first} ({:.0}/s), {} connects in all", rate(first, outcome.connect), get(&self.connects)),
        );
        line("commands", format!("{} sent, {} messages heard", get(&self.commands), get(&self.heard)));
        line("reports", format!("{} acknowledged", get(&self.reports)));
        line("came back", format!("{} after a cut, {} by takeover", get(&self.cuts), get(&self.takeovers)));
        line("online at the end", format!("{}, lost {}", outcome.online, outcome.lost));
        _ = writeln!(
            text,
            "\n{:<34}{:>8}{:>10}{:>10}{:>10}{:>10}",
            "milliseconds", "count", "p50", "p95", "p99", "max"
        );
        for (what, samples) in hold(&self.timings).iter() {
            let [p50, p95, p99, max] = percentiles_ms(samples);
            _ = writeln!(text, "{what:<34}{:>8}{p50:>10.1}{p95:>10.1}{p99:>10.1}{max:>10.1}", samples.len());
        }
        for (title, kinds) in [("tolerated", &self.tolerated), ("errors", &self.errors)] {
            let kinds = hold(kinds);
            _ = writeln!(text, "\n{title}:{}", if kinds.is_empty() { " none" } else { "" });
            for (kind, count) in kinds.iter() {
                _ = writeln!(text, "{count:>8}  {kind}");
            }
        }
        text
    }
}

/// p50, p95, p99 and the maximum in milliseconds, by nearest rank; zeros for nothing.
pub fn percentiles_ms(samples: &[Duration]) -> [f64; 4] {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(rank).map_or(0.0, |it| (it.as_secs_f64() * 10_000.0).round() / 10.0)
    };
    [at(50), at(95), at(99), at(100)]
}

#[expect(clippy::cast_precision_loss, reason = "counts of a simulation are far below 2^52")]
fn rate(count: u64, duration: Duration) -> f64 {
    let seconds = duration.as_secs_f64();
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

fn note(kinds: &Mutex<BTreeMap<String, u64>>, kind: String) {
    let mut kinds = hold(kinds);
    let kind = if kinds.len() < KINDS_MAX || kinds.contains_key(&kind) { kind } else { "other".to_owned() };
    *kinds.entry(kind).or_default() += 1;
}

/// A counter that some task panicked over is still a counter.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(milliseconds: std::ops::RangeInclusive<u64>, expected: [f64; 4]) {
        let samples: Vec<_> = milliseconds.rev().map(Duration::from_millis).collect();
        assert_eq!(percentiles_ms(&samples), expected);
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        check(1..=100, [50.0, 95.0, 99.0, 100.0]);
        check(1..=1, [1.0, 1.0, 1.0, 1.0]);
        check(1..=2, [1.0, 2.0, 2.0, 2.0]);
        #[expect(clippy::reversed_empty_ranges, reason = "no samples at all")]
        check(1..=0, [0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn the_summary_says_what_was_counted() {
        let figures = Figures::default();
        (0..20).for_each(|_| figures.count(&figures.enrolled));
        (0..25).for_each(|_| figures.count(&figures.connects));
        figures.took("ping", Duration::from_micros(12_340));
        figures.error("connection lost");
        figures.error("connection lost");
        let outcome = Outcome {
            agents: 20,
            enroll: Duration::from_secs(2),
            connect: Duration::from_secs(1),
            online: 19,
            lost: 1,
        };

        let json = figures.json(&outcome);
        assert_eq!((json["enroll_per_s"].as_f64(), json["connect_per_s"].as_f64()), (Some(10.0), Some(20.0)));
        assert_eq!(json["errors"]["connection lost"], 2);
        assert_eq!(json["milliseconds"]["ping"]["p50"], 12.3);
        assert_eq!(figures.errors(), 2);
        assert!(figures.table(&outcome).contains("20 of 20 (10/s)"));
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let figures = Figures::default();
        (0..1000).for_each(|it| figures.error(format!("kind {it}")));
        assert_eq!(figures.errors(), 1000);
        assert_eq!(hold(&figures.errors).len(), KINDS_MAX + 1);
    }
}
