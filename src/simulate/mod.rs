//! `mdmq simulate`: a fleet of simulated devices that enrolls by HTTP through its own invitations and lives on MQTT, and a simulated
//! administrator who sends it commands. An edge like the command line: talks to a running server, never to its insides.

mod admin;
mod device;
mod enroll;
mod figures;
mod inventory;
mod life;
mod line;
mod progress;
mod random;
mod workload;
mod world;

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use self::{
    admin::Admin,
    device::{Device, Profile},
    enroll::{Applicant, Settings},
    figures::Outcome,
    life::Life,
    progress::Progress,
    random::Random,
    workload::{Load, PATIENCE},
    world::{Live, Member, World},
};
use crate::mdm::deeplink::Deeplink;

/// Disturbances that may wait for one device.
const ORDERS_MAX: usize = 1;
/// File descriptors that are not connections of devices: HTTP, standard streams, the runtime.
const OTHER_FILES: u64 = 300;

/// Enrolls simulated devices and lets them live on the running server.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Devices invite themselves through the admin API, enroll over HTTP as the released agents do, and stay on MQTT: profile A is Android that
answers over HTTP, B Android that answers over MQTT, C an older B, F iOS; mixed is A, B and F in turn. Meanwhile a simulated administrator
sends ping, geolocate, inventory, lock and unlock, and a share of the devices loses its connection and comes back. The end is a summary;
the exit code is 1 if a device was lost or anything went wrong.

Example, next to a running `mdmq serve`:
  mdmq simulate --agents 3 --keep      three devices that stay; see them with `mdmq agent list`, stop them with Ctrl-C
  mdmq simulate --agents 1000 --clean  a load test whose devices are removed at its end")]
