//! A relay in front of a server on loopback, which can lose its connections, or hold back what the server
//! answers: faults of a network that need no privileges.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Requests get through, answers do not.
    Muted,
    Cut,
}

/// Forwards connections until it is dropped.
pub struct Relay {
    address: SocketAddr,
    state: watch::Sender<State>,
    _serving: JoinSet<()>,
}

impl Relay {
    /// A relay to this port of loopback.
    ///
    /// # Errors
    /// Where there is no port to listen on.
    pub async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (state, is) = watch::channel(State::Open);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, port, is));
        Ok(Self {
            address,
            state,
            _serving: serving,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and every new one at once.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Holds back what the server says from now on.
    pub fn mute(&self) {
        self.state.send_replace(State::Muted);
    }

    /// Lets all through again, what was held back first.
    pub fn heal(&self) {
        self.state.send_replace(State::Open);
    }
}

async fn serve(listener: TcpListener, port: u16, state: watch::Receiver<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let is_cut = *state.borrow() == State::Cut;
                if let (Ok((client, _)), false) = (accepted, is_cut) {
                    connections.spawn(forward(client, port, state.clone()));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn forward(client: TcpStream, port: u16, state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let mut is_cut = state.clone();
    tokio::select! {
        _ended = tokio::io::copy(&mut from_client, &mut to_server) => {}
        _ended = answers(from_server, to_client, state) => {}
        _cut = is_cut.wait_for(|state| *state == State::Cut) => {}
    }
}

/// Forwards what the server says, while that is not to be held back.
async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) -> Result<()> {
    let mut buffer = vec![0; 65536];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        state.wait_for(|state| *state != State::Muted).await?;
        to.write_all(&buffer[..length]).await?;
    }
}
