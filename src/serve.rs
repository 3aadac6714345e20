//! Wiring: builds everything from a configuration, starts it, and stops it in order.

use std::{
    io::IsTerminal,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing::{info, warn};

use crate::{
    broker::{hub::Hub, places::SessionBounds, retained::Retained},
    clock::Clock,
    config::{Config, LogFormat},
    datadir::{DataDir, NOT_OTHERS, Ports, check_private},
    flows::{
        Flows, SecretKey, ToldSettings,
        audit::Watch,
        certificates::Desk,
        files::Traffic,
        guard::{Entrance, Guard},
        policies::Policies,
        settled::Settled,
    },
    http,
    mail::Mailer,
    metrics::Metrics,
    net::{
        brought,
        conn::Homes,
        listener,
        threads::Threads,
        tls::Tls,
        web::{self, Web},
    },
    store::{Store, agent::CONNECTIONS_PER_START_BITS},
};

/// Time that clients get to be told of the end, and requests to finish.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often expired commands and sessions are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often certificates are looked after without a reason.
const TEND_EVERY: Duration = Duration::from_secs(10);
/// Pause between two rounds.
const TEND_PAUSE: Duration = Duration::from_millis(500);

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// One sentence about what keeps the server from starting.
pub async fn run(mut config: Config) -> Result<(), String> {
    start_log(&config);
    let mut unwise = check(&config)?;
    let data_dir = DataDir::open(&config.data_dir).map_err(|e| e.to_string())?;
    // Our own keys that others can read are no secrets: better not to start than to go on with them.
    data_dir.check_secrets().map_err(|e| e.to_string())?;
    unwise.extend(check_user(rustix::process::geteuid()));
    let _lock = data_dir.lock().map_err(|e| e.to_string())?;
    // The signals are caught before anybody is told that the server runs.
    let stop = stop_signal()?;
    let hangup = signal(SignalKind::hangup()).map_err(|e| format!("cannot catch signals: {e}"))?;
    raise_file_limit();
    let clock = Clock::System;
    let sockets = Sockets::bind(&config)?;
    if let Some(port) = sockets.ports().http {
        config.http.take_port(port);
    }
    let mailer = Mailer::open(&config.mail)?;
    let config = Arc::new(config);
    let tls = Arc::new(Tls::open(config.clone(), data_dir.path(), clock.now()).map_err(|e| e.to_string())?);
    let flows = build(config, &data_dir, clock).await?;
    flows.open_audit().await.map_err(|e| e.to_string())?;
    flows.follow_authority().await.map_err(|e| e.to_string())?;
    flows.metrics.server_certificate_ends.set(tls.not_after().0 / 1000);
    // What was revoked while nobody ran is refused from the first handshake on.
    if flows.tend_certificates().await.map_err(|e| e.to_string())? {
        tls.reload(flows.clock.now()).map_err(|e| e.to_string())?;
    }
    flows.resume_files().await.map_err(|e| e.to_string())?;
    let ports = sockets.ports();
    tell(&flows, &ports);
    let (stopping, stopped) = watch::channel(false);
    // They end after everything else: connections to a database may have been opened there.
    let threads = Threads::start()?;
    let mut tasks = sockets.serve(&flows, &tls, &stopped, &threads)?;
    if let Some(mailer) = mailer {
        tasks.push(tokio::spawn(flows.clone().deliver_mails(mailer, stopped)));
    }
    tokio::spawn(flows.clone().write_first_publishes());
    tokio::spawn(sweep(flows.clone()));
    tokio::spawn(tend_certificates(flows.clone(), tls, hangup));
    data_dir.write_ports(&ports).map_err(|e| e.to_string())?;
    // Not before: a server that cannot start says one thing, why.
    unwise.iter().for_each(|sentence| warn!("{sentence}"));
    announce(&flows, &ports);
    stop.await;
    shut_down(&flows, &stopping, tasks).await
}

/// Settings and the files that they name: what keeps the server from starting (`Err`), and what is unwise.
///
/// # Errors
/// One sentence that names the setting.
pub fn check(config: &Config) -> Result<Vec<String>, String> {
    let mut unwise = config.check()?;
    unwise.extend(brought::check(config)?);
    Mailer::open(&config.mail)?;
    // Files that the operator brought follow his rules: he is told.
    let secrets = [("mqtt.key_file", &config.mqtt.key_file), ("mail.credentials_file", &config.mail.credentials_file)];
    for (key, file) in secrets.into_iter().filter(|(_, file)| !file.is_empty()) {
        unwise.extend(check_private(Path::new(file), NOT_OTHERS).err().map(|e| format!("{key}: {e}")));
    }
    Ok(unwise)
}

/// Root is more than anything here needs. Containers know no other user, so it is no reason not to start.
fn check_user(user: rustix::process::Uid) -> Option<String> {
    user.is_root().then(|| {
        "mdmq runs as root and needs nothing of that: give the data directory to a user of its own and start it as that one \
         (packaging/mdmq.service, or USER in a container)"
            .to_owned()
    })
}

fn start_log(config: &Config) {
    // A filter that cannot work is refused by who checks the settings.
    let filter = config.log.filter().unwrap_or_default();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call in one process keeps the first log.
    let _ = match config.log.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let catch = |kind| signal(kind).map_err(|e| format!("cannot catch signals: {e}"));
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("interrupted: stopping"),
        }
    })
}