pub struct Args {
    /// How many devices.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=28_000))]
    agents: u32,
    /// Base of the agents' HTTP API, instead of the one in the invitation.
    #[arg(long, value_name = "BASE")]
    url: Option<String>,
    /// Entity to enroll into.
    #[arg(long, default_value_t = 0)]
    entity: i64,
    /// Which agent the devices run.
    #[arg(long, value_enum, ignore_case = true, default_value_t = ProfileChoice::Mixed)]
    profile: ProfileChoice,
    /// Seconds of commands and lost connections, after all are connected.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    duration: u64,
    /// Commands per second, over all devices.
    #[arg(long, value_name = "COMMANDS", default_value_t = 20.0)]
    rate: f64,
    /// Percent of the devices that lose their connection in that time.
    #[arg(long, value_name = "PERCENT", default_value_t = 20)]
    churn: u64,
    /// Enrollments at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    enrolling: u32,
    /// CONNECTs at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connecting: u32,
    /// Size of an inventory in KiB; real ones have about 100.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    inventory_kib: u32,
    /// Number that decides serials and what happens when; the same seed enrolls the same devices again.
    #[arg(long)]
    seed: Option<u32>,
    /// Let every device ask for a certificate, and log in with it instead of its password.
    #[arg(long)]
    certificates: bool,
    /// Keep the devices connected after the summary, until Ctrl-C.
    #[arg(long, conflicts_with = "clean")]
    keep: bool,
    /// Delete the agents at the end; without it they stay, shown offline. Invited people, invitations and commands stay in any case.
    #[arg(long)]
    clean: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ProfileChoice {
    /// Android, MQTT down and HTTP up.
    A,
    /// Android rc.6, everything over MQTT.
    B,
    /// Android rc.1 to rc.5.
    C,
    /// iOS.
    F,
    /// A, B and F in turn.
    Mixed,
}

impl ProfileChoice {
    fn of(self, index: u32) -> Profile {
        match self {
            ProfileChoice::A => Profile::A,
            ProfileChoice::B => Profile::B,
            ProfileChoice::C => Profile::C,
            ProfileChoice::F => Profile::F,
            ProfileChoice::Mixed => [Profile::A, Profile::B, Profile::F][index as usize % 3],
        }
    }
}

/// Runs the simulation against the server of this data directory. Fails if a device was lost or anything went wrong.
pub fn run(args: &Args, data_dir: &Path, json: bool) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(simulate(args, data_dir, json)));
    match outcome {
        Ok((0, 0)) => ExitCode::SUCCESS,
        Ok((lost, errors)) => {
            eprintln!("mdmq: {lost} devices lost, {errors} errors");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("mdmq: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn simulate(args: &Args, data_dir: &Path, json: bool) -> anyhow::Result<(u64, u64)> {
    enough_files(args.agents.into())?;
    let world = Arc::new(World::new(data_dir, args.connecting as usize)?);
    let admin = Admin::open(world.http.clone(), data_dir)?;
    admin.greet(args.entity).await?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => getrandom::u32().context("asking for a random number")?,
    };
    let mut random = Random::new(seed.into());
    let mut outcome = Outcome { agents: args.agents.into(), ..Outcome::default() };

    let started = world.clock.instant();
    let enrolled = enroll_all(&world, &admin, args, seed, json).await?;
    outcome.enroll = world.since(started);

    let started = world.clock.instant();
    let (members, mut lives) = let_live(&world, enrolled, &mut random);
    let mut progress = Progress::begin("connecting", members.len() as u64, json);
    workload::settle(&world, &members, &mut progress, PATIENCE).await;
    outcome.connect = world.since(started);
    progress.finish(settled(&members));

    let duration = Duration::from_secs(args.duration);
    let load = Load { duration, commands_per_s: args.rate.clamp(0.0, 100_000.0), churn_percent: args.churn };
    workload::drive(&world, &admin, &members, load, &mut random, json).await;
    let mut progress = Progress::begin("coming back", members.len() as u64, json);
    workload::settle(&world, &members, &mut progress, PATIENCE).await;
    progress.finish(settled(&members));

    let mine: Vec<i64> = members.iter().map(|it| it.id).collect();
    outcome.online = until_shown(&world, &admin, args.entity, &mine, mine.len()).await;
    outcome.lost = mine.len() as u64 - outcome.online;
    if args.keep {
        report(&world, &outcome, json);
        eprintln!("{} devices stay connected; Ctrl-C ends them", mine.len());
        tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
    }

    // All vanish as phones do, without DISCONNECT.
    lives.shutdown().await;
    if until_shown(&world, &admin, args.entity, &mine, 0).await > 0 {
        world.figures.error("a device that vanished is still shown online");
    }
    if args.clean {
        remove_all(&world, &admin, &mine, json).await;
    }
    if !args.keep {
        report(&world, &outcome, json);
    }
    Ok((outcome.lost, world.figures.errors()))
}

struct Enrolled {
    applicant: Applicant,
    settings: Settings,
}

async fn enroll_all(
    world: &Arc<World>,
    admin: &Admin,
    args: &Args,
    seed: u32,
    json: bool,
) -> anyhow::Result<Vec<Enrolled>> {
    let turns = Arc::new(Semaphore::new(args.enrolling as usize));
    let mut enrolling = JoinSet::new();
    for index in 0..args.agents {
        let (world, admin, turns, url, entity) =
            (world.clone(), admin.clone(), turns.clone(), args.url.clone(), args.entity);
        let applicant = applicant(args, seed, index)?;
        enrolling.spawn(async move {
            let _turn = turns.acquire().await;
            let started = world.clock.instant();
            match enroll_one(&world, &admin, &applicant, url, entity).await {
                Ok(settings) => {
                    world.figures.count(&world.figures.enrolled);
                    world.figures.took("enrollment", world.since(started));
                    Some(Enrolled { applicant, settings })
                }
                Err(error) => {
                    world.figures.error(format!("enrollment: {error:#}"));
                    None
                }
            }
        });
    }
    let mut progress = Progress::begin("enrolling", args.agents.into(), json);
    let mut enrolled = Vec::new();
    while let Some(one) = enrolling.join_next().await {
        enrolled.extend(one.context("enrolling")?);
        progress.at(enrolled.len() as u64);
    }
    progress.finish(enrolled.len() as u64);
    Ok(enrolled)
}

async fn enroll_one(
    world: &World,
    admin: &Admin,
    applicant: &Applicant,
    url: Option<String>,
    entity: i64,
) -> anyhow::Result<Settings> {
    let text = admin.invite(&applicant.email, entity).await?;
    let Some(link) = Deeplink::parse(&text) else { bail!("the deeplink of the invitation cannot be read") };
    let base = url.unwrap_or_else(|| link.url.clone());
    let mut settings = enroll::enroll(&world.http, applicant, &link, base.trim_end_matches('/')).await?;
    if let Some(key) = &applicant.key {
        settings.certified = Some(world.certified(&settings.certificate, key)?);
    }
    Ok(settings)
}

fn applicant(args: &Args, seed: u32, index: u32) -> anyhow::Result<Applicant> {
    let profile = args.profile.of(index);
    let mut random = Random::new(u64::from(seed) << 32 | u64::from(index));
    let (high, low) = (random.bits(), random.bits());
    let uuid = format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    );
    let serial = if profile == Profile::F { uuid.to_uppercase() } else { format!("SIM{seed:08X}{index:05}") };
    let uuid = if profile == Profile::F { serial.clone() } else { uuid };
    let email = format!("sim-{seed:08x}-{index:05}@simulated.example");
    let inventory = inventory::xml(&serial, &uuid, profile == Profile::F, args.inventory_kib as usize * 1024);
    let key = args.certificates.then(rcgen::KeyPair::generate).transpose().context("making a key")?;
    Ok(Applicant { profile, serial, uuid, email, inventory, key })
}

