//! TCP sockets that go from one set of threads to another: whichever has to wait for a socket first watches it.

use std::{
    io::{self, Write},
    net::{Shutdown, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A connection.
pub enum Socket {
    /// Nobody watches it.
    Loose(std::net::TcpStream),
    /// Some threads watch it.
    Watched(TcpStream),
    /// The system could not watch it.
    Lost,
}

impl Socket {
    /// The other end, while there is one.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Socket::Loose(socket) => socket.peer_addr().ok(),
            Socket::Watched(socket) => socket.peer_addr().ok(),
            Socket::Lost => None,
        }
    }

    /// Nobody watches it any more: the next to wait for it will.
    ///
    /// # Errors
    /// The system failed.
    pub fn loosen(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Socket::Lost) {
            Socket::Watched(socket) => Socket::Loose(socket.into_std()?),
            loose => loose,
        };
        Ok(())
    }

    /// It is watched here from now on.
    fn watch(&mut self) -> io::Result<&mut TcpStream> {
        *self = match std::mem::replace(self, Socket::Lost) {
            Socket::Loose(socket) => Socket::Watched(TcpStream::from_std(socket)?),
            watched => watched,
        };
        match self {
            Socket::Watched(socket) => Ok(socket),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Says something without waiting. `None`: only who watches it can tell when there is room.
    fn say<T>(&self, say: impl FnOnce(&std::net::TcpStream) -> io::Result<T>) -> Option<io::Result<T>> {
        let Socket::Loose(socket) = self else { return None };
        let said = say(socket);
        let is_too_early = |kind| matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
        Some(said).filter(|it| !it.as_ref().is_err_and(|problem| is_too_early(problem.kind())))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.watch()?).poll_read(context, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.say(|mut socket| socket.write(bytes)) {
            Some(said) => Poll::Ready(said),
            None => Pin::new(self.watch()?).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.say(|mut socket| socket.write_vectored(pieces)) {
            Some(said) => Poll::Ready(said),
            None => Pin::new(self.watch()?).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TCP keeps nothing back here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.say(|socket| socket.shutdown(Shutdown::Write)) {
            Some(said) => Poll::Ready(said),
            None => Pin::new(self.watch()?).poll_shutdown(context),
        }
    }
}
