//! How a peer can break the protocol: one name per way, used as metric label and log line.

macro_rules! protocol_errors {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal, $text:literal;)+) => {
        /// How a peer broke the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum ProtocolError {
            $($(#[doc = $doc])+ #[error($text)] $name,)+
        }

        impl ProtocolError {
            /// Every way, for those who declare metrics in advance.
            pub const ALL: &[ProtocolError] = &[$(ProtocolError::$name,)+];

            /// The way as a metric label.
            pub fn label(self) -> &'static str {
                match self {
                    $(ProtocolError::$name => $label,)+
                }
            }
        }
    };
}

protocol_errors! {
    /// A field reaches beyond the end of its packet.
    PacketTooShort = "packet_too_short", "a field reaches beyond the end of the packet";
    /// Bytes are left over after the last field.
    TrailingBytes = "trailing_bytes", "bytes are left over at the end of the packet";
    /// Remaining length of more than four bytes.
    RemainingLength = "remaining_length", "the remaining length has more than four bytes";
    /// Longer than we take.
    PacketTooLarge = "packet_too_large", "the packet is larger than allowed";
    /// Packet type 0 or 15.
    ReservedPacketType = "reserved_packet_type", "the packet type is reserved";
    /// Flags in the first byte that its packet type does not have.
    FixedHeaderFlags = "fixed_header_flags", "the flags of the fixed header are wrong";
    /// Quality of service 3, or reserved bits around a wish.
    QualityOfService = "quality_of_service", "the quality of service does not exist";
    /// Packet identifier 0.
    PacketIdZero = "packet_id_zero", "the packet identifier is 0";
    /// Text that is not UTF-8.
    Utf8 = "utf8", "a text is not UTF-8";
    /// Text with U+0000.
    NulInText = "nul_in_text", "a text contains U+0000";
    /// Topic name that is empty, has wildcards or breaks our bounds.
    TopicName = "topic_name", "the topic name is empty, has a wildcard or is too long";
    /// Topic filter that is empty, has misplaced wildcards or breaks our bounds.
    TopicFilter = "topic_filter", "the topic filter is empty, has a misplaced wildcard or is too long";
    /// SUBSCRIBE, UNSUBSCRIBE or SUBACK about nothing.
    NoFilters = "no_filters", "the packet has no topic filter";
    /// More filters in one packet than we take.
    TooManyFilters = "too_many_filters", "the packet has too many topic filters";
    /// CONNECT for a protocol that is not MQTT.
    ProtocolName = "protocol_name", "the protocol name is not MQTT's";
    /// MQTT, but of a level that we do not speak.
    ProtocolLevel = "protocol_level", "the protocol level is not spoken here";
    /// Reserved flag of CONNECT.
    ConnectFlags = "connect_flags", "the reserved flag of CONNECT is set";
    /// Flags of the will that contradict each other.
    WillFlags = "will_flags", "the will flags contradict each other";
    /// Password without user name.
    PasswordWithoutUsername = "password_without_username", "there is a password but no user name";
    /// No client id where one is needed.
    ClientIdMissing = "client_id_missing", "the client id is empty where it must not be";
    /// Return code or acknowledge flags that do not exist.
    ReturnCode = "return_code", "the return code does not exist";
    /// The first packet was no CONNECT.
    ConnectExpected = "connect_expected", "the first packet is not CONNECT";
    /// A second CONNECT.
    SecondConnect = "second_connect", "there was a CONNECT already";
    /// A packet that only servers send.
    UnexpectedPacket = "unexpected_packet", "only servers send this packet";
    /// More QoS 2 messages left unreleased than we remember.
    TooManyUnreleased = "too_many_unreleased", "too many messages of quality of service 2 are not released";
    /// More bytes sent ahead than we hold.
    TooMuchAhead = "too_much_ahead", "too many bytes were sent ahead of an answer";
}
