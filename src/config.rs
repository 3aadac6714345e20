//! Every setting, with its meaning and its default. The file `config/server.toml` shows them all; a test compares.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

mod audit;
mod certificates;
mod complaint;
mod http;
mod limits;
mod log;
mod mail;
mod mqtt;

pub use audit::Audit;
pub use certificates::{CertificateMapping, ClientCertificates};
pub use http::{Http, RangeSuffix};
pub use limits::Limits;
pub use log::{Log, LogFormat};
pub use mail::{Mail, MailTls};
pub use mqtt::Mqtt;

/// Of variables that are settings.
const PREFIX: &str = "MDMQ_";
/// Variables with our prefix that are no settings: the file with the settings, and where and as whom the command line asks a server.
const OF_THE_COMMAND_LINE: [&str; 3] = ["config", "server", "token_file"];

/// A text that never shows itself in logs or debug output.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "***" })
    }
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directory of the database, certificates, uploaded files and the admin token.
    pub data_dir: PathBuf,
    /// Where state is kept.
    pub database: Database,
    /// The MQTT broker.
    pub mqtt: Mqtt,
    /// The HTTP API for agents.
    pub http: Http,
    /// Bounds on strangers.
    pub limits: Limits,
    /// Files and packages for devices.
    pub files: Files,
    /// The HTTP API for administrators.
    pub admin: Admin,
    /// Several nodes.
    pub cluster: Cluster,
    /// Rules of enrollment.
    pub enrollment: Enrollment,
    /// Delivery of invitations by mail.
    pub mail: Mail,
    /// What devices said and were told, in the database.
    pub message_log: MessageLog,
    /// Who did what to which device.
    pub audit: Audit,
    /// Rules for commands.
    pub commands: Commands,
    /// What is printed.
    pub log: Log,
}

/// Where state is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// Empty: SQLite in `data_dir`. `postgres://user:password@host/name` for PostgreSQL.
    pub url: Secret,
}

/// Files and packages for devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// Largest upload, in bytes.
    pub upload_bytes_max: u64,
    /// Uploads at once; further ones are refused.
    pub uploads_max: u32,
    /// Bytes that uploads leave free on the disk of `data_dir`, because the database lives there.
    pub free_bytes_min: u64,
    /// Downloads at once; further ones wait for their turn as long as a request may take.
    pub downloads_max: u32,
    /// Seconds without a byte after which an upload or a download ends.
    pub stall_timeout_s: u32,
}

/// The HTTP API for administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Admin API, `/metrics`, `/healthz` and `/readyz`.
    pub listen: String,
}

/// Several nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Empty: this node alone. Clusters are not available in this version.
    pub nats_url: String,
}

/// Rules of enrollment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Enrollment {
    /// Lowest Android agent version; "" accepts all.
    pub android_version_min: String,
    /// Lowest iOS agent version; "" accepts all.
    pub apple_version_min: String,
    /// Tell the device why it was refused instead of "Enrollment failed".
    pub explain_refusals: bool,
    /// Seconds that an invitation is valid.
    pub invitation_life_s: u32,
    /// What stands before `?data=` in a deeplink; "" is `flyve://register`.
    pub deeplink_prefix: String,
    /// Agents in one entity; 0 is no limit.
    pub agents_per_entity_max: u32,
    /// Help desk shown by the agent: name.
    pub support_name: String,
    /// Help desk: phone.
    pub support_phone: String,
    /// Help desk: web site.
    pub support_website: String,
    /// Help desk: e-mail.
    pub support_email: String,
    /// Help desk: postal address.
    pub support_address: String,
    /// Where people get the agent.
    pub download_url: String,
}

/// Rules for commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Commands {
    /// Seconds after which an unanswered ping, geolocate or inventory expires.
    pub query_life_s: u32,
    /// Seconds that a request of the GLPI-shaped API waits for a device to answer its ping, geolocate or inventory.
    pub answer_wait_s: u32,
    /// Days in which a device that was away when its agent was removed is still let in to hear that it should leave; 0: never.
    pub farewell_days: u32,
}

/// What devices said and were told, in the database, for people who look for a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MessageLog {
    /// `off`, `events` (all but pings and presence) or `all`.
    pub messages: Logged,
    /// Messages that are kept; the oldest go first.
    pub rows_max: u32,
    /// Characters that are kept of a message. Inventories are never kept here.
    pub message_chars_max: u32,
}

/// Which messages are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Logged {
    /// None.
    Off,
    /// Those that change something.
    Events,
    /// All.
    All,
}

impl Default for MessageLog {
    fn default() -> Self {
        Self { messages: Logged::Events, rows_max: 1_000_000, message_chars_max: 1000 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "mdmq-data".into(),
            database: Database::default(),
            mqtt: Mqtt::default(),
            http: Http::default(),
            limits: Limits::default(),
            files: Files::default(),
            admin: Admin::default(),
            cluster: Cluster::default(),
            enrollment: Enrollment::default(),
            mail: Mail::default(),
            commands: Commands::default(),
            message_log: MessageLog::default(),
            audit: Audit::default(),
            log: Log::default(),
        }
    }
}

