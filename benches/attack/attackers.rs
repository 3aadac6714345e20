//! Strangers, and clients that were let in, some threads of them, who do one thing as fast as they can from addresses of their own.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;
use clap::ValueEnum;
use mdmq::cores;
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use socket2::{Domain, Socket, Type};

use crate::{ground::Server, wire};

/// Weight of the attackers' threads: none while anybody else wants the processor.
const NICENESS: i32 = 19;
/// Connections that one attacker holds open.
const HELD_MAX: usize = 300;
const PATIENCE: Duration = Duration::from_secs(2);
/// The service account of attackers that are let in.
pub const INSIDER: &str = "insider";
/// Filters in one SUBSCRIBE.
const FILTERS_AT_ONCE: u32 = 100;
/// Bytes of a message to be retained.
const RETAINED_BYTES: usize = 1024;
/// Elements in each other.
const DEPTH: usize = 20_000;

/// What strangers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// A recorded ClientHello, again and again: a signature of the server for some bytes.
    Handshakes,
    /// Connections that say nothing, as many as they may hold.
    HalfOpen,
    /// CONNECT byte by byte on many connections.
    SlowWriters,
    /// CONNECT with wrong passwords.
    Passwords,
    /// Packets announced and never sent.
    GiantPackets,
    /// Requests whose head never ends, on many connections.
    Slowloris,
    /// Guesses at user tokens over HTTP.
    Tokens,
    /// Service accounts that subscribe filters without end.
    Subscriptions,
    /// Service accounts that have messages retained without end.
    Retained,
    /// Devices whose inventories are XML bombs.
    Inventories,
}

impl Attack {
    /// All.
    pub const ALL: [Attack; 10] = [
        Self::Handshakes,
        Self::HalfOpen,
        Self::SlowWriters,
        Self::Passwords,
        Self::GiantPackets,
        Self::Slowloris,
        Self::Tokens,
        Self::Subscriptions,
        Self::Retained,
        Self::Inventories,
    ];

    /// The word in the table.
    pub fn name(self) -> &'static str {
        match self {
            Attack::Handshakes => "hellos",
            Attack::HalfOpen => "silence",
            Attack::SlowWriters => "letters",
            Attack::Passwords => "passwords",
            Attack::GiantPackets => "giants",
            Attack::Slowloris => "heads",
            Attack::Tokens => "tokens",
            Attack::Subscriptions => "filters",
            Attack::Retained => "retained",
            Attack::Inventories => "XML bombs",
        }
    }
}

/// An attack in progress.
pub struct Attackers {
    threads: Vec<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Attackers {
    /// Ends it; says how often they did what they do.
    pub fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // One that panicked has ended too.
            let _ = thread.join();
        }
        self.count.load(Ordering::Relaxed)
    }
}

/// A connection, with TLS or without.
trait Talk: Read + Write + Send {}

impl<T: Read + Write + Send> Talk for T {}

type Line = Box<dyn Talk>;

/// Where the server listens.
#[derive(Clone)]
struct Target {
    mqtt_tls: u16,
    http: u16,
    /// MQTT without TLS, where that is attacked.
    mqtt_tcp: Option<u16>,
    trust: Arc<ClientConfig>,
}

/// What a thread needs.
struct Attacker {
    attack: Attack,
    from: Ipv4Addr,
    hello: Vec<u8>,
    target: Target,
    held: VecDeque<Line>,
    number: u64,
    /// CONNECT of a client that is let in.
    pass: Vec<u8>,
    /// Where it was let in.
    line: Option<Line>,
}

