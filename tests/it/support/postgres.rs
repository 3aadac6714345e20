//! A PostgreSQL of our own for the tests: one server per test process, one fresh database per test.
//! `DATABASE_URL`, if set, names a server that is used instead.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Held as long as the process lives: its end of the pipe tells the watchdog when we are gone, however we went.
static SERVER: OnceLock<(String, Option<Child>)> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The URL of a new, empty database.
pub fn fresh_database() -> String {
    let server = server();
    let name = format!("mdmq_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
    execute(server, &format!("create database {name}"));
    let (place, question) = server.split_once('?').map_or((server, String::new()), |(a, b)| (a, format!("?{b}")));
    let host = place.rsplit_once('/').map_or(place, |(host, _)| host);
    format!("{host}/{name}{question}")
}

/// Runs a statement in this database.
pub fn execute(url: &str, statement: &str) {
    done(psql().args([url, "-q", "-v", "ON_ERROR_STOP=1", "-c", statement]));
}

/// Nobody is let into this database, and whoever is in it is thrown out: to its users the server is gone.
pub fn stop_database(url: &str) {
    let (server, name) = (server(), name_in(url));
    execute(server, &format!("alter database {name} with allow_connections false"));
    let others = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
    execute(server, &others);
}

/// It is back.
pub fn start_database(url: &str) {
    execute(server(), &format!("alter database {} with allow_connections true", name_in(url)));
}

fn name_in(url: &str) -> &str {
    let place = url.split_once('?').map_or(url, |(place, _)| place);
    place.rsplit_once('/').map_or(place, |(_, name)| name)
}

fn psql() -> Command {
    Command::new(binaries().map_or_else(|| PathBuf::from("psql"), |it| it.join("psql")))
}

fn server() -> &'static str {
    let (server, _) = SERVER.get_or_init(|| match std::env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => (url, None),
        _ => {
            let (url, watchdog) = start();
            (url, Some(watchdog))
        }
    });
    server
}

fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<_> =
        versions.flatten().map(|it| it.path().join("bin")).filter(|it| it.join("initdb").exists()).collect();
    found.sort();
    found.pop()
}

fn start() -> (String, Child) {
    let bin = binaries().expect("PostgreSQL's server is installed, or DATABASE_URL names one");
    let dir = std::env::temp_dir().join(format!("mdmq-postgres-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let as_root = is_root();
    if as_root {
        done(Command::new("chown").arg("postgres").arg(&dir));
    }
    let data = dir.join("data");
    let initdb = bin.join("initdb");
    done(
        as_postgres(as_root, &initdb)
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8"])
            .args(["--locale=C", "--no-sync"]),
    );
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options =
        format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300");
    done(
        as_postgres(as_root, &bin.join("pg_ctl"))
            .arg("-D")
            .arg(&data)
            .arg("-l")
            .arg(dir.join("log"))
            .args(["-w", "-o", &options, "start"])
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    (format!("postgres://postgres@127.0.0.1:{port}/postgres"), watchdog(as_root, &bin, &dir))
}

/// Stops the server and removes its files when its standard input ends.
fn watchdog(as_root: bool, bin: &Path, dir: &Path) -> Child {
    let prefix = if as_root { "runuser -u postgres -- " } else { "" };
    let script = format!(
        "trap '' INT TERM HUP; cat > /dev/null; {prefix}'{}' -D '{}' -m immediate stop; rm -rf '{}'",
        bin.join("pg_ctl").display(),
        dir.join("data").display(),
        dir.display()
    );
    let null = || Stdio::null();
    Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(null()).stderr(null()).spawn().unwrap()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// PostgreSQL refuses to run as root.
fn as_postgres(as_root: bool, program: &Path) -> Command {
    if !as_root {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program).current_dir("/");
    command
}

fn done(command: &mut Command) {
    // Not `output()`: the server would inherit the pipe and keep it open.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?} failed");
}
