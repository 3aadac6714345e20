//! Listening sockets: accepts, shakes hands under a deadline, and gives every connection a task of its own.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::{conn, stream::Stream, tls::Tls};
use crate::{
    flows::{Flows, admit::Caller},
    metrics::{Outcome, Reason},
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

/// Counts open connections over all listeners.
#[derive(Default)]
pub struct Open(AtomicU32);

/// Serves MQTT on a listener for ever. With a TLS configuration every connection begins with a handshake.
pub async fn serve(flows: Arc<Flows>, listener: TcpListener, tls: Option<Arc<Tls>>, open: Arc<Open>) {
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(problem) => {
                warn!("cannot accept a connection: {problem}");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        if open.0.fetch_add(1, Ordering::Relaxed) >= flows.config.mqtt.connections_max {
            open.0.fetch_sub(1, Ordering::Relaxed);
            flows.metrics.turned_away.get_or_create(&Reason { reason: "full" }).inc();
            continue;
        }
        let guard = Guard(open.clone());
        match &tls {
            None => drop(tokio::spawn(plain(flows.clone(), socket, peer, guard))),
            Some(tls) => drop(tokio::spawn(secure(flows.clone(), socket, peer, tls.clone(), guard))),
        }
    }
}

/// Gives the place of a connection back, however its task ends.
struct Guard(Arc<Open>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn plain(flows: Arc<Flows>, socket: TcpStream, peer: SocketAddr, _guard: Guard) {
    conn::serve(flows, Stream::Plain(socket), Caller { address: peer, certificate: None }).await;
}

async fn secure(flows: Arc<Flows>, socket: TcpStream, peer: SocketAddr, tls: Arc<Tls>, guard: Guard) {
    let timeout = Duration::from_secs(flows.config.mqtt.handshake_timeout_s.into());
    let acceptor = TlsAcceptor::from(tls.mqtt());
    // Boxed, so that its memory is given back when the handshake is done.
    let handshake = Box::pin(tokio::time::timeout(timeout, acceptor.accept(socket)));
    let outcome = match handshake.await {
        Ok(Ok(stream)) => match tls.identity(stream.get_ref().1.peer_certificates()) {
            Ok(certificate) => {
                flows.metrics.handshakes.get_or_create(&Outcome { outcome: "ok" }).inc();
                // A task of its own, without the memory of the handshake.
                tokio::spawn(async move {
                    let _guard = guard;
                    conn::serve(flows, Stream::Tls(Box::new(stream)), Caller { address: peer, certificate }).await;
                });
                return;
            }
            Err(problem) => {
                debug!(peer.addr = %peer, "closed a connection: {problem}");
                "failed"
            }
        },
        Ok(Err(problem)) => {
            debug!(peer.addr = %peer, "TLS handshake failed: {problem}");
            "failed"
        }
        Err(_) => "timeout",
    };
    flows.metrics.handshakes.get_or_create(&Outcome { outcome }).inc();
}
