//! From single measurements to medians, ratios, tables and floors.

use std::{io, path::Path};

use serde_json::json;

use crate::{options::Phase, peer::Peer, round::Measure};

/// mdmq may use so many times the processor time of mosquitto for the same operation.
const CPU_RATIO_MAX: f64 = 1.5;
/// Memory of mdmq per idle device on a plain connection.
const KIB_PER_DEVICE_MAX: f64 = 8.0;
/// An operation in the largest fleet may cost so many times what it costs in the smallest.
const GROWTH_MAX: f64 = 1.3;

/// The median round of one phase, one broker, one size.
#[derive(Debug, Clone, Copy)]
struct Figure {
    /// Operations per second.
    rate: f64,
    /// Milliseconds of the broker's processor time per 1,000 operations, that is microseconds per operation.
    cpu: f64,
    /// The benchmark's own.
    own_cpu: f64,
    /// Memory above the empty broker per device.
    rss_kib: f64,
    anon_kib: f64,
    /// Operations that were never finished, worst round.
    missing: u64,
}

/// One comparison with a limit.
#[derive(Debug)]
pub struct Verdict {
    what: String,
    value: f64,
    limit: f64,
}

impl Verdict {
    /// Whether the floor is reached.
    pub fn holds(&self) -> bool {
        self.value <= self.limit
    }
}

fn figure(measures: &[Measure], peer: Peer, devices: u32, phase: Phase) -> Option<Figure> {
    let rounds: Vec<&Measure> =
        measures.iter().filter(|m| (m.peer, m.devices, m.phase) == (peer, devices, phase)).collect();
    let over = |value: &dyn Fn(&Measure) -> f64| median(rounds.iter().map(|m| value(m)).collect());
    let operations = |m: &Measure| if m.done == 0 { 1.0 } else { m.done as f64 };
    Some(Figure {
        rate: over(&|m| m.done as f64 / m.wall.as_secs_f64())?,
        cpu: over(&|m| m.cpu_ns as f64 / 1000.0 / operations(m))?,
        own_cpu: over(&|m| m.own_cpu_ns as f64 / 1000.0 / operations(m))?,
        rss_kib: over(&|m| m.grown.rss_kib as f64 / f64::from(m.devices))?,
        anon_kib: over(&|m| m.grown.anon_kib as f64 / f64::from(m.devices))?,
        missing: rounds.iter().map(|m| m.operations - m.done).max()?,
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Prints the tables of one size.
pub fn print(measures: &[Measure], peers: &[Peer], devices: u32) {
    let rounds = measures.iter().filter(|m| m.devices == devices).map(|m| m.round + 1).max().unwrap_or(0);
    println!("\n{devices} devices, median of {rounds} rounds; CPU is the broker's, in ms per 1,000 operations");
    print!("{:<10}", "phase");
    for peer in peers {
        print!(" | {:>20} {:>7}", format!("{} op/s", peer.name()), "CPU");
    }
    println!(" | {:>14} | {:>7}", "mdmq/mosquitto", "own CPU");
    for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Idle) {
        let figures: Vec<_> = peers.iter().map(|peer| figure(measures, *peer, devices, phase)).collect();
        if figures.iter().all(Option::is_none) {
            continue;
        }
        print!("{:<10}", phase.name());
        for figure in &figures {
            match figure {
                Some(figure) => print!(" | {:>20.0} {:>7.1}", figure.rate, figure.cpu),
                None => print!(" | {:>28}", "–"),
            }
        }
        match ratio(measures, devices, phase) {
            Some(ratio) => print!(" | {:>12.2} ×", ratio),
            None => print!(" | {:>14}", "–"),
        }
        println!(" | {:>7.1}", figures.iter().flatten().map(|figure| figure.own_cpu).fold(0.0, f64::max));
        for (peer, figure) in peers.iter().zip(&figures) {
            if let Some(Figure { missing: missing @ 1.., .. }) = figure {
                println!("           ! {}: {missing} operations were never finished", peer.name());
            }
        }
    }
    for peer in peers {
        if let Some(figure) = figure(measures, *peer, devices, Phase::Idle) {
            println!(
                "idle       | {:<18} {:>6.1} KiB per device ({:.1} of them heap); {:.2} ms CPU per second",
                peer.name(),
                figure.rss_kib,
                figure.anon_kib,
                figure.cpu / 1000.0 / 2.0
            );
        }
    }
}

fn ratio(measures: &[Measure], devices: u32, phase: Phase) -> Option<f64> {
    let ours = figure(measures, Peer::Mdmq, devices, phase)?;
    let theirs = figure(measures, Peer::Mosquitto, devices, phase)?;
    Some(ours.cpu / theirs.cpu)
}

/// Every floor for which there are figures.
pub fn verdicts(measures: &[Measure], sizes: &[u32]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let operations = Phase::ALL.into_iter().filter(|phase| *phase != Phase::Idle);
    for devices in sizes {
        for phase in operations.clone() {
            if let Some(value) = ratio(measures, *devices, phase) {
                let what = format!("{} of {devices} devices, CPU as a multiple of mosquitto's", phase.name());
                verdicts.push(Verdict { what, value, limit: CPU_RATIO_MAX });
            }
            if let Some(Figure { missing: missing @ 1.., .. }) = figure(measures, Peer::Mdmq, *devices, phase) {
                let what = format!("{} of {devices} devices, operations never finished", phase.name());
                verdicts.push(Verdict { what, value: missing as f64, limit: 0.0 });
            }
        }
        if let Some(figure) = figure(measures, Peer::Mdmq, *devices, Phase::Idle) {
            let what = format!("KiB per idle device of {devices}");
            verdicts.push(Verdict { what, value: figure.rss_kib, limit: KIB_PER_DEVICE_MAX });
        }
    }
    let (Some(small), Some(large)) = (sizes.iter().min(), sizes.iter().max()) else { return verdicts };
    for phase in operations.filter(|_| small < large) {
        let of = |devices| figure(measures, Peer::Mdmq, devices, phase).map(|figure| figure.cpu);
        if let (Some(at_small), Some(at_large)) = (of(*small), of(*large)) {
            let what = format!("{} at {large} devices, CPU as a multiple of that at {small}", phase.name());
            verdicts.push(Verdict { what, value: at_large / at_small, limit: GROWTH_MAX });
        }
    }
    verdicts
}

/// Prints the floors and returns whether all are reached.
pub fn judge(verdicts: &[Verdict]) -> bool {
    println!();
    for verdict in verdicts {
        let word = if verdict.holds() { "PASS" } else { "FAIL" };
        println!("{word}  {:<72} {:>6.2} (at most {})", verdict.what, verdict.value, verdict.limit);
    }
    verdicts.iter().all(Verdict::holds)
}

/// Writes every measurement as JSON.
pub fn write_json(measures: &[Measure], path: &Path) -> io::Result<()> {
    let rows: Vec<_> = measures
        .iter()
        .map(|m| {
            json!({
                "peer": m.peer.name(), "devices": m.devices, "round": m.round, "phase": m.phase.name(),
                "operations": m.operations, "done": m.done, "wall_s": m.wall.as_secs_f64(),
                "broker_cpu_s": m.cpu_ns as f64 / 1e9, "own_cpu_s": m.own_cpu_ns as f64 / 1e9,
                "grown_rss_kib": m.grown.rss_kib, "grown_anon_kib": m.grown.anon_kib,
            })
        })
        .collect();
    std::fs::write(path, serde_json::to_string_pretty(&rows)? + "\n")
}
