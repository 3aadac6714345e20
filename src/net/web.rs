//! HTTP connections: accepted like those of MQTT, with a time for every wait. What is asked and answered is decided in `http`.

use std::{
    borrow::Cow,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::ConnectInfo,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    runtime::Handle,
    sync::{mpsc, watch},
    time::Sleep,
};
use tracing::debug;

use super::{
    handshake::shake,
    listener::{accept, turn_away},
    owed::keep_place,
    socket::Socket,
    tls::Tls,
};
use crate::flows::{
    Flows,
    guard::{Entrance, Place},
};

/// Where proxies write for whom they ask.
const FORWARDED: &str = "x-forwarded-for";

/// A listener and what it offers.
pub struct Web {
    /// Whose API.
    pub entrance: Entrance,
    /// Where connections arrive.
    pub listener: TcpListener,
    /// What is answered.
    pub routes: Router,
    /// Every connection begins with a handshake, on these threads.
    pub security: Option<(Arc<Tls>, Handle)>,
}

/// Serves HTTP until it is told to stop, and then until the requests that it has are answered.
pub async fn serve(flows: Arc<Flows>, web: Web, mut stopped: watch::Receiver<bool>) {
    // Nothing is sent: it closes when the last connection is gone.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    loop {
        let (socket, peer) = tokio::select! {
            accepted = accept(&web.listener) => accepted,
            () = told(&mut stopped) => break,
        };
        let Some(place) = flows.enter(web.entrance, peer.ip(), web.security.is_some()) else {
            turn_away(&socket);
            continue;
        };
        let (routes, stopped, since) = (web.routes.clone(), stopped.clone(), flows.clock.instant());
        let visitor = Visitor { flows: flows.clone(), peer, routes, stopped, since };
        let present = (Arc::new(place), alive.clone());
        match &web.security {
            None => drop(tokio::spawn(visitor.talk(socket, present))),
            Some((tls, door)) => {
                let mut socket = Socket::Watched(socket);
                if socket.loosen().is_ok() {
                    door.spawn(visitor.come_in(socket, tls.http(), present, Handle::current()));
                }
            }
        }
    }
    drop((web.listener, alive));
    all_gone.recv().await;
}

async fn told(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end as well.
    let _ = stopped.wait_for(|it| *it).await;
}

/// A connection, what it may ask for, and when it must end.
struct Visitor {
    flows: Arc<Flows>,
    peer: SocketAddr,
    routes: Router,
    stopped: watch::Receiver<bool>,
    since: Instant,
}

/// As long as it lives, the visitor counts as here.
type Present = (Arc<Place>, mpsc::Sender<()>);

impl Visitor {
    /// Shakes hands where this is called, and talks at `home`.
    async fn come_in(self, socket: Socket, settings: Arc<ServerConfig>, present: Present, home: Handle) {
        let shaken = shake(&self.flows, settings, socket, self.since, &present.0).await;
        let Some(mut stream) = shaken else { return };
        present.0.shook_hands(self.flows.clock.instant());
        if stream.get_mut().0.loosen().is_ok() {
            home.spawn(self.talk(stream, present));
        }
    }

    async fn talk(self, stream: impl AsyncRead + AsyncWrite + Unpin, present: Present) {
        let Visitor { flows, peer, routes, mut stopped, .. } = self;
        let config = &flows.config;
        let patience = Duration::from_secs(config.files.stall_timeout_s.max(config.http.request_timeout_s).into());
        let (routes, asked, place) = (TowerToHyperService::new(routes), flows.clone(), present.0.clone());
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            // A stranger's part of a line may be anything; the proxy's part behind it is text.
            let lines: Vec<_> =
                request.headers().get_all(FORWARDED).iter().map(|it| String::from_utf8_lossy(it.as_bytes())).collect();
            let forwarded: Vec<&str> = lines.iter().map(Cow::as_ref).collect();
            let client = SocketAddr::new(asked.asks(peer.ip(), &forwarded), peer.port());
            request.extensions_mut().insert(ConnectInfo(client));
            // The buffer that a head is read into may hold twice as much.
            let is_bounded = head_bytes(&request) <= asked.config.http.header_bytes_max as usize;
            let answer = is_bounded.then(|| routes.call(request));
            let (place, flows) = (place.clone(), asked.clone());
            async move {
                match answer {
                    Some(answer) => answer.await.map(|it| keep_place(it, flows, place)),
                    None => Ok::<Response, Infallible>(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response()),
                }
            }
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(config.http.header_timeout_s.into()))
                .max_buf_size(config.http.header_bytes_max as usize)
                .serve_connection(TokioIo::new(Patient { stream, patience, waiting: None }), service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = present.0.displaced() => return,
            () = told(&mut stopped) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(problem) = ended {
            debug!(peer.addr = %peer, "an HTTP connection ended: {problem}");
        }
    }
}

/// How long the head of a request is, as it is usually written.
fn head_bytes(request: &hyper::Request<Incoming>) -> usize {
    let first = format!("{} {} HTTP/1.1\r\n\r\n", request.method(), request.uri()).len();
    first
        + request
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
            .sum::<usize>()
}

/// A stream whose reader must take something once in a while.
struct Patient<S> {
    stream: S,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Nothing moves: how long already?
    fn measure<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
        waiting.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // How long a reader of ours waits is its own business.
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.measure(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.measure(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.measure(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.measure(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (here, mut there) = tokio::io::duplex(4);
        let mut patient = Patient { stream: here, patience: Duration::from_secs(1), waiting: None };
        let slow = tokio::spawn(async move {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                tokio::io::AsyncReadExt::read_u8(&mut there).await.unwrap();
            }
            there
        });
        patient.write_all(&[0; 12]).await.unwrap();
        let _deaf = slow.await.unwrap();
        assert_eq!(patient.write_all(&[0; 1]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
