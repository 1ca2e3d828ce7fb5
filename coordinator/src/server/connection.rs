//! A connection that is counted as long as it lives, and ended where nothing comes: hyper waits for ever for
//! the first bytes of HTTP/2 (its keepalive begins behind them).

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
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

/// How long the beginning of a conversation may take.
const BEGINNING: Duration = Duration::from_secs(10);
/// What a client sends first: the preface of HTTP/2 and a frame of settings (RFC 9113, sections 3.4 and 4.1),
/// or a longer greeting of TLS, which has a deadline of its own.
const FIRST_BYTES: usize = 24 + 9;

/// A connection, and what counts it.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    from: SocketAddr,
    connections: Arc<Connections>,
    /// Bytes that have come, up to the first ones.
    come: usize,
    /// When they have to be here; `None` when they are.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Counted {
    /// One that was counted just now.
    pub(super) fn new(stream: TcpStream, from: SocketAddr, connections: Arc<Connections>) -> Self {
        Self {
            stream,
            from,
            connections,
            come: 0,
            deadline: Some(Box::pin(sleep(BEGINNING))),
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.leave(self.from.ip());
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(deadline) = &mut self.deadline {
            let late = read.is_pending() && deadline.as_mut().poll(cx).is_ready();
            if late {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.come += buffer.filled().len() - before;
            if self.come >= FIRST_BYTES {
                self.deadline = None;
            }
        }
        read
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
