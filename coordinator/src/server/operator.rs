//! The `Operator` service: what people ask of a coordinator becomes an [`OperatorRequest`] with a way
//! to answer it.

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_stream::{StreamExt, wrappers::BroadcastStream};
use tonic::{Request, Response, Status};
use upshift_proto::v1::{
    PauseRequest, PauseResponse, ResumeRequest, ResumeResponse, RunEvent, RunStatus, StatusRequest,
    StatusResponse, WatchRequest, operator_server::Operator,
};
use upshift_shared::ids::RunId;

/// Where an answer goes.
type Answer<T> = oneshot::Sender<Result<T, Status>>;

/// What an operator asks.
#[derive(Debug)]
pub enum OperatorRequest {
    /// How runs stand; of all where none is named.
    Status(Option<RunId>, Answer<Vec<RunStatus>>),
    /// No new units.
    Pause(RunId, Answer<()>),
    /// New units again.
    Resume(RunId, Answer<()>),
}

/// The service.
#[derive(Debug)]
pub struct OperatorService {
    requests: mpsc::Sender<OperatorRequest>,
    /// Events as JSON, for those who watch.
    events: broadcast::Sender<String>,
}

impl OperatorService {
    /// Passes requests on to `requests` and shows `events` to watchers.
    #[must_use]
    pub fn new(requests: mpsc::Sender<OperatorRequest>, events: broadcast::Sender<String>) -> Self {
        Self { requests, events }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(Answer<T>) -> OperatorRequest,
    ) -> Result<T, Status> {
        let (sender, receiver) = oneshot::channel();
        let stopping = || Status::unavailable("the coordinator is stopping");
        let sent = self.requests.send(request(sender)).await;
        sent.map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())?
    }
}

fn parse(run: &str) -> Result<RunId, Status> {
    run.parse()
        .map_err(|_| Status::invalid_argument(format!("\"{run}\" is not the id of a run")))
}

#[tonic::async_trait]
impl Operator for OperatorService {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let run = match request.into_inner().run.as_str() {
            "" => None,
            run => Some(parse(run)?),
        };
        let runs = self
            .ask(|answer| OperatorRequest::Status(run, answer))
            .await?;
        Ok(Response::new(StatusResponse { runs }))
    }

    type WatchStream =
        std::pin::Pin<Box<dyn futures::Stream<Item = Result<RunEvent, Status>> + Send>>;

    async fn watch(
        &self,
        _request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // A watcher that falls behind is told that it missed events, not made to slow the run.
        let events = BroadcastStream::new(self.events.subscribe()).map(|event| match event {
            Ok(json) => Ok(RunEvent { json }),
            Err(missed) => Err(Status::data_loss(missed.to_string())),
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn pause(
        &self,
        request: Request<PauseRequest>,
    ) -> Result<Response<PauseResponse>, Status> {
        let run = parse(&request.into_inner().run)?;
        self.ask(|answer| OperatorRequest::Pause(run, answer))
            .await?;
        Ok(Response::new(PauseResponse {}))
    }

    async fn resume(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeResponse>, Status> {
        let run = parse(&request.into_inner().run)?;
        self.ask(|answer| OperatorRequest::Resume(run, answer))
            .await?;
        Ok(Response::new(ResumeResponse {}))
    }
}
