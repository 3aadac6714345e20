//! Bytes to packets and back, for levels 3 and 4, as server and as client. Accepts nothing that the standard forbids, never reserves what a
//! peer merely announced, and never keeps a piece of the buffer it read from.

mod connect;
mod encode;
mod error;
mod reader;

use bytes::Bytes;

use super::{
    packet::{ConnectCode, Packet, PacketId, Publish, QoS, Version},
    topic,
};

pub use encode::{encode, encode_publish};
pub use error::ProtocolError;
use reader::Reader;

/// Most filters in one SUBSCRIBE or UNSUBSCRIBE.
pub const FILTERS_MAX: usize = 1024;

/// Reads the first packet of `buffer` and says how many bytes it took. `None`: not all of it is there yet.
///
/// `bytes_max` bounds the whole packet, header included. `version` is that of the connection; CONNECT brings its own.
pub fn decode(buffer: &[u8], bytes_max: usize, version: Version) -> Result<Option<(Packet, usize)>, ProtocolError> {
    let Some(&first) = buffer.first() else { return Ok(None) };
    check_header(first, version)?;
    let Some((length, header)) = remaining_length(&buffer[1..])? else { return Ok(None) };
    let end = 1 + header + length;
    if end > bytes_max {
        return Err(ProtocolError::PacketTooLarge);
    }
    let Some(body) = buffer.get(1 + header..end) else { return Ok(None) };
    let packet = decode_body(first, Reader::new(body), version)?;
    Ok(Some((packet, end)))
}

/// Refuses a wrong first byte at once, without waiting for the rest [MQTT-2.2.2-2]. MQTT 3.1 calls most of these bits unused, so there
/// they are ignored; only the quality of service of SUBSCRIBE, UNSUBSCRIBE and PUBREL is prescribed.
fn check_header(first: u8, version: Version) -> Result<(), ProtocolError> {
    let flags = first & 0x0f;
    let is_fine = match (first >> 4, version) {
        (0 | 15, _) => return Err(ProtocolError::ReservedPacketType),
        // CONNECT is judged when its level is known.
        (1, _) => true,
        (3, _) if flags & 0b0110 == 0b0110 => return Err(ProtocolError::QualityOfService),
        // DUP needs something to duplicate [MQTT-3.3.1-2].
        (3, Version::V3_1_1) => flags & 0b1110 != 0b1000,
        (3, Version::V3_1) => true,
        (6 | 8 | 10, Version::V3_1_1) => flags == 0b0010,
        (6 | 8 | 10, Version::V3_1) => flags & 0b0110 == 0b0010,
        (_, Version::V3_1_1) => flags == 0,
        (_, Version::V3_1) => true,
    };
    if is_fine { Ok(()) } else { Err(ProtocolError::FixedHeaderFlags) }
}

/// The remaining length and how many bytes it took; at most four [MQTT 2.2.3].
fn remaining_length(buffer: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    let mut length = 0;
    for (at, &byte) in buffer.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((length, at + 1)));
        }
    }
    if buffer.len() < 4 { Ok(None) } else { Err(ProtocolError::RemainingLength) }
}

fn decode_body(first: u8, mut body: Reader<'_>, version: Version) -> Result<Packet, ProtocolError> {
    let packet = match first >> 4 {
        1 => Packet::Connect(Box::new(connect::decode(first & 0x0f, &mut body)?)),
        2 => decode_connack(&mut body)?,
        3 => return decode_publish(first, body),
        4 => Packet::Puback(body.packet_id()?),
        5 => Packet::Pubrec(body.packet_id()?),
        6 => Packet::Pubrel(body.packet_id()?),
        7 => Packet::Pubcomp(body.packet_id()?),
        8 => decode_subscribe(&mut body, version)?,
        9 => decode_suback(&mut body)?,
        10 => decode_unsubscribe(&mut body)?,
        11 => Packet::Unsuback(body.packet_id()?),
        12 => Packet::Pingreq,
        13 => Packet::Pingresp,
        14 => Packet::Disconnect,
        _ => return Err(ProtocolError::ReservedPacketType),
    };
    body.finish()?;
    Ok(packet)
}

fn decode_connack(body: &mut Reader<'_>) -> Result<Packet, ProtocolError> {
    let flags = body.byte()?;
    let code = match body.byte()? {
        0 => ConnectCode::Accepted,
        1 => ConnectCode::UnacceptableVersion,
        2 => ConnectCode::IdentifierRejected,
        3 => ConnectCode::ServerUnavailable,
        4 => ConnectCode::BadCredentials,
        5 => ConnectCode::NotAuthorized,
        _ => return Err(ProtocolError::ReturnCode),
    };
    if flags > 1 {
        return Err(ProtocolError::ReturnCode);
    }
    Ok(Packet::Connack { session_present: flags == 1, code })
}

fn decode_publish(first: u8, mut body: Reader<'_>) -> Result<Packet, ProtocolError> {
    let qos = QoS::from_bits((first >> 1) & 3).ok_or(ProtocolError::QualityOfService)?;
    let topic = body.text()?;
    if !topic::is_name(topic) {
        return Err(ProtocolError::TopicName);
    }
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(body.packet_id()?) };
    Ok(Packet::Publish(Publish {
        dup: first & 0b1000 != 0,
        qos,
        retain: first & 1 != 0,
        topic: topic.into(),
        packet_id,
        payload: Bytes::copy_from_slice(body.rest()),
    }))
}

fn decode_subscribe(body: &mut Reader<'_>, version: Version) -> Result<Packet, ProtocolError> {
    let packet_id = body.packet_id()?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        let filter = decode_filter(body, filters.len())?;
        let wish = body.byte()?;
        // The upper six bits are reserved [MQTT-3.8.3-4]; 3.1 merely does not use them.
        if wish > 2 && version == Version::V3_1_1 {
            return Err(ProtocolError::QualityOfService);
        }
        filters.push((filter, QoS::from_bits(wish & 3).ok_or(ProtocolError::QualityOfService)?));
    }
    if filters.is_empty() {
        return Err(ProtocolError::NoFilters); // [MQTT-3.8.3-3]
    }
    Ok(Packet::Subscribe { packet_id, filters })
}

fn decode_unsubscribe(body: &mut Reader<'_>) -> Result<Packet, ProtocolError> {
    let packet_id = body.packet_id()?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(decode_filter(body, filters.len())?);
    }
    if filters.is_empty() {
        return Err(ProtocolError::NoFilters); // [MQTT-3.10.3-2]
    }
    Ok(Packet::Unsubscribe { packet_id, filters })
}

fn decode_filter(body: &mut Reader<'_>, count: usize) -> Result<String, ProtocolError> {
    if count == FILTERS_MAX {
        return Err(ProtocolError::TooManyFilters);
    }
    let filter = body.text()?;
    if topic::is_filter(filter) { Ok(filter.to_owned()) } else { Err(ProtocolError::TopicFilter) }
}

fn decode_suback(body: &mut Reader<'_>) -> Result<Packet, ProtocolError> {
    let packet_id: PacketId = body.packet_id()?;
    let mut granted = Vec::new();
    while !body.is_empty() {
        granted.push(match body.byte()? {
            0x80 => None,
            bits => Some(QoS::from_bits(bits).ok_or(ProtocolError::ReturnCode)?),
        });
    }
    if granted.is_empty() {
        return Err(ProtocolError::NoFilters);
    }
    Ok(Packet::Suback { packet_id, granted })
}

#[cfg(test)]
mod tests;
