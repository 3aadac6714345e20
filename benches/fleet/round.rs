//! One round: a fresh broker, one fleet through all phases, and what each phase cost the broker.

use std::{
    fs, io,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use mdmq::clock::Clock;

use crate::{
    options::{Options, Phase},
    peer::{Broker, Ground, Peer},
    swarm::{Swarm, Tally},
    usage::{Memory, Process},
    wire,
};

/// Operations begun and not yet done. Connections stay below the listen backlog of mosquitto (100), because a dropped
/// SYN costs a second.
const WINDOW: u64 = 256;
const WINDOW_CONNECT: u64 = 64;
/// Devices that live and leave before the first reading, so that caches and code paths are warm.
const WARM_UP_DEVICES: u64 = 64;
/// From one operation of a device to its next. Sooner than that TCP would carry the acknowledgement of one along with the other, which real
/// devices, a minute apart, never see: a small fleet would exchange two segments for each operation and a large one three.
const BEAT: Duration = Duration::from_millis(300);
/// How long the idle fleet is watched.
const IDLE: Duration = Duration::from_secs(2);
/// A broker has settled when it used less than this in one look.
const SETTLED_NS: u64 = 300_000;
const SETTLE_LOOK: Duration = Duration::from_millis(20);
const SETTLE_LOOKS_MAX: u32 = 50;

/// What one phase of one round cost.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// The broker.
    pub peer: Peer,
    /// Size of the fleet.
    pub devices: u32,
    /// Which round, from 0.
    pub round: u32,
    /// Which phase.
    pub phase: Phase,
    /// Operations that should have been done.
    pub operations: u64,
    /// Operations that were done.
    pub done: u64,
    /// Wall-clock time with operations in progress.
    pub wall: Duration,
    /// The broker's processor time, until it had settled.
    pub cpu_ns: u64,
    /// The benchmark's own processor time, to show that it is not what is measured.
    pub own_cpu_ns: u64,
    /// Memory above that of the broker without a fleet, at the end of the phase.
    pub grown: Memory,
}

/// A fleet and its broker in the middle of a round.
struct Stage<'a> {
    options: &'a Options,
    peer: Peer,
    round: u32,
    swarm: Swarm,
    broker: Process,
    pid: u32,
    empty: Memory,
}

/// Runs all phases against a fresh broker.
pub fn run(options: &Options, peer: Peer, ground: &Ground, devices: u32, round: u32) -> Result<Vec<Measure>> {
    let broker = ground.start()?;
    let measures = Stage::open(options, peer, ground, &broker, devices, round).and_then(|mut stage| {
        Phase::ALL.into_iter().filter(|phase| options.must_run(*phase)).map(|phase| stage.measure(phase)).collect()
    });
    broker.stop()?;
    let mut measures: Vec<Measure> = measures.with_context(|| format!("{} with {devices} devices", peer.name()))?;
    measures.retain(|measure| options.wants(measure.phase));
    Ok(measures)
}

