//! The MQTT broker.

use serde::{Deserialize, Serialize};

use super::{CertificateMapping, ClientCertificates};

/// The MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mqtt {
    /// MQTT over TLS; "" is off.
    pub tls_listen: String,
    /// MQTT without TLS; "" is off. For trusted networks and old agents that pin a foreign certificate.
    pub tcp_listen: String,
    /// MQTT over secure WebSocket; "" is off. Not available in this version.
    pub wss_listen: String,
    /// MQTT over WebSocket; "" is off. Not available in this version.
    pub ws_listen: String,
    /// Host name that agents are told to connect to; also in the built-in server certificate.
    pub public_host: String,
    /// Port that agents are told; 0 is the port of the TLS listener (of the TCP listener where TLS is off).
    pub public_port: u16,
    /// PEM file with the server's certificate chain; "" uses the built-in certificate authority.
    pub certificate_file: String,
    /// PEM file with the private key to `certificate_file`.
    pub key_file: String,
    /// Certificates of clients on the TLS listener: `off` asks for none, `optional` takes them instead of a password, `required` lets
    /// nobody in without one.
    pub client_certificates: ClientCertificates,
    /// Ask a device for its password as well as for its certificate.
    pub password_with_certificate: bool,
    /// Seconds that a certificate issued to a device lives.
    pub client_certificate_life_s: u32,
    /// Seconds that a device may go on with the old certificate after it got a new one.
    pub client_certificate_overlap_s: u32,
    /// PEM file with your own authorities, whose certificates devices may log in with too; "" is none.
    pub client_ca_file: String,
    /// Where certificates of your own authorities say the device's serial: `cn`, `san_uri`, `san_dns`, or `serial_number` (the
    /// attribute of the subject).
    pub client_certificate_mapping: CertificateMapping,
    /// What stands before the serial in the URI, for `san_uri`.
    pub client_certificate_uri_prefix: String,
    /// Revocation lists of your own authorities, PEM or DER; read again when they change.
    pub client_crl_files: Vec<String>,
    /// Tell agents topics with a leading slash, as servers before 2018 did.
    pub slashed_topics: bool,
    /// Seconds that a TLS handshake may take; at least 1.
    pub handshake_timeout_s: u32,
    /// Seconds between accepting a connection and its CONNECT packet; at least 1.
    pub connect_timeout_s: u32,
    /// Largest CONNECT packet, in bytes; whoever has not said who he is may send no other.
    pub connect_bytes_max: u32,
    /// A device that has not subscribed so many seconds after CONNECT is served as if it had subscribed its own topics
    /// (some released agents forget to after an automatic reconnect); 0 is off.
    pub implicit_subscription_after_s: u32,
    /// Connections at once, over all listeners.
    pub connections_max: u32,
    /// Largest packet that a client may send, in bytes.
    pub packet_bytes_max: u32,
    /// Bytes of packets that have begun to arrive and are not complete, over all devices, and as many over all service accounts; strangers
    /// have a quarter. Whoever needs more is disconnected. The first 16 KiB of each client (of a stranger: 4 KiB) are not counted.
    pub unfinished_bytes_max: u32,
    /// Messages that wait for one client before further ones are dropped and counted.
    pub queue_messages_max: u32,
    /// Bytes that wait for one client before further messages are dropped and counted.
    pub queue_bytes_max: u32,
    /// Unacknowledged messages on the way to one client.
    pub inflight_max: u16,
    /// Filters that one client may subscribe.
    pub subscriptions_max: u32,
    /// Retained messages of service accounts, over all.
    pub retained_messages_max: u32,
    /// Bytes of retained messages of service accounts, over all.
    pub retained_bytes_max: u64,
    /// Sessions that outlive their connection, over all service accounts.
    pub persistent_sessions_max: u32,
    /// Those of one service account.
    pub account_persistent_sessions_max: u32,
    /// Seconds after which a session that nobody came back to ends; 0: never.
    pub session_expiry_s: u32,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            tls_listen: "0.0.0.0:8883".into(),
            tcp_listen: String::new(),
            wss_listen: String::new(),
            ws_listen: String::new(),
            public_host: "localhost".into(),
            public_port: 0,
            certificate_file: String::new(),
            key_file: String::new(),
            client_certificates: ClientCertificates::Optional,
            password_with_certificate: false,
            client_certificate_life_s: 90 * 86_400,
            client_certificate_overlap_s: 7 * 86_400,
            client_ca_file: String::new(),
            client_certificate_mapping: CertificateMapping::Cn,
            client_certificate_uri_prefix: "urn:device:".into(),
            client_crl_files: Vec::new(),
            slashed_topics: false,
            handshake_timeout_s: 20,
            connect_timeout_s: 10,
            connect_bytes_max: 65_536,
            implicit_subscription_after_s: 10,
            connections_max: 200_000,
            packet_bytes_max: 4 << 20,
            unfinished_bytes_max: 128 << 20,
            queue_messages_max: 10_000,
            queue_bytes_max: 64 << 20,
            inflight_max: 100,
            subscriptions_max: 100,
            retained_messages_max: 100_000,
            retained_bytes_max: 256 << 20,
            persistent_sessions_max: 10_000,
            account_persistent_sessions_max: 1_000,
            session_expiry_s: 7 * 86_400,
        }
    }
}
