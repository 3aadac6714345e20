//! The brokers under test: how each is prepared once for a fleet, started fresh for a round, and stopped.

use std::{
    fs,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use mdmq::clock::Clock;
use tempfile::TempDir;

use crate::wire;

/// How long a broker may take to listen, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// mosquitto that takes every login: the reference, because its password hashes are dear to check.
    Mosquitto,
    /// mosquitto with a password file, as one would run it.
    MosquittoPasswords,
    /// This product, release build, with its database.
    Mdmq,
}

/// What a peer needs for one fleet: configuration, accounts, database.
#[derive(Debug)]
pub struct Ground {
    peer: Peer,
    dir: TempDir,
    /// Name and password of the back end.
    pub backend: (String, String),
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    /// Where it listens for plain MQTT.
    pub address: SocketAddr,
}

impl Peer {
    /// The word in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Mosquitto => "mosquitto",
            Peer::MosquittoPasswords => "mosquitto-passwords",
            Peer::Mdmq => "mdmq",
        }
    }

    /// Writes configuration and accounts for a fleet.
    pub fn prepare(self, devices: u32) -> Result<Ground> {
        let dir = tempfile::Builder::new().prefix("mdmq-fleet-").tempdir()?;
        let mut ground = Ground { peer: self, dir, backend: ("backend".into(), wire::password(99_999_999)) };
        match self {
            Peer::Mosquitto => ground.write_mosquitto("allow_anonymous true")?,
            Peer::MosquittoPasswords => {
                let file = ground.write_passwords(devices)?;
                ground.write_mosquitto(&format!("allow_anonymous false\npassword_file {}", file.display()))?;
            }
            Peer::Mdmq => ground.import(devices)?,
        }
        Ok(ground)
    }
}

impl Ground {
    /// Starts the broker and waits until it listens.
    pub fn start(&self) -> Result<Broker> {
        match self.peer {
            Peer::Mosquitto | Peer::MosquittoPasswords => self.start_mosquitto(),
            Peer::Mdmq => self.start_mdmq(),
        }
    }

