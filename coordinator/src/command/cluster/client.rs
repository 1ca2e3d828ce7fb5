//! The way to the coordinator that leads: any coordinator says where it is.

use std::{collections::VecDeque, path::Path, time::Duration};

use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};
use tonic::{Code, Status};
use upshift_proto::v1::operator_client::OperatorClient;
use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    config::{Config, Environment},
    telemetry::trace::Parent,
};
use upshift_worker::link::{LEADER, Line, Link, refuses_certificate};

use super::{super::Failure, OperatorArguments};
use crate::coordination::{Coordination, Etcd, EtcdOptions};

/// So long the coordinator that leads is looked for: a new one leads within seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How all runs of a large cluster stand is a long answer.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Between attempts.
const AGAIN: Duration = Duration::from_millis(500);
/// How long an answer may take, where nothing has to be compiled.
const ANSWER: Duration = Duration::from_secs(60);

/// One coordinator, to be asked.
pub(in crate::command) type Operator = OperatorClient<Line>;

/// Coordinators, as an operator reaches them.
#[derive(Clone)]
pub(in crate::command) struct Client {
    link: Link,
    urls: Vec<String>,
    etcd: Option<EtcdOptions>,
    /// Once it was reached.
    store: OnceCell<Etcd>,
}

impl Client {
    pub(super) fn new(
        arguments: &OperatorArguments,
        config: Option<&Path>,
    ) -> Result<Self, Failure> {
        Self::to(&arguments.coordinators, config)
    }

    /// To these, or to those of the configuration where none is named.
    pub(in crate::command) fn to(
        coordinators: &[String],
        config: Option<&Path>,
    ) -> Result<Self, Failure> {
        let environment = Environment::capture();
        let loaded = Config::load(config, &environment)?;
        let cluster = &loaded.cluster;
        let urls = match coordinators.is_empty() {
            true => cluster.coordinators.clone(),
            false => coordinators.to_vec(),
        };
        let etcd = match urls.is_empty() {
            true => EtcdOptions::of(cluster, &environment)?,
            false => None,
        };
        if urls.is_empty() && etcd.is_none() {
            return Err(Failure::usage(
                "where is the coordinator? say --coordinator URL, or coordinators or etcd of [cluster] in \
                 upshift.toml",
            ));
        }
        Ok(Self {
            link: Link::new(cluster, &environment)?,
            urls,
            etcd,
            store: OnceCell::new(),
        })
    }

    /// Says with every request what it belongs to.
    pub(in crate::command) fn within(mut self, parent: &Parent) -> Self {
        self.link = self.link.within(parent);
        self
    }

    async fn candidates(&self) -> Result<VecDeque<String>> {
        let Some(options) = &self.etcd else {
            return Ok(self.urls.iter().cloned().collect());
        };
        let store = self
            .store
            .get_or_try_init(|| Box::pin(Etcd::connect(options)))
            .await?;
        let leader = store.leader().await?;
        Ok(leader.map(|leader| leader.address).into_iter().collect())
    }

    /// Asks the coordinator that leads; another one, or later, where it has just been lost. What is asked
    /// may be asked twice.
    ///
    /// # Errors
    /// What it refuses; or that none is found in time.
    pub(in crate::command) async fn ask<T>(
        &self,
        question: impl AsyncFn(OperatorClient<Line>) -> Result<T, Status>,
    ) -> Result<T, Failure> {
        let begun = Stopwatch::start();
        loop {
            let why = match self.round(&question).await {
                Ok(answer) => return Ok(answer),
                Err(Refused::Final(failure)) => return Err(failure),
                Err(Refused::Passing(why)) => why,
            };
            if begun.elapsed() > PATIENCE {
                return Err(Failure::failed(format!(
                    "no coordinator that leads was found within {} s: {why}",
                    PATIENCE.as_secs()
                )));
            }
            tracing::info!(why, "looks for the coordinator that leads");
            sleep(AGAIN).await;
        }
    }

    /// Asks each of them once, and whom they name.
    async fn round<T>(
        &self,
        question: &impl AsyncFn(OperatorClient<Line>) -> Result<T, Status>,
    ) -> Result<T, Refused> {
        let mut urls = self.candidates().await?;
        let mut asked: Vec<String> = Vec::new();
        let mut why = "none is known".to_owned();
        let mut mistrusts = 0;
        while let Some(url) = urls.pop_front() {
            if asked.contains(&url) {
                continue;
            }
            asked.push(url.clone());
            let line = match self.link.connect(&url).await {
                Ok(line) => line,
                Err(error @ Error::Config(_)) => return Err(error.into()),
                Err(error) => {
                    mistrusts += usize::from(is_mistrust(&error));
                    why = error.to_string();
                    continue;
                }
            };
            let operator = OperatorClient::new(line).max_decoding_message_size(ANSWER_BYTES);
            match question(operator).await {
                Ok(answer) => return Ok(answer),
                Err(status) if status.code() == Code::Unavailable => {
                    let leader = status.metadata().get(LEADER);
                    if let Some(leader) = leader.and_then(|leader| leader.to_str().ok()) {
                        urls.push_front(leader.to_owned());
                    }
                    why = format!("{url}: {}", status.message());
                }
                // The connection was lost before there was an answer: what was asked is asked again.
                Err(status) if std::error::Error::source(&status).is_some() => {
                    mistrusts += usize::from(refuses_certificate(&status));
                    why = format!("{url}: {}", status.message());
                }
                Err(status) => return Err(Refused::Final(failure(&status))),
            }
        }
        if mistrusts > 0 && mistrusts == asked.len() {
            let hint = "look at ca, certificate and key of [cluster.tls], and until when they hold";
            return Err(Refused::Final(Failure::usage(format!("{why}\n{hint}"))));
        }
        Err(Refused::Passing(why))
    }
}

fn is_mistrust(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
}

enum Refused {
    Final(Failure),
    Passing(String),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::Io { .. } => Self::Passing(error.to_string()),
            error => Self::Final(error.into()),
        }
    }
}

/// What a coordinator has refused, with the exit code that the command would have had.
pub(super) fn failure(status: &Status) -> Failure {
    let message = format!("the coordinator says: {}", status.message());
    match status.code() {
        Code::InvalidArgument | Code::Unauthenticated | Code::PermissionDenied => {
            Failure::usage(message)
        }
        Code::FailedPrecondition => Failure::refused(message),
        _ => Failure::failed(message),
    }
}

/// An answer that has to come soon.
pub(in crate::command) async fn soon<T>(
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    let answer = timeout(ANSWER, answer).await;
    let late = |_| Status::unavailable("the coordinator does not answer");
    Ok(answer.map_err(late)??.into_inner())
}
