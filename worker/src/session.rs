//! The session with a coordinator.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use upshift_shared::{Error, Result, pg::Target};

/// Turns the name of a database, which is all that travels over gRPC, into a connection.
pub trait ResolveDatabase: Send + Sync {
    /// # Errors
    /// When this machine's configuration does not know the name.
    fn resolve(&self, name: &str) -> Result<Target>;
}

/// Runs a session until the coordinator ends it or `shutdown` is cancelled: then units in flight are
/// finished first.
///
/// # Errors
/// When the coordinator refuses the session or the connection breaks.
#[expect(clippy::unused_async, reason = "its body follows")]
pub async fn run(
    channel: Channel,
    slots: u32,
    resolver: Arc<dyn ResolveDatabase>,
    shutdown: CancellationToken,
) -> Result<()> {
    let _ = (channel, slots, resolver, shutdown);
    Err(Error::Refused("the session is being built".into()))
}
