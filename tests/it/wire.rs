//! The byte cases of `tests/wire/`, against the session as a value and against a live socket.

use std::{fs, time::Duration};

use mdmq::{
    clock::Clock,
    mqtt::{
        packet::{ConnectCode, QoS},
        session::{Limits, Output, Session},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    PATIENCE, Server,
    phone::paho_id,
    wire::{Connect, PINGREQ},
};

const PINGRESP: [u8; 2] = [0xd0, 0];
/// More rows than this are in the files; fewer would mean that they were not found.
const ROWS_MIN: usize = 100;

/// One conversation.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    version: String,
    connected: bool,
    send: String,
    expect: String,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Then {
    Open,
    Closed,
}

#[test]
fn the_session_answers_every_byte_case() {
    check_all(rows().iter().map(|row| (row, against_session(row))));
}

#[tokio::test]
async fn a_live_socket_answers_every_byte_case() {
    let server = Server::start().await;
    let (name, password) = server.service("wire", &["#:rw"]).await;
    let mut heard = Vec::new();
    let rows = rows();
    for row in &rows {
        heard.push((row, against_socket(row, &server, &name, &password).await));
    }
    check_all(heard.into_iter());
}

fn check_all<'r>(heard: impl Iterator<Item = (&'r Row, (Vec<u8>, Then))>) {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (row, (answer, then)) in heard {
        count += 1;
        if (hex(&answer), then) != (row.expect.clone(), row.then) {
            let Row { name, version, expect, then: wanted, .. } = row;
            wrong.push(format!(
                "{name} ({version}): {wanted:?} after [{expect}], but {then:?} after [{}]",
                hex(&answer)
            ));
        }
    }
    assert!(count >= ROWS_MIN, "only {count} rows");
    assert!(wrong.is_empty(), "{} of {count} rows:\n{}", wrong.len(), wrong.join("\n"));
}

fn rows() -> Vec<Row> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let files = files.iter().filter(|it| it.extension().is_some_and(|it| it == "json"));
    files
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            serde_json::from_str::<Vec<Row>>(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        })
        .collect()
}

fn connect(row: &Row, username: &str, password: &str) -> Vec<u8> {
    let level = if row.version == "3.1" { 3 } else { 4 };
    let (username, password) = (Some(username.to_owned()), Some(password.to_owned()));
    Connect { level, client_id: paho_id(), clean_session: true, keep_alive_s: 60, username, password, will: None }
        .encode()
}

/// Plays the row against a session whose every wish is granted, except that only `wire` is let in.
fn against_session(row: &Row) -> (Vec<u8>, Then) {
    let now = Clock::System.instant();
    let connect_timeout = Duration::from_secs(10);
    let limits = Limits {
        packet_bytes_max: 1 << 20,
        connect_bytes_max: 1 << 16,
        inflight_max: 10,
        receive_max: 10,
        connect_timeout,
    };
    let mut session = Session::new(limits, now);
    if row.connected {
        session.handle_bytes(&connect(row, "wire", "wire"), now);
        assert_eq!(settle(&mut session), Then::Open);
        assert_eq!(std::mem::take(session.transmit()), [0x20, 2, 0, 0]);
    }
    session.handle_bytes(&bytes(&row.send), now);
    let then = settle(&mut session);
    (std::mem::take(session.transmit()), then)
}

/// Does what the session asks until it asks nothing more.
fn settle(session: &mut Session) -> Then {
    let mut then = Then::Open;
    while let Some(output) = session.poll_output() {
        match output {
            Output::Connect(it) if it.username.as_deref() == Some("wire") => {
                session.admit(None, Clock::System.instant());
            }
            Output::Connect(_) => session.refuse(ConnectCode::BadCredentials),
            Output::Publish(publish) => {
                if let Some(id) = publish.packet_id {
                    session.accepted(id);
                }
            }
            Output::Subscribe { packet_id, filters } => {
                let granted: Vec<Option<QoS>> = filters.iter().map(|(_, qos)| Some(*qos)).collect();
                session.granted(packet_id, granted);
            }
            Output::Unsubscribe { packet_id, .. } => session.unsubscribed(packet_id),
            Output::Close(_) => then = Then::Closed,
            Output::Delivered(_) => {}
        }
    }
    then
}

/// Plays the row against the listener.
async fn against_socket(row: &Row, server: &Server, username: &str, password: &str) -> (Vec<u8>, Then) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.ports.mqtt_tcp)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    if row.connected {
        stream.write_all(&connect(row, username, password)).await.unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await.unwrap();
        assert_eq!(connack, [0x20, 2, 0, 0]);
    }
    stream.write_all(&bytes(&row.send)).await.unwrap();
    let expected = bytes(&row.expect);
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    let mut is_asked = false;
    loop {
        // Where the row ends open, a PINGREQ behind the expected answer shows that the server goes on and says no more.
        if row.then == Then::Open && answer.len() >= expected.len() && !is_asked {
            is_asked = true;
            stream.write_all(&PINGREQ).await.unwrap();
        }
        let length = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap_or_else(|_| panic!("stuck: {row:?}"));
        match length.unwrap_or(0) {
            0 => return (answer, Then::Closed),
            length => answer.extend(&buffer[..length]),
        }
        if is_asked && answer.len() >= expected.len() + 2 && answer.ends_with(&PINGRESP) {
            answer.truncate(answer.len() - 2);
            return (answer, Then::Open);
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