    /// Whether the back end has to put the fleet's retained messages there; mdmq computes them.
    pub fn needs_retained(&self) -> bool {
        self.peer != Peer::Mdmq
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The rules that Flyve's tables would give (spec/mqtt.md §6.2), nothing kept on disk, nothing logged.
    fn write_mosquitto(&self, login: &str) -> Result<()> {
        let rules = "user backend\ntopic readwrite #\n\
             pattern write 0/agent/%u/Status/#\npattern read 0/agent/%u/Command/#\npattern read 0/agent/%u/Policy/#\n\
             pattern write 0/agent/%u/FlyvemdmManifest/#\npattern read FlyvemdmManifest/#\n";
        fs::write(self.file("rules.acl"), rules)?;
        let settings = format!(
            "user root\nacl_file {}\n{login}\npersistence false\nlog_dest none\nmax_queued_messages 100000\n",
            self.file("rules.acl").display()
        );
        fs::write(self.file("settings"), settings)?;
        Ok(())
    }

    fn write_passwords(&self, devices: u32) -> Result<PathBuf> {
        let path = self.file("passwords");
        let mut lines = format!("{}:{}\n", self.backend.0, self.backend.1);
        for device in 0..devices {
            lines += &format!("{}:{}\n", wire::serial(device), wire::password(device));
        }
        fs::write(&path, lines)?;
        let done = Command::new("mosquitto_passwd").arg("-U").arg(&path).stdout(Stdio::null()).status();
        ensure!(done.context("mosquitto_passwd is missing")?.success(), "mosquitto_passwd failed");
        Ok(path)
    }

    fn start_mosquitto(&self) -> Result<Broker> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = fs::read_to_string(self.file("settings"))?;
        let whole = format!("listener {port} 127.0.0.1\n{settings}");
        fs::write(self.file("mosquitto.conf"), whole)?;
        let program =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|path| Path::new(path).exists());
        let child = Command::new(program.unwrap_or("mosquitto"))
            .arg("-c")
            .arg(self.file("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(self.log()?)
            .spawn()
            .context("cannot start mosquitto; install it (Debian: apt-get install mosquitto) or use --only mdmq")?;
        Broker { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }.listening(&self.file("log"))
    }

    fn start_mdmq(&self) -> Result<Broker> {
        let ports = self.file("data/ports.json");
        fs::remove_file(&ports)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        let mut command = self.mdmq();
        let mut child = command.arg("serve").stdout(Stdio::null()).stderr(self.log()?).spawn()?;
        let deadline = Clock::System.instant() + PATIENCE;
        let port = loop {
            let text = fs::read_to_string(&ports).unwrap_or_default();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(port) = json["mqtt_tcp"].as_u64().and_then(|port| u16::try_from(port).ok()) {
                break port;
            }
            if let Some(status) = child.try_wait()? {
                bail!("mdmq ended at its start ({status}): {}", fs::read_to_string(self.file("log"))?.trim());
            }
            ensure!(Clock::System.instant() < deadline, "mdmq did not say on which port it listens");
            std::thread::sleep(Duration::from_millis(10));
        };
        Broker { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }.listening(&self.file("log"))
    }

    /// The server's binary with everything on free ports of loopback.
    fn mdmq(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mdmq"));
        command.env("MDMQ_DATA_DIR", self.file("data")).env("MDMQ_LOG__LEVEL", "warn");
        for key in ["MDMQ_MQTT__TCP_LISTEN", "MDMQ_MQTT__TLS_LISTEN", "MDMQ_HTTP__LISTEN", "MDMQ_ADMIN__LISTEN"] {
            command.env(key, "127.0.0.1:0");
        }
        command
    }

    /// Gives mdmq the fleet and the back end's account, by the commands that an operator would use.
    fn import(&mut self, devices: u32) -> Result<()> {
        let list = self.file("fleet.csv");
        let mut lines = String::from("entity,serial,mqttpasswd\n");
        for device in 0..devices {
            lines += &format!("0,{},{}\n", wire::serial(device), wire::password(device));
        }
        fs::write(&list, lines)?;
        let broker = self.start_mdmq()?;
        let imported = self.mdmq().args(["agent", "import"]).arg(&list).output()?;
        ensure!(imported.status.success(), "mdmq agent import: {}", String::from_utf8_lossy(&imported.stderr).trim());
        let added = self.mdmq().args(["account", "add", "backend", "--acl", "#:rw", "--json"]).output()?;
        ensure!(added.status.success(), "mdmq account add: {}", String::from_utf8_lossy(&added.stderr).trim());
        let account: serde_json::Value = serde_json::from_slice(&added.stdout)?;
        let password = account["password"].as_str().context("mdmq account add printed no password")?;
        self.backend = ("backend".into(), password.to_owned());
        broker.stop()
    }

    fn log(&self) -> Result<Stdio> {
        let file = fs::OpenOptions::new().create(true).append(true).open(self.file("log"))?;
        Ok(file.into())
    }
}

impl Broker {
    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn listening(mut self, log: &Path) -> Result<Broker> {
        let deadline = Clock::System.instant() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the broker ended at its start ({status}): {}", fs::read_to_string(log)?.trim());
            }
            ensure!(Clock::System.instant() < deadline, "the broker does not listen on {}", self.address);
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(self)
    }

    /// Asks it to end and waits for that.
    pub fn stop(mut self) -> Result<()> {
        let pid = self.pid().to_string();
        Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status()?;
        let deadline = Clock::System.instant() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Clock::System.instant() > deadline {
                writeln!(io::stderr(), "the broker did not stop within {PATIENCE:?}; killed")?;
                self.child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // After `stop` this does nothing; after an error it leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