fn let_live(world: &Arc<World>, enrolled: Vec<Enrolled>, random: &mut Random) -> (Vec<Member>, JoinSet<()>) {
    let mut lives = JoinSet::new();
    let members = enrolled.into_iter().map(|Enrolled { applicant, settings }| {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let live = Arc::new(Live::default());
        let Applicant { profile, serial, inventory, .. } = applicant;
        let member = Member { profile, id: settings.id, live: live.clone(), orders: sender };
        let device = Device::new(profile, &serial, &settings.topic, inventory.into());
        let life = Life { device, settings: Arc::new(settings), live, orders, random: Random::new(random.bits()) };
        lives.spawn(life.live(world.clone()));
        member
    });
    (members.collect(), lives)
}

fn settled(members: &[Member]) -> u64 {
    members.iter().filter(|it| it.live.is_settled()).count() as u64
}

/// Waits until the server shows so many of our agents online; answers with how many it shows at last. A server that is gone shows none.
async fn until_shown(world: &World, admin: &Admin, entity: i64, mine: &[i64], wanted: usize) -> u64 {
    let started = world.clock.instant();
    loop {
        let shown = admin.online(entity).await.map(|online| mine.iter().filter(|it| online.contains(it)).count());
        match shown {
            Ok(shown) if shown == wanted || world.since(started) > PATIENCE => return shown as u64,
            Err(error) if world.since(started) > PATIENCE => {
                world.figures.error(format!("list of agents: {error:#}"));
                return 0;
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn remove_all(world: &Arc<World>, admin: &Admin, mine: &[i64], json: bool) {
    let mut progress = Progress::begin("removing", mine.len() as u64, json);
    for (done, &agent) in mine.iter().enumerate() {
        if let Err(error) = admin.remove(agent).await {
            world.figures.error(format!("removing: {error:#}"));
        }
        progress.at(done as u64);
    }
    progress.finish(mine.len() as u64);
}

fn report(world: &World, outcome: &Outcome, json: bool) {
    if json {
        println!("{}", world.figures.json(outcome));
    } else {
        println!("\n{}", world.figures.table(outcome));
    }
}

/// Refuses at once what would fail later with thousands of errors.
fn enough_files(agents: u64) -> anyhow::Result<()> {
    // Where there is no such file there is nothing to check.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|it| it.starts_with("Max open files"));
    let soft = line.and_then(|it| it.split_whitespace().nth(3)?.parse::<u64>().ok());
    let needed = agents + OTHER_FILES;
    match soft {
        Some(soft) if soft < needed => {
            bail!(
                "{agents} devices need {needed} open files, but the limit is {soft}: raise it with `ulimit -n {needed}`"
            )
        }
        _ => Ok(()),
    }
}
