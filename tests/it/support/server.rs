//! The real binary with a data directory and ports of its own. It dies with the value.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use mdmq::clock::Clock;
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, Phone, enrollment, until};

/// The program under test.
pub const MDMQ: &str = env!("CARGO_BIN_EXE_mdmq");

/// Where the server listens, as `ports.json` says.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub struct Ports {
    pub mqtt_tls: u16,
    pub mqtt_tcp: u16,
    pub http: u16,
    pub http_tls: u16,
    pub admin: u16,
}

/// A running server.
pub struct Server {
    child: Child,
    dir: TempDir,
    settings: Vec<(String, String)>,
    pub ports: Ports,
}

impl Server {
    /// A server with defaults, on free ports, with plain MQTT beside TLS.
    pub async fn start() -> Server {
        Server::with(&[]).await
    }

    /// The same with settings, given as the environment variables that an operator would use.
    pub async fn with(settings: &[(&str, &str)]) -> Server {
        let settings: Vec<(String, String)> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let dir = tempfile::Builder::new().prefix("mdmq-it-").tempdir().unwrap();
        let child = spawn(dir.path(), &settings, &[]);
        let mut server = Server { child, dir, settings, ports: Ports::default() };
        server.is_ready().await;
        server
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate that clients must trust.
    pub fn ca_file(&self) -> PathBuf {
        self.data_dir().join("certs/ca.pem")
    }

    /// Base of the agents' API.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// Base of the administrators' API.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.admin)
    }

    /// The first administrator's token.
    pub fn admin_token(&self) -> String {
        fs::read_to_string(self.data_dir().join("admin-token")).unwrap().trim().to_owned()
    }

