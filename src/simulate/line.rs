//! One MQTT connection of a simulated device: bytes in and out, nothing about what they mean.

use std::{
    collections::HashMap,
    num::NonZeroU16,
    time::{Duration, Instant},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{enroll::Settings, world::World};
use crate::mqtt::{
    codec,
    packet::{Connect, ConnectCode, Packet, PacketId, Publish, QoS, Version},
};

/// Largest packet that a device takes.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// Patience of Paho with a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection. Dropping it closes the socket without DISCONNECT.
pub struct Line {
    stream: Box<dyn Stream>,
    version: Version,
    input: BytesMut,
    output: Vec<u8>,
    last_id: u16,
    /// Publishes that the server has not acknowledged yet.
    pub unacknowledged: HashMap<PacketId, Instant>,
    /// Filters whose SUBACK is due.
    pub subscribing: HashMap<PacketId, Vec<String>>,
    /// A PINGREQ is unanswered.
    pub is_pinging: bool,
    /// When something was last written.
    pub written_at: Instant,
}

/// Opens a socket, says CONNECT and waits for the answer.
///
/// # Errors
/// What went wrong, as a kind of error.
pub async fn open(world: &World, settings: &Settings, connect: Connect) -> Result<Line, String> {
    let attempt = async {
        let mut line = Line::new(dial(world, settings).await?, connect.version, world.clock.instant());
        line.send(&Packet::Connect(Box::new(connect)));
        line.flush(world).await?;
        match line.packet().await? {
            Packet::Connack { code: ConnectCode::Accepted, .. } => Ok(line),
            Packet::Connack { code, .. } => Err(format!("connect: refused as {code:?}")),
            _ => Err("connect: something else than CONNACK".to_owned()),
        }
    };
    tokio::time::timeout(CONNECT_TIMEOUT, attempt)
        .await
        .unwrap_or_else(|_| Err("connect: no answer in time".to_owned()))
}

async fn dial(world: &World, settings: &Settings) -> Result<Box<dyn Stream>, String> {
    let failed = |error: std::io::Error| format!("connect: {}", error.kind());
    let tcp = TcpStream::connect((settings.broker.as_str(), settings.port)).await.map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    if !settings.tls {
        return Ok(Box::new(tcp));
    }
    let name =
        settings.broker.clone().try_into().map_err(|_| "connect: the broker's name cannot be in a certificate")?;
    let connector = settings.certified.clone().map_or_else(|| world.tls.clone(), TlsConnector::from);
    let tls = connector.connect(name, tcp).await.map_err(|error| format!("connect: TLS: {error}"))?;
    Ok(Box::new(tls))
}

impl Line {
    fn new(stream: Box<dyn Stream>, version: Version, now: Instant) -> Self {
        Self {
            stream,
            version,
            input: BytesMut::new(),
            output: Vec::new(),
            last_id: 0,
            unacknowledged: HashMap::new(),
            subscribing: HashMap::new(),
            is_pinging: false,
            written_at: now,
        }
    }

    /// Queues a packet for the next `flush`.
    pub fn send(&mut self, packet: &Packet) {
        codec::encode(packet, &mut self.output);
    }

    /// Queues a QoS 1 publish.
    pub fn publish(&mut self, topic: &str, payload: bytes::Bytes, now: Instant) {
        let id = self.next_id();
        self.unacknowledged.insert(id, now);
        let topic = topic.into();
        let publish = Publish { dup: false, qos: QoS::AtLeastOnce, retain: false, topic, packet_id: Some(id), payload };
        self.send(&Packet::Publish(publish));
    }

    /// Queues a SUBSCRIBE.
    pub fn subscribe(&mut self, filters: Vec<(String, QoS)>) {
        let packet_id = self.next_id();
        self.subscribing.insert(packet_id, filters.iter().map(|(filter, _)| filter.clone()).collect());
        self.send(&Packet::Subscribe { packet_id, filters });
    }

    /// Queues an UNSUBSCRIBE.
    pub fn unsubscribe(&mut self, filters: Vec<String>) {
        let packet_id = self.next_id();
        self.send(&Packet::Unsubscribe { packet_id, filters });
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn flush(&mut self, world: &World) -> Result<(), String> {
        if self.output.is_empty() {
            return Ok(());
        }
        let wrote = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        let outcome = wrote.await.map_err(|error| format!("connection lost: {}", error.kind()));
        // An idle phone keeps no buffer.
        self.output = Vec::new();
        self.written_at = world.clock.instant();
        outcome
    }

    /// The next packet. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The connection is gone, or the server says what MQTT does not allow.
    pub async fn packet(&mut self) -> Result<Packet, String> {
        loop {
            let decoded = codec::decode(&self.input, PACKET_BYTES_MAX, self.version);
            if let Some((packet, taken)) = decoded.map_err(|error| format!("the server broke the protocol: {error}"))? {
                self.input.advance(taken);
                return Ok(packet);
            }
            self.input.reserve(512);
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Err("connection lost: closed by the server".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("connection lost: {}", error.kind())),
            }
        }
    }

    /// Nothing came within the time but the end of the connection.
    pub async fn closes_within(mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, async { while self.packet().await.is_ok() {} }).await.is_ok()
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        NonZeroU16::new(self.last_id).unwrap_or(NonZeroU16::MIN)
    }
}
