//! Listening sockets, and MQTT's way in: accepts whom the guard lets through and hears strangers out at the door. Whoever is let in gets a
//! task of its own on the threads of its like.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::{
    conn::{self, Homes},
    handshake::shake,
    socket::Socket,
    stream::Stream,
    tls::Tls,
};
use crate::flows::{
    Flows,
    admit::Caller,
    guard::{Entrance, Place},
};

/// Connections that may wait to be accepted: a whole fleet comes back at once when a server restarts.
const BACKLOG: u32 = 4096;
/// Pause when the system has no more descriptors, so that the loop does not spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Opens a listening socket.
///
/// # Errors
/// A sentence that names the key and the address.
pub fn bind(key: &str, address: &str) -> Result<TcpListener, String> {
    let complain = |problem: &dyn std::fmt::Display| format!("cannot listen on {address} ({key}): {problem}");
    let address: SocketAddr = address.parse().map_err(|problem| complain(&problem))?;
    let open = || -> io::Result<TcpListener> {
        let socket =
            if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // Small packets should leave at once; accepted connections inherit this.
        socket.set_nodelay(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|problem| match problem.kind() {
        io::ErrorKind::AddrInUse => complain(&"the port is in use; is another server running?"),
        _ => complain(&problem),
    })
}

/// The next connection. Waits a little when the system has no descriptors left.
pub(super) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(problem) => {
                warn!("cannot accept a connection: {problem}");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Closes a connection so that nothing of it stays here, not even in the kernel.
pub(super) fn turn_away(socket: &TcpStream) {
    // Where this fails it is closed politely.
    let _ = socket.set_zero_linger();
}

/// Serves MQTT in clear text for ever. It is for trusted networks: who comes in is heard where devices are served.
pub async fn serve(flows: Arc<Flows>, listener: TcpListener, homes: Homes) {
    loop {
        let (socket, peer) = accept(&listener).await;
        match flows.enter(Entrance::Mqtt, peer.ip(), true) {
            None => turn_away(&socket),
            Some(place) => {
                let stream = Stream::Plain(Socket::Watched(socket));
                let caller = Caller { address: peer, certificate: None };
                tokio::spawn(conn::serve(flows.clone(), stream, caller, place, homes.clone()));
            }
        }
    }
}

/// Serves MQTT over TLS for ever: strangers where this is called, whoever is let in at home.
pub async fn serve_tls(flows: Arc<Flows>, listener: TcpListener, tls: Arc<Tls>, homes: Homes) {
    loop {
        let (socket, peer) = accept(&listener).await;
        let Some(place) = flows.enter(Entrance::Mqtt, peer.ip(), true) else {
            turn_away(&socket);
            continue;
        };
        let stranger = Stranger { flows: flows.clone(), peer, place, since: flows.clock.instant() };
        tokio::spawn(stranger.come_in(Socket::Watched(socket), tls.clone(), homes.clone()));
    }
}

/// Somebody who is not let in yet.
struct Stranger {
    flows: Arc<Flows>,
    peer: SocketAddr,
    place: Place,
    since: Instant,
}

impl Stranger {
    /// Shakes hands, says who it is, and is judged.
    async fn come_in(self, socket: Socket, tls: Arc<Tls>, homes: Homes) {
        let shaken = shake(&self.flows, tls.mqtt(), socket, self.since, &self.place).await;
        let Some(stream) = shaken else { return };
        let Stranger { flows, peer, place, .. } = self;
        let certificate = match tls.identity(stream.get_ref().1.peer_certificates()) {
            Ok(certificate) => certificate,
            Err(problem) => return debug!(peer.addr = %peer, "closed a connection: {problem}"),
        };
        let caller = Caller { address: peer, certificate };
        conn::serve(flows, Stream::Tls(Box::new(stream)), caller, place, homes).await;
    }
}
