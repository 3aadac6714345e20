//! Threads beside those that serve connected devices: they give way, so that devices are served first, whoever else knocks or asks.

use std::num::NonZero;

use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
};

/// Half of the cores never hear strangers: even a thread that gives way holds a core for a moment, and whoever has something to commit
/// would wait for it.
const CORES_PER_DOOR_THREAD: usize = 2;
/// How nice the threads at the door are: all of an idle core, hardly anything of a busy one.
const DOOR_NICENESS: i32 = 19;
/// How nice the threads of HTTP are: people and phones that enroll get their share of a busy core, after the devices.
const WEB_NICENESS: i32 = 10;
/// Threads of a kind at most, on machines with more cores.
const THREADS_MAX: usize = 64;

/// The sets of threads.
pub struct Threads {
    /// Accepts MQTT connections over TLS, shakes hands, and listens until a client has said who it is.
    pub door: Aside,
    /// Serves HTTP.
    pub web: Aside,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start() -> Result<Threads, String> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Threads {
            door: Aside::start("door", cores / CORES_PER_DOOR_THREAD, DOOR_NICENESS)?,
            web: Aside::start("web", cores, WEB_NICENESS)?,
        })
    }
}

/// A runtime whose threads give way. What still runs there when this is dropped ends unfinished.
pub struct Aside(Option<Runtime>);

impl Aside {
    fn start(name: &'static str, threads: usize, niceness: i32) -> Result<Aside, String> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.clamp(1, THREADS_MAX))
            .thread_name(name)
            .enable_all()
            .on_thread_start(move || {
                // On Linux this is about the calling thread alone. Where it is forbidden, all weigh the same.
                let _ = rustix::process::nice(niceness);
            })
            .build()
            .map_err(|problem| format!("cannot start the {name} threads: {problem}"))?;
        Ok(Aside(Some(runtime)))
    }

    /// Where tasks are spawned.
    pub fn handle(&self) -> Handle {
        self.0.as_ref().expect("it is there until it is dropped").handle().clone()
    }

    /// Has these threads watch a listening socket, and with it every connection that it accepts.
    ///
    /// # Errors
    /// A sentence: the system has no room for it.
    pub fn watch(&self, listener: TcpListener) -> Result<TcpListener, String> {
        let home = self.handle();
        let _here = home.enter();
        let watched = listener.into_std().and_then(TcpListener::from_std);
        watched.map_err(|problem| format!("cannot watch a listening socket: {problem}"))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting for it is not allowed where other tasks run.
            runtime.shutdown_background();
        }
    }
}
