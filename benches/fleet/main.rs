//! The side-by-side benchmark: one simulated fleet, several brokers, the same run. `cargo bench --bench fleet -- --help`.
//!
//! What counts is the broker's processor time per operation, not the time on the wall: it says how many devices a
//! machine can carry, and it is the same on a busy machine and on a quiet one.

mod options;
mod peer;
mod report;
mod round;
mod swarm;
mod usage;
mod wire;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::{options::Options, peer::Peer};

/// Descriptors beside the devices: the back end, pipes, files.
const SPARE_FILES: u64 = 200;

fn main() -> ExitCode {
    if std::env::args_os().len() == 1 {
        println!("run me as: cargo bench --bench fleet -- --quick");
        return ExitCode::SUCCESS;
    }
    run(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("fleet: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> Result<ExitCode> {
    let files = usage::raise_file_limit()?;
    let most = options.devices.iter().copied().max().unwrap_or(0);
    ensure!(files >= u64::from(most) + SPARE_FILES, "{most} devices need more than {files} open files (ulimit -n)");

    let peers: Vec<Peer> = options.only.map_or_else(|| vec![Peer::Mosquitto, Peer::Mdmq], |only| vec![only]);
    let mut measures = Vec::new();
    for devices in &options.devices {
        measures.extend(measure(options, &peers, *devices)?);
        report::print(&measures, &peers, *devices);
    }
    if let Some(path) = &options.json {
        report::write_json(&measures, path)?;
    }
    let all_hold = report::judge(&report::verdicts(&measures, &options.devices));
    Ok(if options.check && !all_hold { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All rounds of one size, the brokers taking turns so that all meet the same noise.
fn measure(options: &Options, peers: &[Peer], devices: u32) -> Result<Vec<round::Measure>> {
    let grounds = peers.iter().map(|peer| Ok((*peer, peer.prepare(devices)?))).collect::<Result<Vec<_>>>()?;
    let mut measures = Vec::new();
    for round in 0..options.rounds(devices) {
        for (peer, ground) in &grounds {
            eprintln!("{} with {devices} devices, round {}", peer.name(), round + 1);
            measures.extend(round::run(options, *peer, ground, devices, round)?);
        }
    }
    Ok(measures)
}
