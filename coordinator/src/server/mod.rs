//! The gRPC services: `Session` for workers, `Operator` for people. They turn messages into events
//! for the driver and know nothing of runs.

mod connection;
mod door;
mod fleets;
mod identity;
mod listener;
mod operator;
mod rates;
mod session;
mod socket;
mod upload;

pub use door::{Door, Entrance};
pub use fleets::FleetUpload;
pub use identity::{Doorman, Identity, identity};
pub use listener::{Listener, refuse_plain};
pub use operator::{Events, Leader, OperatorService, Wish};
pub use rates::Rates;
pub use session::{Joined, Outbox, SessionEvent, SessionService};
pub use socket::PrivateSocket;
pub use upload::Upload;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use upshift_proto::v1::session_server::SessionServer;

/// Serves the workers of this process on a Unix socket until `stop`.
///
/// # Errors
/// When the transport fails.
pub async fn serve(
    listener: UnixListener,
    session: SessionService,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .add_service(SessionServer::new(session))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
        .await
}
