//! The simulated administrator: talks to the admin API of the running server and nothing else.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use anyhow::{Context as _, bail};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::datadir::DataDir;

/// A connection to the admin API.
#[derive(Debug, Clone)]
pub struct Admin {
    http: Client,
    base: String,
    token: String,
}

impl Admin {
    /// Finds the running server by the files that it wrote.
    ///
    /// # Errors
    /// No server has run with this data directory.
    pub fn open(http: Client, data_dir: &Path) -> anyhow::Result<Admin> {
        let directory = DataDir::at(data_dir);
        let ports = directory.read_ports()?;
        let (Some(port), Some(token)) = (ports.and_then(|it| it.admin), directory.stored_admin_token()?) else {
            bail!(
                "no server was ever started on the data directory {0}: is `mdmq serve` running with --data-dir {0}?",
                data_dir.display()
            );
        };
        let host = match ports.and_then(|it| it.admin_host) {
            Some(host) if !host.is_unspecified() => host,
            Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let base = format!("http://{}/api/v1", SocketAddr::new(host, port));
        Ok(Admin { http, base, token })
    }

    /// Makes sure that the server runs and has this entity.
    ///
    /// # Errors
    /// It does not answer, or has no such entity.
    pub async fn greet(&self, entity: i64) -> anyhow::Result<()> {
        let asked = self.ask(Method::GET, &format!("entities/{entity}"), None).await;
        asked.map(drop).context("asking the server for the entity")
    }

    /// Invites somebody; answers with the deeplink.
    ///
    /// # Errors
    /// The server refused or did not answer.
    pub async fn invite(&self, email: &str, entity: i64) -> anyhow::Result<String> {
        // Simulated people have no mailbox.
        let body = json!({"email": email, "entity": entity, "mail": false});
        let made = self.ask(Method::POST, "invitations", Some(&body)).await?;
        Ok(made["deeplink"].as_str().context("the invitation has no deeplink")?.to_owned())
    }

    /// Sends a command to an agent; answers with the command's id.
    ///
    /// # Errors
    /// The server refused or did not answer.
    pub async fn command(&self, agent: i64, name: &str) -> anyhow::Result<i64> {
        let made = self.ask(Method::POST, &format!("agents/{agent}/commands"), Some(&json!({"name": name}))).await?;
        made["command_id"].as_i64().context("the command has no id")
    }

    /// The state of a command.
    ///
    /// # Errors
    /// The server refused or did not answer.
    pub async fn state(&self, command: i64) -> anyhow::Result<String> {
        let shown = self.ask(Method::GET, &format!("commands/{command}"), None).await?;
        Ok(shown["state"].as_str().context("the command has no state")?.to_owned())
    }

    /// The ids of all agents in the entity that are online.
    ///
    /// # Errors
    /// The server refused or did not answer.
    pub async fn online(&self, entity: i64) -> anyhow::Result<HashSet<i64>> {
        let shown = self.ask(Method::GET, &format!("agents?entity={entity}"), None).await?;
        let agents =
            shown.as_array().or_else(|| shown["agents"].as_array()).context("the list of agents is no list")?;
        let online = agents.iter().filter(|it| it["is_online"] == true);
        Ok(online.filter_map(|it| it["id"].as_i64()).collect())
    }

    /// Deletes an agent.
    ///
    /// # Errors
    /// The server refused or did not answer.
    pub async fn remove(&self, agent: i64) -> anyhow::Result<()> {
        self.ask(Method::DELETE, &format!("agents/{agent}"), None).await.map(|_| ())
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, format!("{}/{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.context("talking to the admin API")?;
        let status = answer.status();
        let text = answer.text().await.context("talking to the admin API")?;
        if !status.is_success() {
            bail!("admin API: {} {}", status.as_u16(), text.chars().take(120).collect::<String>());
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}