/// Begins an attack with some threads, each from an address of its own.
pub fn begin(attack: Attack, threads: u32, server: &Server, is_clear: bool) -> Result<Attackers> {
    let mut hello = Vec::new();
    let trust = server.trust()?;
    ClientConnection::new(trust.clone(), ServerName::try_from("localhost")?)?.write_tls(&mut hello)?;
    let mqtt_tcp = is_clear.then(|| server.port("mqtt_tcp")).transpose()?;
    let target = Target { mqtt_tls: server.port("mqtt_tls")?, http: server.port("http")?, mqtt_tcp, trust };
    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let threads = (0..threads).map(|n| {
        let from = Ipv4Addr::new(127, 0, 7, 1 + n as u8);
        let pass = match attack {
            // Number 0 behaves.
            Attack::Inventories => wire::connect_device(n + 1),
            _ => wire::connect_service(&format!("insider{n}"), INSIDER, server.insider()),
        };
        let (hello, target, held, number) = (hello.clone(), target.clone(), VecDeque::new(), u64::from(n) << 32);
        let mut attacker = Attacker { attack, from, hello, target, held, number, pass, line: None };
        let (is_over, count) = (is_over.clone(), count.clone());
        std::thread::spawn(move || {
            // They leave the cores of the device alone. Where it is forbidden, the figures are worse than they need be.
            cores::step_aside(NICENESS);
            while !is_over.load(Ordering::Relaxed) {
                // A refused connection is what is wanted.
                let _ = attacker.strike();
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    Ok(Attackers { threads: threads.collect(), is_over, count })
}

impl Attacker {
    fn strike(&mut self) -> std::io::Result<()> {
        self.number += 1;
        match self.attack {
            Attack::Handshakes => {
                let mut stream = self.connect(self.target.mqtt_tls)?;
                stream.write_all(&self.hello)?;
                stream.read_exact(&mut [0; 64])
            }
            Attack::HalfOpen => self.hold(|it| Ok(Box::new(it.connect(it.target.mqtt_tls)?)), b"", b"\x16"),
            Attack::SlowWriters => self.hold(Self::call, &[0x10, 0x7f, 0], b"a"),
            Attack::Passwords => {
                let mut line = self.call()?;
                line.write_all(&wire::connect_service("guess", &format!("guess{}", self.number), "wrong"))?;
                line.read_exact(&mut [0; 4])
            }
            Attack::GiantPackets => {
                let mut line = self.call()?;
                line.write_all(&[0x10, 0xff, 0xff, 0xff, 0x7f])?;
                line.read(&mut [0; 4]).map(drop)
            }
            Attack::Slowloris => {
                self.hold(|it| Ok(Box::new(it.connect(it.target.http)?)), b"GET / HTTP/1.1\r\nX-", b"a")
            }
            Attack::Tokens => {
                let mut stream = self.connect(self.target.http)?;
                let token = self.number;
                write!(stream, "GET /initSession?user_token={token} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
                stream.read_to_end(&mut Vec::new()).map(drop)
            }
            Attack::Subscriptions => {
                let filters: Vec<String> =
                    (0..FILTERS_AT_ONCE).map(|it| format!("+/bomb/{}/{it}/+/#", self.number)).collect();
                self.say(&wire::subscribe(&filters.iter().map(String::as_str).collect::<Vec<_>>()))
            }
            Attack::Retained => {
                let topic = format!("bomb/{}", self.number);
                self.say(&wire::publish(&topic, &[b'x'; RETAINED_BYTES], 1, true, 7))
            }
            Attack::Inventories => {
                let device = (self.number >> 32) as u32 + 1;
                let bomb = if self.number.is_multiple_of(2) { deep() } else { laughs() };
                self.say(&wire::publish(&wire::topic(device, "Status/Inventory"), bomb.as_bytes(), 1, false, 7))
            }
        }
    }

    /// Says something as a client that was let in, and waits for the answer. Who is refused comes again.
    fn say(&mut self, packet: &[u8]) -> std::io::Result<()> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => {
                let mut line = self.call()?;
                line.write_all(&self.pass)?;
                line.read_exact(&mut [0; 4])?;
                line
            }
        };
        line.write_all(packet)?;
        let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let count = line.read(&mut piece)?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            heard.extend_from_slice(&piece[..count]);
            while let Some((said, length)) = wire::first(&heard) {
                match said {
                    wire::Said::Puback | wire::Said::Suback(true) => {
                        self.line = Some(line);
                        return Ok(());
                    }
                    wire::Said::Suback(false) => return Ok(()),
                    _ => drop(heard.drain(..length)),
                }
            }
        }
    }

    fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((self.from, 0)).into())?;
        // Closed connections leave no traces that would use up the ports.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    }

    /// A connection to MQTT. Over TLS hands are shaken when something is said.
    fn call(&self) -> std::io::Result<Line> {
        if let Some(port) = self.target.mqtt_tcp {
            return Ok(Box::new(self.connect(port)?));
        }
        let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
        let session = ClientConnection::new(self.target.trust.clone(), name).map_err(std::io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, self.connect(self.target.mqtt_tls)?)))
    }

    /// Opens one more connection, or says one more byte on one that is open.
    fn hold(
        &mut self,
        open: impl FnOnce(&Self) -> std::io::Result<Line>,
        opening: &[u8],
        letter: &[u8; 1],
    ) -> std::io::Result<()> {
        if self.held.len() < HELD_MAX {
            let mut line = open(self)?;
            line.write_all(opening)?;
            self.held.push_back(line);
            return Ok(());
        }
        let Some(mut oldest) = self.held.pop_front() else { return Ok(()) };
        std::thread::sleep(Duration::from_millis(1));
        oldest.write_all(letter)?;
        self.held.push_back(oldest);
        Ok(())
    }
}

/// Elements in elements in elements.
fn deep() -> String {
    format!("<REQUEST>{}", "<A>".repeat(DEPTH))
}

/// Entities made of entities: a billion of the last one's text.
fn laughs() -> String {
    let entity = |n: u32| format!("<!ENTITY e{n} \"{}\">", format!("&e{};", n.wrapping_sub(1)).repeat(10));
    let entities: String = (1..10).map(entity).collect();
    format!("<!DOCTYPE R [<!ENTITY e0 \"ha\">{entities}]><REQUEST><CONTENT>&e9;</CONTENT></REQUEST>")
}