/// Every connection is an open file; the shell's usual 1,024 would end a fleet early.
fn raise_file_limit() {
    if let Err(problem) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!("cannot raise the limit of open files: {problem}");
    }
}

async fn build(config: Arc<Config>, data_dir: &DataDir, clock: Clock) -> Result<Arc<Flows>, String> {
    let metrics = Arc::new(Metrics::default());
    let commits = metrics.clone();
    let on_commit = move |figures: crate::store::BatchFigures| commits.committed(figures.submissions, figures.duration);
    let found = SecretKey::load(data_dir.path())?;
    let secret_key = found.clone().unwrap_or_else(SecretKey::random);
    let store = Store::open(&config.database, data_dir.path(), clock.clone(), secret_key.audit_key(), on_commit);
    let store = store.await.map_err(|e| e.to_string())?;
    if let Err(sentence) = belong_together(&store, data_dir, found.as_ref()).await {
        // What was begun is put away, so that the right database can take its place.
        let _ = store.close().await;
        return Err(sentence);
    }
    if found.is_none() {
        secret_key.save(data_dir.path())?;
    }
    // Connection numbers grow over restarts: this start's number stands above the counter.
    let start = store.start_number(secret_key.number()).await.map_err(|e| e.to_string())?;
    let crashed = store.mark_all_offline().await.map_err(|e| e.to_string())?;
    if crashed > 0 {
        info!("{crashed} devices were left online by a crash; they are offline until they come back");
    }
    let mqtt = &config.mqtt;
    let retained = Retained::new(mqtt.retained_messages_max as usize, mqtt.retained_bytes_max);
    let sessions = SessionBounds {
        sessions_max: mqtt.persistent_sessions_max as usize,
        per_account_max: mqtt.account_persistent_sessions_max as usize,
    };
    let hub = Hub::new((start << CONNECTIONS_PER_START_BITS) + 1, sessions, retained);
    let certificates = Desk::open(&config, data_dir.path(), clock.now()).map_err(|e| e.to_string())?;
    data_dir.admin_token().map_err(|e| e.to_string())?;
    Ok(Arc::new(Flows {
        store,
        hub,
        guard: Guard::new(&config, clock.instant()),
        clock,
        metrics,
        traffic: Traffic::new(&config.files),
        certificates,
        audit_watch: Watch::new(data_dir.path()),
        config,
        secret_key,
        told: std::sync::OnceLock::new(),
        is_stopping: AtomicBool::new(false),
        policies: Policies::default(),
        doubts: Arc::default(),
        settled: Settled::default(),
        mail_waits: tokio::sync::Notify::new(),
        passwords: crate::flows::passwords::Passwords::default(),
    }))
}

