//! Strangers: they come from another address of this machine than everybody else, so that what is held against them hurts nobody.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    PATIENCE, Server,
    wire::{self, Connect, Packet},
};

/// Where strangers come from.
pub const STRANGE: &str = "127.0.0.2";

/// A connection from this address of this machine.
pub async fn connect_from(address: &str, port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0))?;
    socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await
}

/// What a login is answered with over plain TCP from this address; `None`: the connection was closed without a word.
pub async fn tries(server: &Server, from: &str, name: &str, password: &str) -> Option<u8> {
    let mut stream = connect_from(from, server.ports.mqtt_tcp).await.ok()?;
    let connect = Connect {
        level: 4,
        client_id: super::phone::paho_id(),
        clean_session: true,
        keep_alive_s: 60,
        username: Some(name.to_owned()),
        password: Some(password.to_owned()),
        will: None,
    };
    stream.write_all(&connect.encode()).await.ok()?;
    match timeout(PATIENCE, wire::read(&mut stream)).await.expect("an answer in time") {
        Ok(Packet::Connack { code, .. }) => Some(code),
        Ok(other) => panic!("not a CONNACK: {other:?}"),
        Err(_) => None,
    }
}

/// Reads until the server closes.
pub async fn ends(stream: &mut (impl AsyncRead + Unpin)) {
    let mut heard = vec![0; 4096];
    let read = async { while stream.read(&mut heard).await.is_ok_and(|length| length > 0) {} };
    timeout(PATIENCE, read).await.expect("the server closes the connection");
}

/// A request over a connection from this address: status, head and body.
pub async fn asks(server: &Server, from: &str, request: &str) -> Option<(u16, String, String)> {
    asks_port(server.ports.http, from, request).await
}

/// The same of the listener on this port.
pub async fn asks_port(port: u16, from: &str, request: &str) -> Option<(u16, String, String)> {
    let mut stream = connect_from(from, port).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer in time").ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_lowercase(), body.to_owned()))
}

/// A GET that closes the connection afterwards, with further header lines.
pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
}
