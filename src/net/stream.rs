//! A socket with or without TLS, read into a buffer that all connections of a thread share.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::socket::Socket;

/// What one read may bring, in bytes.
const READ_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// Idle connections own no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES_MAX]);
}

/// A connected socket.
pub enum Stream {
    /// Clear text.
    Plain(Socket),
    /// TLS. Boxed, so that a plain connection stays small.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Nobody waits for its socket any more, see [`Socket::loosen`].
    ///
    /// # Errors
    /// The system failed.
    pub fn loosen(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(it) => it.loosen(),
            Stream::Tls(it) => it.get_mut().0.loosen(),
        }
    }

    /// Reads once and hands over what came; 0 bytes mean the peer closed.
    pub fn poll_read_with<T>(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let read = match self {
                Stream::Plain(it) => Pin::new(it).poll_read(context, &mut buffer),
                Stream::Tls(it) => Pin::new(it.as_mut()).poll_read(context, &mut buffer),
            };
            let taken = read.map_ok(|()| take(buffer.filled()));
            // A password may be among them, and nobody may come by here for long.
            buffer.filled_mut().fill(0);
            taken
        })
    }

    /// Writes what the socket takes and removes it from the buffer. Ready when nothing is left.
    pub fn poll_write_all(&mut self, context: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<()>> {
        let mut written = 0;
        let outcome = loop {
            if written == bytes.len() {
                break self.poll_flush(context);
            }
            let step = match self {
                Stream::Plain(it) => Pin::new(it).poll_write(context, &bytes[written..]),
                Stream::Tls(it) => Pin::new(it.as_mut()).poll_write(context, &bytes[written..]),
            };
            match step {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(problem)) => break Poll::Ready(Err(problem)),
                Poll::Pending => break Poll::Pending,
            }
        };
        if written == bytes.len() {
            *bytes = Vec::new();
        } else {
            bytes.drain(..written);
        }
        outcome
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(it) => Pin::new(it.as_mut()).poll_flush(context),
        }
    }

    /// Says goodbye on the TLS layer and closes the sending half.
    pub async fn shut_down(&mut self) {
        use tokio::io::AsyncWriteExt;
        // The peer may be gone already; there is nobody to tell.
        let _ = match self {
            Stream::Plain(it) => it.shutdown().await,
            Stream::Tls(it) => it.shutdown().await,
        };
    }
}
