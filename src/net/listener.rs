//! Listening sockets: accepts whom the guard lets through, and gives every connection a task of its own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::{conn, handshake::Handshakes, stream::Stream, tls::Tls};
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

/// Serves MQTT on a listener for ever. With TLS settings every connection begins with a handshake.
pub async fn serve(flows: Arc<Flows>, listener: TcpListener, security: Option<(Arc<Tls>, Arc<Handshakes>)>) {
    loop {
        let (socket, peer) = accept(&listener).await;
        let Some(place) = flows.enter(Entrance::Mqtt, peer.ip(), security.is_some()) else {
            turn_away(&socket);
            continue;
        };
        match &security {
            None => drop(tokio::spawn(plain(flows.clone(), socket, peer, place))),
            Some((tls, handshakes)) => {
                let (conn, trust) = (flows.clone(), tls.clone());
                let serve = move |stream, place| secure(conn, trust, stream, peer, place);
                handshakes.shake(flows.clone(), tls.mqtt(), socket, place, serve);
            }
        }
    }
}

async fn plain(flows: Arc<Flows>, socket: TcpStream, peer: SocketAddr, _place: Place) {
    conn::serve(flows, Stream::Plain(socket), Caller { address: peer, certificate: None }).await;
}

async fn secure(flows: Arc<Flows>, tls: Arc<Tls>, stream: TlsStream<TcpStream>, peer: SocketAddr, _place: Place) {
    match tls.identity(stream.get_ref().1.peer_certificates()) {
        Ok(certificate) => {
            let caller = Caller { address: peer, certificate };
            conn::serve(flows, Stream::Tls(Box::new(stream)), caller).await;
        }
        Err(problem) => debug!(peer.addr = %peer, "closed a connection: {problem}"),
    }
}