/// Refuses a database and a data directory that are not of one installation: what is stored in the one means nothing in the other.
async fn belong_together(store: &Store, data_dir: &DataDir, key: Option<&SecretKey>) -> Result<(), String> {
    let past = store.past().await.map_err(|e| e.to_string())?;
    let home = data_dir.path().display();
    if past.starts == 0 {
        let contents = store.blobs().count().map_err(|e| e.to_string())?;
        if contents == 0 {
            return Ok(());
        }
        return Err(format!(
            "{home}/blobs holds {contents} uploaded contents, but the database is new: correct database.url, or put the former database \
             back (mdmq.sqlite, where database.url is empty); to begin anew, move {home}/blobs away"
        ));
    }
    match key {
        None => Err(format!(
            "secret.key is missing in {home}, but the database was used before: restore the key from the backup; without it no password, \
             token or audit entry can be verified (to begin anew, begin with a new database)"
        )),
        Some(key) if past.key_number.is_some_and(|it| it != key.number()) => Err(format!(
            "the database was used with another secret.key than that in {home}: correct database.url or MDMQ_DATA_DIR, or restore what \
             belongs together from one backup (to begin anew, begin with a new database and an empty data directory)"
        )),
        Some(_) => Ok(()),
    }
}

/// Everything that listens.
struct Sockets {
    mqtt_tls: Option<TcpListener>,
    mqtt_tcp: Option<TcpListener>,
    http: Option<TcpListener>,
    http_tls: Option<TcpListener>,
    admin: Option<TcpListener>,
}

type Tasks = Vec<tokio::task::JoinHandle<()>>;

impl Sockets {
    fn bind(config: &Config) -> Result<Self, String> {
        let open = |key, address: &str| {
            if address.is_empty() { Ok(None) } else { listener::bind(key, address).map(Some) }
        };
        Ok(Self {
            mqtt_tls: open("mqtt.tls_listen", &config.mqtt.tls_listen)?,
            mqtt_tcp: open("mqtt.tcp_listen", &config.mqtt.tcp_listen)?,
            http: open("http.listen", &config.http.listen)?,
            http_tls: open("http.tls_listen", &config.http.tls_listen)?,
            admin: open("admin.listen", &config.admin.listen)?,
        })
    }

    fn ports(&self) -> Ports {
        let address = |socket: &Option<TcpListener>| socket.as_ref().and_then(|it| it.local_addr().ok());
        let port = |socket: &Option<TcpListener>| address(socket).map(|it: SocketAddr| it.port());
        Ports {
            mqtt_tls: port(&self.mqtt_tls),
            mqtt_tcp: port(&self.mqtt_tcp),
            http: port(&self.http),
            http_tls: port(&self.http_tls),
            admin: port(&self.admin),
            admin_host: address(&self.admin).map(|it| it.ip()),
            ..Ports::default()
        }
    }

    /// Starts a task per listener. MQTT listeners end when the process does; HTTP ones finish their requests first.
    fn serve(
        self,
        flows: &Arc<Flows>,
        tls: &Arc<Tls>,
        stopped: &watch::Receiver<bool>,
        threads: &Threads,
    ) -> Result<Tasks, String> {
        if let Some(socket) = self.mqtt_tls {
            let (socket, tls) = (threads.door.watch(socket)?, tls.clone());
            let homes = Homes { devices: Some(Handle::current()), services: threads.services.handle() };
            threads.door.handle().spawn(listener::serve_tls(flows.clone(), socket, tls, homes));
        }
        if let Some(socket) = self.mqtt_tcp {
            let homes = Homes { devices: None, services: threads.services.handle() };
            tokio::spawn(listener::serve(flows.clone(), socket, homes));
        }
        let agents = http::agents_router(flows.clone());
        let security = Some((tls.clone(), threads.door.handle()));
        let mut tasks = Tasks::new();
        for (entrance, socket, routes, security) in [
            (Entrance::Http, self.http_tls, http::over_tls(agents.clone()), security),
            (Entrance::Http, self.http, agents, None),
            (Entrance::Admin, self.admin, http::admin_router(flows.clone()), None),
        ] {
            if let Some(socket) = socket {
                let listener = threads.web.watch(socket)?;
                let web = Web { entrance, listener, routes, security };
                tasks.push(threads.web.handle().spawn(web::serve(flows.clone(), web, stopped.clone())));
            }
        }
        Ok(tasks)
    }
}

