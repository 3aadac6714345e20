//! MQTT packets as bytes, written here a second time on purpose: a server must not be tested with its own codec.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A packet as it came off the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Connack {
        session_present: bool,
        code: u8,
    },
    Publish {
        dup: bool,
        qos: u8,
        retain: bool,
        topic: String,
        id: u16,
        payload: Vec<u8>,
    },
    /// PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK by its type number.
    Ack {
        kind: u8,
        id: u16,
    },
    Suback {
        id: u16,
        granted: Vec<u8>,
    },
    Pingresp,
    Other {
        first: u8,
        body: Vec<u8>,
    },
}

pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;
pub const UNSUBACK: u8 = 11;

/// What a CONNECT says.
#[derive(Debug, Clone)]
pub struct Connect {
    /// 3 for `MQIsdp`, 4 for `MQTT`.
    pub level: u8,
    pub client_id: String,
    pub clean_session: bool,
    pub keep_alive_s: u16,
    pub username: Option<String>,
    pub password: Option<String>,
    /// Topic, payload, quality of service, retain.
    pub will: Option<(String, Vec<u8>, u8, bool)>,
}

impl Connect {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = text(if self.level == 3 { "MQIsdp" } else { "MQTT" });
        let mut flags = u8::from(self.clean_session) << 1;
        if let Some((_, _, qos, retain)) = &self.will {
            flags |= 0x04 | qos << 3 | u8::from(*retain) << 5;
        }
        flags |= u8::from(self.username.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        body.extend([self.level, flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        body.extend(text(&self.client_id));
        if let Some((topic, payload, _, _)) = &self.will {
            body.extend(text(topic));
            body.extend(binary(payload));
        }
        for field in [&self.username, &self.password].into_iter().flatten() {
            body.extend(text(field));
        }
        packet(0x10, &body)
    }
}

pub fn publish(topic: &str, payload: &[u8], qos: u8, retain: bool, id: u16) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend(payload);
    packet(0x30 | qos << 1 | u8::from(retain), &body)
}

pub fn subscribe(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        body.extend(text(filter));
        body.push(*qos);
    }
    packet(0x82, &body)
}

pub fn unsubscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    filters.iter().for_each(|filter| body.extend(text(filter)));
    packet(0xa2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub fn ack(kind: u8, id: u16) -> Vec<u8> {
    packet(kind << 4 | if kind == PUBREL { 2 } else { 0 }, &id.to_be_bytes())
}

pub const PINGREQ: [u8; 2] = [0xc0, 0];
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// First byte, remaining length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let digit = u8::try_from(length % 128).unwrap();
        length /= 128;
        bytes.push(digit | if length > 0 { 0x80 } else { 0 });
        if length == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut field = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    field.extend(bytes);
    field
}

/// Reads one packet; `UnexpectedEof` when the server closed.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Packet> {
    let first = stream.read_u8().await?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let digit = stream.read_u8().await?;
        length |= usize::from(digit & 0x7f) << shift;
        shift += 7;
        if digit & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(decode(first, &body))
}

fn decode(first: u8, body: &[u8]) -> Packet {
    let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match first >> 4 {
        2 => Packet::Connack { session_present: body[0] & 1 == 1, code: body[1] },
        3 => {
            let (qos, topic_end) = (first >> 1 & 3, 2 + usize::from(number(0)));
            let topic = String::from_utf8(body[2..topic_end].to_vec()).expect("a topic is UTF-8");
            let (id, start) = if qos > 0 { (number(topic_end), topic_end + 2) } else { (0, topic_end) };
            let payload = body[start..].to_vec();
            Packet::Publish { dup: first & 8 != 0, qos, retain: first & 1 != 0, topic, id, payload }
        }
        kind @ (PUBACK..=PUBCOMP | UNSUBACK) => Packet::Ack { kind, id: number(0) },
        9 => Packet::Suback { id: number(0), granted: body[2..].to_vec() },
        13 => Packet::Pingresp,
        _ => Packet::Other { first, body: body.to_vec() },
    }
}
