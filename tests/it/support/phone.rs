//! A phone: an enrolled device that speaks MQTT over TLS, one packet at a time, as the shipped agents do.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore},
};

use super::{
    PATIENCE, Server,
    wire::{self, Connect, Packet},
};

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A message that the phone heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
}

/// One conversation with the broker over a socket of its own.
pub struct Link {
    stream: Box<dyn Stream>,
    waiting: VecDeque<Heard>,
    next_id: u16,
    /// Whether the CONNACK said so.
    pub session_present: bool,
}

/// A device with what enrollment gave it.
pub struct Phone {
    pub serial: String,
    pub password: String,
    /// `T` of the specification: `<entity>/agent/<serial>`, as the server told it.
    pub topic: String,
    /// Answer of the settings GET, or of the import.
    pub settings: Value,
    /// 3 or 4.
    pub level: u8,
    pub client_id: String,
    pub keep_alive_s: u16,
    /// Topic, payload, quality of service, retain.
    pub will: Option<(String, Vec<u8>, u8, bool)>,
    link: Option<Link>,
}

static CLIENT_IDS: AtomicU32 = AtomicU32::new(0);

/// A client id as the Android agent makes them: `paho` and digits, never the same twice.
pub fn paho_id() -> String {
    format!("paho15097049993{:08}", CLIENT_IDS.fetch_add(1, Ordering::Relaxed))
}

impl Phone {
    /// A device that was enrolled elsewhere (an import, a seed). Speaks 3.1 with the will of released Android agents.
    pub fn new(serial: &str, password: &str, topic: &str) -> Phone {
        Phone {
            serial: serial.to_owned(),
            password: password.to_owned(),
            topic: topic.to_owned(),
            settings: Value::Null,
            level: 3,
            client_id: paho_id(),
            keep_alive_s: 60,
            will: Some((format!("{topic}/Status/Online"), br#"{ "online": false }"#.to_vec(), 0, true)),
            link: None,
        }
    }

    /// CONNECT over TLS, which must succeed.
    pub async fn connects(&mut self, server: &Server) {
        let code = self.tries_to_connect(server).await;
        assert_eq!(code, 0, "{} is refused with {code}\n{}", self.serial, server.log());
    }

    /// CONNECT over TLS; answers with the return code.
    pub async fn tries_to_connect(&mut self, server: &Server) -> u8 {
        let stream = tls(server.ports.mqtt_tls, &server.ca_file()).await;
        let (link, code) = Link::open(Box::new(stream), &self.connect_packet()).await;
        self.link = link;
        code
    }

    /// What this phone says in its CONNECT.
    pub fn connect_packet(&self) -> Connect {
        Connect {
            level: self.level,
            client_id: self.client_id.clone(),
            clean_session: true,
            keep_alive_s: self.keep_alive_s,
            username: Some(self.serial.clone()),
            password: Some(self.password.clone()),
            will: self.will.clone(),
        }
    }

    /// The open conversation.
    pub fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("connect first")
    }

    /// Takes the conversation out, so that it lives on beside a new one.
    pub fn take_link(&mut self) -> Link {
        self.link.take().expect("connect first")
    }

    /// `SUBSCRIBE T/#`, as every agent does after CONNACK.
    pub async fn subscribes_own_topics(&mut self) {
        let filter = format!("{}/#", self.topic);
        assert_eq!(self.link().subscribes(&filter, 0).await, 0);
    }

    /// Connects and subscribes, in the order of the Android agent.
    pub async fn comes_up(&mut self, server: &Server) {
        self.connects(server).await;
        self.subscribes_own_topics().await;
    }

    /// Publishes a report at QoS 1 under its own topic and waits for the acknowledgement.
    pub async fn says(&mut self, sub_topic: &str, payload: &str) {
        let topic = format!("{}/{sub_topic}", self.topic);
        self.link().publishes(&topic, payload.as_bytes(), 1).await;
    }

    /// The next message whose topic ends so.
    pub async fn hears(&mut self, topic_end: &str) -> Heard {
        self.link().hears(topic_end).await
    }

    /// Closes the socket without DISCONNECT.
    pub fn vanishes(&mut self) {
        self.link = None;
    }

    /// DISCONNECT, then closes.
    pub async fn says_goodbye(&mut self) {
        let mut link = self.take_link();
        link.sends(&wire::DISCONNECT).await;
        link.is_closed().await;
    }
}

impl Link {
    /// Sends CONNECT and reads the answer.
    async fn open(stream: Box<dyn Stream>, connect: &Connect) -> (Option<Link>, u8) {
        let mut link = Link { stream, waiting: VecDeque::new(), next_id: 0, session_present: false };
        link.sends(&connect.encode()).await;
        match link.next().await {
            Some(Packet::Connack { session_present, code: 0 }) => {
                link.session_present = session_present;
                (Some(link), 0)
            }
            Some(Packet::Connack { code, .. }) => (None, code),
            other => panic!("not a CONNACK: {other:?}"),
        }
    }

    /// Says CONNECT on a stream of any kind; an error is a peer that closed or broke off instead of answering.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        connect: &Connect,
    ) -> io::Result<(Link, u8)> {
        let stream: Box<dyn Stream> = Box::new(stream);
        let mut link = Link { stream, waiting: VecDeque::new(), next_id: 0, session_present: false };
        link.stream.write_all(&connect.encode()).await?;
        link.stream.flush().await?;
        match timeout(PATIENCE, wire::read(&mut link.stream)).await.expect("an answer in time")? {
            Packet::Connack { code, .. } => Ok((link, code)),
            other => panic!("not a CONNACK: {other:?}"),
        }
    }

