//! What the simulated administrator and the world do to the devices: commands, cut connections, takeovers; and the waiting for what must
//! come of it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    admin::Admin,
    device::Profile,
    progress::Progress,
    random::Random,
    world::{Member, Order, World},
};

/// Commands whose answers are waited for at once.
const COMMANDS_OPEN_MAX: usize = 512;
/// Patience with a command, with the return of a device, with the last presence.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A disturbed device stays away for at most this long.
const AWAY_MAX_MS: u64 = 2_000;

/// How much happens.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// For how long.
    pub duration: Duration,
    /// Commands per second over all devices.
    pub commands_per_s: f64,
    /// Percent of the devices whose connection is disturbed, over the whole duration.
    pub churn_percent: u64,
}

/// Sends commands and disturbs connections for the given time; returns when every command was answered or given up.
pub async fn drive(world: &Arc<World>, admin: &Admin, members: &[Member], load: Load, random: &mut Random, json: bool) {
    if members.is_empty() || load.duration.is_zero() {
        return;
    }
    let seconds = load.duration.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "numbers of agents are small")]
    let disturbances_per_s = members.len() as f64 * load.churn_percent as f64 / 100.0 / seconds;
    let (mut commands_due, mut disturbances_due) = (0.0, 0.0);
    let open = Arc::new(Semaphore::new(COMMANDS_OPEN_MAX));
    let mut commands = JoinSet::new();
    let mut progress = Progress::begin("commands", load.duration.as_secs(), json);
    let started = world.clock.instant();
    let mut last = started;
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = world.clock.instant();
        let step = now.duration_since(last).as_secs_f64();
        last = now;
        commands_due += step * load.commands_per_s;
        disturbances_due += step * disturbances_per_s;
        while commands_due >= 1.0 {
            commands_due -= 1.0;
            let member = pick(members, random);
            let name = command_for(member, world.geolocation_is_absent.load(Relaxed), random);
            let (world, admin, member, open) = (world.clone(), admin.clone(), member.clone(), open.clone());
            let Ok(permit) = open.try_acquire_owned() else {
                world.figures.tolerated("a command was not sent because too many are open");
                continue;
            };
            commands.spawn(async move {
                command(&world, &admin, &member, name).await;
                drop(permit);
            });
        }
        while disturbances_due >= 1.0 {
            disturbances_due -= 1.0;
            disturb(world, pick(members, random), random);
        }
        while commands.try_join_next().is_some() {}
        progress.at((now - started).as_secs().min(load.duration.as_secs()));
        if now - started >= load.duration {
            break;
        }
    }
    while commands.join_next().await.is_some() {}
    progress.finish(load.duration.as_secs());
}

/// Waits until all are connected and know their state; counts those that do not get there as errors.
pub async fn settle(world: &World, members: &[Member], progress: &mut Progress, patience: Duration) {
    let mut best = 0;
    let mut progressed_at = world.clock.instant();
    loop {
        let settled = members.iter().filter(|it| it.live.is_settled()).count();
        progress.at(settled as u64);
        if settled == members.len() {
            return;
        }
        if settled > best {
            (best, progressed_at) = (settled, world.clock.instant());
        }
        if world.since(progressed_at) > patience {
            for member in members.iter().filter(|it| !it.live.is_settled()) {
                world.figures.error(match () {
                    () if !member.live.is_connected.load(Relaxed) => "a device did not get connected",
                    () if !member.live.heard_fleet.load(Relaxed) => "a device did not hear Command/Subscribe again",
                    () => "a device did not hear its lock or unlock again",
                });
            }
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn pick<'a>(members: &'a [Member], random: &mut Random) -> &'a Member {
    let index = usize::try_from(random.below(members.len() as u64)).unwrap_or(0);
    &members[index]
}

/// iOS knows no lock; profile A sends positions by HTTP, where the server may have no place for them.
fn command_for(member: &Member, geolocation_is_absent: bool, random: &mut Random) -> &'static str {
    let names: &[_] = match member.profile {
        Profile::A if geolocation_is_absent => &["ping", "inventory", "ping", "lock", "unlock"],
        Profile::F => &["ping", "geolocate", "inventory"],
        _ => &["ping", "geolocate", "inventory", "lock", "unlock"],
    };
    names[usize::try_from(random.below(names.len() as u64)).unwrap_or(0)]
}

/// Sends one command and waits until the server says it is answered; for locks, until the device itself obeyed.
async fn command(world: &World, admin: &Admin, member: &Member, name: &'static str) {
    let started = world.clock.instant();
    let connections = member.live.connections.load(Relaxed);
    let was_connected = member.live.is_connected.load(Relaxed);
    let sent = admin.command(member.id, name).await;
    let id = match sent {
        Ok(id) => id,
        Err(error) => return world.figures.error(format!("command {name}: {error}")),
    };
    world.figures.count(&world.figures.commands);
    let wish = match name {
        "lock" => 1,
        "unlock" => 2,
        _ => 0,
    };
    if wish != 0 {
        member.live.wish.store(wish, Relaxed);
    }
    let mut pause = Duration::from_millis(2);
    loop {
        let is_done = match wish {
            // Another command may have changed the wish meanwhile; then this one has nothing left to wait for.
            1 | 2 => member.live.screen.load(Relaxed) == wish || member.live.wish.load(Relaxed) != wish,
            _ => match admin.state(id).await.as_deref() {
                Ok("answered") => true,
                Ok("expired" | "failed" | "cancelled" | "superseded") => {
                    return world.figures.error(format!("command {name}: ended without an answer"));
                }
                Ok(_) => false,
                Err(error) => return world.figures.error(format!("command {name}: {error}")),
            },
        };
        if is_done {
            break;
        }
        if world.since(started) > PATIENCE {
            if name == "geolocate" && member.profile == Profile::A && world.geolocation_is_absent.load(Relaxed) {
                return world.figures.tolerated("command geolocate: no endpoint for the answer of profile A");
            }
            return world.figures.error(format!("command {name}: no answer of profile {:?}", member.profile));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
    let stayed = was_connected && member.live.connections.load(Relaxed) == connections;
    world.figures.took(
        if stayed { round_trip(name, member.profile) } else { "command across a lost connection" },
        world.since(started),
    );
}

fn round_trip(name: &str, profile: Profile) -> &'static str {
    let by_http = profile == Profile::A;
    match name {
        "ping" if by_http => "ping, answered by HTTP",
        "ping" => "ping, answered by MQTT",
        "geolocate" if by_http => "geolocate, answered by HTTP",
        "geolocate" => "geolocate, answered by MQTT",
        "inventory" if by_http => "inventory, answered by HTTP",
        "inventory" => "inventory, answered by MQTT",
        _ => "lock or unlock, until obeyed",
    }
}

fn disturb(world: &World, member: &Member, random: &mut Random) {
    // What was said must be heard again: only a device that knows its state may lose its connection, or the loss proves nothing.
    if !member.live.is_settled() {
        return;
    }
    let order = match random.below(3) {
        0 => Order::Takeover,
        die => Order::Cut { away: Duration::from_millis(random.below(AWAY_MAX_MS)), restarted: die == 1 },
    };
    if member.orders.try_send(order).is_err() {
        world.figures.tolerated("a disturbance came while another was going on");
    }
}
