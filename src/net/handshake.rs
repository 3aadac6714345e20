//! TLS handshakes, on threads of their own that weigh little: whoever is connected is served first, however many strangers ask for
//! signatures. How many handshakes may be in progress is decided at the door.

use std::{num::NonZero, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle, Runtime},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use crate::{
    flows::{Flows, guard::Place},
    metrics::Outcome,
};

/// How nice the threads are: all of an idle core, hardly anything of a busy one.
const NICENESS: i32 = 19;
/// Half of the cores never shake hands: even a thread that gives way holds a core for a moment, and whoever has something to commit would
/// wait for it.
const CORES_PER_THREAD: usize = 2;
/// Threads at most, on machines with more cores.
const THREADS_MAX: usize = 64;

/// The threads.
pub struct Handshakes {
    runtime: Option<Runtime>,
    timeout: Duration,
}

impl Handshakes {
    /// Starts them.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start(timeout: Duration) -> Result<Arc<Handshakes>, String> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (cores / CORES_PER_THREAD).clamp(1, THREADS_MAX);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("handshake")
            .enable_time()
            .on_thread_start(|| {
                // On Linux this is about the calling thread alone. Where it is forbidden, handshakes weigh as much as the rest.
                let _ = rustix::process::nice(NICENESS);
            })
            .build()
            .map_err(|e| format!("cannot start the threads for handshakes: {e}"))?;
        Ok(Arc::new(Handshakes { runtime: Some(runtime), timeout }))
    }

    /// Shakes hands with a client; whoever succeeds is served where this was called.
    pub fn shake<F: Future<Output = ()> + Send + 'static>(
        &self,
        flows: Arc<Flows>,
        settings: Arc<ServerConfig>,
        socket: TcpStream,
        mut place: Place,
        serve: impl FnOnce(TlsStream<TcpStream>, Place) -> F + Send + 'static,
    ) {
        let Some(runtime) = &self.runtime else { return };
        let (home, deadline) = (Handle::current(), flows.clock.instant() + self.timeout);
        runtime.spawn(async move {
            let count = |outcome| {
                flows.metrics.handshakes.get_or_create(&Outcome { outcome }).inc();
            };
            // Its turn came too late: nobody waits for the answer any more.
            if flows.clock.instant() >= deadline {
                return count("late");
            }
            let handshake = Box::pin(TlsAcceptor::from(settings).accept(socket));
            count(match tokio::time::timeout_at(deadline.into(), handshake).await {
                Ok(Ok(stream)) => {
                    place.shook_hands();
                    // A task of its own, without the memory of the handshake.
                    home.spawn(serve(stream, place));
                    "ok"
                }
                Ok(Err(problem)) => {
                    debug!("TLS handshake failed: {problem}");
                    "failed"
                }
                Err(_) => "timeout",
            });
        });
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed where other tasks run.
            runtime.shutdown_background();
        }
    }
}
