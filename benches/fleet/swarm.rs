//! One thread that is all the devices and the back end: non-blocking sockets, one readiness queue, packets as bytes.
//! It counts what it hears and keeps nothing else, so that it costs far less than the brokers it drives.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use mdmq::clock::Clock;
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use socket2::{Domain, Socket, Type};

use crate::wire::{self, Said};

/// Largest read at once; a back end hears many messages in one.
const READ_BYTES: usize = 256 * 1024;
/// Local ports of the devices, on each of several addresses. Chosen by hand, outside the range that the kernel hands out:
/// letting it search a free port per address costs more than everything else together once many are taken.
const SOURCE_PORT_FIRST: u32 = 10_000;
const SOURCE_PORTS: u32 = 20_000;
/// Source addresses, 127.0.1.1 and up, taken in turn so that a closed connection's port rests before it is used again.
const SOURCE_ADDRESSES: u32 = 200;
/// Connections opened by this run.
static SOURCES_TAKEN: AtomicU32 = AtomicU32::new(0);
/// After so long without any progress a phase gives up and reports what is missing.
const STALL: Duration = Duration::from_secs(20);

/// What was heard so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// CONNACK with code 0.
    pub connacks: u64,
    /// CONNACK with any other code.
    pub refusals: u64,
    /// SUBACK.
    pub subacks: u64,
    /// Filters refused in a SUBACK.
    pub filters_refused: u64,
    /// PUBACK.
    pub pubacks: u64,
    /// PINGRESP.
    pub pongs: u64,
    /// `{"online": true}` heard by the back end.
    pub onlines: u64,
    /// Wills heard by the back end.
    pub wills: u64,
    /// `Status/Ping` heard by the back end.
    pub answers: u64,
    /// `Command/Ping` heard by devices.
    pub commands: u64,
    /// Any other message.
    pub others: u64,
    /// Connections that the broker closed.
    pub closed: u64,
}

struct Link {
    stream: TcpStream,
    /// The beginning of a packet whose end has not arrived.
    partial: Vec<u8>,
    /// Bytes that wait to be written.
    outgoing: Vec<u8>,
}

/// All connections.
pub struct Swarm {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    broker: SocketAddr,
    /// One per device, then the back end.
    links: Vec<Option<Link>>,
    tally: Tally,
    /// Devices that have heard a command and have not answered it.
    commanded: Vec<u32>,
}

impl Swarm {
    /// No connection yet.
    pub fn new(devices: u32, broker: SocketAddr) -> io::Result<Swarm> {
        let mut links = Vec::new();
        links.resize_with(devices as usize + 1, || None);
        Ok(Swarm {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            scratch: vec![0; READ_BYTES],
            broker,
            links,
            tally: Tally::default(),
            commanded: Vec::new(),
        })
    }

    /// What was heard so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Devices in the fleet.
    pub fn devices(&self) -> u32 {
        self.links.len() as u32 - 1
    }

    fn backend(&self) -> usize {
        self.links.len() - 1
    }

    /// Opens a device's connection and sends its CONNECT.
    pub fn connect_device(&mut self, device: u32) -> io::Result<()> {
        self.open(device as usize, bound_socket()?)?;
        self.send(device, &wire::connect_device(device))
    }

    /// Opens the back end's connection, which hears all reports, and waits until it does.
    pub fn connect_backend(&mut self, name: &str, password: &str) -> io::Result<()> {
        let backend = self.backend();
        self.open(backend, Socket::new(Domain::IPV4, Type::STREAM, None)?)?;
        self.write(backend, &wire::connect_service("fleet-backend", name, password))?;
        self.write(backend, &wire::subscribe(&["+/agent/+/Status/#"]))?;
        let before = self.tally;
        let heard = self.run(2, 2, |_, _| Ok(()), |t| t.connacks + t.subacks - before.connacks - before.subacks)?;
        if heard < 2 || self.tally.filters_refused > before.filters_refused {
            return Err(io::Error::other("the broker does not let the back end in"));
        }
        Ok(())
    }

    fn open(&mut self, slot: usize, socket: Socket) -> io::Result<()> {
        // On loopback this returns at once: the kernel answers for the listener.
        socket.connect(&self.broker.into())?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
        self.links[slot] = Some(Link { stream, partial: Vec::new(), outgoing: Vec::new() });
        Ok(())
    }

    /// Sends bytes as a device, now.
    pub fn send(&mut self, device: u32, bytes: &[u8]) -> io::Result<()> {
        self.write(device as usize, bytes)
    }

    /// Puts bytes into the back end's next write.
    pub fn queue_backend(&mut self, bytes: &[u8]) {
        let backend = self.backend();
        if let Some(link) = &mut self.links[backend] {
            link.outgoing.extend_from_slice(bytes);
        }
    }

    /// Closes a device's socket without a word.
    pub fn vanish(&mut self, device: u32) {
        self.links[device as usize] = None;
    }

