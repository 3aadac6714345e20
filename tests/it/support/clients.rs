//! MQTT clients that nobody here wrote: mosquitto's, paho-mqtt and mqtt.js. `scripts/test` installs them.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use super::Server;

/// Who logs in.
#[derive(Debug, Clone)]
pub struct Login {
    pub username: String,
    pub password: String,
}

impl Login {
    pub fn new(username: &str, password: &str) -> Login {
        Login { username: username.to_owned(), password: password.to_owned() }
    }
}

/// `mosquitto_pub` over TLS; `version` is `mqttv31` or `mqttv311`.
pub async fn mosquitto_pub(server: &Server, version: &str, login: &Login, arguments: &[&str]) -> Output {
    mosquitto("mosquitto_pub", server, version, login, arguments).await
}

/// `mosquitto_sub` over TLS, which gives up after twenty seconds; prints topic, retain flag and payload of each message.
pub async fn mosquitto_sub(server: &Server, version: &str, login: &Login, arguments: &[&str]) -> Output {
    let fixed = ["-W", "20", "-F", "%t %r %p"];
    mosquitto("mosquitto_sub", server, version, login, &[&fixed, arguments].concat()).await
}

async fn mosquitto(program: &str, server: &Server, version: &str, login: &Login, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(["-h", "localhost", "-p", &server.ports.mqtt_tls.to_string(), "-V", version]);
    command.args(["-u", &login.username, "-P", &login.password]).arg("--cafile").arg(server.ca_file());
    command.args(arguments).stdin(Stdio::null());
    run(command).await
}

/// Which library plays the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Paho,
    MqttJs,
}

/// What a scripted client does; see `tests/clients/drive_paho.py`.
#[derive(Debug, Clone)]
pub struct Script {
    pub login: Login,
    pub client_id: String,
    pub level: u8,
    pub clean: bool,
    pub will: Value,
    /// Files of a client certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub steps: Value,
}

impl Script {
    /// A clean session under MQTT 3.1.1 that follows these steps.
    pub fn new(login: &Login, steps: Value) -> Script {
        let client_id = super::phone::paho_id();
        Script { login: login.clone(), client_id, level: 4, clean: true, will: Value::Null, certificate: None, steps }
    }

    /// Plays it; answers with the lines that the client printed.
    pub async fn play(&self, server: &Server, library: Library) -> Vec<Value> {
        let script = json!({
            "port": server.ports.mqtt_tls, "ca": server.ca_file(), "username": self.login.username, "password": self.login.password,
            "client_id": self.client_id, "level": self.level, "clean": self.clean, "will": self.will, "steps": self.steps,
            "cert": self.certificate.as_ref().map(|it| &it.0), "key": self.certificate.as_ref().map(|it| &it.1),
        });
        let drivers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let installed = installed();
        let mut command = match library {
            Library::Paho => {
                let mut command = Command::new(installed.join("venv/bin/python"));
                command.arg(drivers.join("drive_paho.py"));
                command
            }
            Library::MqttJs => {
                let mut command = Command::new("node");
                command.arg(drivers.join("drive_mqttjs.js")).env("NODE_PATH", installed.join("node_modules"));
                command
            }
        };
        command.arg(script.to_string()).stdin(Stdio::null());
        let output = run(command).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{library:?}: {out}{err}\n{}", server.log());
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn installed() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/clients");
    let folder = std::env::var_os("MDMQ_TEST_CLIENTS").map_or_else(default, PathBuf::from);
    assert!(folder.join("installed.json").exists(), "run ./scripts/test once: it installs paho-mqtt and mqtt.js");
    folder
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || {
        command.output().unwrap_or_else(|e| panic!("{:?}: {e}; ./scripts/test installs it", command.get_program()))
    })
    .await
    .unwrap()
}
