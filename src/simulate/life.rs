//! The life of one simulated device on MQTT: connects, does what `device` decides, loses its connection, comes back.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    device::{Action, Device, KEEP_ALIVE_S, Profile},
    enroll::Settings,
    line::{self, Line},
    random::Random,
    world::{LOCKED, Live, Order, UNLOCKED, World},
};
use crate::mqtt::packet::{Packet, Publish, QoS};

/// First pause before another attempt; doubles up to [`RETRY_MAX`], as Paho does.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The server must have closed a connection that was taken over.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// One device and what it needs to live.
pub struct Life {
    /// Its mind.
    pub device: Device,
    /// What the server told it.
    pub settings: Arc<Settings>,
    /// What it shows.
    pub live: Arc<Live>,
    /// What happens to it.
    pub orders: mpsc::Receiver<Order>,
    /// Its dice.
    pub random: Random,
}

enum End {
    Ordered(Order),
    Lost(String),
    Gone,
    Stopped,
}

impl Life {
    /// Lives until the other end of `orders` is dropped or the device forgets its enrollment.
    pub async fn live(mut self, world: Arc<World>) {
        let mut client_id = self.client_id();
        let mut pause = RETRY_MIN;
        let mut taken_over: Option<Line> = None;
        loop {
            self.live.reset();
            let mut line = match self.connect(&world, &client_id).await {
                Ok(line) => line,
                Err(kind) => {
                    world.figures.error(kind);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                    continue;
                }
            };
            pause = RETRY_MIN;
            if let Some(old) = taken_over.take() {
                expect_closed(&world, old);
            }
            match self.converse(&world, &mut line).await {
                End::Ordered(Order::Cut { away, restarted }) => {
                    drop(line);
                    self.live.reset();
                    if restarted {
                        client_id = self.client_id();
                    }
                    tokio::time::sleep(away).await;
                    world.figures.count(&world.figures.cuts);
                }
                End::Ordered(Order::Takeover) => {
                    taken_over = Some(line);
                    world.figures.count(&world.figures.takeovers);
                }
                End::Lost(kind) => {
                    world.figures.error(kind);
                    self.live.reset();
                    tokio::time::sleep(pause).await;
                }
                End::Gone => {
                    world.figures.count(&world.figures.forgotten);
                    return self.live.reset();
                }
                End::Stopped => return self.live.reset(),
            }
        }
    }

    /// iOS uses its serial; Android `paho` and the digits of a clock.
    fn client_id(&mut self) -> String {
        match self.device.profile {
            Profile::F => self.device.serial.clone(),
            _ => format!("paho{}", 1_000_000_000_000_000_000 + self.random.below(8_000_000_000_000_000_000)),
        }
    }

    async fn connect(&mut self, world: &Arc<World>, client_id: &str) -> Result<Line, String> {
        let _turn = world.connecting.acquire().await;
        let started = world.clock.instant();
        let mut connect = self.device.connect(client_id, &self.settings.password);
        if self.settings.certified.is_some() {
            (connect.username, connect.password) = (None, None);
        }
        let mut line = line::open(world, &self.settings, connect).await?;
        world.figures.took("connect until CONNACK", world.since(started));
        self.live.connections.fetch_add(1, Relaxed);
        let actions = self.device.connected();
        self.act(world, &mut line, actions, started);
        line.flush(world).await?;
        Ok(line)
    }

    async fn converse(&mut self, world: &Arc<World>, line: &mut Line) -> End {
        let connected_at = world.clock.instant();
        let keep_alive = Duration::from_secs(u64::from(KEEP_ALIVE_S) - 5);
        loop {
            let ping_at = tokio::time::Instant::from_std(line.written_at + keep_alive);
            tokio::select! {
                packet = line.packet() => match packet {
                    Ok(packet) => {
                        if let Err(kind) = self.heard(world, line, packet, connected_at) {
                            world.figures.error(kind);
                        }
                    }
                    Err(_) if self.live.is_forgotten.load(Relaxed) => return End::Gone,
                    Err(kind) => return End::Lost(kind),
                },
                order = self.orders.recv() => return order.map_or(End::Stopped, End::Ordered),
                () = tokio::time::sleep_until(ping_at) => {
                    if std::mem::replace(&mut line.is_pinging, true) {
                        return End::Lost("connection lost: no PINGRESP".to_owned());
                    }
                    line.send(&Packet::Pingreq);
                }
            }
            if let Err(kind) = line.flush(world).await {
                return if self.live.is_forgotten.load(Relaxed) { End::Gone } else { End::Lost(kind) };
            }
        }
    }

