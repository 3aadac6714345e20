//! GLPI's API for people: sessions and profiles, items of every type, rights, searches; what a dashboard of Flyve sends, as it stands.
//! Status and body of every answer are kept as snapshots.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Phone, Server, enrollment, enrollment::Http};

mod agents;
mod changes;
mod files;
mod fleets;
mod reading;
mod rights;
mod sessions;

/// Somebody with a session, who writes down what is answered.
pub struct Desk {
    base: String,
    client: reqwest::Client,
    session: String,
    transcript: String,
}

/// An answer.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub range: String,
    pub body: Value,
}

impl Desk {
    /// With the first administrator's token.
    pub async fn of(server: &Server) -> Desk {
        Desk::with_token(server, &server.admin_token()).await
    }

    /// With a user token.
    pub async fn with_token(server: &Server, token: &str) -> Desk {
        let session = Http::of(server).session(token).await;
        Desk { base: server.http_url(), client: reqwest::Client::new(), session, transcript: String::new() }
    }

    /// With a person of this profile on an entity.
    pub async fn with_profile(server: &Server, name: &str, profile: &str, entity: i64) -> Desk {
        let (email, entity) = (format!("{name}@example.org"), entity.to_string());
        let words = ["user", "add", name, "--email", &email, "--profile", profile, "--entity", &entity];
        server.cli(&words).await;
        let token = server.cli(&["user", "token", name]).await["user_token"].as_str().unwrap().to_owned();
        Desk::with_token(server, &token).await
    }

    /// Asks, without writing down.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Said {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .header("Session-Token", &self.session)
            .header("Content-Type", "application/json")
            .timeout(PATIENCE);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).map_or("", |it| it.to_str().unwrap()).to_owned();
        let range = header("content-range");
        let body = serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null);
        Said { status, range, body }
    }

    /// Asks and writes down question and answer.
    pub async fn notes(&mut self, method: &str, path: &str, body: Option<Value>) -> Said {
        let question = body.as_ref().map_or(String::new(), |it| format!(" {it}"));
        let said = self.ask(method, path, body).await;
        let range = if said.range.is_empty() { String::new() } else { format!(" [{}]", said.range) };
        let answer = undated(&said.body.to_string());
        writeln!(self.transcript, "{method} {path}{question}\n  {}{range} {answer}", said.status).unwrap();
        said
    }

    /// Sends a content by multipart and writes down what is answered.
    pub async fn uploads(&mut self, method: &str, path: &str, manifest: Value, file: Option<(&str, &[u8])>) -> Said {
        use reqwest::multipart::{Form, Part};
        let mut form = Form::new().text("uploadManifest", manifest.to_string());
        if let Some((name, content)) = file {
            form = form.part("file", Part::bytes(content.to_vec()).file_name(name.to_owned()));
        }
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method.clone(), format!("{}{path}", self.base)).timeout(PATIENCE);
        let response = request.header("Session-Token", &self.session).multipart(form).send().await.unwrap();
        let status = response.status().as_u16();
        let body = serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null);
        writeln!(self.transcript, "{method} {path} {manifest} as multipart\n  {status} {body}").unwrap();
        Said { status, range: String::new(), body }
    }

    /// The content of an item.
    pub async fn content(&self, path: &str) -> (u16, Vec<u8>) {
        let request = self.client.get(format!("{}{path}", self.base)).header("Accept", "application/octet-stream");
        let response = request.header("Session-Token", &self.session).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    /// A header of the answer about an item; "" when it is not there.
    pub async fn header(&self, path: &str, name: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.base)).header("Session-Token", &self.session);
        let response = request.send().await.unwrap();
        response.headers().get(name).map_or("", |it| it.to_str().unwrap()).to_owned()
    }

    pub async fn get(&mut self, path: &str) -> Said {
        self.notes("GET", path, None).await
    }

    /// What was written down, for a snapshot.
    pub fn transcript(&mut self) -> String {
        let told = self.base.replace("127.0.0.1", "localhost");
        std::mem::take(&mut self.transcript).replace(&told, "http://localhost:8080")
    }
}

/// Dates differ from run to run.
fn undated(text: &str) -> String {
    const DATE: &str = "0000-00-00 00:00:00";
    let is_date = |piece: &str| {
        let shape = |(c, d): (char, char)| if d == '0' { c.is_ascii_digit() } else { c == d };
        piece.len() == DATE.len() && piece.chars().zip(DATE.chars()).all(shape)
    };
    let mut out = String::new();
    for (at, part) in text.split('"').enumerate() {
        let quote = if at == 0 { "" } else { "\"" };
        write!(out, "{quote}{}", if is_date(part) { "<date>" } else { part }).unwrap();
    }
    out
}

/// Two tenants beside each other, one with a third below it; a fleet and an enrolled phone in the first and in the third.
pub struct World {
    pub server: Server,
    pub paris: Phone,
    pub lyon: Phone,
}

pub const PARIS: i64 = 76;
pub const LYON: i64 = 69;
pub const OSLO: i64 = 47;

impl World {
    pub async fn with(settings: &[(&str, &str)]) -> World {
        let server = Server::with(settings).await;
        for (name, id, parent) in [("Paris", "76", "0"), ("Lyon", "69", "76"), ("Oslo", "47", "0")] {
            server.cli(&["entity", "add", name, "--id", id, "--parent", parent]).await;
        }
        server.cli(&["fleet", "add", "Sales", "--entity", "76"]).await;
        server.cli(&["fleet", "add", "Field", "--entity", "69"]).await;
        let of = |entity| enrollment::Profile { entity, ..enrollment::Profile::android() };
        let paris = enrollment::enroll(&server, "PARIS1", &of(PARIS)).await;
        let lyon = enrollment::enroll(&server, "LYON1", &of(LYON)).await;
        World { server, paris, lyon }
    }

    pub async fn new() -> World {
        World::with(&[]).await
    }
}

/// The number of the agent of a phone.
pub fn id_of(phone: &Phone) -> i64 {
    phone.settings["id"].as_i64().unwrap()
}

/// The body of a request with one or many inputs.
pub fn input(members: Value) -> Option<Value> {
    Some(json!({ "input": members }))
}
