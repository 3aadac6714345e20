//! The few MQTT packets that the simulated fleet says and hears, as bytes. Not a codec: it trusts the brokers.

/// Bytes from a device's serial to its number: `BENCH000042`.
const SERIAL_PREFIX: &str = "BENCH";

/// The serial of a simulated device.
pub fn serial(device: u32) -> String {
    format!("{SERIAL_PREFIX}{device:06}")
}

/// Its password, as long as a real one.
pub fn password(device: u32) -> String {
    format!("q7Zk2Xw9Rb4Tn6Yc1Vm8Pd3L{device:08}")
}

/// A topic below a device's own prefix.
pub fn topic(device: u32, below: &str) -> String {
    format!("0/agent/{SERIAL_PREFIX}{device:06}/{below}")
}

/// CONNECT of the shipped Android agent: MQTT 3.1, clean session, keep-alive 60, retained will (spec/mqtt.md §4.4, §6.3).
pub fn connect_device(device: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(160);
    text(&mut body, b"MQIsdp");
    body.extend_from_slice(&[3, 0b1110_0110, 0, 60]);
    text(&mut body, format!("paho{:016}", u64::from(device) * 7_919).as_bytes());
    text(&mut body, topic(device, "Status/Online").as_bytes());
    text(&mut body, br#"{ "online": false }"#);
    text(&mut body, serial(device).as_bytes());
    text(&mut body, password(device).as_bytes());
    packet(0x10, &body)
}

/// CONNECT of a back end: MQTT 3.1.1, clean session, no keep-alive.
pub fn connect_service(client_id: &str, name: &str, password: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, b"MQTT");
    body.extend_from_slice(&[4, 0b1100_0010, 0, 0]);
    text(&mut body, client_id.as_bytes());
    text(&mut body, name.as_bytes());
    text(&mut body, password.as_bytes());
    packet(0x10, &body)
}

/// SUBSCRIBE with quality of service 0, as Android asks.
pub fn subscribe(filters: &[&str]) -> Vec<u8> {
    let mut body = vec![0, 1];
    for filter in filters {
        text(&mut body, filter.as_bytes());
        body.push(0);
    }
    packet(0x82, &body)
}

/// PUBLISH; the packet identifier is used with quality of service 1 only.
pub fn publish(topic: &str, payload: &[u8], qos: u8, retain: bool, packet_id: u16) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    text(&mut body, topic.as_bytes());
    if qos > 0 {
        body.extend_from_slice(&packet_id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1 | u8::from(retain), &body)
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];

/// What a broker said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'a> {
    /// CONNACK with its return code.
    Connack(u8),
    /// SUBACK; whether every filter was granted.
    Suback(bool),
    /// PUBACK.
    Puback,
    /// PINGRESP.
    Pong,
    /// PUBLISH with quality of service 0.
    Publish {
        /// Its topic.
        topic: &'a [u8],
        /// Its payload.
        payload: &'a [u8],
    },
    /// Anything else.
    Other,
}

/// The first packet in the buffer and its length, or `None` when it is not whole yet.
pub fn first(buffer: &[u8]) -> Option<(Said<'_>, usize)> {
    let mut length = 0;
    let mut header = 1;
    loop {
        let byte = *buffer.get(header)?;
        length |= usize::from(byte & 0x7F) << (7 * (header - 1));
        header += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = buffer.get(header..header + length)?;
    let said = match buffer[0] {
        0x20 => Said::Connack(body.get(1).copied().unwrap_or(0xFF)),
        0x90 => Said::Suback(!body.iter().skip(2).any(|code| *code == 0x80)),
        0x40 => Said::Puback,
        0xD0 => Said::Pong,
        kind if kind & 0xF6 == 0x30 => {
            let (length, rest) = body.split_at_checked(2).unwrap_or((&[0, 0], &[]));
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let (topic, payload) = rest.split_at_checked(length).unwrap_or_default();
            Said::Publish { topic, payload }
        }
        _ => Said::Other,
    };
    Some((said, header + length))
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(body.len() + 4);
    whole.push(kind);
    let mut length = body.len();
    loop {
        let more = u8::from(length > 0x7F) << 7;
        whole.push((length & 0x7F) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    whole.extend_from_slice(body);
    whole
}

fn text(body: &mut Vec<u8>, value: &[u8]) {
    body.extend_from_slice(&(value.len() as u16).to_be_bytes());
    body.extend_from_slice(value);
}
