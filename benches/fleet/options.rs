//! What the person at the command line can ask of the benchmark.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::peer::Peer;

/// Drives one simulated fleet against mosquitto and against mdmq, on loopback over plain TCP, and compares what each
/// operation costs the broker. Plain MQTT, MQTT 3.1 devices as the shipped Android agent, one back end with wildcards.
#[derive(Debug, Clone, Parser)]
#[command(name = "fleet", disable_version_flag = true)]
pub struct Options {
    /// The short run of the README: 1,000 and 10,000 devices, under five minutes.
    #[arg(long)]
    pub quick: bool,
    /// Sizes of the fleet, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000", value_parser = clap::value_parser!(u32).range(100..=60_000))]
    pub devices: Vec<u32>,
    /// Only this broker: `mosquitto`, `mosquitto-passwords` or `mdmq`.
    #[arg(long)]
    pub only: Option<Peer>,
    /// Report only these phases (connect and subscribe always run).
    #[arg(long, value_delimiter = ',')]
    pub phase: Vec<Phase>,
    /// Rounds per size and broker; the median counts. Without it, more rounds for small fleets than for large ones.
    #[arg(long)]
    pub repeat: Option<u32>,
    /// Operations of the phases that are not one per device (report, keepalive, command).
    #[arg(long)]
    pub operations: Option<u64>,
    /// Write every single measurement to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// End with exit code 1 when a floor is missed.
    #[arg(long)]
    pub check: bool,
    /// Record each phase of the broker with `perf` into this directory (the figures then include its cost).
    #[arg(long)]
    pub profile: Option<PathBuf>,
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// A part of the fleet's life, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Phase {
    /// TCP connection, CONNECT with login and will, CONNACK.
    Connect,
    /// One SUBSCRIBE with the two filters of the agent, and what is retained for it.
    Subscribe,
    /// QoS 1 report from a device, acknowledged and heard by the back end.
    Report,
    /// Nothing happens; memory is read.
    Idle,
    /// PINGREQ, PINGRESP.
    Keepalive,
    /// Back end to device and the device's answer back.
    Command,
    /// All sockets are closed without DISCONNECT; the back end hears the wills.
    Vanish,
}

impl Phase {
    /// All, in the order in which they run.
    pub const ALL: [Phase; 7] =
        [Self::Connect, Self::Subscribe, Self::Report, Self::Idle, Self::Keepalive, Self::Command, Self::Vanish];

    /// The word in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Connect => "connect",
            Phase::Subscribe => "subscribe",
            Phase::Report => "report",
            Phase::Idle => "idle",
            Phase::Keepalive => "keepalive",
            Phase::Command => "command",
            Phase::Vanish => "vanish",
        }
    }
}

impl Options {
    /// Whether somebody wants to see this phase.
    pub fn wants(&self, phase: Phase) -> bool {
        self.phase.is_empty() || self.phase.contains(&phase)
    }

    /// Whether it has to run: later phases need connected and subscribed devices.
    pub fn must_run(&self, phase: Phase) -> bool {
        matches!(phase, Phase::Connect | Phase::Subscribe) || self.wants(phase)
    }

    /// Rounds for a fleet of this size: a small fleet does few operations per round, so it gets more rounds.
    pub fn rounds(&self, devices: u32) -> u32 {
        let usual = match (self.quick, devices) {
            (true, ..=2_000) => 5,
            (true, _) => 3,
            (false, ..=2_000) => 9,
            (false, _) => 5,
        };
        self.repeat.unwrap_or(usual).max(1)
    }

    /// Operations of a phase for a fleet of this size.
    pub fn operations(&self, phase: Phase, devices: u32) -> u64 {
        let devices = u64::from(devices);
        match phase {
            Phase::Connect | Phase::Subscribe | Phase::Vanish => devices,
            Phase::Idle => 0,
            Phase::Report | Phase::Keepalive => self.operations.unwrap_or_else(|| 10_000.max(2 * devices)),
            Phase::Command => self.operations.unwrap_or_else(|| 10_000.max(devices)),
        }
    }
}