    /// Runs `total` operations with at most `window` of them begun and not done, and returns how many were done.
    /// Fewer than `total` means that nothing happened for a long time.
    pub fn run(
        &mut self,
        total: u64,
        window: u64,
        mut begin: impl FnMut(&mut Swarm, u64) -> io::Result<()>,
        done: impl Fn(&Tally) -> u64,
    ) -> io::Result<u64> {
        let mut begun = 0;
        let mut progress = (0, Clock::System.instant());
        loop {
            let finished = done(&self.tally);
            if finished >= total {
                return Ok(total);
            }
            if finished > progress.0 {
                progress = (finished, Clock::System.instant());
            } else if Clock::System.instant().duration_since(progress.1) > STALL {
                return Ok(finished);
            }
            while begun < total && begun - finished.min(begun) < window {
                begin(self, begun)?;
                begun += 1;
            }
            self.flush(self.backend())?;
            self.pump(Duration::from_millis(100))?;
        }
    }

    /// Keeps reading until the deadline.
    pub fn rest(&mut self, until: Instant) -> io::Result<()> {
        loop {
            let left = until.saturating_duration_since(Clock::System.instant());
            if left.is_zero() {
                return Ok(());
            }
            self.pump(left)?;
        }
    }

    fn pump(&mut self, timeout: Duration) -> io::Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(1));
        match self.poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => other?,
        }
        for event in &events {
            let slot = event.token().0;
            if event.is_writable() {
                self.flush(slot)?;
            }
            if event.is_readable() {
                self.read(slot)?;
            }
        }
        self.events = events;
        self.answer_commands()
    }

    fn answer_commands(&mut self) -> io::Result<()> {
        for device in std::mem::take(&mut self.commanded) {
            self.send(device, &wire::publish(&wire::topic(device, "Status/Ping"), b"!", 0, false, 0))?;
        }
        Ok(())
    }

    fn write(&mut self, slot: usize, bytes: &[u8]) -> io::Result<()> {
        if let Some(link) = &mut self.links[slot] {
            link.outgoing.extend_from_slice(bytes);
        }
        self.flush(slot)
    }

    fn flush(&mut self, slot: usize) -> io::Result<()> {
        let Some(link) = &mut self.links[slot] else { return Ok(()) };
        let mut written = 0;
        while written < link.outgoing.len() {
            match link.stream.write(&link.outgoing[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_end(&error) => return self.ended(slot),
                Err(error) => return Err(error),
            }
        }
        link.outgoing.drain(..written);
        Ok(())
    }

    fn read(&mut self, slot: usize) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = self.read_into(slot, &mut scratch);
        self.scratch = scratch;
        result
    }

    fn read_into(&mut self, slot: usize, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            let Some(link) = &mut self.links[slot] else { return Ok(()) };
            let kept = link.partial.len();
            scratch[..kept].copy_from_slice(&link.partial);
            link.partial.clear();
            let count = match link.stream.read(&mut scratch[kept..]) {
                Ok(0) => return self.ended(slot),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) if is_end(&error) => return self.ended(slot),
                Err(error) => return Err(error),
            };
            let mut rest = &scratch[..kept + count];
            while let Some((said, length)) = wire::first(rest) {
                self.hear(slot, said);
                rest = &rest[length..];
            }
            if let Some(link) = &mut self.links[slot] {
                link.partial.extend_from_slice(rest);
            }
            // Edge-triggered readiness: a read that does not fill the buffer has emptied the socket.
            if kept + count < scratch.len() {
                return Ok(());
            }
        }
    }

    fn hear(&mut self, slot: usize, said: Said<'_>) {
        let tally = &mut self.tally;
        match said {
            Said::Connack(0) => tally.connacks += 1,
            Said::Connack(_) => tally.refusals += 1,
            Said::Suback(granted) => {
                tally.subacks += 1;
                tally.filters_refused += u64::from(!granted);
            }
            Said::Puback => tally.pubacks += 1,
            Said::Pong => tally.pongs += 1,
            Said::Publish { topic, payload } => {
                let is_backend = slot + 1 == self.links.len();
                if is_backend && topic.ends_with(b"/Status/Online") {
                    let is_online = payload.windows(4).any(|part| part == b"true");
                    *(if is_online { &mut tally.onlines } else { &mut tally.wills }) += 1;
                } else if is_backend && topic.ends_with(b"/Status/Ping") {
                    tally.answers += 1;
                } else if !is_backend && topic.ends_with(b"/Command/Ping") {
                    tally.commands += 1;
                    self.commanded.push(slot as u32);
                } else {
                    tally.others += 1;
                }
            }
            Said::Other => tally.others += 1,
        }
    }

    fn ended(&mut self, slot: usize) -> io::Result<()> {
        self.links[slot] = None;
        self.tally.closed += 1;
        if slot == self.backend() {
            return Err(io::Error::other("the broker closed the back end's connection"));
        }
        Ok(())
    }
}

/// A socket with a source of its own; sources that somebody else uses are passed over.
fn bound_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    for _ in 0..SOURCE_PORTS {
        let taken = SOURCES_TAKEN.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::new(127, 0, 1, 1 + (taken / SOURCE_PORTS % SOURCE_ADDRESSES) as u8);
        let port = (SOURCE_PORT_FIRST + taken % SOURCE_PORTS) as u16;
        match socket.bind(&SocketAddr::from((address, port)).into()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            other => return other.map(|()| socket),
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