impl Default for Files {
    fn default() -> Self {
        Self {
            upload_bytes_max: 4 << 30,
            uploads_max: 8,
            free_bytes_min: 256 << 20,
            downloads_max: 1000,
            stall_timeout_s: 300,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8081".into() }
    }
}

impl Default for Enrollment {
    fn default() -> Self {
        Self {
            android_version_min: String::new(),
            apple_version_min: String::new(),
            explain_refusals: false,
            invitation_life_s: 7 * 86_400,
            deeplink_prefix: String::new(),
            agents_per_entity_max: 0,
            support_name: String::new(),
            support_phone: String::new(),
            support_website: String::new(),
            support_email: String::new(),
            support_address: String::new(),
            download_url: "https://play.google.com/store/apps/details?id=org.flyve.mdm.agent".into(),
        }
    }
}

impl Default for Commands {
    fn default() -> Self {
        Self { query_life_s: 86_400, answer_wait_s: 10, farewell_days: 30 }
    }
}

impl Config {
    /// Defaults, then the file, then the environment (`MDMQ_MQTT__TLS_LISTEN`), later ones winning.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, a value of the wrong type: one sentence with the key's name.
    pub fn load(file: Option<&Path>) -> Result<Config, String> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            figment = figment.merge(Toml::string(&text));
        }
        let source = |key: &[String]| {
            let variable = format!("{PREFIX}{}", key.join("__").to_uppercase());
            let is_set = !key.is_empty() && std::env::vars_os().any(|(name, _)| name.eq_ignore_ascii_case(&variable));
            match file {
                Some(file) if !is_set => file.display().to_string(),
                _ => format!("the variable {variable}"),
            }
        };
        figment
            .merge(Env::prefixed(PREFIX).ignore(&OF_THE_COMMAND_LINE).split("__"))
            .extract()
            .map_err(|e| complaint::sentence(e, source))
    }

    /// Settings that cannot work (`Err`) or are legal but unwise (`Ok` with sentences).
    ///
    /// # Errors
    /// The first setting that cannot work, as a sentence.
    pub fn check(&self) -> Result<Vec<String>, String> {
        let mut unwise = Vec::new();
        for (key, value) in self.listeners() {
            if !value.is_empty() && value.parse::<SocketAddr>().is_err() {
                return Err(format!("{key} = \"{value}\" is not an address like 0.0.0.0:8883"));
            }
        }
        self.refuse_what_is_not_built()?;
        if self.admin.listen.is_empty() {
            return Err("admin.listen must not be empty: the command line talks to the server there".into());
        }
        if self.mqtt.certificate_file.is_empty() != self.mqtt.key_file.is_empty() {
            return Err("mqtt.certificate_file and mqtt.key_file must be set together".into());
        }
        if self.mqtt.inflight_max == 0 || self.mqtt.packet_bytes_max < 1024 {
            return Err("mqtt.inflight_max must be at least 1 and mqtt.packet_bytes_max at least 1024".into());
        }
        if self.mqtt.unfinished_bytes_max < self.mqtt.packet_bytes_max {
            return Err("mqtt.unfinished_bytes_max must be at least mqtt.packet_bytes_max".into());
        }
        unwise.extend(self.mqtt.check_client_certificates()?);
        if self.mqtt.connect_bytes_max < 1024 {
            return Err("mqtt.connect_bytes_max must be at least 1024".into());
        }
        if self.mqtt.connect_timeout_s == 0 || self.mqtt.handshake_timeout_s == 0 {
            return Err("mqtt.connect_timeout_s and mqtt.handshake_timeout_s must be at least 1: \
                        with 0 nobody would be in time"
                .into());
        }
        self.log.check()?;
        self.http.check()?;
        let files = &self.files;
        if files.uploads_max == 0 || files.downloads_max == 0 || files.stall_timeout_s == 0 {
            return Err("files.uploads_max, files.downloads_max and files.stall_timeout_s must be at least 1".into());
        }
        let url = &self.database.url.0;
        if !url.is_empty() && !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err("database.url must be empty or start with postgres://".into());
        }
        self.mail.check()?;
        if self.mail.is_on() && self.http.public_url.starts_with("http://localhost") {
            unwise.push("http.public_url is localhost: links in mails will work on this machine only".into());
        }
        if is_open(&self.mqtt.tcp_listen) {
            unwise.push("mqtt.tcp_listen lets passwords travel in clear text; keep it inside a trusted network".into());
        }
        if is_open(&self.http.listen) && self.http.trusted_proxies.is_empty() {
            unwise.push(
                "http.listen is reachable from other machines in clear text, tokens and passwords included; prefer \
                 http.tls_listen, or a reverse proxy that http.trusted_proxies names"
                    .into(),
            );
        }
        if is_open(&self.admin.listen) {
            unwise.push("admin.listen is reachable from other machines without TLS".into());
        }
        if self.mqtt.public_host == "localhost" {
            unwise.push("mqtt.public_host is localhost: only devices on this machine will find the broker".into());
        }
        Ok(unwise)
    }

    fn listeners(&self) -> [(&'static str, &str); 7] {
        [
            ("mqtt.tls_listen", &self.mqtt.tls_listen),
            ("mqtt.tcp_listen", &self.mqtt.tcp_listen),
            ("mqtt.wss_listen", &self.mqtt.wss_listen),
            ("mqtt.ws_listen", &self.mqtt.ws_listen),
            ("http.listen", &self.http.listen),
            ("http.tls_listen", &self.http.tls_listen),
            ("admin.listen", &self.admin.listen),
        ]
    }

    fn refuse_what_is_not_built(&self) -> Result<(), String> {
        let absent = [
            ("mqtt.wss_listen", &self.mqtt.wss_listen),
            ("mqtt.ws_listen", &self.mqtt.ws_listen),
            ("cluster.nats_url", &self.cluster.nats_url),
        ];
        match absent.into_iter().find(|(_, value)| !value.is_empty()) {
            Some((key, _)) => Err(format!("{key} is not available in this version of mdmq; leave it empty")),
            None => Ok(()),
        }
    }
}

/// Whether a listener is on, for other machines too.
fn is_open(listen: &str) -> bool {
    !listen.is_empty() && !listen.starts_with("127.") && !listen.starts_with("[::1]")
}

#[cfg(test)]
mod tests;
