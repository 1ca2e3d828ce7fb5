//! The gRPC services: `Session` for workers, `Operator` for people. They turn messages into events
//! for the driver and know nothing of runs.

mod operator;
mod session;
mod socket;

pub use operator::{OperatorRequest, OperatorService};
pub use session::{Outbox, SessionEvent, SessionService};
pub use socket::PrivateSocket;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use upshift_proto::v1::{operator_server::OperatorServer, session_server::SessionServer};

/// Serves both services on a Unix socket until `stop`.
///
/// # Errors
/// When the transport fails.
pub async fn serve(
    listener: UnixListener,
    session: SessionService,
    operator: OperatorService,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .add_service(SessionServer::new(session))
        .add_service(OperatorServer::new(operator))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
        .await
}
