//! TLS handshakes, at the door: threads that give way to whoever is connected, however many strangers ask for signatures. How many
//! handshakes may be in progress is decided before.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::ServerConfig;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{Level, debug, enabled};

use super::socket::Socket;
use crate::{
    flows::{Flows, guard::Place},
    metrics::Outcome,
};

/// Shakes hands with a client that was accepted at `since`. `None`: it failed, took too long, or its place was needed for another one.
pub async fn shake(
    flows: &Flows,
    settings: Arc<ServerConfig>,
    socket: Socket,
    since: Instant,
    place: &Place,
) -> Option<TlsStream<Socket>> {
    let count = |outcome| {
        flows.metrics.handshakes.get_or_create(&Outcome { outcome }).inc();
    };
    let deadline = since + Duration::from_secs(flows.config.mqtt.handshake_timeout_s.into());
    // Its turn came too late: nobody waits for the answer any more.
    if flows.clock.instant() >= deadline {
        count("late");
        return None;
    }
    // Once the handshake has failed, nobody can be asked any more.
    let peer = if enabled!(Level::DEBUG) { socket.peer() } else { None };
    // Boxed, so that what follows does not carry the memory of the handshake.
    let handshake = Box::pin(TlsAcceptor::from(settings).accept(socket));
    let shaken = tokio::select! {
        shaken = tokio::time::timeout_at(deadline.into(), handshake) => shaken,
        () = place.displaced() => return None,
    };
    match shaken {
        Ok(Ok(stream)) => {
            count("ok");
            return Some(stream);
        }
        Ok(Err(problem)) => {
            debug!(peer.addr = peer.map(tracing::field::display), "TLS handshake failed: {problem}");
            count("failed");
        }
        Err(_) => count("timeout"),
    }
    None
}