    /// Everything the server printed so far.
    pub fn log(&self) -> String {
        printed(self.data_dir())
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that the process holds, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGTERM, as an init system would; answers with the exit status.
    pub async fn stop(&mut self) -> ExitStatus {
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.pid())]).status().unwrap();
        assert!(sent.success());
        let mut status = None;
        until("the server stops after SIGTERM", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// SIGHUP: read certificates again.
    pub fn hang_up(&self) {
        assert!(Command::new("kill").args(["-HUP", &self.pid().to_string()]).status().unwrap().success());
    }

    /// SIGKILL: no goodbye to anybody.
    pub fn kill_9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same data directory (new ports), after `stop` or `kill_9`.
    pub async fn start_again(&mut self) {
        assert!(!self.is_running(), "stop it first");
        let _ = fs::remove_file(self.data_dir().join("ports.json"));
        self.child = spawn(self.data_dir(), &self.settings, &[]);
        self.is_ready().await;
    }

    /// SIGTERM and start.
    pub async fn restart(&mut self) {
        assert!(self.stop().await.success(), "{}", self.log());
        self.start_again().await;
    }

    /// `mdmq … --json` against this server; it must succeed.
    pub async fn cli(&self, arguments: &[&str]) -> Value {
        let output = self.cli_output(&[arguments, &["--json"]].concat()).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "mdmq {arguments:?}: {err}{out}");
        if out.trim().is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("mdmq {arguments:?} printed no JSON ({e}): {out}"))
    }

    /// `mdmq …` against this server, whatever comes of it.
    pub async fn cli_output(&self, arguments: &[&str]) -> Output {
        let mut command = bare_command();
        command.args(arguments).env("MDMQ_DATA_DIR", self.data_dir()).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// A request to the administrators' API with the first administrator's token: status and body (`Null` where it is no JSON).
    pub async fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = reqwest::Client::new()
            .request(method, format!("{}{path}", self.admin_url()))
            .bearer_auth(self.admin_token())
            .timeout(PATIENCE);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
    }

    /// The text of a page of the admin listener that needs no token.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("{}{path}", self.admin_url())).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// All series of this metric together; 0 when there is none yet.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.page("/metrics").await;
        let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        text.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// `mdmq agent show SERIAL --json`.
    pub async fn agent(&self, serial: &str) -> Value {
        self.cli(&["agent", "show", serial]).await
    }

    /// Waits until what `agent show` says of this serial satisfies the condition, and answers with it.
    pub async fn until_agent(&self, serial: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Value::Null;
        let deadline = Clock::System.instant() + PATIENCE;
        while Clock::System.instant() < deadline {
            seen = self.agent(serial).await;
            if condition(&seen) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited {PATIENCE:?} in vain for agent {serial}; last seen as {seen}\n{}", self.log());
    }

    /// A device with this serial, invited into the root entity and enrolled over HTTP as the Android agent does. Not connected yet.
    pub async fn enrolled(&self, serial: &str) -> Phone {
        enrollment::enroll(self, serial, &enrollment::Profile::android()).await
    }

    /// A service account with these access entries: name and password.
    pub async fn service(&self, name: &str, entries: &[&str]) -> (String, String) {
        let mut arguments = vec!["account", "add", name];
        entries.iter().for_each(|entry| arguments.extend(["--acl", entry]));
        let made = self.cli(&arguments).await;
        (made["name"].as_str().unwrap().to_owned(), made["password"].as_str().unwrap().to_owned())
    }

    /// Whether an agent with this serial exists.
    pub async fn knows(&self, serial: &str) -> bool {
        self.cli_output(&["agent", "show", serial, "--json"]).await.status.success()
    }

    /// The row of a command.
    pub async fn command(&self, id: &Value) -> Value {
        let commands = self.cli(&["command", "list"]).await;
        let found = rows(&commands).iter().find(|it| it["command_id"] == *id || it["id"] == *id).cloned();
        found.unwrap_or_else(|| panic!("no command {id} in {commands}"))
    }

    /// A new fleet in the root entity: its number.
    pub async fn fleet(&self, name: &str) -> i64 {
        self.cli(&["fleet", "add", name]).await["id"].as_i64().expect("the number of the fleet")
    }

    /// Moves an agent into a fleet.
    pub async fn moves(&self, serial: &str, fleet: i64) {
        self.cli(&["agent", "move", serial, "--fleet", &fleet.to_string()]).await;
    }

    /// `mdmq agent lock SERIAL` and its siblings; wipe is confirmed.
    pub async fn wishes(&self, wish: &str, serial: &str) -> Value {
        let sure: &[&str] = if wish == "wipe" { &["--yes"] } else { &[] };
        self.cli(&[&["agent", wish, serial], sure].concat()).await
    }

    /// Deletes an agent that will never come back.
    pub async fn deletes(&self, serial: &str) {
        self.cli(&["agent", "remove", serial]).await;
    }

    async fn is_ready(&mut self) {
        let file = self.data_dir().join("ports.json");
        let deadline = Clock::System.instant() + PATIENCE;
        loop {
            assert!(self.is_running(), "the server ended at once:\n{}", self.log());
            assert!(Clock::System.instant() < deadline, "the server is not ready:\n{}", self.log());
            let ports = fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str::<Ports>(&text).ok());
            if let Some(ports) = ports.filter(|it| it.admin != 0) {
                let url = format!("http://127.0.0.1:{}/readyz", ports.admin);
                if reqwest::get(url).await.is_ok_and(|it| it.status().is_success()) {
                    self.ports = ports;
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server said:\n{}", self.log());
        }
    }
}

/// The rows of a list, whether it is printed bare or inside an object.
pub fn rows(listed: &Value) -> &[Value] {
    let inside = || listed.as_object().and_then(|it| it.values().find_map(Value::as_array));
    listed.as_array().or_else(inside).unwrap_or_else(|| panic!("not a list: {listed}"))
}

/// Runs `mdmq serve` until it ends by itself, for the cases in which it must refuse to start.
pub async fn serve_and_fail(data_dir: &Path, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Vec<_>>();
    let mut child = spawn(data_dir, &settings, &[]);
    let mut status = None;
    until("the server refuses to start", async || {
        status = child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    (status.unwrap().code(), fs::read_to_string(data_dir.join("stderr.txt")).unwrap())
}

fn spawn(data_dir: &Path, settings: &[(String, String)], arguments: &[&str]) -> Child {
    let append = |name: &str| File::options().create(true).append(true).open(data_dir.join(name)).unwrap();
    let mut command = bare_command();
    command.arg("serve").args(arguments).env("MDMQ_DATA_DIR", data_dir);
    for listener in ["MQTT__TLS_LISTEN", "MQTT__TCP_LISTEN", "HTTP__LISTEN", "ADMIN__LISTEN"] {
        command.env(format!("MDMQ_{listener}"), "127.0.0.1:0");
    }
    command.envs(settings.iter().map(|(key, value)| (key, value)));
    command.stdin(Stdio::null()).stdout(append("stdout.txt")).stderr(append("stderr.txt")).spawn().unwrap()
}

/// The program without the settings of whoever runs the tests.
pub fn bare_command() -> Command {
    let mut command = Command::new(MDMQ);
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("MDMQ_")) {
        command.env_remove(key);
    }
    command
}

fn printed(data_dir: &Path) -> String {
    let read = |name: &str| fs::read_to_string(data_dir.join(name)).unwrap_or_default();
    format!("{}{}", read("stdout.txt"), read("stderr.txt"))
}
