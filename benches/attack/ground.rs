//! The server under attack, with one device, and that device's connection.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mdmq::clock::Clock;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;

use crate::{
    attackers::INSIDER,
    wire::{self, Said},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Devices that may attack, besides the one that behaves.
pub const ATTACKERS_MAX: u32 = 64;

/// A running server.
pub struct Server {
    child: Child,
    dir: TempDir,
    /// `ports.json`.
    ports: serde_json::Value,
    /// The password of attackers that are let in.
    insider: String,
}

impl Server {
    /// With default settings, on free ports of loopback.
    pub fn start() -> Result<Server> {
        let dir = tempfile::Builder::new().prefix("mdmq-attack-").tempdir()?;
        let log = fs::File::create(dir.path().join("log"))?;
        let child = command(&dir).arg("serve").stdout(Stdio::null()).stderr(log).spawn()?;
        let mut server = Server { child, dir, ports: serde_json::Value::Null, insider: String::new() };
        let deadline = Clock::System.instant() + PATIENCE;
        while server.ports.is_null() {
            ensure!(Clock::System.instant() < deadline, "the server did not say on which ports it listens");
            ensure!(server.child.try_wait()?.is_none(), "the server ended at its start");
            let text = fs::read_to_string(server.dir.path().join("data/ports.json")).unwrap_or_default();
            server.ports = serde_json::from_str(&text).unwrap_or_default();
            std::thread::sleep(Duration::from_millis(20));
        }
        let list = server.dir.path().join("fleet.csv");
        let line = |device| format!("0,{},{}\n", wire::serial(device), wire::password(device));
        let lines: String = (0..=ATTACKERS_MAX).map(line).collect();
        fs::write(&list, format!("entity,serial,mqttpasswd\n{lines}"))?;
        let imported = command(&server.dir).args(["agent", "import"]).arg(&list).output()?;
        ensure!(imported.status.success(), "mdmq agent import: {}", String::from_utf8_lossy(&imported.stderr));
        let opened = command(&server.dir).args(["account", "add", INSIDER, "--acl", "#:rw", "--json"]).output()?;
        ensure!(opened.status.success(), "mdmq account add: {}", String::from_utf8_lossy(&opened.stderr));
        let opened: serde_json::Value = serde_json::from_slice(&opened.stdout)?;
        server.insider = opened["password"].as_str().context("no password")?.to_owned();
        Ok(server)
    }

    /// The password of the attackers' service account.
    pub fn insider(&self) -> &str {
        &self.insider
    }

    /// The port of a listener, by its name in `ports.json`.
    pub fn port(&self, name: &str) -> Result<u16> {
        self.ports[name].as_u64().and_then(|it| u16::try_from(it).ok()).with_context(|| format!("no port {name}"))
    }

    /// The settings of a client that trusts this server.
    pub fn trust(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        let ca: PathBuf = self.dir.path().join("data/certs/ca.pem");
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    /// The device, connected over TLS.
    pub fn device(&self) -> Result<Device> {
        let socket = TcpStream::connect(("127.0.0.1", self.port("mqtt_tls")?))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let session = ClientConnection::new(self.trust()?, ServerName::try_from("localhost")?)?;
        let mut device = Device { stream: StreamOwned::new(session, socket), heard: Vec::new() };
        device.stream.write_all(&wire::connect_device(0))?;
        device.until(|said| matches!(said, Said::Connack(0)))?;
        Ok(device)
    }

    /// Memory that the server holds.
    pub fn resident_mib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("no figure")?.parse::<u64>()? / 1024)
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `stop` this does nothing; after an error it leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdmq"));
    command.env("MDMQ_DATA_DIR", dir.path().join("data")).env("MDMQ_LOG__LEVEL", "warn");
    for key in ["MQTT__TCP_LISTEN", "MQTT__TLS_LISTEN", "HTTP__LISTEN", "ADMIN__LISTEN"] {
        command.env(format!("MDMQ_{key}"), "127.0.0.1:0");
    }
    command
}

/// The well-behaved device.
pub struct Device {
    stream: StreamOwned<ClientConnection, TcpStream>,
    heard: Vec<u8>,
}

impl Device {
    /// PINGREQ, PINGRESP.
    pub fn ping(&mut self) -> Result<()> {
        self.stream.write_all(&wire::PINGREQ)?;
        self.until(|said| matches!(said, Said::Pong))
    }

    /// A report at QoS 1, acknowledged after its commit.
    pub fn report(&mut self) -> Result<()> {
        let topic = wire::topic(0, "Status/Online");
        self.stream.write_all(&wire::publish(&topic, br#"{"online": true}"#, 1, false, 7))?;
        self.until(|said| matches!(said, Said::Puback))
    }

    fn until(&mut self, is_it: impl Fn(Said<'_>) -> bool) -> Result<()> {
        loop {
            while let Some((said, length)) = wire::first(&self.heard) {
                let is_here = is_it(said);
                self.heard.drain(..length);
                if is_here {
                    return Ok(());
                }
            }
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece)?;
            ensure!(count > 0, "the server closed the connection of the device");
            self.heard.extend_from_slice(&piece[..count]);
        }
    }
}
