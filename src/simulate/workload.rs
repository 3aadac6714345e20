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
    world::{LOCKED, Member, Order, UNLOCKED, World},
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
    // At least one in a small fleet.
    let disturbances =
        (members.len() as f64 * load.churn_percent as f64 / 100.0).max(f64::from(load.churn_percent > 0));
    let disturbances_per_s = disturbances / seconds;
    // The first one halfway through its interval, so that the last one falls into the time.
    let (mut commands_due, mut disturbances_due) = (0.0, 0.5);
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

/// iOS knows no lock; profile A sends positions by HTTP, where the server may have no place for them. A device is locked and unlocked in
/// turn, one wish at a time: the server refuses an unlock of what is not locked.
fn command_for(member: &Member, geolocation_is_absent: bool, random: &mut Random) -> &'static str {
    let names: &[_] = match member.profile {
        Profile::A if geolocation_is_absent => &["ping", "inventory", "ping", "screen"],
        Profile::F => &["ping", "geolocate", "inventory"],
        _ => &["ping", "geolocate", "inventory", "screen"],
    };
    match names[usize::try_from(random.below(names.len() as u64)).unwrap_or(0)] {
        "screen" if member.live.is_wishing.swap(true, Relaxed) => "ping",
        "screen" if member.live.wish.load(Relaxed) == LOCKED => "unlock",
        "screen" => "lock",
        name => name,
    }
}

/// Sends one command and waits until the server says it is answered; for locks, until the device itself obeyed.
async fn command(world: &World, admin: &Admin, member: &Member, name: &'static str) {
    let started = world.clock.instant();
    let connections = member.live.connections.load(Relaxed);
    let was_connected = member.live.is_connected.load(Relaxed);
    let wish = match name {
        "lock" => LOCKED,
        "unlock" => UNLOCKED,
        _ => 0,
    };
    let outcome = match admin.command(member.id, name).await {
        Ok(id) => {
            world.figures.count(&world.figures.commands);
            if wish != 0 {
                member.live.wish.store(wish, Relaxed);
            }
            done(world, admin, member, name, id).await
        }
        Err(error) => Err(error.to_string()),
    };
    if wish != 0 {
        member.live.is_wishing.store(false, Relaxed);
    }
    match outcome {
        Ok(true) => {
            let stayed = was_connected && member.live.connections.load(Relaxed) == connections;
            let what = if stayed { round_trip(name, member.profile) } else { "command across a lost connection" };
            world.figures.took(what, world.since(started));
        }
        Ok(false) => world.figures.tolerated("command geolocate: no endpoint for the answer of profile A"),
        Err(why) => world.figures.error(format!("command {name} to profile {:?}: {why}", member.profile)),
    }
}

/// Whether the command was answered or obeyed; `false` where this server has no place for the answer.
async fn done(world: &World, admin: &Admin, member: &Member, name: &str, id: i64) -> Result<bool, String> {
    let started = world.clock.instant();
    let mut pause = Duration::from_millis(2);
    loop {
        let is_done = if matches!(name, "lock" | "unlock") {
            member.live.screen.load(Relaxed) == member.live.wish.load(Relaxed)
        } else {
            match admin.state(id).await.map_err(|error| error.to_string())?.as_str() {
                "answered" => true,
                "queued" | "sent" | "delivered" => false,
                state => return Err(format!("ended as {state}")),
            }
        };
        let is_without_place = name == "geolocate" && member.profile == Profile::A;
        match () {
            () if is_done => return Ok(true),
            () if is_without_place && world.geolocation_is_absent.load(Relaxed) => return Ok(false),
            () if world.since(started) > PATIENCE => return Err("no answer in time".to_owned()),
            () => tokio::time::sleep(pause).await,
        }
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
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
