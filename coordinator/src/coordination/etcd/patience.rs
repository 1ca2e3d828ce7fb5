//! How requests are sent again that were not answered, and what their failures mean.

use std::{io::ErrorKind, time::Duration};

use etcd_client::Client;
use tokio::time::sleep;
use upshift_shared::{Error, Result, clock::Stopwatch};

/// So long requests are sent again: a cluster that loses a member elects its leader in about a second.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long requests are sent again that were not answered.
pub(super) struct Patience {
    begun: Stopwatch,
    pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            begun: Stopwatch::start(),
            pause: Duration::from_millis(100),
        }
    }
}

impl Patience {
    /// Waits a little; or gives the failure back, where asking again cannot help or has been tried for long
    /// enough.
    pub(super) async fn bear(
        &mut self,
        client: Option<&Client>,
        what: &str,
        error: etcd_client::Error,
    ) -> Result<()> {
        let may_help = match client {
            Some(client) => authenticates_again(client, &error).await || is_passing(&error),
            None => is_passing(&error),
        };
        if !may_help || self.begun.elapsed() > PATIENCE {
            return Err(failed(what)(error));
        }
        tracing::debug!(%error, what, "etcd did not answer");
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_secs(1));
        Ok(())
    }
}

/// What etcd says of a signed token that it gave before an operator changed users or roles
/// (`ErrAuthOldRevision`): where a request comes in, and, in words that reach clients as an unknown error,
/// where a write is carried out (3.5 says no more than that). Of tokens that it does not know any more it
/// says something else, and the client asks for another one by itself.
const OLD_TOKEN: [&str; 2] = ["revision of auth store is old", "revision in header is old"];

/// Asks for another token where etcd calls this one old; whether asking again may help then.
pub(super) async fn authenticates_again(client: &Client, error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return false;
    };
    OLD_TOKEN
        .iter()
        .any(|words| status.message().contains(words))
        && client.refresh_token().await.is_ok()
}

/// Whether asking again may help.
pub(super) fn is_passing(error: &etcd_client::Error) -> bool {
    use tonic::Code;
    match error {
        etcd_client::Error::GRpcStatus(status) => matches!(
            status.code(),
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::Unknown
                | Code::Internal
        ),
        etcd_client::Error::TransportError(_) | etcd_client::Error::IoError(_) => true,
        _ => false,
    }
}

pub(super) fn failed(what: &str) -> impl FnOnce(etcd_client::Error) -> Error {
    use tonic::Code;
    let context = what.to_owned();
    move |error| match &error {
        // Somebody has to mend something.
        etcd_client::Error::GRpcStatus(status)
            if matches!(
                status.code(),
                Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument
            ) =>
        {
            Error::Config(format!("{context}: {error}"))
        }
        _ => Error::Io {
            context,
            source: std::io::Error::new(kind(&error), error.to_string()),
        },
    }
}

fn kind(error: &etcd_client::Error) -> ErrorKind {
    match error {
        etcd_client::Error::GRpcStatus(status) if status.code() == tonic::Code::NotFound => {
            ErrorKind::NotFound
        }
        _ => ErrorKind::Other,
    }
}

/// Whether etcd does not know something that a request names. What ours name is a lease.
pub(super) fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}
