//! Packets to bytes. Appends to the buffer it is given and allocates nothing else.

use crate::mqtt::packet::{Connect, Message, Packet, PacketId, Publish, QoS, Version};

/// Appends a packet.
///
/// # Panics
/// If a text or password has more than 65,535 bytes: what was decoded, and what this server writes itself, never has.
pub fn encode(packet: &Packet, out: &mut Vec<u8>) {
    match packet {
        Packet::Connect(connect) => encode_connect(connect, out),
        Packet::Connack { session_present, code } => {
            out.extend_from_slice(&[0x20, 2, u8::from(*session_present), *code as u8]);
        }
        Packet::Publish(publish) => put_publish(publish, out),
        Packet::Puback(id) => put_id_only(0x40, *id, out),
        Packet::Pubrec(id) => put_id_only(0x50, *id, out),
        Packet::Pubrel(id) => put_id_only(0x62, *id, out),
        Packet::Pubcomp(id) => put_id_only(0x70, *id, out),
        Packet::Subscribe { packet_id, filters } => {
            put_header(0x82, 2 + filters.iter().map(|(filter, _)| 3 + filter.len()).sum::<usize>(), out);
            put_number(packet_id.get(), out);
            for (filter, qos) in filters {
                put_binary(filter.as_bytes(), out);
                out.push(*qos as u8);
            }
        }
        Packet::Suback { packet_id, granted } => {
            put_header(0x90, 2 + granted.len(), out);
            put_number(packet_id.get(), out);
            out.extend(granted.iter().map(|qos| qos.map_or(0x80, |qos| qos as u8)));
        }
        Packet::Unsubscribe { packet_id, filters } => {
            put_header(0xa2, 2 + filters.iter().map(|filter| 2 + filter.len()).sum::<usize>(), out);
            put_number(packet_id.get(), out);
            filters.iter().for_each(|filter| put_binary(filter.as_bytes(), out));
        }
        Packet::Unsuback(id) => put_id_only(0xb0, *id, out),
        Packet::Pingreq => out.extend_from_slice(&[0xc0, 0]),
        Packet::Pingresp => out.extend_from_slice(&[0xd0, 0]),
        Packet::Disconnect => out.extend_from_slice(&[0xe0, 0]),
    }
}

/// Appends a PUBLISH of a shared message. `slashed` writes a slash in front of the topic; `packet_id` is there exactly when `qos` is above 0.
pub fn encode_publish(
    message: &Message,
    qos: QoS,
    retain: bool,
    dup: bool,
    packet_id: Option<PacketId>,
    slashed: bool,
    out: &mut Vec<u8>,
) {
    let flags = PublishFlags { dup, qos, retain, slashed };
    put_message(&message.topic, &message.payload, flags, packet_id, out);
}

struct PublishFlags {
    dup: bool,
    qos: QoS,
    retain: bool,
    slashed: bool,
}

fn put_publish(publish: &Publish, out: &mut Vec<u8>) {
    let flags = PublishFlags { dup: publish.dup, qos: publish.qos, retain: publish.retain, slashed: false };
    put_message(&publish.topic, &publish.payload, flags, publish.packet_id, out);
}

fn put_message(topic: &str, payload: &[u8], flags: PublishFlags, packet_id: Option<PacketId>, out: &mut Vec<u8>) {
    debug_assert_eq!(packet_id.is_some(), flags.qos != QoS::AtMostOnce);
    let name_bytes = topic.len() + usize::from(flags.slashed);
    let length = 2 + name_bytes + if packet_id.is_some() { 2 } else { 0 } + payload.len();
    out.reserve(5 + length);
    let first = 0x30 | u8::from(flags.dup) << 3 | (flags.qos as u8) << 1 | u8::from(flags.retain);
    put_header(first, length, out);
    put_number(length_of(name_bytes), out);
    if flags.slashed {
        out.push(b'/');
    }
    out.extend_from_slice(topic.as_bytes());
    if let Some(id) = packet_id {
        put_number(id.get(), out);
    }
    out.extend_from_slice(payload);
}

fn encode_connect(connect: &Connect, out: &mut Vec<u8>) {
    let (name, level) = match connect.version {
        Version::V3_1 => ("MQIsdp", 3),
        Version::V3_1_1 => ("MQTT", 4),
    };
    let mut flags = u8::from(connect.clean_session) << 1;
    let mut length = 2 + name.len() + 4 + 2 + connect.client_id.len();
    if let Some(will) = &connect.will {
        flags |= 1 << 2 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
        length += 4 + will.topic.len() + will.payload.len();
    }
    if let Some(username) = &connect.username {
        flags |= 1 << 7;
        length += 2 + username.len();
    }
    if let Some(password) = &connect.password {
        flags |= 1 << 6;
        length += 2 + password.len();
    }
    put_header(0x10, length, out);
    put_binary(name.as_bytes(), out);
    out.extend_from_slice(&[level, flags]);
    put_number(connect.keep_alive_s, out);
    put_binary(connect.client_id.as_bytes(), out);
    if let Some(will) = &connect.will {
        put_binary(will.topic.as_bytes(), out);
        put_binary(&will.payload, out);
    }
    if let Some(username) = &connect.username {
        put_binary(username.as_bytes(), out);
    }
    if let Some(password) = &connect.password {
        put_binary(password, out);
    }
}

fn put_id_only(first: u8, id: PacketId, out: &mut Vec<u8>) {
    let [high, low] = id.get().to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

fn put_header(first: u8, mut length: usize, out: &mut Vec<u8>) {
    debug_assert!(length < 1 << 28, "four bytes of seven bits each");
    out.push(first);
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn put_number(number: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_binary(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(length_of(bytes.len()), out);
    out.extend_from_slice(bytes);
}

fn length_of(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("texts are bounded where they enter")
}
