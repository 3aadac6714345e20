//! What attacks cost a well-behaved device: its round trips while nothing happens, while the attack goes to another server of this
//! machine, and while it goes to its own. `cargo bench --bench attack`. Attackers weigh little here, because in the world they run on
//! machines of their own; what they cost nevertheless is what the second figure shows.

mod attackers;
mod ground;
#[path = "../fleet/wire.rs"]
#[allow(dead_code, reason = "the packets of the other benchmark; some of them are not needed here")]
mod wire;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use mdmq::clock::Clock;

use crate::{attackers::Attack, ground::Server};

/// Between two round trips of the device.
const PAUSE: Duration = Duration::from_millis(2);
/// So many times its calm value may the 99th percentile grow.
const RATIO_MAX: f64 = 2.0;

/// Measures round trips of one device, calm and under attack.
#[derive(Debug, Parser)]
#[command(name = "attack", disable_version_flag = true)]
struct Options {
    /// Rounds of each attack, every one with a fresh server and a calm time of its own; their median counts.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Threads of each attack.
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u32).range(1..=i64::from(ground::ATTACKERS_MAX)))]
    attackers: u32,
    /// Only this attack.
    #[arg(long)]
    only: Option<Attack>,
    /// Attack the listener of MQTT in clear text, which is off unless it is configured, instead of the one with TLS.
    #[arg(long)]
    clear_text: bool,
    /// End with exit code 1 when a round trip takes more than twice its calm time.
    #[arg(long)]
    check: bool,
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one round shows of one kind of round trip, in microseconds.
#[derive(Clone, Copy)]
struct Trips {
    p50: f64,
    p99: f64,
}

impl Trips {
    fn of(mut taken: Vec<Duration>) -> Trips {
        taken.sort_unstable();
        let percentile = |percent: usize| {
            let at = (taken.len() * percent / 100).min(taken.len().saturating_sub(1));
            taken.get(at).map_or(f64::NAN, |it| it.as_secs_f64() * 1e6)
        };
        Trips { p50: percentile(50), p99: percentile(99) }
    }
}

fn median(rounds: &[Trips], figure: impl Fn(&Trips) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() -> ExitCode {
    if std::env::args_os().len() == 1 {
        println!("run me as: cargo bench --bench attack");
        return ExitCode::SUCCESS;
    }
    run(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("attack: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> Result<ExitCode> {
    println!("microseconds of a device over TLS: PINGREQ to PINGRESP, QoS 1 report to PUBACK (committed)");
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>9} {:>7} {:>10} {:>9}",
        "", "ping p50", "p99", "report", "p99", "x calm", "attacks/s", "RSS MiB"
    );
    let mut is_fine = true;
    for attack in Attack::ALL.into_iter().filter(|it| options.only.is_none_or(|only| only == *it)) {
        let [mut calm, mut elsewhere, mut under] = [Side::default(), Side::default(), Side::default()];
        for _ in 0..options.rounds {
            let (server, other) = (Server::start()?, Server::start()?);
            measure(&server, options, &mut calm)?;
            for (target, side) in [(&other, &mut elsewhere), (&server, &mut under)] {
                let attackers = attackers::begin(attack, options.attackers, target, options.clear_text)?;
                measure(&server, options, side)?;
                side.attacks += attackers.end();
            }
            server.stop()?;
            other.stop()?;
        }
        print(attack.name(), "calm", &calm, &calm, options);
        print("", "another server", &elsewhere, &calm, options);
        print("", "this server", &under, &calm, options);
        is_fine &= ratio(&calm, &under) <= RATIO_MAX;
    }
    Ok(if options.check && !is_fine { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What was seen in the calm rounds, or while something was attacked.
#[derive(Default)]
struct Side {
    pings: Vec<Trips>,
    reports: Vec<Trips>,
    attacks: u64,
    /// The most the server held.
    resident_mib: u64,
}

/// Pings, then reports.
fn measure(server: &Server, options: &Options, side: &mut Side) -> Result<()> {
    let mut device = server.device()?;
    for (kind, rounds) in [&mut side.pings, &mut side.reports].into_iter().enumerate() {
        let mut taken = Vec::new();
        let end = Clock::System.instant() + Duration::from_secs(options.seconds);
        while Clock::System.instant() < end {
            let start = Clock::System.instant();
            if kind == 0 {
                device.ping()?
            } else {
                device.report()?
            }
            taken.push(start.elapsed());
            std::thread::sleep(PAUSE);
        }
        rounds.push(Trips::of(taken));
    }
    side.resident_mib = side.resident_mib.max(server.resident_mib()?);
    Ok(())
}

/// How many times its calm value the 99th percentile is, of whichever kind of round trip grew more.
fn ratio(calm: &Side, under: &Side) -> f64 {
    let grown = |calm, under| median(under, |it| it.p99) / median(calm, |it| it.p99);
    grown(&calm.pings, &under.pings).max(grown(&calm.reports, &under.reports))
}

fn print(name: &str, attacked: &str, side: &Side, calm: &Side, options: &Options) {
    let Side { pings, reports, attacks, resident_mib } = side;
    let ratio = ratio(calm, side);
    let [a, b] = [median(pings, |it| it.p50), median(pings, |it| it.p99)];
    let [c, d] = [median(reports, |it| it.p50), median(reports, |it| it.p99)];
    let per_second = *attacks as f64 / (2 * options.seconds * u64::from(options.rounds)) as f64;
    println!(
        "{:<24} {a:>9.0} {b:>9.0} {c:>9.0} {d:>9.0} {ratio:>7.2} {per_second:>10.0} {resident_mib:>9}",
        format!("{name:<9} {attacked}")
    );
}
