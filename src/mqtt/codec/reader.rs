//! Fields of one packet, in order. Never reads beyond the packet.

use crate::mqtt::packet::PacketId;

use super::ProtocolError;

/// What is left of a packet.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ProtocolError::TrailingBytes) }
    }

    pub(super) fn byte(&mut self) -> Result<u8, ProtocolError> {
        let (&byte, rest) = self.rest.split_first().ok_or(ProtocolError::PacketTooShort)?;
        self.rest = rest;
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u16, ProtocolError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(ProtocolError::PacketTooShort)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, ProtocolError> {
        PacketId::new(self.number()?).ok_or(ProtocolError::PacketIdZero)
    }

    /// Bytes behind their length.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], ProtocolError> {
        let length = usize::from(self.number()?);
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(ProtocolError::PacketTooShort)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Text as [MQTT-1.5.3-1] and [MQTT-1.5.3-2] want it; U+FEFF stays what it is [MQTT-1.5.3-3].
    pub(super) fn text(&mut self) -> Result<&'a str, ProtocolError> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| ProtocolError::Utf8)?;
        if text.bytes().any(|b| b == 0) { Err(ProtocolError::NulInText) } else { Ok(text) }
    }
}
