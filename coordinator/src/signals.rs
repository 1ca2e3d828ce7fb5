//! Ctrl-C, SIGTERM, and the end of the terminal.

use std::fs;

use tokio::signal::unix::{Signal, SignalKind, signal};
use upshift_shared::{Error, Result};

/// All of them, as they come.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None`: whoever has started the process wants it to outlive the terminal (`nohup`).
    hangup: Option<Signal>,
}

impl Signals {
    /// From now on none of them ends the process by itself.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|source| Error::Io {
                context: "listening to signals".to_owned(),
                source,
            })
        };
        let ignored = fs::read_to_string("/proc/self/status");
        let hangup = match ignores_hangup(&ignored.unwrap_or_default()) {
            true => None,
            false => Some(listen(SignalKind::hangup())?),
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Returns when one of them has come.
    pub(crate) async fn next(&mut self) {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(()) = self.interrupt.recv() => {}
            Some(()) = self.terminate.recv() => {}
            Some(()) = hung_up => {}
        }
    }
}

/// Whether a process ignores SIGHUP, by what `/proc` has of its status: the first bit of the signals that it
/// ignores.
fn ignores_hangup(status: &str) -> bool {
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    ignored.is_some_and(|bits| bits & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_to_outlive_the_terminal_does() {
        assert!(ignores_hangup(
            "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0"
        ));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