fn tell(flows: &Flows, ports: &Ports) {
    let mqtt = &flows.config.mqtt;
    let (port, tls) = match (ports.mqtt_tls, ports.mqtt_tcp) {
        (Some(port), _) => (port, true),
        (None, port) => (port.unwrap_or(0), false),
    };
    let port = if mqtt.public_port == 0 { port } else { mqtt.public_port };
    let told = ToldSettings { broker: mqtt.public_host.clone(), port, tls };
    flows.told.set(told).expect("it is told once, at the start");
}

fn announce(flows: &Flows, ports: &Ports) {
    let data_dir = flows.config.data_dir.display();
    let list: Vec<String> = [
        ("MQTT over TLS", ports.mqtt_tls),
        ("MQTT", ports.mqtt_tcp),
        ("enrollment HTTP", ports.http),
        ("enrollment HTTPS", ports.http_tls),
        ("admin HTTP", ports.admin),
    ]
    .into_iter()
    .filter_map(|(name, port)| port.map(|port| format!("{name} on {port}")))
    .collect();
    println!("mdmq is ready: {}; data in {data_dir}", list.join(", "));
    println!(
        "next: mdmq --data-dir {data_dir} invite --email you@example.org   (or try: mdmq --data-dir {data_dir} simulate --agents 3)"
    );
}

/// Regular work: commands and sessions that ran out.
async fn sweep(flows: Arc<Flows>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        if let Err(problem) = flows.sweep().await {
            warn!("cannot sweep what expired: {problem}");
        }
    }
}

/// Keeps revocations, the list of them and the settings of TLS together. One round at once, so that a mass of revocations costs one list.
async fn tend_certificates(flows: Arc<Flows>, tls: Arc<Tls>, mut hangup: Signal) {
    let (mut is_reload_due, mut is_follow_due) = (false, false);
    loop {
        // Without a ring: certificates end by themselves, and files change.
        tokio::select! {
            () = flows.certificates.bell.notified() => {}
            _ = hangup.recv() => info!("SIGHUP: reading certificates again"),
            () = tokio::time::sleep(TEND_EVERY) => {}
        }
        is_follow_due |= refresh(&flows, &tls);
        if is_follow_due {
            match flows.follow_authority().await {
                Ok(()) => is_follow_due = false,
                Err(problem) => warn!("cannot follow the change of the certificate authority yet: {problem}"),
            }
        }
        match flows.tend_certificates().await {
            Ok(has_changed) => is_reload_due |= has_changed,
            Err(problem) => warn!("cannot look after certificates: {problem}"),
        }
        if is_reload_due {
            match tls.reload(flows.clock.now()) {
                Ok(()) => is_reload_due = false,
                Err(problem) => warn!("the former TLS settings stay: {problem}"),
            }
        }
        tokio::time::sleep(TEND_PAUSE).await;
    }
}

/// Takes certificate files that changed. True: the authority may have changed with them.
fn refresh(flows: &Flows, tls: &Tls) -> bool {
    let has_changed = tls.refresh(flows.clock.now()).unwrap_or_else(|problem| {
        warn!("the former TLS settings stay: {problem}");
        false
    });
    if has_changed {
        info!("new TLS settings; the server's certificate ends at {}", tls.not_after().rfc3339());
    }
    flows.metrics.server_certificate_ends.set(tls.not_after().0 / 1000);
    has_changed
}

async fn shut_down(flows: &Arc<Flows>, stopping: &watch::Sender<bool>, tasks: Tasks) -> Result<(), String> {
    flows.is_stopping.store(true, Ordering::Relaxed);
    stopping.send_replace(true);
    flows.hub.evict_all();
    let finished = async {
        for task in tasks {
            // A task that panicked has finished as well.
            let _ = task.await;
        }
        while flows.hub.population() > 0 {
            flows.hub.evict_all();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(STOP_TIMEOUT, finished).await.is_err() {
        warn!("some clients did not leave within {} s", STOP_TIMEOUT.as_secs());
    }
    flows.close_audit().await;
    flows.store.close().await.map_err(|e| e.to_string())?;
    info!("stopped; everything is written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::Uid;

    use super::*;

    #[test]
    fn root_is_warned_and_nobody_else() {
        assert!(check_user(Uid::ROOT).is_some_and(|it| it.contains("runs as root")));
        assert_eq!(check_user(Uid::from_raw(12_345)), None);
    }
}