    /// A service account's conversation over plain TCP.
    pub async fn plain(server: &Server, connect: &Connect) -> Link {
        let stream = TcpStream::connect(("127.0.0.1", server.ports.mqtt_tcp)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (link, code) = Link::open(Box::new(stream), connect).await;
        link.unwrap_or_else(|| panic!("refused with {code}\n{}", server.log()))
    }

    /// A service account's conversation over plain TCP, with a clean session.
    pub async fn service(server: &Server, name: &str, password: &str) -> Link {
        Link::plain(server, &service_connect(name, password, &paho_id(), true)).await
    }

    /// Raw bytes. A closed socket is not an error here: what matters is what can be read next.
    pub async fn sends(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next packet; `None` when the server closed.
    pub async fn next(&mut self) -> Option<Packet> {
        match timeout(PATIENCE, wire::read(&mut self.stream)).await.expect("the server says something in time") {
            Ok(packet) => Some(packet),
            Err(e) if is_end(&e) => None,
            Err(e) => panic!("reading: {e}"),
        }
    }

    /// The next packet that is not a PUBLISH; publishes met on the way are acknowledged and kept for `hears`.
    pub async fn next_answer(&mut self) -> Option<Packet> {
        loop {
            let packet = self.next().await?;
            if let Some(answer) = self.takes_in(packet).await {
                return Some(answer);
            }
        }
    }

    /// Acknowledges and keeps a PUBLISH; gives back what is something else.
    async fn takes_in(&mut self, packet: Packet) -> Option<Packet> {
        match packet {
            Packet::Publish { dup, qos, retain, topic, id, payload } => {
                let payload = String::from_utf8_lossy(&payload).into_owned();
                self.waiting.push_back(Heard { topic, payload, qos, retain, dup });
                match qos {
                    1 => self.sends(&wire::ack(wire::PUBACK, id)).await,
                    2 => self.sends(&wire::ack(wire::PUBREC, id)).await,
                    _ => {}
                }
            }
            Packet::Ack { kind: wire::PUBREL, id } => self.sends(&wire::ack(wire::PUBCOMP, id)).await,
            answer => return Some(answer),
        }
        None
    }

    /// SUBSCRIBE with one filter; answers with the granted quality of service or 0x80.
    pub async fn subscribes(&mut self, filter: &str, qos: u8) -> u8 {
        let id = self.id();
        self.sends(&wire::subscribe(id, &[(filter, qos)])).await;
        match self.next_answer().await {
            Some(Packet::Suback { id: answered, granted }) if answered == id => granted[0],
            other => panic!("not a SUBACK: {other:?}"),
        }
    }

    /// UNSUBSCRIBE with one filter.
    pub async fn unsubscribes(&mut self, filter: &str) {
        let id = self.id();
        self.sends(&wire::unsubscribe(id, &[filter])).await;
        assert_eq!(self.next_answer().await, Some(Packet::Ack { kind: wire::UNSUBACK, id }));
    }

    /// PUBLISH at QoS 0, 1 or 2, up to its last acknowledgement.
    pub async fn publishes(&mut self, topic: &str, payload: &[u8], qos: u8) {
        self.publishes_with(topic, payload, qos, false).await;
    }

    /// The same with the retain flag given.
    pub async fn publishes_with(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool) {
        let id = if qos > 0 { self.id() } else { 0 };
        self.sends(&wire::publish(topic, payload, qos, retain, id)).await;
        if qos == 1 {
            assert_eq!(self.next_answer().await, Some(Packet::Ack { kind: wire::PUBACK, id }));
        }
        if qos == 2 {
            assert_eq!(self.next_answer().await, Some(Packet::Ack { kind: wire::PUBREC, id }));
            self.sends(&wire::ack(wire::PUBREL, id)).await;
            assert_eq!(self.next_answer().await, Some(Packet::Ack { kind: wire::PUBCOMP, id }));
        }
    }

    /// PINGREQ and everything that arrived before its answer: what was heard so far and nobody asked for.
    pub async fn heard_so_far(&mut self) -> Vec<Heard> {
        self.sends(&wire::PINGREQ).await;
        assert_eq!(self.next_answer().await, Some(Packet::Pingresp));
        self.waiting.drain(..).collect()
    }

    /// The next message whose topic ends so; others stay for later.
    pub async fn hears(&mut self, topic_end: &str) -> Heard {
        for _ in 0..1000 {
            if let Some(at) = self.waiting.iter().position(|it| it.topic.ends_with(topic_end)) {
                return self.waiting.remove(at).unwrap();
            }
            self.reads_publish(topic_end).await;
        }
        panic!("1000 messages and none about {topic_end}");
    }

    async fn reads_publish(&mut self, wanted: &str) {
        let waiting = self.waiting.len();
        let read = timeout(PATIENCE, wire::read(&mut self.stream)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing about {wanted}; heard {:?}", self.waiting));
        let packet = read.unwrap_or_else(|e| panic!("waiting for {wanted}: {e}"));
        if let Some(other) = self.takes_in(packet).await {
            panic!("waiting for {wanted} after {waiting} messages: {other:?}");
        }
    }

    /// Waits until the server closes the connection.
    pub async fn is_closed(&mut self) {
        while self.next().await.is_some() {}
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id % 60_000 + 1;
        self.next_id
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// CONNECT of a service account, level 4.
pub fn service_connect(name: &str, password: &str, client_id: &str, clean_session: bool) -> Connect {
    Connect {
        level: 4,
        client_id: client_id.to_owned(),
        clean_session,
        keep_alive_s: 60,
        username: Some(name.to_owned()),
        password: Some(password.to_owned()),
        will: None,
    }
}

/// A TLS connection to this port of this machine, verified against the server's own certificate authority.
pub async fn tls(port: u16, ca_file: &Path) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
    use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    timeout(Duration::from_secs(20), handshake).await.expect("handshake in time").expect("handshake")
}
