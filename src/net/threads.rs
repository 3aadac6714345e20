//! Threads beside those that serve connected devices (see [`crate::cores`]): devices are served first, whoever else knocks or asks.

use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
};

use crate::cores;

/// How nice the threads at the door are: all of an idle core, hardly anything of a busy one.
const DOOR_NICENESS: i32 = 19;
/// How nice the threads of HTTP are: people and phones that enroll get their share of a busy core.
const WEB_NICENESS: i32 = 10;
/// How nice the threads of back ends are: a thread of devices that wakes up beside one need not wait for it.
const SERVICE_NICENESS: i32 = 10;

/// The sets of threads.
pub struct Threads {
    /// Accepts MQTT connections over TLS, shakes hands, and listens until a client has said who it is.
    pub door: Aside,
    /// Serves HTTP.
    pub web: Aside,
    /// Serves service accounts that are connected.
    pub services: Aside,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start() -> Result<Threads, String> {
        Ok(Threads {
            door: Aside::start("door", DOOR_NICENESS)?,
            web: Aside::start("web", WEB_NICENESS)?,
            services: Aside::start("services", SERVICE_NICENESS)?,
        })
    }
}

/// A runtime whose threads keep to a part of the cores. What still runs there when this is dropped ends unfinished.
pub struct Aside(Option<Runtime>);

impl Aside {
    fn start(name: &'static str, niceness: i32) -> Result<Aside, String> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores::threads_aside())
            .thread_name(name)
            .enable_all()
            .on_thread_start(move || cores::step_aside(niceness))
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