impl<'a> Stage<'a> {
    fn open(
        options: &'a Options,
        peer: Peer,
        ground: &Ground,
        broker: &Broker,
        devices: u32,
        round: u32,
    ) -> Result<Stage<'a>> {
        let mut swarm = Swarm::new(devices, broker.address)?;
        swarm.connect_backend(&ground.backend.0, &ground.backend.1)?;
        if ground.needs_retained() {
            retain_what_agents_find(&mut swarm)?;
        }
        let process = Process::new(broker.pid());
        let mut stage =
            Stage { options, peer, round, swarm, broker: process, pid: broker.pid(), empty: Memory::default() };
        for phase in [Phase::Connect, Phase::Subscribe, Phase::Report, Phase::Command, Phase::Vanish] {
            stage.drive(phase, WARM_UP_DEVICES, WARM_UP_DEVICES as u32)?;
        }
        stage.settle()?;
        stage.empty = stage.broker.memory()?;
        Ok(stage)
    }

    fn measure(&mut self, phase: Phase) -> Result<Measure> {
        let operations = self.options.operations(phase, self.swarm.devices());
        let profiler = self.profiler(phase)?;
        let own = Process::new(std::process::id());
        let (cpu, own_cpu) = (self.broker.cpu()?, own.cpu()?);
        let (done, wall) = self.drive_beat_by_beat(phase, operations)?;
        let own_cpu_ns = own.cpu()?.since(own_cpu);
        self.settle()?;
        let cpu_ns = self.broker.cpu()?.since(cpu);
        if let Some(mut profiler) = profiler {
            Command::new("sh").args(["-c", "kill -INT \"$0\"", &profiler.id().to_string()]).status()?;
            profiler.wait()?;
        }
        let memory = self.broker.memory()?;
        let grown = Memory {
            rss_kib: memory.rss_kib.saturating_sub(self.empty.rss_kib),
            anon_kib: memory.anon_kib.saturating_sub(self.empty.anon_kib),
        };
        let (peer, devices, round) = (self.peer, self.swarm.devices(), self.round);
        Ok(Measure { peer, devices, round, phase, operations, done, wall, cpu_ns, own_cpu_ns, grown })
    }

    /// Does the operations of a phase, one of each device at a time; returns how many were done, and in what time.
    fn drive_beat_by_beat(&mut self, phase: Phase, operations: u64) -> io::Result<(u64, Duration)> {
        let (devices, mut done, mut wall) = (self.swarm.devices(), 0, Duration::ZERO);
        loop {
            let start = Clock::System.instant();
            let wanted = (operations - done).min(devices.into());
            let beat = self.drive(phase, wanted, devices)?;
            (done, wall) = (done + beat, wall + start.elapsed());
            if done == operations || beat < wanted {
                return Ok((done, wall));
            }
            self.swarm.rest(start + BEAT)?;
        }
    }

    /// Does the operations of a phase with the first `devices` of the fleet; returns how many were done.
    fn drive(&mut self, phase: Phase, operations: u64, devices: u32) -> io::Result<u64> {
        let was = self.swarm.tally();
        let device = move |n: u64| (n % u64::from(devices)) as u32;
        let swarm = &mut self.swarm;
        match phase {
            Phase::Connect => swarm.run(
                operations,
                WINDOW_CONNECT,
                |swarm, n| swarm.connect_device(device(n)),
                |now| now.connacks - was.connacks,
            ),
            Phase::Subscribe => swarm.run(
                operations,
                WINDOW,
                |swarm, n| {
                    let filters = [&wire::topic(device(n), "#"), "FlyvemdmManifest/Status/Version"];
                    swarm.send(device(n), &wire::subscribe(&filters))
                },
                |now| now.subacks - was.subacks,
            ),
            Phase::Report => swarm.run(
                operations,
                WINDOW,
                |swarm, n| {
                    let topic = wire::topic(device(n), "Status/Online");
                    let packet_id = 1 + (n % 60_000) as u16;
                    swarm.send(device(n), &wire::publish(&topic, br#"{"online": true}"#, 1, false, packet_id))
                },
                |now: &Tally| (now.pubacks - was.pubacks).min(now.onlines - was.onlines),
            ),
            Phase::Idle => swarm.rest(Clock::System.instant() + IDLE).map(|()| 0),
            Phase::Keepalive => swarm.run(
                operations,
                WINDOW,
                |swarm, n| swarm.send(device(n), &wire::PINGREQ),
                |now| now.pongs - was.pongs,
            ),
            Phase::Command => swarm.run(
                operations,
                WINDOW,
                |swarm, n| {
                    let topic = wire::topic(device(n), "Command/Ping");
                    swarm.queue_backend(&wire::publish(&topic, br#"{"query":"Ping"}"#, 0, false, 0));
                    Ok(())
                },
                |now| now.answers - was.answers,
            ),
            Phase::Vanish => {
                let vanish = |swarm: &mut Swarm, n| {
                    swarm.vanish(device(n));
                    Ok(())
                };
                swarm.run(operations, operations, vanish, |now| now.wills - was.wills)
            }
        }
    }

    /// Waits until the broker has done what it put off, so that this counts in the phase that caused it.
    fn settle(&mut self) -> io::Result<()> {
        let mut last = self.broker.cpu()?;
        for _ in 0..SETTLE_LOOKS_MAX {
            self.swarm.rest(Clock::System.instant() + SETTLE_LOOK)?;
            let now = self.broker.cpu()?;
            if now.since(last) < SETTLED_NS {
                break;
            }
            last = now;
        }
        Ok(())
    }

    fn profiler(&self, phase: Phase) -> Result<Option<Child>> {
        let Some(dir) = &self.options.profile else { return Ok(None) };
        fs::create_dir_all(dir)?;
        let file = dir.join(format!("{}-{}-{}.data", self.peer.name(), self.swarm.devices(), phase.name()));
        let pid = self.pid.to_string();
        let mut perf = Command::new("perf");
        perf.args(["record", "-q", "-F", "1999", "--call-graph", "fp", "-p", &pid, "-o"]).arg(&file);
        let child = perf.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start perf")?;
        std::thread::sleep(Duration::from_millis(500));
        Ok(Some(child))
    }
}

/// Puts the messages there that every agent of a real fleet finds when it subscribes (spec/mqtt.md §3.1, §3.3).
fn retain_what_agents_find(swarm: &mut Swarm) -> io::Result<()> {
    let version = wire::publish("FlyvemdmManifest/Status/Version", br#"{"version":"2.0.0"}"#, 0, true, 0);
    swarm.queue_backend(&version);
    let was = swarm.tally();
    let retain = |swarm: &mut Swarm, device: u64| {
        let topic = wire::topic(device as u32, "Command/Subscribe");
        swarm.queue_backend(&wire::publish(&topic, br#"{"subscribe":[{"topic":null}]}"#, 1, true, 1));
        Ok(())
    };
    let devices = u64::from(swarm.devices());
    swarm.run(devices, 20, retain, |now| now.pubacks - was.pubacks)?;
    Ok(())
}
