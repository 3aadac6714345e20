//! CONNECT, the packet with the most ways to be wrong. Looks at the level before anything that depends on it.

use bytes::Bytes;

use crate::mqtt::{
    packet::{Connect, Message, QoS, Version},
    topic,
};

use super::{ProtocolError, Reader};

const RESERVED: u8 = 1;
const CLEAN_SESSION: u8 = 1 << 1;
const WILL: u8 = 1 << 2;
const WILL_QOS: u8 = 3 << 3;
const WILL_RETAIN: u8 = 1 << 5;
const PASSWORD: u8 = 1 << 6;
const USERNAME: u8 = 1 << 7;

pub(super) fn decode(header_flags: u8, body: &mut Reader<'_>) -> Result<Connect, ProtocolError> {
    let version = decode_version(body)?;
    if header_flags != 0 && version == Version::V3_1_1 {
        return Err(ProtocolError::FixedHeaderFlags);
    }
    let flags = body.byte()?;
    check_flags(flags, version)?;
    let keep_alive_s = body.number()?;
    let client_id = body.text()?.to_owned();
    let will = if flags & WILL != 0 { Some(decode_will(flags, body)?) } else { None };
    let username = if is_there(flags, USERNAME, body, version) { Some(body.text()?.to_owned()) } else { None };
    let password =
        if is_there(flags, PASSWORD, body, version) { Some(Bytes::copy_from_slice(body.binary()?)) } else { None };
    let clean_session = flags & CLEAN_SESSION != 0;
    // Whoever wants to be remembered needs a name [MQTT-3.1.3-8]; in 3.1 everybody needs one.
    if client_id.is_empty() && (version == Version::V3_1 || !clean_session) {
        return Err(ProtocolError::ClientIdMissing);
    }
    Ok(Connect { version, client_id, clean_session, keep_alive_s, will, username, password })
}

/// Anything that is not MQTT is not answered [MQTT-3.1.2-1]; another level of it is [MQTT-3.1.2-2].
fn decode_version(body: &mut Reader<'_>) -> Result<Version, ProtocolError> {
    let name = body.binary()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(ProtocolError::ProtocolName);
    }
    match (name, body.byte()?) {
        (b"MQTT", 4) => Ok(Version::V3_1_1),
        (b"MQIsdp", 3) => Ok(Version::V3_1),
        _ => Err(ProtocolError::ProtocolLevel),
    }
}

/// MQTT 3.1 leaves undefined what 3.1.1 forbids: the reserved flag [MQTT-3.1.2-3], will flags without will [MQTT-3.1.2-11] and a password
/// without user name [MQTT-3.1.2-22].
fn check_flags(flags: u8, version: Version) -> Result<(), ProtocolError> {
    if flags & WILL != 0 && flags & WILL_QOS == WILL_QOS {
        return Err(ProtocolError::WillFlags); // [MQTT-3.1.2-14]
    }
    if version == Version::V3_1 {
        return Ok(());
    }
    if flags & RESERVED != 0 {
        return Err(ProtocolError::ConnectFlags);
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(ProtocolError::WillFlags);
    }
    if flags & PASSWORD != 0 && flags & USERNAME == 0 {
        return Err(ProtocolError::PasswordWithoutUsername);
    }
    Ok(())
}

fn decode_will(flags: u8, body: &mut Reader<'_>) -> Result<Message, ProtocolError> {
    let name = body.text()?;
    if !topic::is_name(name) {
        return Err(ProtocolError::TopicName);
    }
    let payload = Bytes::copy_from_slice(body.binary()?);
    let qos = QoS::from_bits((flags & WILL_QOS) >> 3).ok_or(ProtocolError::WillFlags)?;
    Ok(Message { topic: name.into(), payload, qos, retain: flags & WILL_RETAIN != 0 })
}

/// In 3.1 the length of the packet has precedence over these two flags, for the sake of older clients.
fn is_there(flags: u8, flag: u8, body: &Reader<'_>, version: Version) -> bool {
    flags & flag != 0 && !(version == Version::V3_1 && body.is_empty())
}
