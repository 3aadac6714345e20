//! What attacks from strangers cost a well-behaved device: its round trips while nothing happens and while each attack runs.
//! `cargo bench --bench attack -- --seconds 5`. Attackers weigh little here, because in the world they run on machines of their own.

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
    /// Seconds of each measurement.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Threads of each attack.
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u32).range(1..=64))]
    attackers: u32,
    /// Only this attack.
    #[arg(long)]
    only: Option<Attack>,
    /// End with exit code 1 when a round trip takes more than twice its calm time.
    #[arg(long)]
    check: bool,
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Round trips of one kind.
struct Trips(Vec<Duration>);

impl Trips {
    fn percentile(&self, percent: usize) -> f64 {
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(f64::NAN, |it| it.as_secs_f64() * 1e6)
    }
}

fn main() -> ExitCode {
    if std::env::args_os().len() == 1 {
        println!("run me as: cargo bench --bench attack -- --seconds 5");
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
        "{:<16} {:>9} {:>9} {:>9} {:>9} {:>7} {:>10} {:>9}",
        "", "ping p50", "p99", "report", "p99", "ratio", "attacks/s", "RSS MiB"
    );
    let mut is_fine = true;
    for attack in Attack::ALL.into_iter().filter(|it| options.only.is_none_or(|only| only == *it)) {
        let server = Server::start()?;
        let calm = measure(&server, options)?;
        print(&format!("calm, {}", attack.name()), &calm, None, 0.0, &server)?;
        let attackers = attackers::begin(attack, options.attackers, &server)?;
        let under = measure(&server, options)?;
        let per_second = attackers.end() as f64 / (2 * options.seconds) as f64;
        let ratio = ratio(&calm, &under);
        print(attack.name(), &under, Some(ratio), per_second, &server)?;
        is_fine &= ratio <= RATIO_MAX;
        server.stop()?;
    }
    Ok(if options.check && !is_fine { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Pings, then reports.
fn measure(server: &Server, options: &Options) -> Result<[Trips; 2]> {
    let mut device = server.device()?;
    let mut trips = [Vec::new(), Vec::new()];
    for (kind, taken) in trips.iter_mut().enumerate() {
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
        taken.sort_unstable();
    }
    Ok(trips.map(Trips))
}

fn ratio(calm: &[Trips; 2], under: &[Trips; 2]) -> f64 {
    calm.iter().zip(under).map(|(calm, under)| under.percentile(99) / calm.percentile(99)).fold(0.0, f64::max)
}

fn print(name: &str, trips: &[Trips; 2], ratio: Option<f64>, per_second: f64, server: &Server) -> Result<()> {
    let [pings, reports] = trips;
    let ratio = ratio.map_or(String::new(), |it| format!("{it:.2}"));
    let figures = [pings.percentile(50), pings.percentile(99), reports.percentile(50), reports.percentile(99)];
    let [a, b, c, d] = figures;
    let rss = server.resident_mib()?;
    println!("{name:<16} {a:>9.0} {b:>9.0} {c:>9.0} {d:>9.0} {ratio:>7} {per_second:>10.0} {rss:>9}");
    Ok(())
}
