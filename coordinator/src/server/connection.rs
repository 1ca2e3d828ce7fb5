//! A connection that is counted as long as it lives, and ended where nobody who is known asks for anything:
//! hyper waits for ever for the first bytes of HTTP/2 (its keepalive begins behind them), and strangers would
//! keep a connection for as long as they like.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::listener::Connections;

/// How long it may take until somebody was let in: the handshake of TLS and a first request.
const BEGINNING: Duration = Duration::from_secs(15);

/// A connection, and what counts it.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    from: SocketAddr,
    connections: Arc<Connections>,
    /// Whether somebody was let in who came over it.
    let_in: Arc<AtomicBool>,
    /// When that has to be so; `None` when it is.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Counted {
    /// One that was counted just now.
    pub(super) fn new(
        stream: TcpStream,
        from: SocketAddr,
        (connections, let_in): (Arc<Connections>, Arc<AtomicBool>),
    ) -> Self {
        Self {
            stream,
            from,
            connections,
            let_in,
            deadline: Some(Box::pin(sleep(BEGINNING))),
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.leave(self.from, &self.let_in);
    }
}

impl Connected for Counted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.let_in.load(Ordering::Relaxed) {
            self.deadline = None;
        }
        let late = |deadline: &mut Pin<Box<Sleep>>| deadline.as_mut().poll(cx).is_ready();
        if self.deadline.as_mut().is_some_and(late) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
