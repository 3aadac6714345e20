//! A MariaDB of our own for the tests: one server per test process, one fresh Flyve database per test.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use mdmq::clock::Clock;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

use super::PATIENCE;

/// Held as long as the process lives: its end of the pipe tells the watchdog when we are gone, however we went.
static SERVER: OnceLock<(u16, [Child; 2])> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

const SCHEMA: &str = include_str!("../../flyve/schema.sql");
const ROWS: &str = include_str!("../../flyve/rows.sql");

/// A new database with the tables of Flyve and a small company in them.
pub struct Flyve {
    pub url: String,
}

impl Flyve {
    pub async fn new() -> Flyve {
        let port = tokio::task::spawn_blocking(|| SERVER.get_or_init(start).0).await.unwrap();
        let server = format!("mysql://root@127.0.0.1:{port}");
        let name = format!("flyve_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        execute(&format!("{server}/mysql"), &format!("create database {name}")).await;
        let flyve = Flyve { url: format!("{server}/{name}") };
        flyve.execute(&format!("set sql_mode = ''; {SCHEMA} {ROWS}")).await;
        flyve
    }

    /// Changes something there.
    pub async fn execute(&self, statements: &str) {
        execute(&self.url, statements).await;
    }
}

async fn execute(url: &str, statements: &str) {
    let mut connection = MySqlConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

fn start() -> (u16, [Child; 2]) {
    let program = ["/usr/sbin/mariadbd", "/usr/sbin/mysqld"].iter().map(PathBuf::from).find(|it| it.exists());
    let program = program.expect("MariaDB's server is installed; ./scripts/test sees to that");
    let dir = std::env::temp_dir().join(format!("mdmq-mariadb-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let user = format!("--user={}", user.trim());
    let data = format!("--datadir={}", dir.join("data").display());
    let made = Command::new("mariadb-install-db")
        .args(["--no-defaults", &data, &user, "--auth-root-authentication-method=normal", "--skip-test-db"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success(), "mariadb-install-db failed");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let server = Command::new(program)
        .args(["--no-defaults", &data, &user, "--bind-address=127.0.0.1", &format!("--port={port}")])
        .arg(format!("--socket={}", dir.join("socket").display()))
        .args(["--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let watchdog = watchdog(server.id(), &dir);
    let deadline = Clock::System.instant() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(Clock::System.instant() < deadline, "MariaDB does not start:\n{}", log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    (port, [server, watchdog])
}

/// Ends the server and removes its files when its standard input ends.
fn watchdog(server: u32, dir: &std::path::Path) -> Child {
    let dir = dir.display();
    let script = format!(
        "trap '' INT TERM HUP; cat > /dev/null; kill -9 {server}; i=0; \
         while kill -0 {server} 2>/dev/null && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done; rm -rf '{dir}'"
    );
    let null = || Stdio::null();
    Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(null()).stderr(null()).spawn().unwrap()
}
