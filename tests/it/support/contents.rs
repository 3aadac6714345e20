//! Files and packages on their way in and out, as administrators and devices see them.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
};

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{
    PATIENCE, Server,
    enrollment::{Http, Profile, enroll},
};

pub const OCTETS: &str = "application/octet-stream";

/// A server with an enrolled device, and the device's session.
pub struct World {
    pub server: Server,
    pub session: String,
}

/// An answer as it came.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Every header but those that change from run to run, which are named.
    pub fn lines(&self) -> String {
        let mut lines: Vec<String> = self
            .headers
            .iter()
            .map(|(name, value)| match name.as_str() {
                "date" | "last-modified" => {
                    assert!(value.to_str().unwrap().ends_with(" GMT"), "{value:?}");
                    format!("{name}: (a time)")
                }
                _ => format!("{name}: {}", value.to_str().unwrap()),
            })
            .collect();
        lines.sort();
        format!("{}\n{}", self.status, lines.join("\n"))
    }
}

impl World {
    pub async fn new() -> World {
        World::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> World {
        let server = Server::with(settings).await;
        let session = session_of(&server, "READER", 0).await;
        World { server, session }
    }

    /// A text as if the agents' API had its usual port.
    pub fn at_usual_port(&self, text: &str) -> String {
        text.replace(&self.server.http_url().replace("127.0.0.1", "localhost"), "http://localhost:8080")
    }

    /// A file that is made and uploaded: its number.
    pub async fn file(&self, name: &str, content: &[u8]) -> i64 {
        let path = written(&self.server, name, content);
        self.server.cli(&["file", "add", path.to_str().unwrap()]).await["id"].as_i64().unwrap()
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, headers).await
    }

    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("{}{path}", self.server.http_url());
        let mut request = reqwest::Client::new().request(method, url).timeout(PATIENCE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    /// The content of a file, with this range.
    pub async fn content(&self, file: i64, range: &str) -> Answer {
        let mut headers = vec![("Accept", OCTETS), ("Session-Token", &self.session)];
        if !range.is_empty() {
            headers.push(("Range", range));
        }
        self.get(&format!("/PluginFlyvemdmFile/{file}"), &headers).await
    }

    /// The files below `blobs`, those on their way in included.
    pub fn blobs(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in fs::read_dir(self.server.data_dir().join("blobs")).into_iter().flatten() {
            found.extend(fs::read_dir(directory.unwrap().path()).unwrap().map(|it| it.unwrap().path()));
        }
        found
    }
}

pub async fn session_of(server: &Server, serial: &str, entity: i64) -> String {
    let profile = Profile { entity, ..Profile::android() };
    let phone = enroll(server, serial, &profile).await;
    Http::of(server).session(phone.settings["api_token"].as_str().unwrap()).await
}

pub fn written(server: &Server, name: &str, content: &[u8]) -> PathBuf {
    let directory = server.data_dir().join("uploads");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// A megabyte that is different everywhere.
pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 251 + at * 7) as u8).collect()
}

pub async fn refusal(server: &Server, arguments: &[&str]) -> String {
    let output = server.cli_output(arguments).await;
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub fn upload_begins(server: &Server, length: usize) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", server.ports.admin)).unwrap();
    let head = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"half.bin\"\r\n\r\n";
    write!(
        socket,
        "POST /api/v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: multipart/form-data; boundary=x\r\n\
         Content-Length: {}\r\n\r\n{head}",
        server.admin_token(),
        length + head.len(),
    )
    .unwrap();
    socket
}

/// A download that was begun and not read yet.
pub fn download_begins(world: &World, file: i64) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", world.server.ports.http)).unwrap();
    write!(
        socket,
        "GET /PluginFlyvemdmFile/{file} HTTP/1.1\r\nHost: x\r\nAccept: {OCTETS}\r\nSession-Token: {}\r\nConnection: close\r\n\r\n",
        world.session
    )
    .unwrap();
    let mut first = [0];
    socket.read_exact(&mut first).unwrap();
    socket
}

/// The rest of an answer, behind its head.
pub async fn rest(mut socket: TcpStream) -> Vec<u8> {
    let all = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).unwrap();
        all
    });
    let all = all.await.unwrap();
    let head = all.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
    all[head..].to_vec()
}