    fn heard(
        &mut self,
        world: &Arc<World>,
        line: &mut Line,
        packet: Packet,
        connected_at: Instant,
    ) -> Result<(), String> {
        match packet {
            Packet::Publish(publish) => {
                world.figures.count(&world.figures.heard);
                if let Some(id) = publish.packet_id.filter(|_| publish.qos == QoS::AtLeastOnce) {
                    line.send(&Packet::Puback(id));
                }
                may_hear(&self.device.topic, &publish)?;
                let actions = self.device.heard(&publish.topic, &publish.payload, world.clock.now());
                self.act(world, line, actions, connected_at);
            }
            Packet::Puback(id) => {
                let sent_at = line.unacknowledged.remove(&id).ok_or("PUBACK for nothing")?;
                world.figures.count(&world.figures.reports);
                world.figures.took("report until PUBACK", world.since(sent_at));
            }
            Packet::Suback { packet_id, granted } => {
                let filters = line.subscribing.remove(&packet_id).ok_or("SUBACK for nothing")?;
                if filters.len() != granted.len() {
                    return Err("SUBACK of another length".to_owned());
                }
                let own = |filter: &String| filter.starts_with(&self.device.topic) || filter.contains("Manifest");
                if filters.iter().zip(&granted).any(|(filter, granted)| own(filter) && granted.is_none()) {
                    return Err("an own subscription was refused".to_owned());
                }
                if line.subscribing.is_empty() && !self.live.is_connected.swap(true, Relaxed) {
                    world.figures.count(&world.figures.connects);
                    world.figures.took("connect until subscribed", world.since(connected_at));
                }
            }
            Packet::Pingresp => line.is_pinging = false,
            Packet::Unsuback(_) => {}
            _ => return Err("a packet that no server sends".to_owned()),
        }
        Ok(())
    }

    fn act(&self, world: &Arc<World>, line: &mut Line, actions: Vec<Action>, connected_at: Instant) {
        for action in actions {
            match action {
                Action::Publish { topic, payload } => line.publish(&topic, payload, world.clock.instant()),
                Action::Subscribe(filters) => line.subscribe(filters),
                Action::Unsubscribe(filters) => line.unsubscribe(filters),
                Action::Http(report) => world.report(&self.device, &self.settings, report),
                Action::Screen(is_locked) => {
                    self.live.screen.store(if is_locked { LOCKED } else { UNLOCKED }, Relaxed);
                }
                Action::Fleet => {
                    if !self.live.heard_fleet.swap(true, Relaxed) {
                        world.figures.took("connect until state replayed", world.since(connected_at));
                    }
                }
                Action::Disconnect => line.send(&Packet::Disconnect),
                Action::Forget => self.live.is_forgotten.store(true, Relaxed),
            }
        }
    }
}

/// A device hears its own commands and policies, those of a fleet, and the manifest; and never an empty body (spec/mqtt.md §5, §6.2).
fn may_hear(own: &str, publish: &Publish) -> Result<(), &'static str> {
    let below = publish.topic.strip_prefix(own);
    let is_own = below.is_some_and(|it| it.starts_with("/Command/") || it.starts_with("/Policy/"));
    let is_shared = publish.topic.contains("FlyvemdmManifest/") || publish.topic.contains("/fleet/");
    match () {
        () if publish.payload.is_empty() => Err("heard an empty body"),
        () if publish.qos == QoS::ExactlyOnce => Err("heard at QoS 2"),
        () if is_own || (is_shared && below.is_none()) => Ok(()),
        () => Err("heard what is not its own"),
    }
}

fn expect_closed(world: &Arc<World>, old: Line) {
    let world = world.clone();
    tokio::spawn(async move {
        if !old.closes_within(TAKEOVER_MAX).await {
            world.figures.error("a connection that was taken over stayed open");
        }
    });
}
